"""What an evaluator is given, and the exact masked mean that all of them take."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from flax import struct
from jax import Array

from ae_jax.data.batches import DeviceSplit, Order, Totals, sequential_order, take_batch, total_over
from ae_jax.data.preprocess import Preprocess, Statistics
from ae_jax.models import BoundModel
from ae_jax.numerics.precision import float32_products

Evaluator = Callable[[Any, Any, "EvaluationData", Array], dict[str, float]]
ValuesOf = Callable[..., dict[str, Array]]


def taking_missing(evaluator: Evaluator) -> Evaluator:
    """Declares of a function that NaN in the data is a missing value to it."""
    vars(evaluator)["accepts_missing"] = True
    return evaluator


@struct.dataclass
class EvaluationData:
    """Examples on the device and their preprocessing; results do not depend on batch_size.

    Its methods take a function `values_of(model, batch, key, *given) -> {name: [B, ...]}`, the
    module, its variables, the key, and whatever arrays the function is `given`. The `model` that
    the function gets is a `BoundModel` that is looked at. Function and module are compiled in: give
    the same object at every call, or a method of one that is equal. Matrix products are float32 on
    every device, whatever a run was trained with. `factors` [N, F] are what the examples were made
    from, where that is known.
    """

    split: DeviceSplit
    statistics: Statistics
    preprocess: Preprocess = struct.field(pytree_node=False)
    batch_size: int = struct.field(pytree_node=False, default=1000)
    factors: np.ndarray | None = None

    def mean(
        self, values_of: ValuesOf, module: Any, variables: Any, key: Array, *given: Any
    ) -> dict[str, float]:
        """Means over all examples of values [B]."""
        function = _equal_by_value(values_of)
        return _total(variables, self, key, given, values_of=function, module=module).means()

    def sums(
        self, values_of: ValuesOf, module: Any, variables: Any, key: Array, *given: Any
    ) -> dict[str, np.ndarray]:
        """Sums over all examples of values [B, ...]: {name: [...]}. Taken on the device."""
        function = _equal_by_value(values_of)
        total = _total(variables, self, key, given, values_of=function, module=module)
        return jax.device_get(total.sums)

    def rows(
        self, values_of: ValuesOf, module: Any, variables: Any, key: Array, *given: Any
    ) -> dict[str, np.ndarray]:
        """The values of every example in their order, {name: [B, ...]} -> {name: [N, ...]}."""
        function = _equal_by_value(values_of)
        parts, mask = _batches(variables, self, key, given, values_of=function, module=module)
        real = np.asarray(mask).ravel() > 0
        return {
            name: value.reshape(-1, *value.shape[2:])[real]
            for name, value in jax.device_get(parts).items()
        }


@dataclasses.dataclass(frozen=True)
class _Method:
    """A method of an object by all that the object holds: what is equal is one program."""

    function: Callable[..., dict[str, Array]]
    kind: type
    state: tuple[tuple[str, Any], ...]
    of: Any = dataclasses.field(compare=False)

    def __call__(self, *args: Any) -> dict[str, Array]:
        return self.function(self.of, *args)


def _equal_by_value(values_of: ValuesOf) -> ValuesOf:
    """Python tells bound methods apart by the identity of their objects, equal as these may be."""
    owner = getattr(values_of, "__self__", None)
    if not dataclasses.is_dataclass(owner) or not hasattr(owner, "__dict__"):
        return values_of
    state = tuple(sorted(vars(owner).items()))
    try:
        hash(state)
    except TypeError:  # it holds arrays or lists
        return values_of
    return _Method(values_of.__func__, type(owner), state, owner)  # type: ignore[attr-defined]


@partial(jax.jit, static_argnames=("values_of", "module"))
def _total(
    variables: Any,
    data: EvaluationData,
    key: Array,
    given: tuple,
    *,
    values_of: ValuesOf,
    module: Any,
) -> Totals:
    count = len(data.split)
    with float32_products():
        return total_over(
            data.split,
            sequential_order(count, min(count, data.batch_size)),
            data.preprocess,
            data.statistics,
            key,
            lambda batch, key: values_of(BoundModel(module, variables), batch, key, *given),
        )


@partial(jax.jit, static_argnames=("values_of", "module"))
def _batches(
    variables: Any,
    data: EvaluationData,
    key: Array,
    given: tuple,
    *,
    values_of: ValuesOf,
    module: Any,
) -> tuple[dict[str, Array], Array]:
    """The values of each batch, [S, B, ...], and the masks [S, B]."""
    count = len(data.split)
    order = sequential_order(count, min(count, data.batch_size))
    preprocess_key, values_key = jax.random.split(key)

    def body(_: None, row: Order) -> tuple[None, dict[str, Array]]:
        batch = take_batch(data.split, row, data.preprocess, data.statistics, preprocess_key)
        return None, values_of(BoundModel(module, variables), batch, values_key, *given)

    with float32_products():
        return jax.lax.scan(body, None, order)[1], order.mask
