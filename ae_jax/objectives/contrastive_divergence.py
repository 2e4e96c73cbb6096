"""Contrastive divergence for restricted Boltzmann machines (Hinton 2002)."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from ae_jax.core.ranges import Count, NonNegative
from ae_jax.numerics.noise import example_keys
from ae_jax.objectives.base import Batch, BoundModel, Objective, Terms
from ae_jax.objectives.reconstruction import fit_metrics


@struct.dataclass
class ContrastiveDivergence(Objective):
    """F(x) - F(x') with x' where k rounds of Gibbs sampling lead from x, held fixed.

    Its gradient is the CD-k update: statistics of the data less those of x', each with the mean of
    the hidden units. With many rounds it is that of -log p(x); its value is no likelihood.

    num_steps      k
    visible_means  x' is made of means given the sampled hidden units, as Hinton & Salakhutdinov
                   2006 did; else it is sampled as well
    weight_decay   adds weight_decay / 2 * ||W||^2 to the loss of each example

    Metrics: those of `Reconstruction` (x from its mean hidden units) and `free_energy_gap`, the
    loss without its decay. Compared by `squared_error`, which is watched and not minimised.
    """

    weight_decay: NonNegative = 0.0
    num_steps: Count = struct.field(pytree_node=False, default=1)
    visible_means: bool = struct.field(pytree_node=False, default=True)

    headline: ClassVar[str] = "squared_error"
    needs: ClassVar[tuple[str, ...]] = ("model.name=rbm",)

    def __call__(self, model: BoundModel, batch: Batch, key: Array, step: Array) -> Terms:
        x, keys = batch["x"], example_keys(key, batch["id"])
        end = model.call("gibbs", batch, keys, x, self.num_steps, self.visible_means)
        gap = model.call("free_energy", batch, x) - model.call(
            "free_energy", batch, jax.lax.stop_gradient(end)
        )
        kernel = model.params["hidden"]["kernel"]
        loss = gap + 0.5 * self.weight_decay * jnp.vdot(kernel, kernel)
        return Terms(loss, fit_metrics(model.reconstruct(batch), x) | {"free_energy_gap": gap})
