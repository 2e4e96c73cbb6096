"""The origin and the unit of the data: what a fit takes off before anything is squared."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array

from ae_jax.codecs.base import Progress
from ae_jax.codecs.rows import Rows


@struct.dataclass
class Frame:
    """A point near the mean, `origin` [D], and a power of two, `unit`.

    Values less the origin and over the unit are about 1 in size, whatever they were. Both steps are
    exact in float32: values near the origin lose nothing as it is subtracted, and none loses
    anything over a power of two.
    """

    origin: Array
    unit: float


def centred(rows: Rows) -> tuple[Rows, Frame]:
    """The rows about their mean in units of their spread, root mean square over all values."""
    first = rows.take(jnp.zeros(1, jnp.int32))[0]
    origin = near_mean(rows, first)
    within = rows.less(origin)
    unit = _power_of_two(float(mean_square(within)))
    return within.over(unit), Frame(origin, unit)


def scaled(rows: Rows) -> tuple[Rows, Frame]:
    """The rows in units of their size, about where the data have their origin."""
    unit = _power_of_two(float(mean_square(rows)))
    return rows.over(unit), Frame(jnp.zeros(rows.dim), unit)


def mean_over_spread(rows: Rows) -> float:
    """How many times the spread of the data their mean is, root mean squares; 0 where all are one
    example."""
    about, frame = centred(rows)
    spread = frame.unit * math.sqrt(float(mean_square(about)))
    size = float(jnp.sqrt(jnp.square(frame.origin / frame.unit).mean())) * frame.unit
    return size / spread if spread > 0 else 0.0


def in_two(mean: np.ndarray) -> tuple[Array, Array]:
    """A mean of twice float32's digits [D] as two float32 numbers, the second one small."""
    mean = np.asarray(mean, np.float64)
    coarse = mean.astype(np.float32)
    return jnp.asarray(coarse), jnp.asarray((mean - coarse).astype(np.float32))


def told(progress: Progress | None, factor: float, shift: float = 0.0) -> Progress | None:
    """Progress that hears objectives in the units of the data: `factor` times those of a frame."""
    if progress is None:
        return None
    return lambda done, most, objective: progress(
        done, most, float(in_units(np.float32(objective), factor, shift))
    )


def in_units(objective: Any, factor: float, shift: float = 0.0) -> Any:
    """Objectives of a frame, a float32 or [iterations], in the units of the data."""
    return objective * np.float32(factor) + np.float32(shift)


def _power_of_two(square: float) -> float:
    return 2.0 ** round(0.5 * math.log2(square)) if square > 0 else 1.0


@jax.jit
def near_mean(rows: Rows, first: Array) -> Array:
    """The mean [D], from differences to a point `first` [D] near the data: sums of large numbers
    lose digits."""

    def add(carry, block):
        count, mean = carry
        added = block.fresh.sum()
        step = (block.values * block.fresh[:, None]).sum(axis=0) / jnp.maximum(added, 1.0) - mean
        return count + added, mean + step * (added / (count + added))

    start = (jnp.zeros(()), jnp.zeros(rows.dim))
    return first + rows.less(first).fold(add, start)[1]


@jax.jit
def mean_square(rows: Rows) -> Array:
    """Of all values."""

    def add(total, block):
        return total + (jnp.square(block.values).sum(axis=1) * block.fresh).sum()

    return rows.fold(add, jnp.zeros(())) / (rows.count * rows.dim)
