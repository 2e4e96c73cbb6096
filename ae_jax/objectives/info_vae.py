"""A bound with a preference for informative codes (Zhao et al. 2019)."""

from typing import Any, ClassVar, Self

import jax
from flax import struct
from jax import Array

from ae_jax.core.errors import UserError
from ae_jax.core.ranges import NonNegative, Positive
from ae_jax.objectives.base import Batch, BoundModel, Terms, draw
from ae_jax.objectives.bound import Bound, kl_of, refuse_changed
from ae_jax.objectives.discrepancy import KERNELS, discrepancy, refuse_without_prior


@struct.dataclass
class InfoVae(Bound):
    """E log p(x|z) - (1 - alpha) KL(q(z|x) || p(z)) - (alpha + scaling - 1) MMD^2(q(z), p(z)).

    Eq. 6 of Zhao et al. 2019 with the maximum mean discrepancy of the whole batch for the
    divergence of q(z) from the prior. alpha = 0 and scaling = 1 is the ELBO, alpha = 1 the MMD-VAE.

    alpha       preference for mutual information of data and code
    scaling     weight of the match with the prior (the paper's lambda)
    beta        a factor on the weight of the KL, with its warm-up
    kernel      `gaussian`, or `imq`, a sum of inverse multiquadratics
    bandwidth   standard deviation of a dimension of the prior that the kernel is made for

    Metrics: `elbo`, `reconstruction`, `kl`, and `squared_mmd`, unbiased, hence below 0 at times.
    """

    alpha: float = 0.0
    scaling: NonNegative = 10.0
    bandwidth: Positive = 1.0
    kernel: str = struct.field(pytree_node=False, default="gaussian")

    headline: ClassVar[str] = "elbo"
    can_pad: ClassVar[bool] = True
    whole_batch: ClassVar[bool] = True

    def bind(self, num_examples: int) -> Self:
        """Raises UserError for an unknown kernel, or weights below 0."""
        KERNELS.get(self.kernel)
        if self.alpha > 1 or self.alpha + self.scaling < 1:
            raise UserError(
                f"objective.alpha={self.alpha:g} with objective.scaling={self.scaling:g} gives a "
                "divergence a weight below 0: alpha is at most 1, and their sum at least 1"
            )
        return super().bind(num_examples)

    def check(self, posterior: Any, prior: Any) -> None:
        refuse_without_prior("info_vae", prior)

    def check_idle(self, posterior: Any, prior: Any) -> None:
        super().check_idle(posterior, prior)
        if self.alpha == 1:
            refuse_changed(self, self.of_kl, "with objective.alpha=1 the KL weighs nothing")

    def __call__(
        self,
        model: BoundModel,
        batch: Batch,
        key: Array,
        step: Array,
        axis_name: str | None = None,
    ) -> Terms:
        draw_key, prior_key = jax.random.split(key)
        draws = draw(model, batch, draw_key, num_samples=1)
        reconstruction, divergence = draws.log_likelihood[0], kl_of(draws)
        apart = discrepancy(model, batch, draws, prior_key, self.kernel, self.bandwidth, axis_name)
        cost = self.beta_at(step) * (1.0 - self.alpha) * divergence
        cost = cost + (self.alpha + self.scaling - 1.0) * apart
        metrics = {
            "elbo": reconstruction - divergence,
            "reconstruction": reconstruction,
            "kl": divergence,
            "squared_mmd": apart,
        }
        return Terms(cost - reconstruction + self.parameter_cost(model), metrics)
