"""Figures from arrays: every function is pure and returns a `matplotlib.figure.Figure`.

The object-oriented interface needs neither pyplot nor a display, and keeps no global state.
Images are [N, H, W] or [N, H, W, C] with values in [0, 1], C one or three; values outside are
clipped. Bounds are in nats per example.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from scipy.special import ndtri

from ae_jax.report.drawing import Curves, draw_curves, legend_below, name_lines, over_seeds
from ae_jax.report.pictures import draw_codes, draw_manifold, draw_rows, show_picture, tile
from ae_jax.report.style import BAND, BLUE, GREEN, NAMED, RED, REFERENCE, Figure, style

Role = Literal["ours_train", "ours_test", "paper_train", "paper_test", "baseline"]
# Colour says which method, breadth whose, dashes which split: our thin lines lie on the paper's
# broad pale ones, test on train, so that where they agree all are seen.
ROLE_STYLE: Mapping[str, Mapping[str, object]] = {
    "baseline": {"color": REFERENCE, "linestyle": (0, (4, 2.5)), "linewidth": 1.1, "zorder": 2.0},
    "paper_train": {"linestyle": (0, (2.2, 1.1)), "linewidth": 2.2, "zorder": 2.1},
    "paper_test": {"linestyle": "-", "linewidth": 4.5, "zorder": 2.2},
    "ours_train": {"linestyle": (0, (3, 1.5)), "linewidth": 1.0, "zorder": 2.3},
    "ours_test": {"linestyle": "-", "linewidth": 1.7, "zorder": 2.4},
}
# Of each method: the colour of ours, and of the paper's.
METHOD_COLORS = ((BLUE, "#a6cbe3"), (RED, "#f3c6a4"), (GREEN, "#a3d9c8"))


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
    """A lower bound `values` [n], nats per example, after `samples` [n] training examples.

    Values [S, n] are those of S seeds. An example counts each time it is visited. `role` decides
    the line's breadth and dashes, `method`, a place in `METHOD_COLORS`, its colour.
    """

    label: str
    samples: np.ndarray
    values: np.ndarray
    role: Role
    method: int = 0

    @property
    def look(self) -> dict[str, object]:
        """How its line is drawn."""
        ours, paper = METHOD_COLORS[self.method]
        return {"color": paper if self.role.startswith("paper") else ours, **ROLE_STYLE[self.role]}

    @property
    def mean(self) -> np.ndarray:
        """Over seeds, [n]."""
        return over_seeds(np.atleast_2d(self.values))[0]

    @property
    def band(self) -> tuple[np.ndarray, np.ndarray] | None:
        """One standard deviation over seeds below the mean and above it; None of one seed."""
        if np.ndim(self.values) < 2 or len(self.values) < 2:
            return None
        mean, deviation = over_seeds(self.values)
        return mean - deviation, mean + deviation


@dataclasses.dataclass(frozen=True, eq=False)
class Panel:
    """One set of axes: a title such as "20 latent dimensions", and the curves drawn in it."""

    title: str
    curves: tuple[Curve, ...]


@style()
def image_grid(images: np.ndarray, rows: int, columns: int, title: str | None = None) -> Figure:
    """Images in a grid with thin white separators, nothing else but the title."""
    picture = tile(images, rows, columns)
    height, width = picture.shape[:2]
    scale = 6.0 / max(height, width)
    figure = Figure((scale * width, scale * height + (0.27 if title else 0)), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02)
    show_picture(figure.add_subplot(), picture)
    if title:
        figure.suptitle(title)
    return figure


@style()
def prior_sample_panels(samples: Mapping[int, np.ndarray]) -> Figure:
    """Samples of p(x) for each latent size, as Fig. 5 of Kingma & Welling 2014.

    `samples` maps a latent size to images, most naturally 100 of them for a 10 x 10 grid.
    """
    pictures = [tile(x, *2 * [math.isqrt(len(x) - 1) + 1]) for x in samples.values()]
    height, width = pictures[0].shape[:2]
    figure = Figure((2.9 * len(samples), 2.8 * height / width + 0.3), layout="constrained")
    row = figure.subplots(1, len(samples), squeeze=False)[0]
    letters = "abcdefghijklmnopqrstuvwxyz"
    for axes, picture, latent_dim, letter in zip(row, pictures, samples, letters, strict=False):
        show_picture(axes, picture)
        axes.set_xlabel(f"({letter}) {latent_dim}-D latent space")
    return figure


def manifold_coordinates(n: int) -> np.ndarray:
    """Codes [n*n, 2] on a grid of equal prior probability, row by row from the top.

    The coordinates are the standard normal quantiles of (i + 1/2) / n. The first coordinate grows
    to the right; the top row has the largest second coordinate (Fig. 4 of Kingma & Welling 2014).
    """
    quantiles = ndtri((np.arange(n) + 0.5) / n)
    second, first = np.meshgrid(quantiles[::-1], quantiles, indexing="ij")
    return np.stack([first.ravel(), second.ravel()], axis=-1)


@style()
def manifold(images: np.ndarray, n: int, title: str | None = None) -> Figure:
    """The decoded `manifold_coordinates(n)`: codes below and left, their probabilities opposite."""
    height, width = np.shape(images)[1:3]
    figure = Figure((7.4, 5.7 * height / width + (1.25 if title else 1.0)), layout="constrained")
    draw_manifold(figure.add_subplot(), images, n)
    if title:
        figure.suptitle(title)
    return figure


@style()
def manifold_panels(grids: Mapping[str, np.ndarray], n: int) -> Figure:
    """Decoded `manifold_coordinates(n)` side by side, one panel a title, all of one height."""
    pictures = [tile(images, n, n, pad=0) for images in grids.values()]
    widths = [picture.shape[1] / picture.shape[0] for picture in pictures]
    figure = Figure((4.6 * sum(widths), 5.2), layout="constrained")
    row = figure.subplots(1, len(pictures), squeeze=False, width_ratios=widths)[0]
    letters = "abcdefghijklmnopqrstuvwxyz"
    for axes, picture, title, letter in zip(row, pictures, grids, letters, strict=False):
        show_picture(axes, picture)
        axes.set_title(f"({letter}) {title}")
        axes.set(xlabel="$z_1$, lowest to highest quantile", ylabel="$z_2$")
    return figure


def reconstructions(
    originals: np.ndarray, rows: Mapping[str, np.ndarray], title: str | None = None
) -> Figure:
    """Originals in the top row and, under each, its reconstructions: one labelled row a method."""
    return image_rows({"original": originals, **rows}, title=title)


@style()
def image_rows(
    rows: Mapping[str, np.ndarray],
    columns: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Rows of as many images each, named before them; `columns` are named below."""
    figure = Figure(layout="constrained")
    picture = draw_rows(figure.add_subplot(), rows, columns)
    height, width = picture.shape[:2]
    figure.set_size_inches(8.0, 6.6 * height / width + (0.5 if title else 0.15))
    if columns is not None:
        figure.set_figheight(figure.get_figheight() + 0.45)
    # The layout counts the labels a little too narrow where pictures keep their aspect.
    figure.get_layout_engine().set(w_pad=0.12)
    if title:
        figure.suptitle(title)
    return figure


