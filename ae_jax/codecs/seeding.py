"""Greedy k-means++: starting centres that are far apart in proportion to the data."""

import math

import jax
import jax.numpy as jnp
from jax import Array

from ae_jax.codecs.rows import Rows, dot


def squared_distances(x: Array, centres: Array) -> Array:
    """|x_b - c_k|^2, [B, D] and [K, D] -> [B, K], by one matrix product, never below 0."""
    cross = dot(x, centres.T)
    lengths = jnp.square(x).sum(axis=1)[:, None] + jnp.square(centres).sum(axis=1)[None]
    return jnp.maximum(lengths - 2 * cross, 0.0)


def kmeans_plus_plus(rows: Rows, key: Array, count: int) -> Array:
    """Rows chosen as centres, [K, D] (Arthur & Vassilvitskii 2007).

    Each is the best, by the sum of squared distances, of 2 + log(K) candidates drawn in
    proportion to the squared distance to the centres so far (their Sec. 5, the greedy variant).
    """
    candidates = 2 + int(math.log(count))
    first_key, key = jax.random.split(key)
    first = jax.random.randint(first_key, (1,), 0, rows.count)
    centres = jnp.zeros((count, rows.dim)).at[0].set(rows.take(first)[0])
    nearest = rows.map(lambda x: squared_distances(x, centres[:1])[:, 0])  # [N]

    def add(index: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        centres, nearest = carry
        cumulative = jnp.cumsum(nearest)
        draws = jax.random.uniform(jax.random.fold_in(key, index), (candidates,))
        drawn = rows.take(jnp.searchsorted(cumulative, draws * cumulative[-1], side="right"))
        distances = rows.map(lambda x: squared_distances(x, drawn))  # [N, C]
        potential = jnp.minimum(distances, nearest[:, None])
        best = potential.sum(axis=0).argmin()
        return centres.at[index].set(drawn[best]), potential[:, best]

    return jax.lax.fori_loop(1, count, add, (centres, nearest))[0]
