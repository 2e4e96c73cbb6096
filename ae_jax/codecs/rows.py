"""Training data on the device as it is stored, read a block of float32 rows at a time."""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from ae_jax.core.door import admit, as_array
from ae_jax.core.errors import UserError

Carry = TypeVar("Carry")

# Floats in a block: small enough for a cache, large enough for a matrix product to pay.
_BLOCK_FLOATS = 2**21
# Between these, the squares of values and of what is left of them are numbers of float32.
_SMALLEST, _LARGEST = 1e-12, 1e15


def dot(a: Array, b: Array) -> Array:
    """The matrix product in full float32, also where an accelerator would round its inputs."""
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


@struct.dataclass
class Block:
    """Some rows of the data: `values` [S, D] float32 are rows `start`, start + 1, ...

    The last block of a pass begins early enough to be whole: `fresh` [S] is 1 for rows that no
    block before it held, else 0.
    """

    values: Array
    start: Array
    fresh: Array


@struct.dataclass
class Rows:
    """Examples [N, D] of any real type; their values are (array - shift) * scale, float32.

    `shift` and `scale` are [D], so that bytes can be grey levels or standardised measurements
    without a second copy of the data.
    """

    array: Array
    shift: Array
    scale: Array

    @property
    def count(self) -> int:
        return self.array.shape[0]

    @property
    def dim(self) -> int:
        return self.array.shape[1]

    @property
    def block_size(self) -> int:
        """Rows in a block; decides the order of sums, so it depends on the shape alone."""
        return min(self.count, max(64, _BLOCK_FLOATS // self.dim))

    def values(self, raw: Array) -> Array:
        """Raw rows [S, D] as float32 values."""
        return (raw.astype(jnp.float32) - self.shift[None]) * self.scale[None]

    def take(self, indices: Array) -> Array:
        """The rows of the given indices, [S] -> [S, D] float32."""
        return self.values(jnp.take(self.array, indices, axis=0, mode="clip"))

    def all(self) -> Array:
        """Every value at once, [N, D] float32: a second copy of the data."""
        return self.values(self.array)

    def less(self, mean: Array) -> "Rows":
        """The same rows with `mean` [D] subtracted from every value."""
        # (a - shift) * scale - mean: where scale is 0 the value is 0 whatever is subtracted.
        inverse = jnp.where(self.scale == 0, 0.0, 1.0 / self.scale)
        return dataclasses.replace(self, shift=self.shift + mean * inverse)

    def over(self, unit: float) -> "Rows":
        """The same rows with every value divided by `unit`, a power of two: exactly."""
        return dataclasses.replace(self, scale=self.scale * (1.0 / unit))

    def fold(self, function: Callable[[Carry, Block], Carry], carry: Carry) -> Carry:
        """The carry after `function(carry, block)` over all blocks, in order."""
        size, count = self.block_size, self.count

        def body(index: Array, carry: Carry) -> Carry:
            first = index * size
            start = jnp.minimum(first, count - size)
            raw = jax.lax.dynamic_slice_in_dim(self.array, start, size)
            fresh = (start + jnp.arange(size) >= first).astype(jnp.float32)
            return function(carry, Block(self.values(raw), start, fresh))

        return jax.lax.fori_loop(0, -(-count // size), body, carry)

    def map(self, function: Callable[[Array], Any]) -> Any:
        """`function` of the values of each row, applied by blocks: [S, D] -> leaves [S, ...]."""
        block = jax.ShapeDtypeStruct((self.block_size, self.dim), jnp.float32)
        shapes = jax.eval_shape(function, block)
        empty = jax.tree.map(lambda s: jnp.zeros((self.count, *s.shape[1:]), s.dtype), shapes)

        def write(outputs: Any, block: Block) -> Any:
            return jax.tree.map(
                lambda whole, part: put_rows(whole, part, block.start),
                outputs,
                function(block.values),
            )

        return self.fold(write, empty)


def put_rows(whole: Array, part: Array, start: Array) -> Array:
    """`whole` [N, ...] with rows start, start + 1, ... replaced by `part` [S, ...]."""
    return jax.lax.dynamic_update_slice_in_dim(whole, part, start, 0)


def as_rows(x: Any, shift: Any = 0.0, scale: Any = 1.0, *, check_digits: bool = True) -> Rows:
    """Rows of an array [N, D] (NumPy's or on a device), the values being (x - shift) * scale.

    `shift` and `scale` are numbers or [D]: scale = 1 / 255 turns bytes into grey levels. Raises
    UserError for another shape or type, for values that are not finite or whose squares are none,
    and with `check_digits` for columns of which float32 would round the differences away: a part
    of the data has a smaller spread than all.
    """
    if not isinstance(x, jax.Array):
        x = as_array(x, "the data of a codec")
    if x.ndim != 2 or 0 in x.shape:
        raise UserError(f"a codec wants examples of shape [N, D], not {tuple(x.shape)}")
    if not isinstance(x, jax.Array):
        x = admit(x, "the data of a codec", check_digits=check_digits).values
    if not (jnp.issubdtype(x.dtype, jnp.number) or x.dtype == bool) or jnp.iscomplexobj(x):
        raise UserError(f"a codec wants real numbers, not {x.dtype}")
    rows = Rows(jnp.asarray(x), _per_dimension(shift, x), _per_dimension(scale, x))
    finite, peak = _look(rows)
    if not bool(finite):
        raise UserError("the data hold values that are NaN or infinite")
    check_magnitude(float(peak))
    return rows


def check_magnitude(peak: float) -> None:
    """Raises UserError where values up to `peak` in magnitude cannot be squared in float32."""
    if peak > _LARGEST or 0 < peak < _SMALLEST:
        size = "large" if peak > 1 else "small"
        raise UserError(f"values up to {peak:.3g} are too {size} for float32 to square: scale them")


def _per_dimension(value: Any, x: Any) -> Array:
    value = jnp.asarray(value, jnp.float32)
    if value.shape not in ((), (x.shape[1],)):
        raise UserError(
            f"shift and scale must be numbers or [{x.shape[1]}], not {list(value.shape)}"
        )
    return jnp.broadcast_to(value, (x.shape[1],))


@jax.jit
def _look(rows: Rows) -> tuple[Array, Array]:
    """Whether all values are finite, and the largest magnitude (1 for whole numbers)."""
    if not jnp.issubdtype(rows.array.dtype, jnp.floating):
        return jnp.all(jnp.isfinite(rows.scale) & jnp.isfinite(rows.shift)), jnp.ones(())

    # A sum is finite only if its terms are, but may overflow: look at every value.
    def look(carry, block):
        finite, peak = carry
        values = jnp.abs(block.values)
        return finite & jnp.isfinite(values).all(), jnp.maximum(peak, values.max())

    return rows.fold(look, (jnp.array(True), jnp.zeros(())))


@jax.jit
def smallest(rows: Rows) -> Array:
    """The smallest value of the data."""
    start = jnp.full((), jnp.inf)
    return rows.fold(lambda low, block: jnp.minimum(low, block.values.min()), start)
