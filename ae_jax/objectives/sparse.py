"""Reconstruction with a code of which little is active at a time."""

from typing import Annotated, Any, ClassVar

import jax.numpy as jnp
from flax import struct
from jax import Array
from pydantic import Field

from ae_jax.core.errors import UserError
from ae_jax.core.ranges import NonNegative
from ae_jax.distributions import REAL_LINE, UNIT_INTERVAL, ChosenPointMass
from ae_jax.numerics.reductions import batch_mean
from ae_jax.objectives.base import Batch, BoundModel, Draws, Objective, Terms, draw
from ae_jax.objectives.reconstruction import fit_metrics

Rate = Annotated[float, Field(gt=0, lt=1)]
# Sigmoids reach 0 and 1 in float32; the logarithm and its gradient stay finite.
SMALLEST_RATE = 1e-6


@struct.dataclass
class Sparse(Objective):
    """Reconstruction without a penalty, for codes that are sparse by themselves (`top_k`,
    `batch_top_k`).

    threshold   a unit is active on an example where |z| is above it

    Metrics: those of `Reconstruction`; `l0`, the active units of an example; `dead_units`, those
    active on no example of the batch; `mean_activation`, the mean of the code over its units.
    """

    threshold: NonNegative = 0.0

    whole_batch: ClassVar[bool] = True  # dead units are those of a batch

    def penalty(self, z: Array, mask: Array, axis_name: str | None) -> Array:
        """What the loss adds for the codes z [B, Z], nats, [B]."""
        return jnp.zeros(z.shape[0])

    def penalty_of(self, draws: Draws, mask: Array, axis_name: str | None) -> Array:
        """As `penalty`, for one that looks at more than the codes."""
        return self.penalty(draws.z[0], mask, axis_name)

    def __call__(
        self,
        model: BoundModel,
        batch: Batch,
        key: Array,
        step: Array,
        axis_name: str | None = None,
    ) -> Terms:
        draws = draw(model, batch, key, num_samples=1)
        z, mask = draws.z[0], batch["mask"]
        metrics = fit_metrics(draws.likelihood, batch["x"])
        loss = self.penalty_of(draws, mask, axis_name) - metrics["reconstruction"]
        return Terms(loss, metrics | code_metrics(z, mask, self.threshold, axis_name))


@struct.dataclass
class SparseL1(Sparse):
    """Reconstruction with `weight` * sum_j |z_j| added, nats per example.

    A linear code comes near 0 and a rectified one (`relu`) reaches it.
    """

    weight: NonNegative = 0.1

    def penalty(self, z: Array, mask: Array, axis_name: str | None) -> Array:
        return self.weight * jnp.abs(z).sum(axis=-1)


@struct.dataclass
class SparseL0(Sparse):
    """Reconstruction with `weight` * (active units) added, nats per example.

    Eq. 9 of Rajamanoharan et al. 2024: the number of units above their thresholds, whose pseudo-
    derivative `jump_relu` gives.
    """

    weight: NonNegative = 0.1

    needs: ClassVar[tuple[str, ...]] = ("model.latent=jump_relu",)

    def check(self, posterior: Any, prior: Any) -> None:
        if not isinstance(posterior, ChosenPointMass):
            raise UserError(
                "objective sparse_l0 counts units through their thresholds: choose "
                "model.latent=jump_relu"
            )

    def penalty_of(self, draws: Draws, mask: Array, axis_name: str | None) -> Array:
        return self.weight * draws.posterior.gates.sum(axis=-1)


@struct.dataclass
class SparseKL(Sparse):
    """Reconstruction with `weight` * sum_j KL(rho || rho_j) added, nats per example.

    rho_j is the mean of unit j over the whole batch, on all devices, and both are the rates of
    Bernoulli variables (Ng 2011, Sparse autoencoder, Sec. 3). Codes must lie between 0 and 1.
    """

    weight: NonNegative = 1.0
    rho: Rate = 0.05

    needs: ClassVar[tuple[str, ...]] = ("model.latent=sigmoid",)

    def check(self, posterior: Any, prior: Any) -> None:
        if getattr(posterior, "support", REAL_LINE) != UNIT_INTERVAL:
            raise UserError(
                "objective sparse_kl needs codes between 0 and 1: choose model.latent=sigmoid"
            )

    def penalty(self, z: Array, mask: Array, axis_name: str | None) -> Array:
        rates = batch_mean(z, mask, axis_name)  # [Z]
        divergence = bernoulli_kl(self.rho, rates).sum()
        return jnp.broadcast_to(self.weight * divergence, mask.shape)


def bernoulli_kl(rho: Array | float, rates: Array) -> Array:
    """KL between Bernoulli variables of rates rho and `rates`, elementwise, nats."""
    rates = jnp.clip(rates, SMALLEST_RATE, 1 - SMALLEST_RATE)
    return rho * jnp.log(rho / rates) + (1 - rho) * jnp.log((1 - rho) / (1 - rates))


def code_metrics(
    z: Array, mask: Array, threshold: Array | float, axis_name: str | None
) -> dict[str, Array]:
    """`l0`, `dead_units` (the same for all examples) and `mean_activation` of codes, each [B]."""
    active = (jnp.abs(z) > threshold).astype(z.dtype)  # [B, Z]
    dead = (batch_mean(active, mask, axis_name) == 0).sum().astype(z.dtype)
    return {
        "l0": active.sum(axis=-1),
        "dead_units": jnp.broadcast_to(dead, mask.shape),
        "mean_activation": z.mean(axis=-1),
    }
