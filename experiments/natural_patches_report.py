"""Figures of atoms and of the Gabor functions fitted to them."""

import numpy as np
from matplotlib.figure import Figure

from ae_jax.lab import Shown
from ae_jax.report import figures, style
from ae_jax.report.dictionaries import dictionary_panels, scaled
from experiments.natural_patches_atoms import THRESHOLD, Dictionary

SHOWN = 16


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
