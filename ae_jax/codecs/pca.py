"""Principal component analysis: the orthogonal dictionary of least squared error.

Exact by an SVD of the data or by the smaller of its two Gram matrices, approximate by randomised
subspace iteration, and exact from moments accumulated over batches that never meet in memory.
"""

import functools
from collections.abc import Iterable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array

from ae_jax.codecs.base import Codec, CodecSpec, Fit, Progress
from ae_jax.codecs.compiled import compiled_method
from ae_jax.codecs.frame import (
    Frame,
    centred,
    in_two,
    in_units,
    mean_square,
    near_mean,
    told,
)
from ae_jax.codecs.iterate import iterate
from ae_jax.codecs.moments import Moments, moments_of, moments_of_batches, within
from ae_jax.codecs.rows import Rows, dot
from ae_jax.codecs.spectrum import Spectrum, fix_signs, host_spectrum, on_host
from ae_jax.core.errors import UserError
from ae_jax.core.ranges import Count, NonNegative

# `auto`: an SVD costs little up to so many values; a Gram matrix is kept up to so many rows.
_SVD_VALUES = 2**20
_GRAM_ROWS = 4096


@struct.dataclass
class PcaCodec(Codec):
    """Principal components and what they explain.

    components           [Z, D], orthonormal rows in order of variance; of each, the entry of
                         largest magnitude is positive
    mean                 [D]
    explained_variance   of the data along each component, N - 1 in the denominator, [Z]
    total_variance       summed over all dimensions, likewise
    whiten               codes are divided by their standard deviations, atoms multiplied by them
    mean_rest            what float32 cannot hold of the mean, [D] or 0
    """

    components: Array
    mean: Array
    explained_variance: Array
    total_variance: Array
    whiten: bool = struct.field(pytree_node=False, default=False)
    mean_rest: Array | float = 0.0

    @property
    def scale(self) -> Array:
        """Length of each atom, [Z]."""
        if self.whiten:
            return jnp.sqrt(self.explained_variance)
        return jnp.ones_like(self.explained_variance)

    @property
    def atoms(self) -> Array:
        return self.components * self.scale[:, None]

    @property
    def offset(self) -> Array:
        return self.mean

    @property
    def rest(self) -> Array | float:
        return self.mean_rest

    @property
    def explained_variance_ratio(self) -> Array:
        """The importance of each component: its share of the variance, [Z]; 0 of none."""
        total = self.total_variance
        return self.explained_variance / jnp.where(total > 0, total, 1.0)

    @compiled_method
    def encode(self, x: Array) -> Array:
        """Coordinates along the components, [B, D] -> [B, Z]."""
        return dot(self.centred(x), self.components.T) / self.scale[None]


