"""A plane of codes: what is decoded on a grid of equal prior probability, and where codes lie."""

import dataclasses

import numpy as np
from scipy.special import ndtr
from scipy.stats import kstest

from ae_jax.api import Fitted
from ae_jax.data import DataSet
from experiments.baselines import image_errors, pca_image_errors, pca_of, rows_of

SIDE = 20  # of the grid of codes
CODE = 2


@dataclasses.dataclass(frozen=True)
class Plane:
    """A trained model, its grid of decoded codes [side * side, H, W, 1] and the test codes."""

    dataset: DataSet
    model: Fitted
    grid: np.ndarray
    codes: np.ndarray

    @property
    def apart(self) -> float:
        """Squared difference of neighbours on the grid over that of any two of its images."""
        images = self.grid.reshape(SIDE, SIDE, -1).astype(np.float64)
        beside = [np.square(np.diff(images, axis=axis)).sum(axis=-1).mean() for axis in (0, 1)]
        flat = images.reshape(SIDE * SIDE, -1)
        any_two = 2 * np.square(flat - flat.mean(axis=0, keepdims=True)).sum(axis=1).mean()
        return float(np.mean(beside) / any_two)

    @property
    def unevenness(self) -> float:
        """How far the codes are from filling the prior: the largest Kolmogorov-Smirnov distance,
        over both coordinates, of their prior probabilities from uniform ones."""
        return max(float(kstest(ndtr(column), "uniform").statistic) for column in self.codes.T)

    @property
    def errors(self) -> np.ndarray:
        """Squared error of each test example from its mean code, [N]."""
        return image_errors(self.model, rows_of(self.dataset, "test"))

    @property
    def pca_errors(self) -> np.ndarray:
        """The same of two principal components, [N]."""
        return pca_image_errors(pca_of(self.dataset, CODE), rows_of(self.dataset, "test"))
