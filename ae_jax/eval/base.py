"""What an evaluator is given, and the exact masked mean that all of them take."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from flax import struct
from jax import Array

from ae_jax.data.batches import DeviceSplit, Totals, sequential_order, total_over
from ae_jax.data.preprocess import Preprocess, Statistics

Evaluator = Callable[[Any, Any, "EvaluationData", Array], dict[str, float]]
ValuesOf = Callable[[Any, Any, dict[str, Array], Array], dict[str, Array]]


@struct.dataclass
class EvaluationData:
    """Examples on the device and their preprocessing; results do not depend on batch_size."""

    split: DeviceSplit
    statistics: Statistics
    preprocess: Preprocess = struct.field(pytree_node=False)
    batch_size: int = struct.field(pytree_node=False, default=1000)

    def mean(self, values_of: ValuesOf, model: Any, params: Any, key: Array) -> dict[str, float]:
        """Means over all examples of `values_of(model, params, batch, key) -> {name: [B]}`.

        `values_of` and `model` are compiled in: give the same function object at every call.
        """
        return _total(params, self, key, values_of=values_of, model=model).means()


@partial(jax.jit, static_argnames=("values_of", "model"))
def _total(params: Any, data: EvaluationData, key: Array, *, values_of: ValuesOf, model) -> Totals:
    count = len(data.split)
    return total_over(
        data.split,
        sequential_order(count, min(count, data.batch_size)),
        data.preprocess,
        data.statistics,
        key,
        lambda batch, key: values_of(model, params, batch, key),
    )
