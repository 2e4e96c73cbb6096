"""Gabor functions fitted to filters: how much of each one localised, oriented wave explains.

The function on a patch of side S is an envelope times a wave,

    exp(-u^2 / 2 s_u^2 - v^2 / 2 s_v^2) (a cos(2 pi f u) + b sin(2 pi f u))

where (u, v) are the coordinates about a centre, turned by an angle. Amplitudes a, b are solved for
exactly (variable projection, Golub & Pereyra 1973); the six other parameters by damped
Gauss-Newton steps from several starts, all filters and starts at once.

The envelope may be no wider than a quarter of the patch in either direction, and its centre lies
in the patch: a wave that fills the patch, or the product of two, is therefore no good fit.
"""

import dataclasses
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

WIDEST = 0.25  # of the side: the largest standard deviation of the envelope
NARROWEST = 0.5  # pixels
FASTEST = 0.6  # cycles a pixel; the corner of the spectrum lies at 0.71
STEPS = 60
_AT_ONCE = 32
_SPECTRUM = 64  # points a side of the zero-padded spectrum that starts are read from


@dataclasses.dataclass(frozen=True)
class GaborFits:
    """The best fit to each of Z filters.

    explained     share of the filter's sum of squares, in [0, 1], [Z]
    orientation   of the wave's direction, radians in [0, pi), [Z]
    frequency     cycles a pixel, [Z]
    widths        standard deviations of the envelope along and across the wave, pixels, [Z, 2]
    centres       row and column, pixels from the middle of the patch, [Z, 2]
    fitted        the functions themselves, [Z, S, S]
    """

    explained: np.ndarray
    orientation: np.ndarray
    frequency: np.ndarray
    widths: np.ndarray
    centres: np.ndarray
    fitted: np.ndarray


