"""Bounds of several samples, and three estimators of their gradient."""

import math
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array
from jax.scipy.special import logsumexp

from ae_jax.core.errors import UserError
from ae_jax.core.ranges import Count
from ae_jax.numerics.noise import example_keys
from ae_jax.objectives.base import Batch, BoundModel, Draws, Terms, draw, score
from ae_jax.objectives.bound import Bound, monte_carlo_kl


@struct.dataclass
class Iwae(Bound):
    """log 1/K sum_k w_k with w_k = p(x, z_k) / q(z_k|x), z_k ~ q(z|x): a lower bound on log p(x).

    Eq. 8 of Burda et al. 2016; with one sample it is the ELBO. With beta, the ratio of prior and
    posterior in each w_k is raised to it in the loss.

    num_samples  K
    gradient     of the encoder: `plain`, that of the bound at reparameterised draws; `dreg`, the
                 same in expectation with less noise, which does not grow with K (doubly
                 reparameterised, Tucker et al. 2018, Eq. 8); `stl`, without the score of q
                 (sticking the landing, Roeder et al. 2017), biased for K > 1. The last two vanish
                 where q is the true posterior. That of the decoder is the same in all.

    Metrics: `iwae`, the bound; `elbo`, `reconstruction` and `kl` as means over the same draws;
    `effective_samples`, (sum w)^2 / sum w^2, between 1 and K.
    """

    num_samples: Count = struct.field(pytree_node=False, default=5)
    gradient: Literal["plain", "dreg", "stl"] = struct.field(pytree_node=False, default="plain")

    headline: ClassVar[str] = "iwae"
    can_pad: ClassVar[bool] = True

    def check(self, posterior: Any, prior: Any) -> None:
        refuse_deterministic("iwae", posterior, prior)

    def __call__(self, model: BoundModel, batch: Batch, key: Array, step: Array) -> Terms:
        draws = self._draws(model, batch, key, step)
        loss = self.parameter_cost(model) - log_mean(self.weighted(draws, step))
        return Terms(loss, weight_metrics(draws))

    def _draws(self, model: BoundModel, batch: Batch, key: Array, step: Array) -> Draws:
        """Draws whose weights have the gradient that is asked for."""
        if self.gradient == "plain":
            return draw(model, batch, key, self.num_samples)
        posterior = model.encode(batch)
        z = posterior.sample(example_keys(key, batch["id"]), self.num_samples)  # [K, B, Z]
        held = jax.lax.stop_gradient(posterior)  # log q(z|x) depends on the encoder through z alone
        if self.gradient == "dreg":
            # The same arithmetic comes again below, where the compiler merges the two.
            before = score(model.fixed(), batch, held, jax.lax.stop_gradient(z))
            share = jax.nn.softmax(self.weighted(before, step), axis=0)  # w_k / sum w, [K, B]
            # The score of q, of weight beta, is reparameterised too: it takes away this part.
            factor = 1.0 - self.beta_at(step) * (1.0 - share)
            z = with_scaled_gradient(z, jax.lax.stop_gradient(factor))
        return score(model, batch, held, z)


@jax.custom_vjp
def with_scaled_gradient(z: Array, factor: Array) -> Array:
    """z [..., Z] itself; what flows back through it is multiplied by the factor [...]."""
    del factor
    return z


def _forward(z: Array, factor: Array) -> tuple[Array, Array]:
    return z, factor


def _backward(factor: Array, cotangent: Array) -> tuple[Array, Array]:
    return factor[..., None] * cotangent, jnp.zeros_like(factor)


with_scaled_gradient.defvjp(_forward, _backward)


def log_mean(log_weights: Array) -> Array:
    """log 1/K sum_k exp of [K, B], [B]."""
    return logsumexp(log_weights, axis=0) - math.log(log_weights.shape[0])


def weight_metrics(draws: Draws) -> dict[str, Array]:
    """The bounds that K draws give, and how many of them count, each [B]."""
    weights = draws.log_weights()
    reconstruction, divergence = draws.log_likelihood.mean(axis=0), monte_carlo_kl(draws)
    return {
        "iwae": log_mean(weights),
        "elbo": reconstruction - divergence,
        "reconstruction": reconstruction,
        "kl": divergence,
        "effective_samples": jnp.exp(
            2 * logsumexp(weights, axis=0) - logsumexp(2 * weights, axis=0)
        ),
    }


def refuse_deterministic(name: str, posterior: Any, prior: Any) -> None:
    """Raises UserError for codes without a density, or a prior over them that has none."""
    if posterior.is_deterministic or prior.is_deterministic:
        raise UserError(
            f"objective {name} needs a random code and a prior over it, such as model.latent="
            "gaussian with model.prior=standard_normal"
        )
