"""Figures that set methods beside each other: curves over sizes, codes, lines through data."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from matplotlib import colormaps
from matplotlib.patches import Patch

from ae_jax.report.drawing import (
    REFERENCE_STYLE,
    Curves,
    draw_curves,
    legend_below,
    line_style,
    logarithmic,
    name_classes,
    name_lines,
    ticks_where_measured,
)
from ae_jax.report.figures import line_figure, show_picture, tile
from ae_jax.report.style import CYCLE, REFERENCE, Figure, class_colors, display_name, style


@style()
def curves(
    lines: Curves,
    x_label: str,
    y_label: str,
    *,
    log_x: bool = False,
    log_y: bool = False,
    ticks: tuple[float, ...] | None = None,
    markers: bool = True,
    title: str | None = None,
) -> Figure:
    """One line for each label, from its abscissae [n] and values [n], or [S, n] of S seeds.

    `ticks` are the abscissae to be named; by default those measured, where they are few. What is
    not finite leaves a gap.
    """
    figure = line_figure(lines, x_label, y_label, title, markers=markers)
    axes = figure.axes[0]
    logarithmic(axes, log_x, log_y)
    if markers or ticks is not None:
        ticks_where_measured(axes, lines, ticks)
    name_lines(axes)
    return figure


@style()
def scatter_panels(
    panels: Mapping[str, np.ndarray],
    labels: np.ndarray,
    axis_labels: tuple[str, str] = (r"first coordinate $z_1$", r"second coordinate $z_2$"),
) -> Figure:
    """Two-dimensional codes [N, 2] of the same examples side by side, one panel a method.

    One colour for each value of `labels` [N]; each panel has its own scale, as codes do.
    """
    classes = np.unique(labels)
    figure = Figure((3.5 * len(panels) + 0.8, 3.5), layout="constrained")
    size = float(np.clip(6000 / max(len(labels), 1), 3, 14))
    row = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (title, codes) in zip(row, panels.items(), strict=True):
        for label, color in zip(classes, class_colors(len(classes)), strict=True):
            chosen = codes[labels == label]
            axes.scatter(
                chosen[:, 0], chosen[:, 1], s=size, color=color, label=str(label),
                linewidths=0, alpha=0.7, rasterized=True,
            )  # fmt: skip
        name_classes(axes, codes, labels)
        axes.set_title(display_name(title))
        axes.set(xlabel=axis_labels[0], ylabel=axis_labels[1])
    handles, names = row[0].get_legend_handles_labels()
    legend = figure.legend(handles, names, loc="outside right upper", title="class")
    for handle in legend.legend_handles:
        handle.set_sizes([36])
        handle.set_alpha(1)
    return figure


@style()
def image_panels(panels: Mapping[str, np.ndarray], columns: int) -> Figure:
    """Grids of images [N, H, W] or [N, H, W, C] side by side, each with so many columns.

    Values lie in [0, 1]; each panel has its title.
    """
    pictures = [tile(images, -(-len(images) // columns), columns) for images in panels.values()]
    height, width = (max(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    figure = Figure((4.2 * len(panels), 3.9 * height / width + 0.3), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08)
    row = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, title, picture in zip(row, panels, pictures, strict=True):
        show_picture(axes, picture)
        axes.set_title(display_name(title))
    return figure


@style()
def lines_through_points(
    points: np.ndarray,
    lines: Mapping[str, tuple[np.ndarray, np.ndarray]],
    axis_labels: tuple[str, str],
    labels: np.ndarray | None = None,
    *,
    is_course: bool = False,
) -> Figure:
    """Points [N, 2] and, for each name, the line through a point [2] along a direction [2].

    Lines span the projections of the points; both axes have one scale, so that angles are seen.
    With `is_course` those after the first are steps towards it, from light to dark.
    """
    figure = Figure((5.0, 5.8), layout="constrained")
    axes = figure.add_subplot()
    groups = {"": points} if labels is None else {k: points[labels == k] for k in np.unique(labels)}
    greys = np.linspace(0.3, 0.75, len(groups))
    for (label, group), grey in zip(groups.items(), greys, strict=True):
        axes.scatter(
            group[:, 0], group[:, 1], s=16, color=str(grey), linewidths=0, label=str(label) or None
        )
    for place, (name, (through, direction)) in enumerate(lines.items()):
        direction = direction / np.linalg.norm(direction)
        along = (points - through[None]) @ direction
        ends = through[None] + np.array([along.min(), along.max()])[:, None] * direction[None]
        if is_course and place:
            shade = 0.15 + 0.85 * place / (len(lines) - 1)
            axes.plot(*ends.T, label=name, color=colormaps["YlOrRd"](shade), linewidth=1.6)
            continue
        # Broad below narrow: where they agree, both are seen.
        width = 5.0 / (1 + 1.5 * place)
        axes.plot(*ends.T, label=name, color=CYCLE[place], linewidth=width)
    axes.set(xlabel=axis_labels[0], ylabel=axis_labels[1])
    axes.set_aspect("equal", adjustable="datalim")
    legend_below(figure)
    return figure


@style()
def curve_panels(
    panels: Mapping[str, Curves],
    x_label: Mapping[str, str],
    y_label: str,
    *,
    log_x: bool = False,
    log_y: bool = False,
    share_y: bool = True,
    markers: bool = True,
) -> Figure:
    """Curves side by side: one panel a title, one legend for all.

    `x_label` names the abscissa of each panel; a label has one look in all panels. The ordinates
    have one scale, unless `share_y` is off.
    """
    figure = Figure((max(3.1 * len(panels), 5.0), 3.7), layout="constrained")
    row = figure.subplots(1, len(panels), squeeze=False, sharey=share_y)[0]
    places: dict[str, int] = {}
    for axes, (title, lines) in zip(row, panels.items(), strict=True):
        draw_curves(axes, lines, markers=markers, places=places)
        logarithmic(axes, log_x, log_y)
        ticks_where_measured(axes, lines)
        axes.set_title(display_name(title))
        axes.set_xlabel(x_label[title])
    for axes in row:  # when the ordinates, which they share, are known
        name_lines(axes)
    row[0].set_ylabel(y_label)
    legend_below(figure)
    return figure


@style()
def bars(
    values: Mapping[str, float],
    x_label: str,
    *,
    notes: Mapping[str, str] | None = None,
    groups: Mapping[str, str] | None = None,
) -> Figure:
    """One lying bar for each name, the smallest value on top, with the value beside it.

    `notes` are written after the values; names of one of the `groups` share a colour.
    """
    ordered = sorted(values, key=values.__getitem__, reverse=True)
    kinds = list(dict.fromkeys((groups or {}).values()))
    figure = Figure((7.2, 0.36 * len(ordered) + (1.2 if kinds else 0.9)), layout="constrained")
    axes = figure.add_subplot()
    colors = [CYCLE[kinds.index(groups[name])] if groups else CYCLE[0] for name in ordered]
    drawn = axes.barh(
        [display_name(n) for n in ordered], [values[n] for n in ordered], color=colors, height=0.7
    )
    texts = [f"{values[n]:.3g}" + (f"  {notes[n]}" if notes else "") for n in ordered]
    axes.bar_label(drawn, texts, padding=4, fontsize=8.5)
    axes.set_xlabel(x_label)
    axes.grid(False, axis="y")
    axes.margins(x=0.22)
    if kinds:
        legend_below(figure, {kind: Patch(color=CYCLE[i]) for i, kind in enumerate(kinds)})
    return figure


@dataclasses.dataclass(frozen=True, eq=False)
class Rate:
    """Values [n] at abscissae [n], as measured and, where theory has them, as predicted."""

    x: np.ndarray
    measured: np.ndarray
    predicted: np.ndarray | None = None


@style()
def rates(panels: Mapping[str, Mapping[str, Rate]], x_label: str, y_label: str) -> Figure:
    """How fast what vanishes does: log against log, one panel a title, markers on predicted lines.

    A value of 0 has no place on such axes and is left out.
    """
    figure = Figure((max(3.7 * len(panels), 5.0), 4.2), layout="constrained")
    row = figure.subplots(1, len(panels), squeeze=False)[0]
    places: dict[str, int] = {}
    for axes, (title, lines) in zip(row, panels.items(), strict=True):
        for label, rate in lines.items():
            look = line_style(places.setdefault(label, len(places)), markers=True)
            if rate.predicted is not None:
                axes.plot(rate.x, rate.predicted, color=look["color"], linewidth=1.0)
                look["linestyle"] = "none"
            above = np.asarray(rate.measured) > 0
            points = np.asarray(rate.x)[above], np.asarray(rate.measured)[above]
            axes.plot(*points, label=display_name(label), **look)
        axes.set(xscale="log", yscale="log", xlabel=x_label)
        axes.set_title(display_name(title))
    row[0].set_ylabel(y_label)
    legend_below(figure)
    return figure


@style()
def loss_with_zoom(
    losses: Curves, last: int, y_label: str, level: tuple[str, float] | None = None
) -> Figure:
    """Losses [n] by epoch [n] on the left, on the right the `last` epochs of the longest runs.

    A run that ended early has its end marked. `level` is a name and a value that both panels show.
    """
    figure = Figure((8.6, 4.2), layout="constrained")
    whole, zoom = figure.subplots(1, 2)
    end = max((x[-1] for x, _ in losses.values() if len(x)), default=1)
    for place, (label, (x, y)) in enumerate(losses.items()):
        look = line_style(place, markers=False)
        whole.plot(x, y, label=display_name(label), **look)
        if len(x) and x[-1] < end:
            whole.plot(x[-1:], y[-1:], color=look["color"], marker="x", markersize=8)
        elif len(x):
            zoom.plot(x[-last:], y[-last:], **look)
    if level is not None:
        for axes in (whole, zoom):
            axes.axhline(level[1], color=REFERENCE, linestyle=REFERENCE_STYLE, linewidth=1.2,
                         label=display_name(level[0]))  # fmt: skip
    whole.set_title("all epochs")
    zoom.set_title(f"last {last} epochs")
    for axes in (whole, zoom):
        axes.set_xlabel("epoch")
        logarithmic(axes, False, True)
    whole.set_ylabel(y_label)
    legend_below(figure)
    return figure
