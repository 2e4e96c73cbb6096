"""Sums and means over the real examples of a batch, on one device or over a mapped axis.

The last batch of a pass is filled up with repeats that carry mask 0 (`data.batches`).

What an example's term says of the rest of its batch needs the batch as a whole, and its mask. The
mean distance of each code to the others, on one device or on many (an objective that declares
`whole_batch` is given `axis_name`):

    codes, real = gather((z, mask), axis_name)                          # [N, Z], [N]
    apart = jnp.linalg.norm(z[:, None] - codes[None], axis=-1) @ real   # [B]
    distance = apart / (real.sum() - 1)

A gradient flows back to the device that each row came from, so that the update is that of one
device with the whole batch.
"""

from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import Array

T = TypeVar("T")


def gather(tree: T, axis_name: str | None = None) -> T:
    """The rows of the whole batch, [B, ...] -> [N, ...] for each leaf, in the order of the batch.

    Without a mapped axis the rows are the batch already.
    """
    return tree if axis_name is None else jax.lax.all_gather(tree, axis_name, tiled=True)


def own_rows(values: Array, rows: int, axis_name: str | None = None) -> Array:
    """The `rows` rows of this device, [rows, ...], of what was gathered, [N, ...]."""
    if axis_name is None:
        return values
    first = jax.lax.axis_index(axis_name) * rows
    return jax.lax.dynamic_slice_in_dim(values, first, rows)


def masked_sum(values: Array, mask: Array) -> Array:
    """Over the real examples of this device, [B, ...] -> [...]."""
    real = mask.reshape(-1, *([1] * (values.ndim - 1))) > 0
    # Chosen, not multiplied: 0 times an infinite value of a repeat would be NaN.
    return jnp.where(real, values.astype(jnp.result_type(values, mask)), 0).sum(axis=0)


def batch_mean(values: Array, mask: Array, axis_name: str | None = None) -> Array:
    """Mean over the real examples of the whole batch, [B, ...] -> [...], on any devices."""
    total, count = masked_sum(values, mask), mask.sum()
    if axis_name is not None:
        total, count = jax.lax.psum((total, count), axis_name)
    return total / count


def loss_mean(losses: Array, mask: Array, axis_name: str | None = None) -> Array:
    """As `batch_mean` of [B], for what is differentiated: as a mean over devices.

    The gradient of a sum over devices would come out larger by their number where the mapped axis
    is not tracked (pmap, vmap); that of a mean is each device's part, to be averaged.
    """
    if axis_name is None:
        return batch_mean(losses, mask)
    share = jax.lax.pmean(jnp.sum(mask), axis_name)
    return jax.lax.pmean(masked_sum(losses, mask) / share, axis_name)
