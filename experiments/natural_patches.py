"""Natural patches: sparse coding finds localised, oriented filters where PCA finds gratings.

Claim   On whitened patches of natural photographs most atoms of sparse coding, and of ICA, are
        Gabor functions, as simple cells are (Olshausen & Field 1996; Bell & Sejnowski 1997), and
        hardly any principal component is. An atom counts if one Gabor function, no wider than a
        quarter of the patch (`experiments/gabor.py`), explains 80 % of its sum of squares. The
        orientations of these atoms spread over the half circle, and the codes of sparse coding
        have at least twice the excess kurtosis of PCA's.

Command python -m experiments.natural_patches --preset smoke|quick|standard [--images FOLDER]

        smoke     seconds; 8x8 patches, and no claim
        quick     12x12 patches, 160 atoms; about 3 minutes on two CPU cores
        standard  16x16 patches, 512 atoms, for an idle machine or an accelerator

Protocol  The two photographs in scikit-learn, or those of a folder, in grey, through the whitening
        filter of Olshausen & Field 1997; patches without their mean, of unit mean variance. Test
        patches come from the right fifth of each photograph, training patches from the rest.

Figures figures/dictionaries.png, gabors.png (atoms above their fits), explained.png (share of atoms
        by how much the fit explains), waves.png (orientation and frequency).
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ae_jax.cli.shell import run_command
from ae_jax.codecs import CodecSpec, Ica, Pca, SparseCoding
from ae_jax.data import DataSet
from ae_jax.lab import Findings, Lab, Shown, experiment, fit_row
from ae_jax.report import figures, style
from ae_jax.report.claims import Claim, at_least, at_most
from ae_jax.report.dictionaries import dictionary_panels, scaled
from experiments.gabor import GaborFits, fit_gabors
from experiments.patches import images_option, natural_patches

THRESHOLD = 0.8  # share of an atom's sum of squares
SHOWN = 16
BATCH = 256  # patches between two updates of the atoms of sparse coding
OLSHAUSEN = "Olshausen & Field 1996, Fig. 4"


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


PRESETS = {
    "smoke": Preset(8, 1_000, 300, 16, 24, 0.5, 2, claimed=False),
    "quick": Preset(12, 20_000, 4_000, 100, 160, 0.5, 40),
    "standard": Preset(16, 100_000, 10_000, 180, 512, 0.5, 40),
}


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


def claims(found: dict[str, Dictionary]) -> list[Claim]:
    """What the literature says of these dictionaries."""
    pca, ica, sparse = (found[name] for name in ("pca", "ica", "sparse_coding"))
    ratio = sparse.kurtosis / max(pca.kurtosis, 1e-6)
    spread = orientation_spread(sparse.gabors.orientation[sparse.fits])
    return [
        at_least(
            "most sparse-coding atoms are Gabor functions",
            sparse.share,
            0.5,
            0.0,
            "share of atoms",
            OLSHAUSEN,
        ),
        at_least(
            "most ICA atoms are Gabor functions",
            ica.share,
            0.5,
            0.0,
            "share of atoms",
            "Bell & Sejnowski 1997, Fig. 4",
        ),
        at_most(
            "hardly any principal component is a Gabor function",
            pca.share,
            0.1,
            0.0,
            "share of atoms",
            "Olshausen & Field 1996, Fig. 1",
        ),
        at_least(
            "orientations of sparse-coding atoms spread over the half circle",
            spread,
            0.5,
            0.0,
            "1 - |mean exp(2i angle)|",
            OLSHAUSEN,
        ),
        at_least(
            "codes of sparse coding have at least twice the excess kurtosis of PCA's",
            ratio,
            2.0,
            0.0,
            "ratio",
            OLSHAUSEN,
        ),
    ]


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
    shown = {name: one for name, one in found.items() if one.fits.any()}
    figure = Figure((3.4 * max(len(shown), 1), 3.5), layout="constrained")
    for index, (name, one) in enumerate(shown.items(), 1):
        axes = figure.add_subplot(1, len(shown), index, projection="polar")
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


def pictures(found: dict[str, Dictionary]) -> dict[str, Shown]:
    return {
        "dictionaries": Shown(
            dictionary_panels({name: one.atoms for name, one in found.items()}, len(found)),
            "Atoms",
            "Each on its own scale, zero is grey; PCA's in order of variance.",
        ),
        "gabors": Shown(
            gabor_figure(found),
            "Atoms and their Gabor fits",
            "From the best explained to the worst, with the share explained.",
        ),
        "explained": Shown(explained_figure(found), "How much a Gabor function explains"),
        "waves": Shown(
            wave_figure(found),
            "Orientation and frequency of Gabor atoms",
            "The fit takes no wave slower than one cycle a patch: edges lie on that circle.",
        ),
    }


@experiment("natural_patches", PRESETS)
@images_option
def main(preset: Preset, lab: Lab, images: Path | None) -> Findings:
    """Natural patches: localised, oriented filters of sparse coding and ICA, gratings of PCA."""
    data = natural_patches(images, preset.side, preset.train, preset.test)
    found = {name: measure(lab, name, spec, data) for name, spec in specs(preset).items()}
    source = "scikit-learn's two photographs" if images is None else f"photographs in {images.name}"
    return Findings(
        protocol=(
            f"{preset.train:,} whitened {preset.side}x{preset.side} patches of {source}, "
            f"{preset.test:,} for test from parts of the pictures that training does not see"
        ),
        note=(
            f"An atom is a Gabor function if one of at most a quarter of the patch in width "
            f"explains {THRESHOLD:.0%} of its sum of squares. Spread and frequencies (cycles a "
            "pixel, first and last tenth) are those of such atoms. Kurtosis is the median excess "
            f"kurtosis of a code over test patches. Penalty {preset.penalty:g}, at most "
            f"{preset.iterations} passes in batches of {BATCH}."
        ),
        tables={"Dictionaries": [row(name, one) for name, one in found.items()]},
        pictures=pictures(found),
        claims=claims(found) if preset.claimed else [],
        runs=[one.run for one in found.values()],
    )


if __name__ == "__main__":
    run_command(main)
