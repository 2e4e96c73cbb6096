"""A mixture of spherical Gaussians of one variance, by expectation maximisation."""

import dataclasses
import math
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from ae_jax.codecs.base import CodecSpec, Fit, Progress
from ae_jax.codecs.clusters import Clusters, distances_about_nearest, least_variance, log_joint
from ae_jax.codecs.compiled import compiled_method
from ae_jax.codecs.frame import centred, in_units, told
from ae_jax.codecs.iterate import iterate
from ae_jax.codecs.kmeans import KMeans
from ae_jax.codecs.rows import Rows, dot
from ae_jax.codecs.seeding import kmeans_plus_plus
from ae_jax.core.ranges import Count, NonNegative


@struct.dataclass
class SphericalMixtureCodec(Clusters):
    """A fitted mixture: see `Clusters`. Its codes are responsibilities, p(k|x)."""

    has_random_codes: ClassVar[bool] = True

    @compiled_method
    def encode(self, x: Array) -> Array:
        """The mean of p(z|x) over one-hot z, [B, D] -> [B, Z]: rows sum to 1."""
        return self.posterior(x).mean()


@struct.dataclass
class SphericalMixture(CodecSpec):
    """sum_k weights_k N(x; centre_k, variance I) by EM (Dempster, Laird & Rubin 1977; Bishop 2006,
    Sec. 9.3.2). Objective: -log p(x), nats, mean over examples.

    variance         of each dimension about the centres: 0 is to be fitted. As a given one goes to
                     0, the fit becomes that of k-means from the same start
    start            `seeds`, as k-means starts, with equal weights; or `kmeans`, where it ends,
                     with the sizes of its clusters for weights
    max_iterations   most iterations, a pass over the data each
    tolerance        stops where the objective decreases by no more than so many nats a dimension

    The first variance is the mean squared distance to the nearest centre. A fitted variance stays
    above what float32 resolves of the spread of the data, so that the likelihood is bounded.
    """

    variance: NonNegative = 0.0
    start: Literal["seeds", "kmeans"] = struct.field(pytree_node=False, default="seeds")
    max_iterations: Count = struct.field(pytree_node=False, default=300)
    tolerance: NonNegative = 1e-6

    def check(self, rows: Rows) -> None:
        self.at_most(self.most_atoms(rows.count, rows.dim), "there are examples")

    def most_atoms(self, count: int, dim: int) -> int:
        return count

    def fit_rows(self, rows: Rows, key: Array, progress: Progress | None) -> Fit:
        rows, frame = centred(rows)
        squared = frame.unit**2
        spec = dataclasses.replace(self, variance=self.variance / squared)
        state = _start(spec, rows, *self._first(rows, key), least_variance(frame))
        # A density is per unit of the data.
        shift = rows.dim * math.log(frame.unit)
        state, history, converged = iterate(
            _em_step,
            spec,
            rows,
            state,
            self.max_iterations,
            self.tolerance * rows.dim,
            told(progress, 1.0, shift),
        )
        codec = SphericalMixtureCodec(
            relative=state.centres * frame.unit,
            origin=frame.origin,
            weights=state.weights,
            variance=state.variance * squared,
        )
        return Fit(codec, in_units(history, 1.0, shift), converged)

    def _first(self, rows: Rows, key: Array) -> tuple[Array, Array]:
        """Centres [K, D] and weights [K] to start from."""
        if self.start == "kmeans":
            hard = KMeans(self.latent_dim).fit_rows(rows, key, None).codec
            return hard.centres, hard.weights
        equal = jnp.full(self.latent_dim, 1.0 / self.latent_dim)
        return _seeds(rows, jax.random.fold_in(key, 0), self.latent_dim), equal

    def blank(self, data_dim: int) -> SphericalMixtureCodec:
        return SphericalMixtureCodec.zeros(self.latent_dim, data_dim)


@struct.dataclass
class _State:
    """The mixture in its frame, what its variance is at least, and the last objective."""

    centres: Array
    weights: Array
    variance: Array
    least: Array
    objective: Array


_seeds = jax.jit(kmeans_plus_plus, static_argnums=2)


@jax.jit
def _start(
    spec: SphericalMixture, rows: Rows, centres: Array, weights: Array, least: Array
) -> _State:
    def add(total: Array, block) -> Array:
        distances = distances_about_nearest(block.values, centres).min(axis=1)
        return total + (distances * block.fresh).sum()

    mean_square = rows.fold(add, jnp.zeros(())) / (rows.count * rows.dim)
    return _State(
        centres,
        weights,
        _variance(spec, mean_square, least),
        jnp.asarray(least, jnp.float32),
        jnp.full((), jnp.inf),
    )


def _variance(spec: SphericalMixture, fitted: Array, least: Array) -> Array:
    return jnp.where(spec.variance > 0, spec.variance, jnp.maximum(fitted, least))


def _em_step(spec: SphericalMixture, rows: Rows, state: _State, iteration: Array):
    """Responsibilities, then the mixture given them; the objective is that before the step."""

    def add(carry, block):
        sizes, sums, squares, total = carry
        x = block.values
        distances = distances_about_nearest(x, state.centres)
        joint = log_joint(distances, state.weights, state.variance, rows.dim)
        log_prob = jax.nn.logsumexp(joint, axis=1)
        shares = jnp.exp(joint - log_prob[:, None]) * block.fresh[:, None]
        return (
            sizes + shares.sum(axis=0),
            sums + dot(shares.T, x),
            squares + (shares * distances).sum(),
            total + (log_prob * block.fresh).sum(),
        )

    empty = (
        jnp.zeros(spec.latent_dim),
        jnp.zeros_like(state.centres),
        jnp.zeros(()),
        jnp.zeros(()),
    )
    sizes, sums, squares, total = rows.fold(add, empty)
    # A cluster that explains nothing stays where it is, with a weight of nearly 0.
    used = sizes > _UNUSED
    shift = sums / jnp.where(used, sizes, 1.0)[:, None] - state.centres
    shift = jnp.where(used[:, None], shift, 0.0)
    # About the new centres: the squares about the old ones, less what the shift takes away.
    squares = squares - (sizes * jnp.square(shift).sum(axis=1)).sum()
    following = _State(
        state.centres + shift,
        jnp.maximum(sizes, jnp.finfo(jnp.float32).tiny) / rows.count,
        _variance(spec, squares / (rows.count * rows.dim), state.least),
        state.least,
        -total / rows.count,
    )
    change = jnp.where(iteration == 0, jnp.inf, state.objective - following.objective)
    return following, following.objective, change


# Examples in all that a cluster is responsible for, at least, to be moved.
_UNUSED = 1e-6
