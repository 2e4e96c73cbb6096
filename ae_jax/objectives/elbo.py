"""The evidence lower bound of Kingma & Welling 2014 and its usual modifications."""

from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from ae_jax.core.errors import UserError
from ae_jax.core.ranges import Count, NonNegative
from ae_jax.numerics.reductions import batch_mean
from ae_jax.objectives.base import Batch, Draws, Objective, Terms, draw


@struct.dataclass
class Elbo(Objective):
    """ELBO = E_q[log p(x|z)] - KL(q(z|x) || p(z)), nats per example; its negative is minimised.

    num_samples      L, codes drawn an example (Eq. 7 and 8)
    kl_form          `analytic` (Eq. 7, App. B) or `monte_carlo` (Eq. 6), log q - log p at the draws
    beta             weight of the KL in the loss (Higgins et al. 2017); the reported bound has 1
    beta_warmup      steps over which the weight grows linearly from 0 to beta
    free_bits        nats a dimension that the batch mean of its KL may have at no cost
                     (Kingma et al. 2016, Eq. 15); analytic KL only
    parameter_prior  `normal` adds -log p(theta) / N with p(theta) = N(0, I) over all parameters:
                     the MAP estimate of Sec. 5, a weight decay of 1/N on the mean bound
    num_examples     N, set from the training set

    Metrics: `elbo`, `reconstruction` (the first term) and `kl`, all with beta = 1.
    """

    beta: NonNegative = 1.0
    beta_warmup: NonNegative = 0.0
    free_bits: NonNegative = 0.0
    num_samples: Count = struct.field(pytree_node=False, default=1)
    kl_form: Literal["analytic", "monte_carlo"] = struct.field(
        pytree_node=False, default="analytic"
    )
    parameter_prior: Literal["none", "normal"] = struct.field(pytree_node=False, default="none")
    num_examples: float | None = None

    headline: ClassVar[str] = "elbo"
    maximise: ClassVar[bool] = True
    can_pad: ClassVar[bool] = True
    whole_batch: ClassVar[bool] = True  # free bits compare a mean over the batch

    def bind(self, num_examples: int) -> "Elbo":
        """With N set. Raises UserError for free bits on a KL that is not taken by dimension."""
        if self.kl_form != "analytic" and self.free_bits > 0:
            raise UserError(
                f"objective.free_bits={self.free_bits:g} needs objective.kl_form=analytic, "
                f"not {self.kl_form}"
            )
        return self.replace(num_examples=float(num_examples))

    def __call__(
        self,
        model: Any,
        params: dict,
        batch: Batch,
        key: Array,
        step: Array,
        axis_name: str | None = None,
    ) -> Terms:
        draws = draw(model, params, batch, key, self.num_samples)
        reconstruction = draws.log_likelihood.mean(axis=0)  # [B]
        if self.kl_form == "analytic":
            kl_per_dim = draws.posterior.kl_per_dim(model.prior)  # [B, Z]
            kl = kl_per_dim.sum(axis=-1)
            charged = self.charged_kl(kl_per_dim, batch["mask"], model.prior.active, axis_name)
        else:
            kl = charged = monte_carlo_kl(draws)
        loss = self.beta_at(step) * charged - reconstruction + self.parameter_cost(params)
        metrics = {"elbo": reconstruction - kl, "reconstruction": reconstruction, "kl": kl}
        return Terms(loss, metrics)

    def beta_at(self, step: Array) -> Array:
        """The weight of the KL at a step: linear from 0, then constant."""
        ramp = jnp.minimum(1.0, step / jnp.maximum(self.beta_warmup, 1.0))
        return self.beta * jnp.where(self.beta_warmup > 0, ramp, 1.0)

    def charged_kl(
        self, kl_per_dim: Array, mask: Array, active: Array | None, axis_name: str | None
    ) -> Array:
        """The KL that the loss pays for, [B]; its batch mean is sum_j max(free_bits, mean KL_j)."""
        mean = batch_mean(jax.lax.stop_gradient(kl_per_dim), mask, axis_name)  # [Z]
        # Without free bits every dimension pays, also where rounding makes its KL 0 or less.
        pays = (mean > self.free_bits) | (self.free_bits == 0)
        least = self.free_bits if active is None else jnp.where(active, self.free_bits, 0.0)
        return jnp.where(pays, kl_per_dim, least).sum(axis=-1)

    def parameter_cost(self, params: dict) -> Array | float:
        """-log p(theta) / N without its constant, nats per example."""
        if self.parameter_prior == "none":
            return 0.0
        squares = sum(jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(params))
        return 0.5 * squares / self.num_examples


def monte_carlo_kl(draws: Draws) -> Array:
    """The mean of log q(z|x) - log p(z) over the draws, nats, [B]; 0 for a point mass."""
    if draws.posterior.is_deterministic:
        return jnp.zeros(draws.z.shape[1])
    return (draws.log_posterior - draws.log_prior).mean(axis=0)
