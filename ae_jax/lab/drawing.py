"""Figures by name: what an experiment shows of its arrays, in the one look of the library."""

from collections.abc import Callable
from typing import Any

from matplotlib.figure import Figure

from ae_jax.core.registry import Registry
from ae_jax.report import comparisons, dictionaries, figures
from ae_jax.report.pages import Shown

FIGURES = Registry[Callable[..., Figure]](
    "figure",
    {
        "atoms": dictionaries.atom_tiles,
        "bars": comparisons.bars,
        "bound_curves": figures.bound_curves,
        "codes": figures.scatter_codes,
        "curve_panels": comparisons.curve_panels,
        "curves": comparisons.curves,
        "dictionaries": dictionaries.dictionary_panels,
        "image_grid": figures.image_grid,
        "image_panels": comparisons.image_panels,
        "loss_curves": figures.loss_curves,
        "manifold": figures.manifold,
        "reconstructions": figures.reconstructions,
        "scatter_panels": comparisons.scatter_panels,
    },
)


def shown(kind: str, heading: str, *given: Any, caption: str = "", **options: Any) -> Shown:
    """The figure of a registered kind, or of `path/to/file.py:function`, with its heading.

    shown("curves", "Error by size", {"autoencoder": (sizes, errors)}, "size of the code", "error")

    Raises UserError for an unknown kind.
    """
    return Shown(FIGURES.get(kind)(*given, **options), heading, caption)
