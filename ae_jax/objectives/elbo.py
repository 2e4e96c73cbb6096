"""The evidence lower bound of Kingma & Welling 2014 and its usual modifications."""

from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from ae_jax.core.errors import UserError
from ae_jax.core.ranges import Count, NonNegative
from ae_jax.distributions import has_kl_per_dim, kl, kl_per_dim
from ae_jax.models.base import refuse_other_values
from ae_jax.numerics.reductions import batch_mean
from ae_jax.objectives.base import Batch, BoundModel, Draws, Terms, draw
from ae_jax.objectives.bound import Bound, monte_carlo_kl

KlForm = Literal["analytic", "monte_carlo"]


@struct.dataclass
class Elbo(Bound):
    """ELBO = E_q[log p(x|z)] - KL(q(z|x) || p(z)), nats per example; its negative is minimised.

    num_samples      L, codes drawn an example (Eq. 7 and 8)
    kl_form          `analytic` (Eq. 7, App. B): the closed form of the pair q, p; `monte_carlo`
                     (Eq. 6): log q - log p at the draws, for pairs without one
    free_bits        nats a dimension that the batch mean of its KL may have at no cost
                     (Kingma et al. 2016, Eq. 15); analytic KL only

    Metrics: `elbo`, `reconstruction` (the first term) and `kl`, all with beta = 1.
    """

    free_bits: NonNegative = 0.0
    num_samples: Count = struct.field(pytree_node=False, default=1)
    kl_form: KlForm = struct.field(pytree_node=False, default="analytic")

    of_kl: ClassVar[tuple[str, ...]] = (*Bound.of_kl, "free_bits", "num_samples", "kl_form")
    headline: ClassVar[str] = "elbo"
    can_pad: ClassVar[bool] = True
    whole_batch: ClassVar[bool] = True  # free bits compare a mean over the batch

    def check(self, posterior: Any, prior: Any) -> None:
        """Raises UserError for a KL that is not known, or free bits on one not by dimension."""
        refuse_other_values(posterior, prior)
        if self.kl_form == "monte_carlo":
            if self.free_bits > 0:
                raise UserError(
                    f"objective.free_bits={self.free_bits:g} needs objective.kl_form=analytic, "
                    f"not {self.kl_form}"
                )
        else:
            jax.eval_shape(kl_per_dim if self.free_bits > 0 else kl, posterior, prior)

    def __call__(
        self,
        model: BoundModel,
        batch: Batch,
        key: Array,
        step: Array,
        axis_name: str | None = None,
    ) -> Terms:
        draws = self.drawn(model, batch, key)
        reconstruction = draws.log_likelihood.mean(axis=0)  # [B]
        divergence, charged = self._kl(draws, batch["mask"], model.active, axis_name)
        loss = self.beta_at(step) * charged - reconstruction + self.parameter_cost(model)
        metrics = {
            "elbo": reconstruction - divergence,
            "reconstruction": reconstruction,
            "kl": divergence,
        }
        return Terms(loss, metrics)

    def drawn(self, model: BoundModel, batch: Batch, key: Array) -> Draws:
        """L codes an example, and what the model says of them."""
        return draw(model, batch, key, self.num_samples)

    def _kl(
        self, draws: Draws, mask: Array, active: Array | None, axis_name: str | None
    ) -> tuple[Array, Array]:
        """The KL as it is, and as the loss pays for it, each [B]."""
        if self.kl_form == "monte_carlo":
            divergence = monte_carlo_kl(draws)
        elif has_kl_per_dim(draws.posterior, draws.prior):
            by_dimension = kl_per_dim(draws.posterior, draws.prior)  # [B, Z]
            charged = self.charged_kl(by_dimension, mask, active, axis_name)
            return by_dimension.sum(axis=-1), charged
        else:
            divergence = kl(draws.posterior, draws.prior)
        return divergence, divergence

    def charged_kl(
        self, kl_per_dim: Array, mask: Array, active: Array | None, axis_name: str | None
    ) -> Array:
        """The KL that the loss pays for, [B]; its batch mean is sum_j max(free_bits, mean KL_j)."""
        mean = batch_mean(jax.lax.stop_gradient(kl_per_dim), mask, axis_name)  # [Z]
        # Without free bits every dimension pays, also where rounding makes its KL 0 or less.
        pays = (mean > self.free_bits) | (self.free_bits == 0)
        least = self.free_bits if active is None else jnp.where(active, self.free_bits, 0.0)
        return jnp.where(pays, kl_per_dim, least).sum(axis=-1)
