"""log p(x) from draws of the posterior itself (Kingma & Welling 2014, App. D)."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import logsumexp

from ae_jax.core.errors import UserError
from ae_jax.core.fields import Checked
from ae_jax.core.ranges import Count, Positive
from ae_jax.data.passes import EvaluationData
from ae_jax.eval.estimates import check_gradients, mean_and_error
from ae_jax.models import Batch, BoundModel
from ae_jax.models.hmc import Path, Place, adapted, keys_at, posterior_path, transition
from ae_jax.numerics.noise import example_keys

LARGEST_CODE = 10
CHAINS = 0xD0  # folded into an example's key


@dataclasses.dataclass(frozen=True)
class PosteriorFitLikelihood(Checked):
    """log p(x) = -log E_p(z|x)[f(z) / p(x, z)] for any density f (Kingma & Welling 2014, App. D).

    Chains of Hamiltonian Monte Carlo, begun at the encoder's codes, draw from p(z|x); a Gaussian f
    is fitted to `draws` of each chain; as many new ones estimate the expectation, of which the
    logarithm is taken: it lies above log p(x) in expectation, where the other estimates lie below.
    It needs no good encoder, but f has to lie where the posterior does, or it is far above (a
    posterior of two heaps): the paper asks for fewer than five dimensions, and more than ten are
    refused here, as are no more draws than dimensions and one.

    burn_in         transitions before, in which each example's step size is adapted
    leapfrog_steps  of a transition
    """

    chains: Count = 4
    draws: Count = 50
    burn_in: Count = 50
    leapfrog_steps: Count = 5
    step_size: Positive = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.chains * self.draws < 2:
            raise UserError("a density is fitted to two draws at least: chains or draws above 1")

    def __call__(
        self, module: Any, variables: Any, data: EvaluationData, key: Array
    ) -> dict[str, float]:
        """{hmc_log_likelihood, hmc_log_likelihood_se, hmc_acceptance}, nats per example.

        The standard error is over examples. Raises UserError for codes that have no density, are
        no real numbers, or are too large.
        """
        smaller = dataclasses.replace(data, batch_size=max(1, data.batch_size // self.chains))
        found = smaller.rows(self.values_of, module, variables, key)
        return {
            **mean_and_error("hmc_log_likelihood", found["hmc_log_likelihood"]),
            "hmc_acceptance": float(found["hmc_acceptance"].mean()),
        }

    def values_of(self, model: BoundModel, batch: Batch, key: Array) -> dict[str, Array]:
        """{hmc_log_likelihood, hmc_acceptance: [B]} of a batch. Raises UserError."""
        check_gradients(model, batch, "the estimate from posterior draws")
        model, posterior = model.fixed(), model.encode(batch)
        own = keys_at(example_keys(key, batch["id"]), CHAINS)
        z = posterior.sample(own, self.chains)
        if z.shape[-1] > LARGEST_CODE:
            raise UserError(
                f"the estimate from posterior draws fits a density to codes of at most "
                f"{LARGEST_CODE} dimensions, not {z.shape[-1]}: use ais or log_likelihood"
            )
        if self.chains * self.draws <= z.shape[-1] + 1:
            raise UserError(
                f"a Gaussian over codes of {z.shape[-1]} dimensions needs more than "
                f"{z.shape[-1] + 1} draws, not {self.chains * self.draws}: chains times draws"
            )
        path = posterior_path(model, batch)
        place, step_size = self._settled(path, path.at(z), own)

        def draw(place: Place, index: Array):
            place, accepted = transition(
                path, place, 1.0, step_size, keys_at(own, index), self.leapfrog_steps
            )
            return place, (place.z, place.joint, accepted.mean(axis=0))

        count = self.burn_in + jnp.arange(2 * self.draws)
        _, (drawn, joint, accepted) = jax.lax.scan(draw, place, count)  # [S, C, B, Z], [S, C, B]
        fitted = fit_gaussian(_as_rows(drawn[: self.draws]))
        ratio = fitted(_as_rows(drawn[self.draws :])) - _as_rows(joint[self.draws :])
        return {
            "hmc_log_likelihood": math.log(ratio.shape[0]) - logsumexp(ratio, axis=0),
            "hmc_acceptance": accepted.mean(axis=0),
        }

    def _settled(self, path: Path, place: Place, own: Array) -> tuple[Place, Array]:
        """Chains after the burn-in, and the step sizes [B] of its second half."""

        def settle(carry: tuple[Place, Array], index: Array):
            place, log_size = carry
            place, accepted = transition(
                path, place, 1.0, jnp.exp(log_size), keys_at(own, index), self.leapfrog_steps
            )
            log_size = adapted(log_size, accepted, index)
            return (place, log_size), log_size

        first = jnp.full(own.shape, math.log(self.step_size))
        (place, _), sizes = jax.lax.scan(settle, (place, first), jnp.arange(self.burn_in))
        return place, jnp.exp(sizes[self.burn_in // 2 :].mean(axis=0))


def _as_rows(drawn: Array) -> Array:
    """All draws of all chains in a row: [S, C, B, ...] -> [S C, B, ...]."""
    return drawn.reshape(-1, *drawn.shape[2:])


def fit_gaussian(drawn: Array):
    """log density [K, B] of the Gaussian with the moments of draws [K, B, Z] of each example."""
    mean = drawn.mean(axis=0)
    centred = drawn - mean[None]
    covariance = jnp.einsum("kbi,kbj->bij", centred, centred) / (len(drawn) - 1)
    size = mean.shape[-1]
    # Chains that stand still have no spread: f is then a point, and its density finite.
    floor = 1e-6 * (1e-6 + jnp.trace(covariance, axis1=1, axis2=2) / size)
    factor = jnp.linalg.cholesky(covariance + floor[:, None, None] * jnp.eye(size)[None])
    half_log_determinant = jnp.log(jnp.diagonal(factor, axis1=1, axis2=2)).sum(axis=-1)

    def log_density(z: Array) -> Array:
        rows = jnp.moveaxis(z - mean[None], 0, -1)  # [B, Z, K]
        whitened = jax.scipy.linalg.solve_triangular(factor, rows, lower=True)
        squares = jnp.square(whitened).sum(axis=1).T  # [K, B]
        return -0.5 * (squares + size * math.log(2 * math.pi)) - half_log_determinant[None]

    return log_density
