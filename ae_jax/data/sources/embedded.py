"""Small sets that come inside scikit-learn's package, and so need no network."""

from pathlib import Path

import numpy as np

from ae_jax.data.protocols import Stored, hold_out
from ae_jax.data.sources.cache import Log

SOURCES = ("prepared files", "embedded in scikit-learn")


def digits(work: Path, log: Log) -> Stored:
    """The 1797 digits of the UCI test set (Alpaydin & Kaynak 1998), 8x8x1 uint8 in 0..16."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = bunch.images.astype(np.uint8)[..., None]
    return hold_out(images, bunch.target.astype(np.int32), 16.0, "digits")


def iris(work: Path, log: Log) -> Stored:
    """Fisher's 150 irises (1936): four lengths in cm, float32, and the species 0..2."""
    from sklearn.datasets import load_iris

    bunch = load_iris()
    return hold_out(bunch.data.astype(np.float32), bunch.target.astype(np.int32), None, "iris")