@struct.dataclass
class Pca(CodecSpec):
    """PCA (Hotelling 1933). Objective: squared error summed over dimensions, mean over examples.

    whiten           codes of unit variance
    solver           `svd` of the data; `gram`, an eigendecomposition of the smaller of X^T X and
                     X X^T; `randomized` subspace iteration (Halko, Martinsson & Tropp 2011,
                     Alg. 4.4); `auto` is the second while that matrix has up to 4096 rows, else
                     the third; beside a CPU, the first for small data
    oversampling     dimensions of the random subspace beyond `latent_dim`
    max_iterations   of subspace iteration, a pass over the data each
    tolerance        it stops where the subspace of the components turns by no more than this
                     angle (its sine, the root of the sum of squares over all directions)
    """

    whiten: bool = struct.field(pytree_node=False, default=False)
    solver: Literal["auto", "svd", "gram", "randomized"] = struct.field(
        pytree_node=False, default="auto"
    )
    oversampling: Count = struct.field(pytree_node=False, default=10)
    max_iterations: Count = struct.field(pytree_node=False, default=30)
    tolerance: NonNegative = 1e-3

    def check_idle(self, count: int, dim: int) -> None:
        solver = self.solver_for(count, dim)
        if solver != "randomized":
            why = f"is of codec.solver=randomized, and these data are solved by {solver}"
            self.refuse_changed(("oversampling", "max_iterations", "tolerance"), why)

    def check(self, rows: Rows) -> None:
        limit = self.most_atoms(rows.count, rows.dim)
        self.at_most(limit, f"{rows.count} examples of {rows.dim} dimensions have components")

    def most_atoms(self, count: int, dim: int) -> int:
        return min(count - 1, dim)

    def fit_rows(self, rows: Rows, key: Array, progress: Progress | None) -> Fit:
        return self._finish(*self.spectrum(rows, key, progress))

    def spectrum(
        self, rows: Rows, key: Array, progress: Progress | None
    ) -> tuple[Spectrum, np.ndarray | None, bool]:
        """What the data vary by, with the history where there are iterations, and convergence."""
        solver = self.solver_for(rows.count, rows.dim)
        if solver != "randomized" and on_host():
            return host_spectrum(rows, self.latent_dim, solver == "svd"), None, True
        rows, frame = centred(rows)
        if solver == "randomized":
            squared = frame.unit**2
            found, history, converged = _subspace(self, rows, key, told(progress, squared))
            return _spectrum(found, rows.count, frame), in_units(history, squared), converged
        if solver == "svd" or rows.count <= rows.dim:
            found = _whole(rows, self.latent_dim, solver == "svd")
        else:
            moments = moments_of(rows)
            found = (*_from_moments(moments, self.latent_dim)[:3], moments.mean)
        return _spectrum(found, rows.count, frame), None, True

    def fit_batches(self, batches: Iterable[np.ndarray], shift: Any = 0.0, scale: Any = 1.0) -> Fit:
        """The exact fit to data that come as arrays [B, D] and are never in memory at once.

        Values are (x - shift) * scale. Memory is that of a few [D, D] matrices.
        """
        return self.fit_moments(moments_of_batches(batches, shift, scale))

    def fit_moments(self, moments: Moments) -> Fit:
        """The exact fit to data of which only the moments are known. Raises UserError for options
        of another way to fit."""
        self.check_options()
        self.check_moments()
        return self._finish(self.spectrum_of_moments(moments), None, True)

    def check_moments(self) -> None:
        """Raises UserError for options of another way than by a Gram matrix, which moments are."""
        solver = () if self.solver in ("auto", "gram") else ("solver",)
        idle = (*solver, "oversampling", "max_iterations", "tolerance")
        self.refuse_changed(idle, "is of a fit to all data at once, and moments are solved exactly")

    def spectrum_of_moments(self, moments: Moments) -> Spectrum:
        """What data of these moments vary by. Raises UserError for fewer directions than asked."""
        limit = min(int(moments.count) - 1, len(moments.origin))
        self.at_most(limit, "the data have components")
        found = _from_moments(moments, self.latent_dim)
        return _spectrum(found, int(moments.count), Frame(moments.origin, 1.0))

    def solver_for(self, count: int, dim: int) -> str:
        """What `auto` means for [count, dim]."""
        if self.solver != "auto":
            return self.solver
        if count * dim <= _SVD_VALUES and not on_host():
            return "svd"
        return "gram" if min(count, dim) <= _GRAM_ROWS else "randomized"

    def blank(self, data_dim: int) -> PcaCodec:
        zeros = jnp.zeros
        return PcaCodec(
            zeros((self.latent_dim, data_dim)),
            zeros(data_dim),
            zeros(self.latent_dim),
            zeros(()),
            self.whiten,
            zeros(data_dim),
        )

    def _finish(self, found: Spectrum, history: np.ndarray | None, converged: bool) -> Fit:
        variance, total = found.squares / found.freedom, found.total / found.freedom
        if self.whiten and not variance[-1] > 1e-7 * total:
            raise UserError(
                f"the data vary in fewer than latent_dim={self.latent_dim} directions, so whitened "
                "codes do not exist: lower latent_dim"
            )
        if history is None:
            history = np.asarray([found.unexplained / found.count], np.float32)
        mean, rest = in_two(found.mean)
        codec = PcaCodec(
            jnp.asarray(found.components, jnp.float32),
            mean,
            jnp.asarray(variance, jnp.float32),
            jnp.asarray(total, jnp.float32),
            self.whiten,
            rest,
        )
        return Fit(codec, history, converged)


