"""k-means: one atom an example, the limit of a mixture of spherical Gaussians."""

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from ae_jax.codecs.base import CodecSpec, Fit, Progress
from ae_jax.codecs.clusters import (
    Clusters,
    distances_about_nearest,
    least_variance,
    nearest,
    one_hot,
)
from ae_jax.codecs.compiled import compiled_method
from ae_jax.codecs.frame import centred, in_units, mean_square, told
from ae_jax.codecs.iterate import iterate, relative_decrease
from ae_jax.codecs.rows import Rows, dot
from ae_jax.codecs.seeding import kmeans_plus_plus
from ae_jax.core.errors import UserError
from ae_jax.core.ranges import Count, NonNegative

# Squared distances below this share of the squares of the data are taken from differences.
_COARSE = 1e-3


@struct.dataclass
class KMeansCodec(Clusters):
    """Centres, and the mixture that goes with them: see `Clusters`.

    `weights` are the shares of the training examples; `variance` is the maximum of the likelihood
    of examples with their clusters known.
    """

    def assign(self, x: Array) -> Array:
        """The index of the nearest centre, [B, D] -> [B]."""
        return self.distances(x).argmin(axis=1)

    @compiled_method
    def encode(self, x: Array) -> Array:
        """One-hot codes of the nearest centre, [B, D] -> [B, Z]."""
        return one_hot(self.assign(x), len(self.weights))


@struct.dataclass
class KMeans(CodecSpec):
    """k-means. Objective: squared distance to the nearest centre, mean over examples, as an
    iteration finds the centres: those that are given back have taken the step of the last one.

    batch_size       0: Lloyd's algorithm on all examples (Lloyd 1982). Otherwise mini-batches
                     of this size (Sculley 2010), and an iteration is a pass over the data
    max_iterations   most iterations
    tolerance        Lloyd's algorithm stops where the squared shifts of the centres sum to no more
                     than this share of the mean variance of a dimension; mini-batches where the
                     objective changes by no more than this share
    """

    batch_size: int = struct.field(pytree_node=False, default=0)
    max_iterations: Count = struct.field(pytree_node=False, default=300)
    tolerance: NonNegative = 1e-4

    def check(self, rows: Rows) -> None:
        self.at_most(self.most_atoms(rows.count, rows.dim), "there are examples")
        if not 0 <= self.batch_size <= rows.count:
            raise UserError(
                f"batch_size={self.batch_size} has to lie between 0 and {rows.count} examples"
            )

    def most_atoms(self, count: int, dim: int) -> int:
        return count

    def fit_rows(self, rows: Rows, key: Array, progress: Progress | None) -> Fit:
        rows, frame = centred(rows)
        squared = frame.unit**2
        state, spread = _start(self, rows, key)
        step = _lloyd_step if self.batch_size == 0 else _mini_batch_epoch
        tolerance = self.tolerance * (float(spread) if self.batch_size == 0 else 1.0)
        state, history, converged = iterate(
            step, self, rows, state, self.max_iterations, tolerance, told(progress, squared)
        )
        weights, inertia = _summary(rows, state.centres)
        variance = jnp.maximum(inertia / rows.dim, least_variance(frame))
        codec = KMeansCodec(
            relative=state.centres * frame.unit,
            origin=frame.origin,
            weights=weights,
            variance=variance * squared,
        )
        return Fit(codec, in_units(history, squared), converged)

    def blank(self, data_dim: int) -> KMeansCodec:
        return KMeansCodec.zeros(self.latent_dim, data_dim)


@struct.dataclass
class _Lloyd:
    """Centres [K, D], the sums [K, D] and sizes [K] of their clusters, labels [N] (-1 at first)."""

    centres: Array
    sums: Array
    sizes: Array
    labels: Array


@struct.dataclass
class _MiniBatch:
    """Centres [K, D], how many examples each has seen [K], and the last objective."""

    centres: Array
    seen: Array
    objective: Array
    key: Array


@jax.jit
def _start(spec: KMeans, rows: Rows, key: Array) -> tuple[_Lloyd | _MiniBatch, Array]:
    """The first state of centred rows, and the mean variance of a dimension."""
    centres = kmeans_plus_plus(rows, jax.random.fold_in(key, 0), spec.latent_dim)
    sizes = jnp.zeros(spec.latent_dim)
    state: _Lloyd | _MiniBatch
    if spec.batch_size == 0:
        labels = jnp.full(rows.count, -1)
        state = _Lloyd(centres, jnp.zeros_like(centres), sizes, labels)
    else:
        # Every centre starts as one example, its seed.
        state = _MiniBatch(centres, sizes + 1, jnp.full((), jnp.inf), jax.random.fold_in(key, 1))
    return state, mean_square(rows)


