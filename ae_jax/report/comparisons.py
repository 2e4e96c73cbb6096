"""Figures that set methods beside each other: curves over sizes, codes, lines through data."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from ae_jax.report.figures import CYCLE, class_colors, loss_curves, plain

Curves = Mapping[str, tuple[np.ndarray, np.ndarray]]


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
    """One line for each label, from its abscissae [n] and values [n].

    `ticks` are the abscissae to be named, where they are few; what is not finite leaves a gap.
    """
    figure = loss_curves(lines, x_label, y_label, title, markers=markers)
    axes = figure.axes[0]
    for is_log, axis, scale in (
        (log_x, axes.xaxis, axes.set_xscale),
        (log_y, axes.yaxis, axes.set_yscale),
    ):
        if is_log:
            scale("log")
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_formatter(NullFormatter())
    if ticks is not None:
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
    return figure


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
        axes.set_title(title, fontsize=11)
        axes.set(xlabel=axis_labels[0], ylabel=axis_labels[1])
        plain(axes)
    handles, names = row[0].get_legend_handles_labels()
    legend = figure.legend(handles, names, loc="outside right upper", title="class", frameon=False)
    for handle in legend.legend_handles:
        handle.set_sizes([36])
        handle.set_alpha(1)
    return figure


def lines_through_points(
    points: np.ndarray,
    lines: Mapping[str, tuple[np.ndarray, np.ndarray]],
    axis_labels: tuple[str, str],
    labels: np.ndarray | None = None,
) -> Figure:
    """Points [N, 2] and, for each name, the line through a point [2] along a direction [2].

    Lines span the projections of the points; both axes have one scale, so that angles are seen.
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
        # Broad below narrow: where they agree, both are seen.
        width = 5.0 / (1 + 1.5 * place)
        axes.plot(ends[:, 0], ends[:, 1], label=name, color=CYCLE[place], linewidth=width)
    axes.set(xlabel=axis_labels[0], ylabel=axis_labels[1])
    axes.set_aspect("equal", adjustable="datalim")
    plain(axes)
    axes.legend(frameon=False, fontsize=9)
    return figure


def curve_panels(panels: Mapping[str, Curves], x_label: Mapping[str, str], y_label: str) -> Figure:
    """Curves side by side with one scale of ordinates: one panel a title, one legend for all.

    `x_label` names the abscissa of each panel; a label has one colour in all panels.
    """
    figure = Figure((max(3.1 * len(panels), 5.0), 3.7), layout="constrained")
    row = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axes, (title, lines) in zip(row, panels.items(), strict=True):
        axes.set_prop_cycle(color=CYCLE)
        for label, (x, y) in lines.items():
            axes.plot(x, y, label=label, linewidth=1.6, marker="o", markersize=4)
        axes.set_title(title, fontsize=11)
        axes.set_xlabel(x_label[title])
        plain(axes)
    row[0].set_ylabel(y_label)
    handles, names = row[0].get_legend_handles_labels()
    figure.legend(
        handles, names, loc="outside lower center", ncols=len(names), frameon=False, fontsize=9
    )
    return figure
