"""What figures of lines share: how a line, a level, a legend and the names of classes are drawn."""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator
from matplotlib.transforms import Transform
from scipy.signal import savgol_filter

from ae_jax.report.style import CYCLE, FAINT, MARKERS, NAMED, RAW, REFERENCE, display_name

# x [n] and y [n], or y [S, n] of as many seeds.
Curves = Mapping[str, tuple[np.ndarray, np.ndarray]]

FEW_TICKS = 9  # abscissae that can all be named
LETTER, ROW = 0.068, 0.15  # inches of a name at 8.5 points
NOISY_FROM = 30  # points: fewer are all shown
REFERENCE_STYLE = (0, (4, 2.5))


def draw_curves(
    axes: Axes, lines: Curves, *, markers: bool = False, places: dict[str, int] | None = None
) -> None:
    """Each curve in its colour; levels dashed, noisy ones smoothed before the raw ones.

    Of values of several seeds [S, n] the mean is drawn with an error bar of one standard
    deviation. `places` of labels in the cycle of looks are added to, for axes that share them.
    """
    places = {} if places is None else places  # levels take no colour, and no place
    for label, (x, y) in lines.items():
        x, y = np.asarray(x), np.asarray(y, float)
        if is_level(y):
            axes.plot(x, y, color=REFERENCE, linestyle=REFERENCE_STYLE, linewidth=1.2,
                      label=f"{NAMED}{display_name(label)}")  # fmt: skip
            continue
        place = places.setdefault(label, len(places))
        look = line_style(place, markers or y.shape[-1] <= 2)
        name = display_name(label)
        if y.ndim == 2:
            mean, spread = over_seeds(y)
            axes.errorbar(x, mean, yerr=spread, capsize=2.5, label=name, **look)
        elif is_noisy(y):
            axes.plot(x, y, color=look["color"], alpha=FAINT, linewidth=0.8, label=f"{RAW}{name}")
            axes.plot(x, smoothed(y), label=name, **look)
        else:
            axes.plot(x, y, label=name, **look)