def top_eigenvectors(symmetric: Array, count: int) -> tuple[Array, Array]:
    """The largest eigenvalues in descending order, [Z], and their eigenvectors as rows."""
    values, vectors = jnp.linalg.eigh(symmetric)
    return values[::-1][:count], vectors.T[::-1][:count]


# Components [Z, D], the squares along them [Z] and in all, and the mean [D]: in a frame.
_Found = tuple[Array, Array, Array, Array]


def _spectrum(found: _Found, count: int, frame: Frame) -> Spectrum:
    """What was found on the device, in the units of the data."""
    components, squares, total, mean = (np.asarray(part, np.float64) for part in found)
    unit = frame.unit
    mean = np.asarray(frame.origin, np.float64) + mean * unit
    return Spectrum(fix_signs(components), mean, squares * unit**2, float(total) * unit**2, count)


@functools.partial(jax.jit, static_argnames="latent_dim")
def _from_moments(moments: Moments, latent_dim: int) -> _Found:
    squares, components = top_eigenvectors(moments.scatter, latent_dim)
    return components, squares, jnp.trace(moments.scatter), moments.rest


@functools.partial(jax.jit, static_argnames=("latent_dim", "by_svd"))
def _whole(rows: Rows, latent_dim: int, by_svd: bool) -> _Found:
    """By SVD, or by X X^T where there are fewer examples than dimensions."""
    x = rows.all()
    mean = x.mean(axis=0)
    x = x - mean[None]
    if by_svd:
        _, singular, vectors = jnp.linalg.svd(x, full_matrices=False)
        squares, components = jnp.square(singular[:latent_dim]), vectors[:latent_dim]
    else:
        squares, left = top_eigenvectors(dot(x, x.T), latent_dim)
        projected = dot(left, x)  # rows of length sqrt(squares)
        # A QR restores the orthogonality that small singular values lose, and completes the
        # basis where they are 0.
        basis, upper = jnp.linalg.qr(projected.T)
        components = basis.T * jnp.where(jnp.diagonal(upper) < 0, -1.0, 1.0)[:, None]
    return components, squares, jnp.square(x).sum(), mean


@struct.dataclass
class _Subspace:
    """The best components [Z, D], the squares along them [Z] and in all, the next basis [D, L]."""

    components: Array
    squares: Array
    total: Array
    basis: Array


def _subspace(spec: Pca, rows: Rows, key: Array, progress: Progress | None):
    width = min(spec.latent_dim + spec.oversampling, rows.count, rows.dim)
    mean, state = _start_subspace(rows, key, width, spec.latent_dim)
    state, history, converged = iterate(
        _iterate_subspace,
        spec,
        rows.less(mean),
        state,
        spec.max_iterations,
        spec.tolerance,
        progress,
    )
    return (state.components, state.squares, state.total, mean), history, converged


@functools.partial(jax.jit, static_argnames=("width", "latent_dim"))
def _start_subspace(rows: Rows, key: Array, width: int, latent_dim: int):
    mean = near_mean(rows, jnp.zeros(rows.dim))  # what the frame has left of it
    total = mean_square(rows.less(mean)) * (rows.count * rows.dim)
    basis = jnp.linalg.qr(jax.random.normal(key, (rows.dim, width)))[0]
    state = _Subspace(jnp.zeros((latent_dim, rows.dim)), jnp.zeros(latent_dim), total, basis)
    return mean, state


def _iterate_subspace(spec: Pca, rows: Rows, state: _Subspace, iteration: Array):
    scatter, image = within(rows, state.basis)
    # Rayleigh-Ritz: the best components within the subspace.
    squares, rotation = top_eigenvectors(scatter, spec.latent_dim)
    components = dot(rotation, state.basis.T)
    turned = components - dot(dot(components, state.components.T), state.components)
    following = _Subspace(components, squares, state.total, jnp.linalg.qr(image)[0])
    objective = (state.total - squares.sum()) / rows.count
    return following, objective, jnp.linalg.norm(turned)
