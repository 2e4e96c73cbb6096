"""Examples on the device and their order.

Batches have a fixed size: where a split is no multiple of it, the last batch is filled up with
repeats that carry mask 0, so that every example counts once and nothing is compiled twice.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array

from ae_jax.core.errors import present
from ae_jax.data.base import Split
from ae_jax.data.preprocess import Preprocess, Statistics
from ae_jax.numerics.noise import stream_key
from ae_jax.numerics.reductions import masked_sum


@struct.dataclass
class DeviceSplit:
    """A split as it lies on the device: raw values [N, ...], labels [N] and conditions, or None.

    Ids run on from `first_id`, as in the data set. Spread over devices, each has a part of the
    rows, and repeats at the end make the parts alike: there are `count` examples. Inside of a
    program that sees the part of its device alone, `axis` names the axis of the devices.
    """

    x: Array
    y: Array | None
    first_id: Array | int
    condition: Array | None = None
    count: int | None = struct.field(pytree_node=False, default=None)
    axis: str | None = struct.field(pytree_node=False, default=None)

    @classmethod
    def put(cls, split: Split) -> "DeviceSplit":
        y = None if split.y is None else jnp.asarray(np.asarray(split.y))
        given = split.condition
        condition = None if given is None else jnp.asarray(np.asarray(given), jnp.float32)
        return cls(jnp.asarray(np.asarray(split.x)), y, cast(int, split.first_id), condition)

    @classmethod
    def spread(cls, split: Split, parts: int, put: Callable[[np.ndarray], Array]) -> "DeviceSplit":
        """The split in so many equal parts; `put` lays rows, which are on the host, out so."""
        count = len(split)
        places = np.arange(-(-count // parts) * parts) % count

        def rows(values: Any, dtype: Any = None) -> Array | None:
            if values is None:
                return None
            values = np.asarray(values, dtype)
            return put(values if len(places) == count else values[places])

        y, condition = rows(split.y), rows(split.condition, np.float32)
        return cls(present(rows(split.x), "x"), y, cast(int, split.first_id), condition, count)

    def __len__(self) -> int:
        return self.x.shape[0] if self.count is None else self.count

    def rows(self, values: Array, index: Array) -> Array:
        """values[index], where `values` is x, y or the condition."""
        if self.axis is None:
            return _rows(values, index)
        return _rows_across(values, index, self.axis)


@struct.dataclass
class Order:
    """Which examples each batch takes: `index` [S, B] int32 and `mask` [S, B] float32."""

    index: Array
    mask: Array


def num_batches(num_examples: int, batch_size: int) -> int:
    """Batches that cover all examples, the last one possibly in part."""
    return math.ceil(num_examples / batch_size)


# Compiled: small sets would wait longer for their orders, piece by piece, than for their steps.
@partial(jax.jit, static_argnums=(0, 1))
def sequential_order(num_examples: int, batch_size: int) -> Order:
    """Every example once, as stored."""
    return _into_batches(jnp.arange(num_examples, dtype=jnp.int32), batch_size)


@partial(jax.jit, static_argnums=(2, 3))
def shuffled_order(seed: Array, epoch: Array, num_examples: int, batch_size: int) -> Order:
    """Every example once, in the random order that belongs to the seed and the epoch."""
    key = stream_key(seed, "order", epoch)
    index = jax.random.permutation(key, num_examples).astype(jnp.int32)
    return _into_batches(index, batch_size)


def _into_batches(index: Array, batch_size: int) -> Order:
    count = index.shape[0]
    batches = num_batches(count, batch_size)
    places = jnp.arange(batches * batch_size)
    mask = (places < count).astype(jnp.float32)
    # Repeats from the front fill the last batch up: valid data, so that nothing there overflows.
    index = jnp.take(index, places % count)
    return Order(index.reshape(batches, batch_size), mask.reshape(batches, batch_size))


WEIGHT = "weight of "


def weighted(name: str, values: Array, weights: Array) -> dict[str, Array]:
    """Values [B] whose mean over examples goes by weights [B], as `Totals` take them."""
    counted = jnp.where(weights > 0, values * weights, 0.0)
    return {name: counted, f"{WEIGHT}{name}": weights.astype(counted.dtype)}


@struct.dataclass
class Totals:
    """Named values summed over examples, and the number of examples.

    Beside a value whose examples do not count alike stands the sum of their weights, under its name
    after `WEIGHT`.
    """

    sums: dict[str, Array]
    count: Array

    def means(self) -> dict[str, float]:
        """Means per example, on the host. What no example has a weight in has none."""
        totals = jax.device_get(self)
        means = {}
        for name, value in totals.sums.items():
            if name.startswith(WEIGHT):
                continue
            weight = totals.sums.get(f"{WEIGHT}{name}", totals.count)
            if weight:
                means[name] = float(value / weight)
        return means


def total_over(
    split: DeviceSplit,
    order: Order,
    preprocess: Preprocess,
    statistics: Statistics,
    key: Array,
    values_of: Callable[[dict[str, Array], Array], dict[str, Array]],
) -> Totals:
    """Sums `values_of(batch, key) -> {name: [B, ...]}` over an order of batches, on the device.

    Exact for any batch size: filled-up places do not count, and noise belongs to the example.
    """

    def batch_of(row: Order, key: Array) -> dict[str, Array]:
        return take_batch(split, row, preprocess, statistics, key)

    totals = totals_by_batch(order, batch_of, key, values_of)
    return jax.tree.map(lambda stacked: stacked.sum(axis=0), totals)


def totals_by_batch(
    items: Any,
    batch_of: Callable[[Any, Array], dict[str, Array]],
    key: Array,
    values_of: Callable[[dict[str, Array], Array], dict[str, Array]],
) -> Totals:
    """The totals of each batch `batch_of(item, key)`, leaves [S, ...] for items stacked along S."""
    preprocess_key, values_key = jax.random.split(key)

    def body(_: None, item: Any) -> tuple[None, Totals]:
        batch = batch_of(item, preprocess_key)
        return None, masked_totals(values_of(batch, values_key), batch["mask"])

    return jax.lax.scan(body, None, items)[1]


def masked_totals(values: dict[str, Array], mask: Array) -> Totals:
    """The sums over the real examples of one batch."""
    return Totals({name: masked_sum(value, mask) for name, value in values.items()}, mask.sum())


def take_batch(
    split: DeviceSplit,
    order: Order,
    preprocess: Preprocess,
    statistics: Statistics,
    key: Array,
) -> dict[str, Array]:
    """One batch {x, id, mask}, with y and condition where there are any, of a row of an order."""
    ids = order.index + split.first_id
    batch = {
        "x": preprocess(split.rows(split.x, order.index), statistics, key, ids),
        "id": ids,
        "mask": order.mask,
    }
    if split.y is not None:
        batch["y"] = split.rows(split.y, order.index)
    if split.condition is not None:
        batch["condition"] = split.rows(split.condition, order.index)
    return batch


def _rows(x: Array, index: Array) -> Array:
    """x[index], gathered as rows of one dimension: contiguous copies."""
    return x.reshape(x.shape[0], -1)[index].reshape(*index.shape, *x.shape[1:])


def _rows_across(part: Array, index: Array, axis: str) -> Array:
    """Rows [B / devices, ...] of what is spread over an axis: those of this device's indices.

    Every device hears which rows all want, gives those that it holds, and gets its own.
    """
    wanted = jax.lax.all_gather(index, axis, tiled=True)
    place = wanted - jax.lax.axis_index(axis) * part.shape[0]
    held = (place >= 0) & (place < part.shape[0])
    rows = _rows(part, jnp.where(held, place, 0))
    rows = jnp.where(held.reshape(-1, *[1] * (rows.ndim - 1)), rows, jnp.zeros((), rows.dtype))
    return jax.lax.psum_scatter(rows, axis, tiled=True)
