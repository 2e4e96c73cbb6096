"""How much of what a downstream function needs of the data is left in their reconstructions."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax.numpy as jnp
from jax import Array

from ae_jax.core.errors import UserError
from ae_jax.core.fields import Checked
from ae_jax.core.registry import Registry
from ae_jax.data.passes import EvaluationData
from ae_jax.models import Batch, BoundModel

# The loss of each example, [B], where a function downstream sees `x` [B, ...] (model inputs, or
# what stands in for them) in place of those of the batch.
Downstream = Callable[[Array, Batch], Array]


def distance(x: Array, batch: Batch) -> Array:
    """|x - x0|^2 from the example itself, [B]: the simplest function downstream."""
    return jnp.square(x - batch["x"]).sum(axis=tuple(range(1, x.ndim)))


DOWNSTREAM = Registry[Downstream]("function downstream", {"distance": distance})


@dataclasses.dataclass(frozen=True)
class LossRecovered(Checked):
    """(L(ablated) - L(reconstructed)) / (L(ablated) - L(original)), of mean losses downstream.

    1 where a reconstruction does as well as the example, 0 where it does as badly as what stands in
    for every example (Bricken et al. 2023): the `mean` of the evaluated examples, or `zero`.

    loss   the function downstream: `distance`, `path/to/file.py:Name`, or a function (x, batch) ->
           [B]. Of the distance the loss recovered from the mean is the share of variance explained

    Returns `loss_recovered`, and the three losses: `loss_original`, `loss_reconstructed`,
    `loss_ablated`. Raises UserError where nothing is lost by the ablation.
    """

    loss: str | Downstream = "distance"
    ablation: Literal["mean", "zero"] = "mean"

    def __call__(
        self, module: Any, variables: Any, data: EvaluationData, key: Array
    ) -> dict[str, float]:
        count = len(data.split)
        mean = jnp.asarray(data.sums(_inputs, module, variables, key)["x"] / count)
        instead = mean if self.ablation == "mean" else jnp.zeros_like(mean)
        sums = data.sums(self.values_of, module, variables, key, instead)
        means = {name: float(value / count) for name, value in sums.items()}
        lost = means["loss_ablated"] - means["loss_original"]
        if lost == 0:
            raise UserError(
                "the function downstream loses nothing where examples are ablated: there is no "
                "share of it to recover"
            )
        gained = means["loss_ablated"] - means["loss_reconstructed"]
        return {"loss_recovered": gained / lost, **means}

    def values_of(
        self, model: BoundModel, batch: Batch, key: Array, instead: Array
    ) -> dict[str, Array]:
        """The three losses of a batch, each [B]; `instead` is what examples are ablated by."""
        del key
        x = batch["x"]
        seen = {
            "original": x,
            "reconstructed": model.reconstruct(batch).mean()[0],
            "ablated": jnp.broadcast_to(instead[None], x.shape),
        }
        function = DOWNSTREAM.get(self.loss) if isinstance(self.loss, str) else self.loss
        losses = {f"loss_{name}": function(value, batch) for name, value in seen.items()}
        for value in losses.values():
            if jnp.shape(value) != x.shape[:1]:
                raise UserError(
                    f"a function downstream returns one loss an example, {x.shape[:1]}, not "
                    f"{jnp.shape(value)}"
                )
        return losses


def _inputs(model: BoundModel, batch: Batch, key: Array) -> dict[str, Array]:
    return {"x": batch["x"]}
