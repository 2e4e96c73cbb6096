"""How figures look, and what things are called in them: one place for all that draws.

Sizes are for a column of about 900 pixels, where a README shows them. Colours of lines are those
of Okabe & Ito, those of classes Petroff's (2021): the colour-blind tell either apart.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib.figure
import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

BLUE, RED, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#E69F00", "#009E73", "#CC79A7"
CYCLE = (BLUE, RED, GREEN, PURPLE, ORANGE, "black")
MARKERS = "os^DvP"  # one for each colour of the cycle: lines differ in print too
CLASSES = (
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6",
    "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
)  # fmt: skip
REFERENCE = "0.35"  # of lines that say where others are
RAW = "_raw "  # before the labels of what is faint: no legend shows them
NAMED = "_named "  # before the labels of lines whose names stand at their ends
BAND = "band"  # the mark of what lies around a mean of seeds
FAINT = 0.25  # the opacity of what is behind a smoothed line

RC = {
    "font.size": 10.0,
    "axes.titlesize": 11.0,
    "axes.labelsize": 10.0,
    "figure.titlesize": 11.0,
    "legend.fontsize": 9.0,
    "legend.title_fontsize": 9.0,
    "legend.frameon": False,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.92",
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "image.cmap": "gray",
    "pdf.fonttype": 42,  # text that can be searched and edited
    "svg.fonttype": "none",
}


class Figure(matplotlib.figure.Figure):
    """A figure that a notebook shows where it is the last line of a cell, without pyplot.

    Its axes look alike, whoever adds them.
    """

    def add_subplot(self, *args: Any, **options: Any) -> Axes:
        with style():
            return super().add_subplot(*args, **options)

    def _repr_png_(self) -> bytes:
        """What IPython asks objects for."""
        png = io.BytesIO()
        self.savefig(png, format="png", dpi=110, bbox_inches="tight", pad_inches=0.05)
        return png.getvalue()


def new_figure(width: float = 6.4, height: float = 4.0) -> Figure:
    """An empty figure, in inches, whose `subplots` are drawn in and which a notebook shows."""
    return Figure((width, height), layout="constrained")


@contextmanager
def style() -> Iterator[None]:
    """Figures made inside look alike; as a decorator, `@style()`, those of a function do.

    Nothing outside is changed.
    """
    with rc_context(RC):
        yield


def plain(axes: Axes) -> None:
    """No frame but the two axes, above a light grid: for axes made outside of `style`."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=RC["grid.color"], linewidth=RC["grid.linewidth"])
    axes.set_axisbelow(True)


def class_colors(count: int) -> list[str]:
    """One colour a class, as far apart as so many can be."""
    if count <= len(CLASSES):
        return list(CLASSES[:count])
    return [to_hex(color) for color in colormaps["turbo"](np.linspace(0.03, 0.97, count))]


# What is not its identifier with spaces for the underscores.
_NAMES = {
    "ae": "autoencoder",
    "cd": "contrastive divergence",
    "dae": "denoising autoencoder",
    "elbo": "ELBO",
    "ica": "ICA",
    "iwae": "IWAE",
    "kl": "KL",
    "kmeans": "k-means",
    "linear_ae": "linear autoencoder",
    "mcem": "Monte Carlo EM",
    "mnist": "MNIST",
    "binarized_mnist": "binarised MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "frey_face": "Frey Face",
    "freyface": "Frey Face",
    "olivetti": "Olivetti",
    "usps": "USPS",
    "nmf": "NMF",
    "pca": "PCA",
    "probabilistic_pca": "probabilistic PCA",
    "psnr": "PSNR",
    "rbm": "RBM",
    "vae": "VAE",
    "z": "z",
}


class _AsGiven(str):
    """What `as_given` marks."""


def as_given(name: object) -> str:
    """A name that is the user's own, of a run, a class or a file: `display_name` leaves it so."""
    return _AsGiven(name)


def data_name(name: str) -> str:
    """What a data set is called: the field's name of a registered one, else that of the file."""
    path = name.partition(".py:")[0]
    is_file = "/" in path or "." in path
    return as_given(name.rpartition("/")[2]) if is_file else display_name(name)


def display_name(identifier: str) -> str:
    """The field's name for what code calls `identifier`: `sparse_coding` is sparse coding.

    Of a user's `path/to/file.py:Name` it is the name alone; what has no underscore and no entry
    here is left as it is, and so is what is `as_given`.
    """
    if isinstance(identifier, _AsGiven):
        # No legend shows a label that begins with an underscore: a hair space stands before it.
        return f"\u200a{identifier}" if identifier.startswith("_") else identifier
    name = identifier.rpartition(".py:")[2] if ".py:" in identifier else identifier
    is_text = " " in name or "$" in name
    return _NAMES.get(name, name if is_text else name.replace("_", " ").strip())
