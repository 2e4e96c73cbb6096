"""Block coordinate descent on Gram matrices: the inner loop of NMF, lasso and dictionary updates.

All of them minimise, over the rows z_j of Z [M, P],

    1/2 tr(Z^T G Z) - tr(Z^T C) + sum_j penalty(z_j)

with G [M, M] positive semi-definite. With the other rows fixed, the best z_j is
prox(z_j + (c_j - G_j Z) / G_jj, 1 / G_jj). Columns of Z are examples (or dimensions of the data),
so that rows are contiguous and one column does not depend on another where the prox does not.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from ae_jax.codecs.rows import dot

# prox(row [P], step) -> row [P], where step is 1 / G_jj
Prox = Callable[[Array, Array], Array]

# Rows between two products with the whole of Z: the rest is done within the group.
_GROUP = 8


def positive(row: Array, step: Array) -> Array:
    """The projection on row >= 0, without negative zeros."""
    del step
    return jnp.where(row > 0, row, 0.0)


def soft(penalty: Array) -> Prox:
    """The prox of penalty * |row|_1."""

    def prox(row: Array, step: Array) -> Array:
        return jnp.sign(row) * positive(jnp.abs(row) - penalty * step, step)

    return prox


def soft_positive(penalty: Array) -> Prox:
    """The prox of penalty * |row|_1 with row >= 0."""
    return lambda row, step: positive(row - penalty * step, step)


def unit(row: Array, step: Array) -> Array:
    """The projection on the unit sphere, of a row that is not 0."""
    del step
    return row / jnp.maximum(jnp.linalg.norm(row), jnp.finfo(jnp.float32).tiny)


def unit_positive(row: Array, step: Array) -> Array:
    """The projection on the part of the unit sphere with no negative entry."""
    return unit(positive(row, step), step)


def sweep(z: Array, gram: Array, target: Array, prox: Prox, at: Array | None = None) -> Array:
    """Each row of z [M, P] minimised once, in order, given G `gram` and C `target` [M, P].

    Rows with G_jj = 0 (atoms that nothing uses) stay as they are. With `at`, `target` is the slope
    C - G `at` there, of which a residual gives more digits than a difference of products.
    """
    count = len(gram)
    group = min(_GROUP, count)
    padding = -count % group
    # Rows with G_jj = 0 are never changed, so that padding with zeros changes nothing.
    z = jnp.pad(z, ((0, padding), (0, 0)))
    at = jnp.zeros_like(z) if at is None else jnp.pad(at, ((0, padding), (0, 0)))
    target = jnp.pad(target, ((0, padding), (0, 0)))
    gram = jnp.pad(gram, ((0, padding), (0, padding)))

    def update_group(index: Array, z: Array) -> Array:
        first = index * group
        columns = jax.lax.dynamic_slice_in_dim(gram, first, group)  # [g, M]
        inner = jax.lax.dynamic_slice_in_dim(columns, first, group, axis=1)  # [g, g]
        own = jax.lax.dynamic_slice_in_dim(z, first, group)
        slope = jax.lax.dynamic_slice_in_dim(target, first, group) - dot(columns, z - at)  # [g, P]

        def update_row(j: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
            own, slope = carry
            curvature = inner[j, j]
            step = 1.0 / jnp.where(curvature > 0, curvature, 1.0)
            best = jnp.where(curvature > 0, prox(own[j] + slope[j] * step, step), own[j])
            return own.at[j].set(best), slope - inner[j][:, None] * (best - own[j])[None]

        own, _ = jax.lax.fori_loop(0, group, update_row, (own, slope))
        return jax.lax.dynamic_update_slice_in_dim(z, own, first, 0)

    return jax.lax.fori_loop(0, (count + padding) // group, update_group, z)[:count]


def solve(
    z: Array,
    gram: Array,
    target: Array,
    prox: Prox,
    max_sweeps: Array | int,
    tolerance: Array | float,
    at: Array | None = None,
) -> Array:
    """Sweeps until no entry of a column changes by more than a share of that column's largest.

    A column that is done is left alone, so its result does not depend on its neighbours. The
    prox must act on each entry by itself. `at` is that of `sweep`.
    """

    def unfinished(carry) -> Array:
        _, active, count = carry
        return active.any() & (count < max_sweeps)

    def body(carry):
        z, active, count = carry
        new = jnp.where(active[None], sweep(z, gram, target, prox, at), z)
        change = jnp.abs(new - z).max(axis=0)
        return new, active & (change > tolerance * jnp.abs(new).max(axis=0)), count + 1

    start = (z, jnp.ones(z.shape[1], bool), jnp.zeros((), jnp.int32))
    return jax.lax.while_loop(unfinished, body, start)[0]
