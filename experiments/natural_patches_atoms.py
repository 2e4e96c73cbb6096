"""Dictionaries of natural patches, and which of their atoms are Gabor functions."""

import dataclasses
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ae_jax.codecs import CodecSpec, Ica, Pca, SparseCoding
from ae_jax.data import DataSet
from ae_jax.lab import Lab, Shown, fit_row, shown
from ae_jax.report import figures, style
from ae_jax.report.dictionaries import scaled
from experiments.gabor import GaborFits, fit_gabors

THRESHOLD = 0.8  # share of an atom's sum of squares
BATCH = 256  # patches between two updates of the atoms of sparse coding
SHOWN = 16  # atoms beside their fits


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
    spread = low = high = None
    if chosen.any():
        spread = round(orientation_spread(gabors.orientation[chosen]), 2)
        quantiles = np.quantile(gabors.frequency[chosen], [0.1, 0.9])
        low, high = (round(float(value), 3) for value in quantiles)
    return {
        "codec": name,
        "atoms": len(chosen),
        "Gabor share": round(found.share, 3),
        "median explained": round(float(np.median(gabors.explained)), 3),
        "orientation spread": spread,
        "frequency, 10 %": low,
        "frequency, 90 %": high,
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


@style.style()
def gabor_figure(found: dict[str, Dictionary]) -> Figure:
    """Atoms at even steps from the best explained to the worst, above their Gabor fits."""
    figure = Figure((9.0, 1.45 * len(found)), layout="constrained")
    for axes, (name, one) in zip(
        np.ravel(figure.subplots(len(found), 1)), found.items(), strict=True
    ):
        order = np.argsort(-one.gabors.explained)
        chosen = order[np.linspace(0, len(order) - 1, min(SHOWN, len(order))).astype(int)]
        # On the scale of the atom, so that a poor fit looks as weak as it is.
        peak = np.abs(one.atoms[chosen]).max(axis=(1, 2), keepdims=True)
        fitted = 0.5 + 0.5 * one.gabors.fitted[chosen] / peak
        tiles = np.concatenate([scaled(one.atoms[chosen], signed=True), fitted])
        axes.imshow(figures.tile(tiles, 2, len(chosen)), cmap="gray", vmin=0, vmax=1)
        pitch = tiles.shape[-1] + 1
        explained = one.gabors.explained[chosen]
        axes.set_xticks((np.arange(len(chosen)) + 0.5) * pitch - 1, [f"{e:.2f}" for e in explained])
        axes.grid(False)
        axes.set_yticks(np.array([0.5, 1.5]) * pitch - 1, ["atom", "fit"])
        axes.tick_params(length=0, labelsize=8)
        axes.spines[:].set_visible(False)
        axes.set_ylabel(style.display_name(name), fontsize=9)
    return figure


def explained_figure(found: dict[str, Dictionary]) -> Figure:
    """The share of atoms of which a Gabor function explains at least so much."""
    levels = np.linspace(0, 1, 201)
    curves = {
        name: (levels, (one.gabors.explained[:, None] >= levels[None]).mean(axis=0))
        for name, one in found.items()
    }
    figure = figures.loss_curves(
        curves, "share of the atom that its Gabor fit explains, at least", "share of atoms"
    )
    axes = figure.axes[0]
    axes.axvline(THRESHOLD, color="0.5", linewidth=1, linestyle="--")
    axes.annotate("counts as Gabor", (THRESHOLD + 0.01, 1.01), fontsize=8, color="0.35")
    return figure


@style.style()
def wave_figure(found: dict[str, Dictionary]) -> Figure:
    """Orientation and frequency of every atom that is a Gabor function."""
    drawn = {name: one for name, one in found.items() if one.fits.any()}
    figure = Figure((3.4 * max(len(drawn), 1), 3.5), layout="constrained")
    for index, (name, one) in enumerate(drawn.items(), 1):
        axes = figure.add_subplot(1, len(drawn), index, projection="polar")
        angle, frequency = one.gabors.orientation[one.fits], one.gabors.frequency[one.fits]
        # A wave has no sign: both ends of its axis are drawn.
        axes.scatter(
            np.concatenate([angle, angle + np.pi]),
            np.tile(frequency, 2),
            s=9,
            color=style.CYCLE[list(found).index(name)],
            alpha=0.7,
            linewidths=0,
        )
        axes.set_title(f"{style.display_name(name)}, cycles a pixel", fontsize=9)
        axes.set_rticks([0.1, 0.3, 0.5])
        axes.tick_params(labelsize=7)
        axes.set_rlim(0, 0.6)
    return figure


def pictures(found: dict[str, Dictionary]) -> dict[str, Shown]:
    atoms = {name: one.atoms for name, one in found.items()}
    return {
        "dictionaries": shown(
            "dictionaries", "Atoms", atoms, len(found),
            caption="Each on its own scale, zero is grey; PCA's in order of variance.",
        ),
        "gabors": Shown(
            gabor_figure(found), "Atoms and their Gabor fits",
            "From the best explained to the worst, with the share explained.",
        ),
        "explained": Shown(explained_figure(found), "How much a Gabor function explains"),
        "waves": Shown(
            wave_figure(found), "Orientation and frequency of Gabor atoms",
            "The fit takes no wave slower than one cycle a patch: edges lie on that circle.",
        ),
    }  # fmt: skip
