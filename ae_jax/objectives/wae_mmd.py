"""Codes that are distributed as their prior, all together (Tolstikhin et al. 2018)."""

from typing import Any, ClassVar

import jax
from flax import struct
from jax import Array

from ae_jax.core.ranges import NonNegative, Positive
from ae_jax.objectives.base import Batch, BoundModel, Objective, Terms, draw
from ae_jax.objectives.discrepancy import KERNELS, discrepancy, refuse_without_prior
from ae_jax.objectives.reconstruction import fit_metrics


@struct.dataclass
class WaeMmd(Objective):
    """-log p(x|z) + weight * MMD^2(q(z), p(z)), nats and their like an example (Algorithm 2).

    The Wasserstein autoencoder's cost is -log p(x|z): with a Gaussian head of fixed standard
    deviation s, squared error / (2 s^2). Codes may be deterministic, given a prior (`model.prior`),
    or random. The discrepancy is of the whole batch: it wants batches of a hundred and more.

    weight      of the discrepancy (the paper's lambda)
    kernel      `imq`, a sum of inverse multiquadratics, or `gaussian`
    bandwidth   standard deviation of a dimension of the prior that the kernel is made for

    Metrics: those of `Reconstruction`, and `squared_mmd`, unbiased, hence below 0 at times.
    """

    weight: NonNegative = 10.0
    bandwidth: Positive = 1.0
    kernel: str = struct.field(pytree_node=False, default="imq")

    headline: ClassVar[str] = "loss"
    can_pad: ClassVar[bool] = True
    whole_batch: ClassVar[bool] = True

    def bind(self, num_examples: int) -> "WaeMmd":
        """Raises UserError for an unknown kernel."""
        KERNELS.get(self.kernel)
        return self

    def check(self, posterior: Any, prior: Any) -> None:
        refuse_without_prior("wae_mmd", prior)

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
        apart = discrepancy(model, batch, draws, prior_key, self.kernel, self.bandwidth, axis_name)
        metrics = fit_metrics(draws.likelihood, batch["x"]) | {"squared_mmd": apart}
        return Terms(self.weight * apart - metrics["reconstruction"], metrics)
