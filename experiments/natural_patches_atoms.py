"""Dictionaries of natural patches, and which of their atoms are Gabor functions."""

import dataclasses
from typing import Any

import numpy as np

from ae_jax.codecs import CodecSpec, Ica, Pca, SparseCoding
from ae_jax.data import DataSet
from ae_jax.lab import Lab, fit_row
from experiments.gabor import GaborFits, fit_gabors

THRESHOLD = 0.8  # share of an atom's sum of squares
BATCH = 256  # patches between two updates of the atoms of sparse coding


@dataclasses.dataclass(frozen=True)
class Preset:
    """Sizes: side of a patch, patches, components of PCA and ICA, atoms of sparse coding.

    penalty      of the L1 norm of codes, for patches of unit variance
    iterations   most passes of sparse coding over the patches
    claimed      whether there is enough data to claim anything
    """

    side: int
    train: int
    test: int
    components: int
    atoms: int
    penalty: float
    iterations: int
    claimed: bool = True


@dataclasses.dataclass(frozen=True)
class Dictionary:
    """A fitted codec with what was measured of it.

    atoms   [Z, S, S]
    codes   of the test patches, [N, Z]
    error   mean squared error of a pixel of a test patch
    """

    atoms: np.ndarray
    codes: np.ndarray
    error: float
    gabors: GaborFits
    run: dict[str, Any]

    @property
    def fits(self) -> np.ndarray:
        """Which atoms are Gabor functions, [Z]."""
        return self.gabors.explained >= THRESHOLD

    @property
    def share(self) -> float:
        return float(self.fits.mean())

    @property
    def kurtosis(self) -> float:
        """The median over codes of the excess kurtosis, 0 for normal codes."""
        return float(np.median(excess_kurtosis(self.codes)))


def excess_kurtosis(codes: np.ndarray) -> np.ndarray:
    """E z^4 / (E z^2)^2 - 3 of each column about its mean, [Z]; columns that never vary are left
    out."""
    centred = codes.astype(np.float64) - codes.mean(axis=0)
    variance = np.square(centred).mean(axis=0)
    used = variance > 1e-12
    return (centred[:, used] ** 4).mean(axis=0) / variance[used] ** 2 - 3


def orientation_spread(angles: np.ndarray) -> float:
    """1 - |mean of exp(2 i angle)|: 0 where all are the same, 1 where none is preferred."""
    return float(1 - np.abs(np.exp(2j * angles).mean())) if len(angles) else 0.0


def measure(lab: Lab, name: str, spec: CodecSpec, data: DataSet) -> Dictionary:
    """Fits a codec, encodes the test patches and fits Gabor functions to the atoms."""
    model = lab.fit(name, spec, data, "identity")
    test = data.splits["test"]
    codes = model.encode(test)
    error = float(np.square(model.decode(codes, units="model") - test.x).mean())
    atoms = np.asarray(model.params.atoms).reshape(-1, *data.shape[:2])
    return Dictionary(atoms, codes, error, fit_gabors(atoms), fit_row(name, model))


def row(name: str, found: Dictionary) -> dict[str, Any]:
    """One line of the table."""
    chosen, gabors = found.fits, found.gabors
    frequencies = gabors.frequency[chosen]
    low, high = np.quantile(frequencies, [0.1, 0.9]) if chosen.any() else (None, None)
    return {
        "codec": name,
        "atoms": len(chosen),
        "Gabor share": round(found.share, 3),
        "median explained": round(float(np.median(gabors.explained)), 3),
        "orientation spread": round(orientation_spread(gabors.orientation[chosen]), 2)
        if chosen.any()
        else None,
        "frequency, 10 %": None if low is None else round(float(low), 3),
        "frequency, 90 %": None if high is None else round(float(high), 3),
        "kurtosis of codes": round(found.kurtosis, 1),
        "L0": round(float((found.codes != 0).sum(axis=1).mean()), 1),
        "test MSE": round(found.error, 4),
    }


def specs(preset: Preset) -> dict[str, CodecSpec]:
    """The three codecs."""
    return {
        "pca": Pca(preset.components),
        "ica": Ica(preset.components),
        "sparse_coding": SparseCoding(
            preset.atoms,
            penalty=preset.penalty,
            batch_size=min(BATCH, preset.train),
            max_iterations=preset.iterations,
        ),
    }
