"""Densities over a plane of codes, such as the true posterior beside the encoder's."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse, Patch

from ae_jax.report.drawing import legend_below
from ae_jax.report.style import RED, Figure, style

_DEVIATIONS = (1.0, 2.0)


@dataclasses.dataclass(frozen=True, eq=False)
class PosteriorInPlane:
    """p(z|x) over `first` [P] and `second` [P] as `density` [P, P], up to a factor, the first
    coordinate along its rows; q(z|x) is the normal of mean `loc` [2] and deviations `scale` [2]."""

    first: np.ndarray
    second: np.ndarray
    density: np.ndarray
    loc: np.ndarray
    scale: np.ndarray


@style()
def posterior_panels(images: np.ndarray, rows: Mapping[str, Sequence[PosteriorInPlane]]) -> Figure:
    """One column an image [N, H, W(, 1)]: above what is encoded, below p(z|x) as shades with the
    ellipses of one and two deviations of q(z|x), one row for each name. Windows differ."""
    count = len(images)
    size = 2.2
    figure = Figure((size * count, size * len(rows) + 1.9), layout="constrained")
    cells = figure.subplots(
        len(rows) + 1, count, squeeze=False, height_ratios=[0.5, *len(rows) * [1.0]]
    )
    for axes, image in zip(cells[0], images, strict=True):
        axes.imshow(image.reshape(image.shape[:2]), cmap="gray", vmin=0, vmax=1)
        axes.set_axis_off()
    for line, (name, panels) in zip(cells[1:], rows.items(), strict=True):
        for axes, panel in zip(line, panels, strict=True):
            _draw(axes, panel)
        line[0].set_ylabel(f"{name}\n$z_2$")
    for axes in cells[-1]:
        axes.set_xlabel("$z_1$")
    legend_below(
        figure,
        {
            "q(z|x), one and two deviations": Line2D([], [], color=RED),
            "p(z|x) by quadrature": Patch(color="0.4"),
        },
    )
    return figure


def _draw(axes: Axes, panel: PosteriorInPlane) -> None:
    axes.grid(False)
    axes.imshow(
        panel.density.T,
        origin="lower",
        extent=(panel.first[0], panel.first[-1], panel.second[0], panel.second[-1]),
        cmap="Greys",
        aspect="equal",
    )
    for deviations in _DEVIATIONS:
        width, height = 2 * deviations * panel.scale
        axes.add_patch(
            Ellipse(panel.loc, width, height, edgecolor=RED, facecolor="none", linewidth=1.3)
        )
    axes.locator_params(nbins=4)