def fit_gabors(filters: np.ndarray) -> GaborFits:
    """Fits a Gabor function to each filter [Z, S, S]; filters of zeros are explained by 0."""
    filters = jnp.asarray(filters, jnp.float32)
    norm = jnp.sqrt(jnp.square(filters).sum(axis=(1, 2), keepdims=True))
    unit = filters / jnp.where(norm > 0, norm, 1.0)
    # Parts of one size, the last filled up with zeros: one compiled program for any number.
    count = len(filters)
    padded = jnp.pad(unit, ((0, -count % _AT_ONCE), (0, 0), (0, 0)))
    parts = [_fit_part(part) for part in jnp.split(padded, len(padded) // _AT_ONCE)]
    explained, values, fitted = (
        np.concatenate(part)[:count] for part in zip(*jax.device_get(parts), strict=True)
    )
    centres, angle, frequency, widths = values[:, :2], values[:, 2], values[:, 3], values[:, 4:]
    return GaborFits(
        explained, np.mod(angle, math.pi), frequency, widths, centres, fitted * np.asarray(norm)
    )


def gabor(
    side: int, centre: tuple[float, float], angle: float, frequency: float, widths, phase: float
) -> np.ndarray:
    """One Gabor function of unit amplitude, [S, S]; arguments as in `GaborFits`."""
    values = jnp.asarray([*centre, angle, frequency, *widths], jnp.float32)
    waves = np.asarray(_waves(values, side)).reshape(2, side, side)
    return math.cos(phase) * waves[0] + math.sin(phase) * waves[1]


def _waves(values: Array, side: int) -> Array:
    """The even and the odd function for [row, column, angle, frequency, s_u, s_v], [2, S * S]."""
    row, column, angle, frequency, along, across = values
    axis = jnp.arange(side) - (side - 1) / 2
    y, x = jnp.meshgrid(axis - row, axis - column, indexing="ij")
    u = x * jnp.cos(angle) + y * jnp.sin(angle)
    v = -x * jnp.sin(angle) + y * jnp.cos(angle)
    envelope = jnp.exp(-0.5 * (jnp.square(u / along) + jnp.square(v / across)))
    phase = 2 * jnp.pi * frequency * u
    return jnp.stack([envelope * jnp.cos(phase), envelope * jnp.sin(phase)]).reshape(2, -1)


def _bounds(side: int) -> tuple[Array, Array]:
    """Least and largest values, in the order of `_waves`; the angle is free."""
    half = side / 2
    low = [-half, -half, 0.0, 1.0 / side, NARROWEST, NARROWEST]
    high = [half, half, 1.0, FASTEST, WIDEST * side, WIDEST * side]
    return jnp.asarray(low), jnp.asarray(high)


_ANGLE = jnp.arange(6) == 2


def _bounded(free: Array, side: int) -> Array:
    """Values within their bounds for any real numbers [6]."""
    low, high = _bounds(side)
    return jnp.where(_ANGLE, free, low + (high - low) * jax.nn.sigmoid(free))


def _unbounded(values: Array, side: int) -> Array:
    """The inverse of `_bounded`; values at a bound are taken as close to it."""
    low, high = _bounds(side)
    share = jnp.clip((values - low) / (high - low), 0.02, 0.98)
    return jnp.where(_ANGLE, values, jnp.log(share) - jnp.log1p(-share))


def _projection(free: Array, target: Array, side: int) -> Array:
    """The best Gabor function with these six parameters, [S * S]."""
    waves = _waves(_bounded(free, side), side)
    gram = jnp.matmul(waves, waves.T, precision="highest")
    # An odd wave of few cycles may all but vanish.
    gram = gram + 1e-6 * jnp.trace(gram) * jnp.eye(2)
    (a, b), (_, c) = gram
    first, second = jnp.matmul(waves, target, precision="highest")
    weights = jnp.stack([c * first - b * second, a * second - b * first]) / (a * c - b * b)
    return jnp.matmul(weights, waves, precision="highest")


def _refine(free: Array, target: Array, side: int) -> tuple[Array, Array]:
    """Levenberg-Marquardt steps from one start; the parameters and the squared error."""

    def residual(free: Array) -> Array:
        return _projection(free, target, side) - target

    def step(_, carry):
        free, damping, error = carry
        left, slope = residual(free), jax.jacfwd(residual)(free)
        normal = jnp.matmul(slope.T, slope, precision="highest")
        damped = normal + (damping * jnp.trace(normal) / 6 + 1e-9) * jnp.eye(6)
        new = free - jnp.linalg.solve(damped, jnp.matmul(slope.T, left, precision="highest"))
        new_error = jnp.square(residual(new)).sum()
        better = new_error < error
        return (
            jnp.where(better, new, free),
            jnp.clip(jnp.where(better, damping / 3, damping * 4), 1e-6, 1e4),
            jnp.where(better, new_error, error),
        )

    start = (free, jnp.asarray(0.1), jnp.square(residual(free)).sum())
    free, _, error = jax.lax.fori_loop(0, STEPS, step, start)
    return free, error


def _starts(target: Array, side: int) -> Array:
    """Where to start from, [starts, 6]: the peak of the spectrum, two centres, three widths."""
    axis = jnp.arange(side) - (side - 1) / 2
    energy = jnp.square(target)
    total = jnp.maximum(energy.sum(), 1e-12)
    centroid = jnp.stack([(energy.sum(axis=1) * axis).sum(), (energy.sum(axis=0) * axis).sum()])
    kernel = jnp.exp(-0.5 * jnp.square(axis[:, None] - axis[None]) / (side / 8) ** 2)
    smooth = kernel @ energy @ kernel
    peak = axis[jnp.stack(jnp.unravel_index(smooth.argmax(), (side, side)))]
    spectrum = jnp.abs(jnp.fft.fft2(target, (_SPECTRUM, _SPECTRUM)))
    cycles = jnp.fft.fftfreq(_SPECTRUM)
    slow = jnp.hypot(cycles[:, None], cycles[None]) < 0.5 / side
    best = jnp.where(slow, 0.0, spectrum).argmax()
    rows, columns = cycles[best // _SPECTRUM], cycles[best % _SPECTRUM]
    wave = jnp.stack([jnp.arctan2(rows, columns), jnp.hypot(rows, columns)])
    widths = jnp.asarray([[0.08, 0.12], [0.14, 0.14], [0.12, 0.22]]) * side

    def start(centre: Array, width: Array) -> Array:
        return _unbounded(jnp.concatenate([centre, wave, width]), side)

    over_widths = jax.vmap(start, (None, 0))
    return jnp.concatenate([over_widths(centroid / total, widths), over_widths(peak, widths)])


@jax.jit
def _fit_part(filters: Array) -> tuple[Array, Array, Array]:
    """Share explained [Z], values [Z, 6] and functions [Z, S, S] for filters of unit norm."""
    side = filters.shape[-1]

    def best(target: Array) -> tuple[Array, Array, Array]:
        flat = target.reshape(-1)
        refine = jax.vmap(partial(_refine, side=side), (0, None))
        free, errors = refine(_starts(target, side), flat)
        chosen = free[errors.argmin()]
        explained = jnp.where(jnp.square(flat).sum() > 0, 1 - errors.min(), 0.0)
        fitted = _projection(chosen, flat, side).reshape(side, side)
        return jnp.clip(explained, 0.0, 1.0), _bounded(chosen, side), fitted

    return jax.vmap(best)(filters)
