"""The best linear maps from what is corrupted or incomplete to what was there, in closed form.

All are linear least-squares estimators: they need the mean and covariance of clean examples and
what is known of the corruption, and no training. Examples are rows [N, D] in model units.
"""

import dataclasses

import numpy as np
from scipy.linalg import solve

from ae_jax.core.errors import UserError

# Added to the diagonal of what is inverted: pixels of the border never vary.
FLOOR = 1e-6


@dataclasses.dataclass(frozen=True)
class Moments:
    """Of clean examples: mean [D] and covariance [D, D], float64."""

    mean: np.ndarray
    covariance: np.ndarray

    @property
    def square(self) -> np.ndarray:
        """E[x^2] of each entry, [D]."""
        return np.square(self.mean) + np.diagonal(self.covariance)


def moments_of(x: np.ndarray) -> Moments:
    """The moments of examples [N, D]."""
    mean = x.mean(axis=0, dtype=np.float64)
    centred = x - mean.astype(x.dtype)[None]
    return Moments(mean, (centred.T @ centred).astype(np.float64) / len(x))


@dataclasses.dataclass(frozen=True)
class AffineMap:
    """x -> x @ weights + offset; weights [D, D], offset [D]."""

    weights: np.ndarray
    offset: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """[N, D] -> [N, D] float32."""
        return (x @ self.weights + self.offset[None]).astype(np.float32)


def corrupted_moments(
    clean: Moments, corruption: str, level: float
) -> tuple[float, float, np.ndarray]:
    """What is known of a corrupted entry y of x: (a, c, s) with E[y|x] = a x + c, s = E[y^2] [D].

    Entries are corrupted independently of each other (`ae_jax.data.corruption`). Raises UserError
    for a corruption whose moments are not known here.
    """
    kept = 1.0 - level
    known = {
        "gaussian": (1.0, 0.0, clean.square + level**2),
        "masking": (kept, 0.0, kept * clean.square),
        "salt_and_pepper": (kept, level / 2, kept * clean.square + level / 2),
    }
    if corruption not in known:
        raise UserError(f"no linear filter is known for the corruption {corruption!r}")
    return known[corruption]


def wiener_filter(clean: Moments, corruption: str, level: float) -> AffineMap:
    """The affine map of corrupted examples with the least mean squared error (Wiener 1949).

    For y with E[y|x] = a x + c it is E[x] + a C Cov(y)^-1 (y - E[y]), C = Cov(x); off the diagonal
    Cov(y) is a^2 C, because entries are corrupted independently.
    """
    factor, shift, square = corrupted_moments(clean, corruption, level)
    mean = factor * clean.mean + shift
    covariance = factor**2 * clean.covariance
    np.fill_diagonal(covariance, square - np.square(mean) + FLOOR)
    weights = solve(covariance, factor * clean.covariance, assume_a="pos")
    return AffineMap(weights, clean.mean - mean @ weights)


def linear_completion(clean: Moments, x: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """x [N, D] with its unobserved entries estimated linearly from the observed ones, [N, D].

    The conditional mean of a Gaussian with these moments. `observed` is bool [N, D]; examples that
    lack the same entries are solved for together. Unobserved values of x are never used.
    """
    filled = np.array(x, np.float64)
    patterns, which = np.unique(observed, axis=0, return_inverse=True)
    for index, known in enumerate(patterns):
        rows, unknown = np.flatnonzero(which.ravel() == index), ~known
        if not unknown.any():
            continue
        among = clean.covariance[np.ix_(known, known)] + FLOOR * np.eye(known.sum())
        centred = filled[np.ix_(rows, known)] - clean.mean[None, known]
        solved = solve(among, centred.T, assume_a="pos")  # where pixels lack, of one example each
        between = clean.covariance[np.ix_(unknown, known)]
        filled[np.ix_(rows, unknown)] = clean.mean[None, unknown] + (between @ solved).T
    return filled.astype(np.float32)
