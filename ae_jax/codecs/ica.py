"""Independent component analysis by the symmetric fixed point of FastICA."""

import dataclasses
import math
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array

from ae_jax.codecs.base import Codec, CodecSpec, Fit, Progress
from ae_jax.codecs.compiled import compiled_method
from ae_jax.codecs.iterate import iterate
from ae_jax.codecs.pca import Pca, PcaCodec
from ae_jax.codecs.rows import Rows, dot
from ae_jax.core.ranges import Count, NonNegative


@struct.dataclass
class IcaCodec(Codec):
    """Sources z = (x - mean) unmixing^T of unit variance, and x = z mixing + mean.

    unmixing   [Z, D]
    mixing     its pseudo-inverse as rows, [Z, D]: the atoms
    mean       [D], and `mean_rest` what float32 cannot hold of it, [D] or 0
    """

    unmixing: Array
    mixing: Array
    mean: Array
    mean_rest: Array | float = 0.0

    @property
    def atoms(self) -> Array:
        return self.mixing

    @property
    def offset(self) -> Array:
        return self.mean

    @property
    def rest(self) -> Array | float:
        return self.mean_rest

    @compiled_method
    def encode(self, x: Array) -> Array:
        """Estimates of the sources, [B, D] -> [B, Z]."""
        return dot(self.centred(x), self.unmixing.T)


@dataclasses.dataclass(frozen=True)
class Contrast:
    """A function G of a source with its first two derivatives, and E G(v) for a normal v."""

    value: Callable[[Array], Array]
    first: Callable[[Array], Array]
    second: Callable[[Array], Array]
    normal_mean: float


def _log_cosh(y: Array) -> Array:
    return jnp.logaddexp(y, -y) - math.log(2)


def _normal_mean_of_log_cosh() -> float:
    nodes, weights = np.polynomial.hermite_e.hermegauss(100)
    value = np.logaddexp(nodes, -nodes) - math.log(2)
    return float(value @ weights / weights.sum())


# Hyvarinen 1999, Eq. 17 to 19 (fast and robust fixed-point algorithms).
CONTRASTS = {
    "logcosh": Contrast(
        _log_cosh, jnp.tanh, lambda y: 1 - jnp.square(jnp.tanh(y)), _normal_mean_of_log_cosh()
    ),
    "exp": Contrast(
        lambda y: -jnp.exp(-0.5 * y * y),
        lambda y: y * jnp.exp(-0.5 * y * y),
        lambda y: (1 - y * y) * jnp.exp(-0.5 * y * y),
        -1 / math.sqrt(2),
    ),
    "cube": Contrast(lambda y: y**4 / 4, lambda y: y**3, lambda y: 3 * y * y, 0.75),
}


@struct.dataclass
class Ica(CodecSpec):
    """FastICA, symmetric (Hyvarinen 1999). Objective: minus the approximate negentropy of the
    sources, -sum_j (E G(z_j) - E G(v))^2 with v standard normal (his Eq. 7).

    contrast    G: `logcosh`, `exp` (robust to outliers) or `cube` (kurtosis)
    tolerance   stops where no unmixing direction turns by more: 1 - |cos|
    solver      of the whitening, as in `Pca`
    """

    contrast: Literal["logcosh", "exp", "cube"] = struct.field(pytree_node=False, default="logcosh")
    solver: Literal["auto", "svd", "gram", "randomized"] = struct.field(
        pytree_node=False, default="auto"
    )
    max_iterations: Count = struct.field(pytree_node=False, default=200)
    tolerance: NonNegative = 1e-4

    def check(self, rows: Rows) -> None:
        self._pca().check(rows)

    def most_atoms(self, count: int, dim: int) -> int:
        return self._pca().most_atoms(count, dim)

    def fit_rows(self, rows: Rows, key: Array, progress: Progress | None) -> Fit:
        white = self._pca().fit_rows(rows, jax.random.fold_in(key, 0), None).codec
        codes = _whiten(rows, white)
        rotation = _start(jax.random.fold_in(key, 1), self.latent_dim)
        rotation, history, converged = iterate(
            _fixed_point, self, codes, rotation, self.max_iterations, self.tolerance, progress
        )
        return Fit(_codec(rotation, white), np.asarray(history), converged)

    def blank(self, data_dim: int) -> IcaCodec:
        shape = (self.latent_dim, data_dim)
        zeros = jnp.zeros
        return IcaCodec(zeros(shape), zeros(shape), zeros(data_dim), zeros(data_dim))

    def _pca(self) -> Pca:
        return Pca(self.latent_dim, whiten=True, solver=self.solver)


@jax.jit
def _whiten(rows: Rows, white: PcaCodec) -> Rows:
    """Whitened codes of all rows, [N, Z]."""
    codes = rows.map(white.encode)
    dim = codes.shape[1]
    return Rows(codes, jnp.zeros(dim), jnp.ones(dim))


def decorrelate(rotation: Array) -> Array:
    """(W W^T)^(-1/2) W, [Z, Z]: the nearest orthogonal matrix."""
    left, _, right = jnp.linalg.svd(rotation, full_matrices=False)
    return dot(left, right)


def _start(key: Array, dim: int) -> Array:
    return decorrelate(jax.random.normal(key, (dim, dim)))


def _fixed_point(spec: Ica, rows: Rows, rotation: Array, iteration: Array):
    """One update of the unmixing W [Z, Z] of whitened rows; the objective is that before it."""
    contrast = CONTRASTS[spec.contrast]

    def add(carry, block):
        cross, slope, value = carry
        sources = dot(block.values, rotation.T)  # [S, Z]
        fresh = block.fresh[:, None]
        cross = cross + dot((contrast.first(sources) * fresh).T, block.values)
        slope = slope + (contrast.second(sources) * fresh).sum(axis=0)
        return cross, slope, value + (contrast.value(sources) * fresh).sum(axis=0)

    dim = len(rotation)
    empty = (jnp.zeros((dim, dim)), jnp.zeros(dim), jnp.zeros(dim))
    cross, slope, value = rows.fold(add, empty)
    new = decorrelate((cross - slope[:, None] * rotation) / rows.count)
    negentropy = jnp.square(value / rows.count - contrast.normal_mean).sum()
    turned = jnp.abs(jnp.abs((new * rotation).sum(axis=1)) - 1).max()
    return new, -negentropy, turned


@jax.jit
def _codec(rotation: Array, white: PcaCodec) -> IcaCodec:
    scale = white.scale
    unmixing = dot(rotation, white.components / scale[:, None])
    mixing = dot(rotation, white.components * scale[:, None])
    return IcaCodec(unmixing, mixing, white.mean, white.mean_rest)