def bound_limits(panels: Sequence[Panel]) -> tuple[float, float]:
    """The y range that shows all curves but for the lowest tenth of them.

    The first updates lift a bound by hundreds of nats and would flatten the rest. Curves count
    alike, along the logarithm of their samples, however densely they were recorded.
    """
    pooled = np.concatenate([_along_log_samples(c) for panel in panels for c in panel.curves])
    low, high = np.quantile(pooled, 0.1), pooled.max()
    margin = 0.05 * max(high - low, 1.0)
    return float(low - margin), float(high + margin)


def _along_log_samples(curve: Curve, points: int = 100) -> np.ndarray:
    """Values at equal steps of log samples; records that are not finite or before any sample go."""
    values = curve.mean
    kept = np.isfinite(values) & (np.asarray(curve.samples) > 0)
    if not kept.any():
        return np.empty(0)
    place = np.log(np.asarray(curve.samples)[kept])
    return np.interp(np.linspace(place[0], place[-1], points), place, values[kept])


@style()
def bound_curves(
    panels: Sequence[Panel],
    protocol: str | None = None,
    limits: tuple[float, float] | None = None,
    y_label: str = "lower bound (nats per example)",
) -> Figure:
    """The lower bound along training, one panel a latent size: Fig. 2 of Kingma & Welling 2014.

    `protocol` is written above: the data, their binarisation, the network. The y range is shared
    and is `bound_limits` unless `limits` gives another. Shaded is where published curves go on and
    ours have not been trained to; of seeds the mean has a band of one standard deviation. More
    than three panels stand in two rows.
    """
    rows = 1 if len(panels) <= 3 else 2
    columns = -(-len(panels) // rows)
    figure = Figure((max(2.75 * columns + 0.6, 5.0), 2.7 * rows + 0.9), layout="constrained")
    places = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    samples = np.concatenate([np.asarray(c.samples) for p in panels for c in p.curves])
    first, last = samples[samples > 0].min(), samples.max()
    for place, axes in enumerate(places[: len(panels)]):
        _draw_bounds(axes, panels[place], last)
        if place + columns >= len(panels):
            axes.set_xlabel("training samples seen")
            axes.tick_params(labelbottom=True)
        if place % columns == 0:
            axes.set_ylabel(y_label)
    for axes in places[len(panels) :]:
        axes.remove()
    places[0].set_xlim(first, last)
    places[0].set_ylim(limits or bound_limits(panels))
    for axes in figure.axes:
        name_lines(axes, below=True)
    legend_below(figure)
    if protocol:
        figure.suptitle(protocol)
    return figure


def _draw_bounds(axes: Axes, panel: Panel, last: float) -> None:
    """The curves of a panel, up to `last` samples, and a shade over what ours do not reach."""
    axes.set_xscale("log")
    axes.set_title(panel.title)
    for curve in panel.curves:
        marker = "o" if len(curve.samples) <= 2 else None
        label = f"{NAMED}{curve.label}" if curve.role == "baseline" else curve.label
        axes.plot(curve.samples, curve.mean, label=label, marker=marker, **curve.look)
        if curve.band is not None:
            color = curve.look["color"]
            axes.fill_between(
                curve.samples, *curve.band, color=color, alpha=0.25, linewidth=0,
                label=f"_{label}", gid=BAND,
            )  # fmt: skip
    reached = [np.max(c.samples) for c in panel.curves if c.role.startswith("ours")]
    if reached and max(reached) < last / 1.05:
        axes.axvspan(
            max(reached), last, color="0.93", zorder=0, linewidth=0, label="beyond our training"
        )
    axes.xaxis.set_major_locator(LogLocator(numticks=6))
    axes.xaxis.set_minor_locator(NullLocator())


@style()
def scatter_codes(codes: np.ndarray, labels: np.ndarray, title: str | None = None) -> Figure:
    """Two-dimensional codes [N, 2], one colour for each value of `labels` [N]."""
    classes = np.unique(labels)
    figure = Figure((6.6, 5.6), layout="constrained")
    axes = figure.add_subplot()
    draw_codes(axes, codes, labels)
    axes.set(xlabel=r"first code coordinate $z_1$", ylabel=r"second code coordinate $z_2$")
    legend = figure.legend(
        loc="outside right upper",
        title="class",
        ncols=1 + (len(classes) - 1) // 20,
    )
    for handle in legend.legend_handles:
        handle.set_sizes([36])
        handle.set_alpha(1)
    if title:
        axes.set_title(title)
    return figure


@style()
def loss_curves(
    curves: Curves,
    x_label: str = "epoch",
    y_label: str = "loss (nats per example)",
    title: str | None = None,
    *,
    markers: bool = False,
) -> Figure:
    """One line for each label, from its abscissae [n] and values [n], on linear axes.

    Values [S, n] are those of S seeds. A level of two equal values is dashed and named at the line.
    """
    figure = line_figure(curves, x_label, y_label, title, markers=markers)
    name_lines(figure.axes[0])
    return figure


def line_figure(
    curves: Curves, x_label: str, y_label: str, title: str | None, *, markers: bool
) -> Figure:
    """`loss_curves` before its levels are named, for what changes the axes first."""
    figure = Figure((6.4, 4.0), layout="constrained")
    axes = figure.add_subplot()
    draw_lines(axes, curves, x_label, y_label, markers=markers)
    legend_below(figure)
    if title:
        axes.set_title(title)
    return figure


def draw_lines(axes: Axes, curves: Curves, x_label: str, y_label: str, *, markers: bool) -> None:
    """The lines and what is at their axes, where an epoch is a whole number."""
    draw_curves(axes, curves, markers=markers)
    axes.set(xlabel=x_label, ylabel=y_label)
    if x_label.startswith("epoch"):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
