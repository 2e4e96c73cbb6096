"""Where NMF starts: positive parts of singular vectors, or chance."""

import jax
import jax.numpy as jnp
from jax import Array

from ae_jax.codecs.moments import within
from ae_jax.codecs.rows import Block, Rows, dot

_PASSES = 3
_OVERSAMPLING = 10


def starting_atoms(init: str, rows: Rows, key: Array, count: int) -> Array:
    """Non-negative atoms [Z, D] of the square root of the data's unit: codes have the other half.

    `init` as in `Nmf`.
    """

    def add(sums: Array, block: Block) -> Array:
        values = block.values * block.fresh[:, None]
        return sums + jnp.stack([values.sum(), jnp.square(values).sum()])

    mean, square = rows.fold(add, jnp.zeros(2)) / (rows.count * rows.dim)
    if init == "random":
        noise = jnp.abs(jax.random.normal(key, (count, rows.dim)))
        return jnp.sqrt(mean / count) * noise
    left, singular, right = _singular_vectors(rows, key, count)
    unit = jnp.sqrt(jnp.sqrt(jnp.where(square > 0, square, 1.0)))
    return _positive_parts(left, singular, right, mean, unit)


def _singular_vectors(rows: Rows, key: Array, count: int) -> tuple[Array, Array, Array]:
    """Norms of the positive and negative parts of the left vectors [2, Z], values, right vectors.

    By subspace iteration on X^T X, a pass over the data each (Halko et al. 2011).
    """
    width = min(count + _OVERSAMPLING, rows.count, rows.dim)
    basis = jnp.linalg.qr(jax.random.normal(key, (rows.dim, width)))[0]

    basis = jax.lax.fori_loop(
        0, _PASSES, lambda _, basis: jnp.linalg.qr(within(rows, basis)[1])[0], basis
    )
    squares, vectors = jnp.linalg.eigh(within(rows, basis)[0])
    singular = jnp.sqrt(jnp.maximum(squares[::-1][:count], 0.0))
    right = dot(basis, vectors[:, ::-1][:, :count]).T  # [Z, D]

    def parts(total, block):
        left = dot(block.values, right.T) / jnp.maximum(singular, 1e-12)[None]
        positive = jnp.square(jnp.maximum(left, 0.0)) * block.fresh[:, None]
        negative = jnp.square(jnp.minimum(left, 0.0)) * block.fresh[:, None]
        return total + jnp.stack([positive.sum(axis=0), negative.sum(axis=0)])

    return jnp.sqrt(rows.fold(parts, jnp.zeros((2, count)))), singular, right


def _positive_parts(left: Array, singular: Array, right: Array, mean: Array, unit: Array) -> Array:
    """The better of the positive and the negative part of each singular pair [Z, D], in `unit`."""
    parts = jnp.stack([jnp.maximum(right, 0.0), jnp.maximum(-right, 0.0)])  # [2, Z, D]
    lengths = jnp.linalg.norm(parts, axis=2)
    chosen = jnp.argmax(left * lengths, axis=0)  # [Z]
    index = jnp.arange(len(chosen))
    length = jnp.maximum(lengths[chosen, index], 1e-12)
    weight = jnp.sqrt(singular * left[chosen, index] * length)
    atoms = parts[chosen, index] * (weight / length)[:, None]
    return jnp.where(atoms > 1e-6 * unit, atoms, mean / unit)
