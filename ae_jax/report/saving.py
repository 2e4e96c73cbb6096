"""Figures as files: to be looked at (PNG), printed (PDF, SVG) and plotted anew (CSV)."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure

from ae_jax.core.files import write_atomically
from ae_jax.report.style import BAND, NAMED, RAW, style

PNG_DPI = 160
VECTOR_DPI = 300  # of the pictures inside a PDF or SVG
MARGIN = 0.06  # inches around all that is drawn
CSV_COLUMNS = ("panel", "kind", "series", "x", "y", "y_error")


def png(figure: Figure) -> bytes:
    """The figure as a PNG of 160 dots per inch, without blank margins."""
    return _rendered(figure, "png", PNG_DPI)


def save(figure: Figure, path: str | Path, also: Sequence[str] = ("pdf", "csv")) -> list[Path]:
    """Writes `path` as PNG and, beside it, one file for each format in `also` (pdf, svg, csv).

    A figure of pictures alone has no numbers, and no CSV. `path` may leave the suffix `.png` out.
    Each file is replaced in one step. Returns the paths, the PNG first. Raises UserError where they
    cannot be written.
    """
    path = Path(path)
    stem = path.stem if path.suffix == ".png" else path.name
    contents = {"png": png(figure)}
    for name in also:
        if name != "csv":
            contents[name] = _rendered(figure, name, VECTOR_DPI)
        elif any(next(_rows(axes), None) for axes in figure.axes):
            contents[name] = numbers(figure)
    return [write_atomically(path.with_name(f"{stem}.{f}"), c) for f, c in contents.items()]


def numbers(figure: Figure) -> bytes:
    """The numbers behind a figure as CSV, one point a row.

    `kind` is line, raw (what is faint behind a smoothed line), band, points or bar. `y_error` is
    half an error bar, or half the height of a band.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for index, axes in enumerate(figure.axes):
        panel = axes.get_title() or str(index + 1)
        for row in _rows(axes):
            writer.writerow([panel, *row])
    return text.getvalue().encode("utf-8")


def _rows(axes: Axes) -> Iterator[tuple]:
    errors, labels = {}, {}
    for container in axes.containers:
        if isinstance(container, ErrorbarContainer) and container.has_yerr:
            segments = container.lines[2][-1].get_segments()
            labels[container.lines[0]] = container.get_label()
            errors[container.lines[0]] = [_half_height(s) for s in segments]
        elif isinstance(container, BarContainer):
            yield from _bars(axes, container)
    caps = {cap for c in axes.containers if isinstance(c, ErrorbarContainer) for cap in c.lines[1]}
    for line in axes.lines:
        if line in caps:
            continue
        label = str(labels.get(line, line.get_label()))
        kind = "raw" if label.startswith(RAW) else "line"
        name = "" if label.startswith("_child") else label.removeprefix(RAW).removeprefix(NAMED)
        x, y = (np.asarray(part, float) for part in line.get_data())
        for place, value, error in zip(x, y, errors.get(line, [""] * len(x)), strict=True):
            yield kind, name, place, value, error
    for collection in axes.collections:
        if isinstance(collection, PathCollection):
            for x, y in np.asarray(collection.get_offsets(), float):
                yield "points", str(collection.get_label()), x, y, ""
        elif isinstance(collection, PolyCollection) and collection.get_gid() == BAND:
            yield from _band(collection)


def _half_height(segment: np.ndarray) -> float | str:
    """Of an error bar; blank where nothing is finite."""
    return float(np.ptp(segment[:, 1])) / 2 if len(segment) else ""


def _band(between: PolyCollection) -> Iterator[tuple]:
    """Its middle and half its height; it has the name of its line after an underscore."""
    name = str(between.get_label()).removeprefix("_")
    for path in between.get_paths():
        # Along the lower edge, then back along the upper; a corner before each, the first again.
        points = (len(path.vertices) - 3) // 2
        low = path.vertices[1 : points + 1]
        high = path.vertices[points + 2 : 2 * points + 2][::-1, 1]
        for (x, y), top in zip(low, high, strict=True):
            yield "band", name, x, (y + top) / 2, (top - y) / 2


def _bars(axes: Axes, bars: BarContainer) -> Iterator[tuple]:
    lying = bars.orientation == "horizontal"
    axis = axes.yaxis if lying else axes.xaxis
    names = {
        round(float(place), 6): label.get_text()
        for place, label in zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True)
    }
    for bar in bars.patches:
        place = bar.get_y() + bar.get_height() / 2 if lying else bar.get_x() + bar.get_width() / 2
        value = bar.get_width() if lying else bar.get_height()
        yield "bar", names.get(round(float(place), 6), ""), float(place), float(value), ""


def _rendered(figure: Figure, file_format: str, dpi: int) -> bytes:
    buffer = io.BytesIO()
    # No date inside: the same figure is the same file.
    undated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(file_format)
    with style():  # ticks are made when they are drawn
        figure.savefig(
            buffer,
            format=file_format,
            dpi=dpi,
            facecolor="white",
            bbox_inches="tight",
            pad_inches=MARGIN,
            metadata=undated,
        )
    return buffer.getvalue()
