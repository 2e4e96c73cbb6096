"""The leading directions of the data, and LAPACK's way to them on a host: nothing is compiled."""

import dataclasses

import jax
import numpy as np
import scipy.linalg

from ae_jax.codecs.rows import Rows

# Up to so many values, products are float64: as exact as an SVD of float32 data, and as fast.
_FLOAT64_VALUES = 2**21
# Examples whose squares are summed at once.
_BLOCK_ROWS = 4096


@dataclasses.dataclass(frozen=True)
class Spectrum:
    """Directions in which data vary, in float64 and in the units of the data.

    components   [Z, D], orthonormal rows in order of variance, with the signs of `fix_signs`
    mean         [D]
    squares      sums of squares along each component, [Z], and `total` in all
    count        number of examples
    """

    components: np.ndarray
    mean: np.ndarray
    squares: np.ndarray
    total: float
    count: int

    @property
    def freedom(self) -> int:
        """What makes variances of sums of squares: N - 1."""
        return max(self.count - 1, 1)

    @property
    def unexplained(self) -> float:
        """The sum of squares that no component explains."""
        return max(self.total - float(self.squares.sum()), 0.0)


def fix_signs(components: np.ndarray) -> np.ndarray:
    """Rows [Z, D] with the entry of largest magnitude positive."""
    peaks = np.take_along_axis(components, np.abs(components).argmax(axis=1)[:, None], axis=1)
    return components * np.where(peaks < 0, -1.0, 1.0)


def on_host() -> bool:
    """Whether arrays of the device are those of the host, so that LAPACK may read them."""
    return jax.default_backend() == "cpu"


def host_spectrum(rows: Rows, count: int, by_svd: bool) -> Spectrum:
    """Exactly, from all examples: by SVD, or by the smaller of X^T X and X X^T."""
    raw, shift, scale = (np.asarray(part) for part in (rows.array, rows.shift, rows.scale))
    origin = _point_near(raw, shift, scale)
    kind = np.float64 if raw.size <= _FLOAT64_VALUES else np.float32
    # Where nothing is scaled, what is taken off is exactly the origin.
    shift = (shift + np.divide(origin, scale, out=np.zeros_like(shift), where=scale != 0)).astype(
        kind
    )
    origin = (shift.astype(np.float64) - np.asarray(rows.shift, np.float64)) * scale
    if by_svd or rows.count <= rows.dim:
        x = (raw.astype(kind) - shift) * scale.astype(kind)
        mean = x.mean(axis=0, dtype=np.float64)
        x -= mean.astype(kind)
        squares, components = _of_whole(x, count, by_svd)
        total = float(np.square(x).sum(dtype=np.float64))
    else:
        mean, scatter = _scatter(rows, raw, shift, scale.astype(kind))
        squares, components = _top(scatter, count)
        total = float(np.trace(scatter))
    squares = np.maximum(np.asarray(squares, np.float64), 0.0)
    components = fix_signs(np.asarray(components, np.float64))
    return Spectrum(components, origin + mean, squares, total, rows.count)


def _point_near(raw: np.ndarray, shift: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The mean of a few hundred examples in float32: sums about it lose no digits."""
    some = raw[np.linspace(0, len(raw) - 1, min(len(raw), 256)).astype(int)].astype(np.float64)
    return ((some - shift) * scale).mean(axis=0).astype(np.float32)


def _scatter(
    rows: Rows, raw: np.ndarray, shift: np.ndarray, scale: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The mean about the shift [D], and the scatter about the mean [D, D].

    Of a block in the type of the shift, over blocks in float64.
    """
    sums, scatter = np.zeros(rows.dim), np.zeros((rows.dim, rows.dim))
    # Squares of whole numbers never overflow, so their scale can wait for the sums.
    late = raw.dtype.kind in "iub"
    # One buffer: to ask the system for fresh memory takes longer than to fill it.
    buffer = np.empty((min(_BLOCK_ROWS, rows.count), rows.dim), shift.dtype)
    ones = np.ones(len(buffer), shift.dtype)
    for start in range(0, rows.count, len(buffer)):
        block = buffer[: rows.count - start]
        if late:
            np.subtract(raw[start : start + len(buffer)], shift, out=block)
        else:
            block[...] = raw[start : start + len(buffer)]
            block -= shift
            block *= scale
        sums += ones[: len(block)] @ block
        scatter += block.T @ block
    if late:
        factor = scale.astype(np.float64)
        sums, scatter = sums * factor, scatter * np.outer(factor, factor)
    mean = sums / rows.count
    return mean, scatter - rows.count * np.outer(mean, mean)


def _top(symmetric: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest eigenvalues in descending order, [Z], and their eigenvectors as rows."""
    size = len(symmetric)
    values, vectors = scipy.linalg.eigh(symmetric, subset_by_index=[size - count, size - 1])
    return values[::-1], vectors.T[::-1]


def _of_whole(x: np.ndarray, count: int, by_svd: bool) -> tuple[np.ndarray, np.ndarray]:
    """From centred rows [N, D] at once."""
    if by_svd:
        _, singular, vectors = np.linalg.svd(x, full_matrices=False)
        return np.square(singular[:count].astype(np.float64)), vectors[:count]
    squares, left = _top(x @ x.T, count)
    # A QR restores the orthogonality that small singular values lose, and completes the basis
    # where they are 0.
    basis, upper = np.linalg.qr((left @ x).T)
    return squares, basis.T * np.where(np.diagonal(upper) < 0, -1.0, 1.0)[:, None]