def _assign_all(rows: Rows, centres: Array) -> tuple[Array, Array]:
    """Labels [N] and squared distances to the nearest centre [N].

    Distances come from products unless they are so small beside the data that nothing but
    rounding would be left of a difference of squares.
    """

    def assign(x: Array) -> tuple[Array, Array, Array]:
        labels, scores = nearest(x, centres)
        squares = jnp.square(x).sum(axis=1)
        return labels, jnp.maximum(2 * scores + squares, 0.0), squares

    def assign_closely(x: Array) -> tuple[Array, Array]:
        distances = distances_about_nearest(x, centres)
        return distances.argmin(axis=1).astype(jnp.int32), distances.min(axis=1)

    labels, distances, squares = rows.map(assign)
    return jax.lax.cond(
        distances.mean() > _COARSE * squares.mean(),
        lambda: (labels, distances),
        lambda: rows.map(assign_closely),
    )


def _lloyd_step(spec: KMeans, rows: Rows, state: _Lloyd, iteration: Array):
    labels, distances = _assign_all(rows, state.centres)
    sums, sizes = _cluster_sums(rows, state, labels)
    centres = jnp.where((sizes > 0)[:, None], sums / jnp.maximum(sizes, 1.0)[:, None], 0.0)
    centres = jax.lax.cond(
        (sizes > 0).all(), lambda: centres, lambda: _fill_empty(rows, centres, sizes, distances)
    )
    shift = jnp.square(centres - state.centres).sum()
    return _Lloyd(centres, sums, sizes, labels), distances.mean(), shift


def _cluster_sums(rows: Rows, state: _Lloyd, labels: Array) -> tuple[Array, Array]:
    """Sums [K, D] and sizes [K] of the clusters.

    Few examples change cluster in most iterations: then only those are moved between sums.
    """
    clusters = len(state.sizes)
    changed = labels != state.labels
    room = max(1, rows.count // 8)

    def anew(_) -> tuple[Array, Array]:
        return _sums_anew(rows, labels, clusters)

    def moved(_) -> tuple[Array, Array]:
        indices = jnp.flatnonzero(changed, size=room, fill_value=rows.count)
        real = indices < rows.count
        indices = jnp.minimum(indices, rows.count - 1)
        step = one_hot(labels[indices], clusters) - one_hot(state.labels[indices], clusters)
        step = jnp.where(real[:, None], step, 0.0)
        sums = state.sums + dot(step.T, rows.take(indices))
        return sums, state.sizes + step.sum(axis=0)

    return jax.lax.cond(changed.sum() > room, anew, moved, None)


def _sums_anew(rows: Rows, labels: Array, clusters: int) -> tuple[Array, Array]:
    def add(carry, block):
        sums, sizes = carry
        part = jax.lax.dynamic_slice_in_dim(labels, block.start, len(block.fresh))
        members = one_hot(part, clusters) * block.fresh[:, None]
        return sums + dot(members.T, block.values), sizes + members.sum(axis=0)

    return rows.fold(add, (jnp.zeros((clusters, rows.dim)), jnp.zeros(clusters)))


def _fill_empty(rows: Rows, centres: Array, sizes: Array, distances: Array) -> Array:
    """Centres without examples move to the examples farthest from their centres, one each."""
    count = len(sizes)
    _, farthest = jax.lax.top_k(distances, count)
    empty = sizes == 0
    order = jnp.cumsum(empty) - 1
    return jnp.where(empty[:, None], rows.take(farthest[jnp.maximum(order, 0)]), centres)


def _mini_batch_epoch(spec: KMeans, rows: Rows, state: _MiniBatch, iteration: Array):
    key = jax.random.fold_in(state.key, iteration)
    batches = rows.count // spec.batch_size
    order = jax.random.permutation(key, rows.count)[: batches * spec.batch_size]

    def body(carry, indices):
        centres, seen, total = carry
        x = rows.take(indices)
        labels, _ = nearest(x, centres)
        members = one_hot(labels, len(seen))
        seen = seen + members.sum(axis=0)
        # Each centre is the mean of the examples it has seen (Sculley 2010, Alg. 1).
        off = x - centres[labels]
        centres = centres + dot(members.T, off) / jnp.maximum(seen, 1.0)[:, None]
        return (centres, seen, total + jnp.square(off).sum(axis=1).mean()), None

    start = (state.centres, state.seen, jnp.zeros(()))
    (centres, seen, total), _ = jax.lax.scan(body, start, order.reshape(batches, -1))
    objective = total / batches
    # A centre remembers two passes at most, so that what its seed attracted is forgotten.
    change = relative_decrease(state.objective, objective)
    return (
        _MiniBatch(centres, jnp.minimum(seen, seen * 0.5 + 1), objective, state.key),
        objective,
        change,
    )


@jax.jit
def _summary(rows: Rows, centres: Array) -> tuple[Array, Array]:
    """Shares of the clusters [K] and the mean squared distance."""
    labels, distances = _assign_all(rows, centres)
    sizes = jnp.zeros(len(centres)).at[labels].add(1.0)
    return sizes / rows.count, distances.mean()
