"""Dictionaries as pictures: every atom an image, on a scale of its own."""

import math
from collections.abc import Mapping

import numpy as np

from ae_jax.report import figures
from ae_jax.report.style import Figure, display_name, style


def scaled(atoms: np.ndarray, signed: bool | None = None) -> np.ndarray:
    """Atoms [Z, ...] brought to [0, 1], each by its largest magnitude; blank ones are one grey.

    `signed` atoms have 0 at middle grey, others at black. By default those with a value clearly
    below 0 are.
    """
    atoms = np.asarray(atoms, np.float64)
    axes = tuple(range(1, atoms.ndim))
    peak = np.abs(atoms).max(axis=axes, keepdims=True)
    unit = np.divide(atoms, peak, out=np.zeros_like(atoms), where=peak > 0)
    if signed is None:
        signed = bool((unit < -0.05).any())
    return 0.5 + 0.5 * unit if signed else np.clip(unit, 0, 1)


def atom_tiles(atoms: np.ndarray, title: str | None = None) -> Figure:
    """Atoms [Z, H, W] or [Z, H, W, C] as one picture, nearly square."""
    columns = math.isqrt(len(atoms) - 1) + 1
    return figures.image_grid(scaled(atoms), -(-len(atoms) // columns), columns, title)


@style()
def dictionary_panels(
    dictionaries: Mapping[str, np.ndarray], columns: int, title: str | None = None
) -> Figure:
    """Dictionaries side by side, each of atoms [Z, H, W] in square tiles under its name.

    `columns` panels stand in a row.
    """
    rows = -(-len(dictionaries) // columns)
    figure = Figure((2.6 * columns, 2.85 * rows + (0.3 if title else 0)), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.06)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(dictionaries) :]:
        axes.set_axis_off()
    for axes, (name, atoms) in zip(panels, dictionaries.items(), strict=False):
        side = math.isqrt(len(atoms) - 1) + 1
        picture = figures.tile(scaled(atoms), -(-len(atoms) // side), side)
        axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.grid(False)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        axes.set_title(display_name(name))
    if title:
        figure.suptitle(title)
    return figure