def over_seeds(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of values [S, n] over the seeds that have one, NaN left out."""
    known = np.isfinite(y)
    count = known.sum(axis=0)
    mean = np.where(known, y, 0.0).sum(axis=0) / np.where(count > 0, count, np.nan)
    squares = np.where(known, np.square(y - mean), 0.0).sum(axis=0)
    return mean, np.sqrt(squares / np.maximum(count - 1, 1))


def line_style(place: int, markers: bool) -> dict[str, object]:
    """The look of the line at a place in the cycle; the second round is dashed."""
    index = place % len(CYCLE)
    return {
        "color": CYCLE[index],
        "linestyle": "--" if place >= len(CYCLE) else "-",
        "marker": MARKERS[index] if markers else None,
    }


def is_level(y: np.ndarray) -> bool:
    """Whether the values [n] are those of a level line, which is drawn between two points."""
    return y.shape == (2,) and y[0] == y[1]


def is_noisy(y: np.ndarray) -> bool:
    """Whether many values [n] turn up and down by more than a hundredth of what they span."""
    if y.ndim != 1 or len(y) < NOISY_FROM or not np.isfinite(y).all():
        return False
    steps = np.sign(np.diff(y))
    turns = np.mean(steps[1:] * steps[:-1] < 0)
    return bool(turns > 0.3 and np.std(y - smoothed(y)) > 0.01 * np.ptp(y))


def smoothed(y: np.ndarray) -> np.ndarray:
    """Values [n] on lines fitted to each and its neighbours, a tenth of them all."""
    return savgol_filter(y, 2 * max(2, len(y) // 20) + 1, 1)


def logarithmic(axes: Axes, x: bool, y: bool) -> None:
    """Logarithmic axes with plain numbers at their ticks."""
    for is_log, axis, scale in (
        (x, axes.xaxis, axes.set_xscale),
        (y, axes.yaxis, axes.set_yscale),
    ):
        if is_log:
            scale("log")
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_formatter(NullFormatter())


def ticks_where_measured(axes: Axes, lines: Curves, ticks: Sequence[float] | None = None) -> None:
    """Names the abscissae `ticks`, by default those of the points where they are few."""
    if ticks is None:
        found = [np.asarray(x) for x, y in lines.values() if not is_level(np.asarray(y, float))]
        ticks = np.unique(np.concatenate(found)).tolist() if found else []
        if not 1 < len(ticks) <= FEW_TICKS:
            return
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())


def name_lines(axes: Axes, below: bool = False) -> None:
    """Writes the names of levels and baselines at their right ends.

    Above them or, where another one is close above or where asked for, `below`; on the other side
    or at the left ends where a curve would go through the name, if it does not there.
    """
    named = [line for line in axes.lines if str(line.get_label()).startswith(NAMED)]
    axes.get_xlim(), axes.get_ylim()  # which are worked out when they are asked for, or drawn
    to_axes = axes.transData + axes.transAxes.inverted()
    curves = [_points(line, to_axes) for line in axes.lines if line not in named]
    drawn = np.concatenate([np.empty((0, 2)), *curves])
    inches = axes.get_position().size * axes.figure.get_size_inches()
    ends = [to_axes.transform(line.get_xydata()[[0, -1]]) for line in named]
    for line, (left, right) in zip(named, ends, strict=True):
        # In short lines, as there is little room beside curves.
        text = textwrap.fill(str(line.get_label()).removeprefix(NAMED), 14)
        others = [other[1, 1] for other in ends if not np.array_equal(other, [left, right])]
        usual = below or any(0 < other - right[1] < 0.07 for other in others)
        places = [(right, usual), (left, usual), (right, not usual), (left, not usual)]
        rows = text.split("\n")
        size = np.array([LETTER * max(map(len, rows)), ROW * len(rows)]) / inches
        free = (
            (end, under)
            for end, under in places
            if not _covers(end, (1 if end is left else -1, -1 if under else 1), size, drawn)
        )
        end, under = next(free, places[0])
        if under and 0 <= end[1] < size[1] and axes.get_yscale() == "linear":
            _make_room_below(axes, size[1] - end[1] + 0.03)
        axes.annotate(
            text,
            line.get_xydata()[0 if end is left else -1],
            xytext=(2 if end is left else -2, -4 if under else 3),
            textcoords="offset points",
            ha="left" if end is left else "right",
            va="top" if under else "bottom",
            color=REFERENCE,
            fontsize=8.5,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )


def _make_room_below(axes: Axes, share: float) -> None:
    """Lets the ordinates begin lower, by a share of what they span."""
    low, high = axes.get_ylim()
    axes.set_ylim(low - share * (high - low), high)


def _points(line: Line2D, to_axes: Transform) -> np.ndarray:
    """Points along a drawn line, close to each other, as shares of the axes [N, 2]."""
    corners = to_axes.transform(line.get_xydata())
    corners = corners[np.isfinite(corners).all(axis=1)]
    if len(corners) < 2:
        return corners
    between = np.linspace(0, len(corners) - 1, 20 * len(corners))
    along = np.arange(len(corners))
    return np.stack([np.interp(between, along, column) for column in corners.T], axis=1)


def _covers(
    corner: np.ndarray, towards: tuple[int, int], size: np.ndarray, drawn: np.ndarray
) -> bool:
    """Whether a box of a size from a corner on, in one of four directions, hides points [N, 2]."""
    within = (drawn - corner) * towards
    return bool(((within >= 0) & (within <= size)).all(axis=1).any())


def legend_below(figure: Figure, handles: Mapping[str, object] | None = None) -> None:
    """One entry for each label of any panel, below the axes, where it hides no data."""
    if handles is None:
        found = [axes.get_legend_handles_labels() for axes in figure.axes]
        handles = {n: h for hs, ns in found for h, n in zip(hs, ns, strict=True)}
    if not handles:
        return
    # What is shaded stands after what is drawn.
    names = sorted(handles, key=lambda name: isinstance(handles[name], Patch))
    room = 13 * figure.get_figwidth()  # in letters; a line before its name is six wide
    for rows in range(1, len(names) + 1):
        columns = -(-len(names) // rows)
        # As the legend fills them: from the top, the first ones with what is left over.
        widths = [max(map(len, column)) + 6 for column in np.array_split(names, columns)]
        if sum(widths) <= room:
            break
    figure.legend(
        handles=[handles[name] for name in names],
        labels=names,
        loc="outside lower center",
        ncols=columns,
    )


def name_classes(axes: Axes, codes: np.ndarray, labels: np.ndarray) -> None:
    """Writes each label [N] where the medians of its codes [N, 2] are."""
    classes = np.unique(labels)
    if len(classes) > 20:
        return
    for label in classes:
        axes.annotate(
            str(label),
            np.median(codes[labels == label], axis=0),
            ha="center",
            va="center",
            fontsize=11,
            fontweight="bold",
            path_effects=[withStroke(linewidth=3, foreground="white")],
        )
