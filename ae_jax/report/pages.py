"""One self-contained page about an experiment or a run, and tables in plain text.

The page carries its style and its pictures inside and loads nothing from elsewhere, so it can
be mailed, archived and opened without a network.
"""

import base64
import csv
import dataclasses
import io
import math
import numbers
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from ae_jax.core.errors import UserError, warn
from ae_jax.core.files import make_directory, write_atomically
from ae_jax.report import saving
from ae_jax.report.claims import environment
from ae_jax.report.style import display_name
from ae_jax.train.config import AnyConfig, to_dict
from ae_jax.train.rundir import RunDirectory

Row = Mapping[str, object]

EXPLORER = "explorer.html"  # beside a report, the page to walk through the codes
EXPLORER_LINK = MappingProxyType({"Walk through the codes": EXPLORER})
PADDED_TO = 40  # characters of a cell
LARGEST = 1e9  # that is written without an exponent
AWAY = "diverged"  # in place of a number
THOUSANDS_FROM = 100_000  # whole numbers are easier to read with their thousands apart
NUMBER = re.compile(r"[+-]?\d[\d,]*(\.\d+)?(e[+-]?\d+)?( ?%)?")


@dataclasses.dataclass(frozen=True)
class Text:
    """Paragraphs, parted by blank lines."""

    heading: str
    body: str
    kind: ClassVar[str] = "text"

    @property
    def paragraphs(self) -> list[str]:
        return _paragraphs(self.body)


@dataclasses.dataclass(frozen=True)
class Picture:
    """A PNG (the bytes, for example `saving.png(figure)`) with its caption."""

    heading: str
    png: bytes
    caption: str = ""
    kind: ClassVar[str] = "picture"

    @property
    def data(self) -> str:
        return base64.b64encode(self.png).decode("ascii")


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows that map column names to values; columns stand in the order they first occur.

    On a narrow screen a table scrolls sideways, or, where it is `stacked`, each row becomes a list
    of its cells beside their names.
    """

    heading: str
    rows: Sequence[Row]
    note: str = ""
    stacked: bool = False
    kind: ClassVar[str] = "table"

    @property
    def columns(self) -> list[str]:
        return columns(self.rows)

    @property
    def numeric(self) -> set[str]:
        return {name for name in self.columns if is_numeric(self.rows, name)}

    @property
    def lines(self) -> list[dict[str, str]]:
        """The texts of the cells, one dictionary a row."""
        return [dict(zip(self.columns, line, strict=True)) for line in _texts(self.rows)]


Section = Text | Picture | Table


@dataclasses.dataclass(frozen=True)
class Shown:
    """A figure with its heading and caption in a report."""

    figure: Figure
    heading: str
    caption: str = ""


CLAIM_COLUMNS = ("name", "value", "direction", "target", "tolerance", "unit", "source", "holds")


def claims_table(claims: Sequence[Row]) -> Table:
    """The claims of a `results.json`, with a note that counts those that hold."""
    rows = [{column: claim[column] for column in CLAIM_COLUMNS} for claim in claims]
    held = sum(bool(claim["holds"]) for claim in claims)
    return Table("Claims", rows, f"{held} of {len(claims)} hold.", stacked=True)


def environment_table(facts: Row) -> Table:
    """Where the numbers were made: one row for each entry of `environment()`."""
    return Table("Environment", [{"what": key, "is": value} for key, value in facts.items()])


def runs_table(runs: Sequence[Row]) -> Table:
    """One row for each training run behind the numbers."""
    return Table("Runs", runs)


def configuration_table(config: Mapping[str, Row]) -> Table:
    """One row for each option of a configuration, as `config.to_dict` gives it."""
    rows = [
        {"option": f"{section}.{option}", "value": cell(value)}
        for section, options in config.items()
        for option, value in options.items()
    ]
    return Table("Configuration", rows)


def evaluated_rows(directory: RunDirectory) -> list[Row]:
    """What `evaluate` has found of a run so far, one row for each split and checkpoint.

    Warns where that is damaged: the report has the rest.
    """
    try:
        rows = directory.evaluated()
    except UserError as error:
        warn(f"{error}; the report leaves it out")
        return []
    # Where the run lies is no finding.
    return [{display_name(k): v for k, v in row.items() if k != "run"} for row in rows]


def evaluated_tables(directory: RunDirectory) -> list[Table]:
    """The same as a table, where there is anything."""
    rows = evaluated_rows(directory)
    if not rows:
        return []
    note = "Nats per example; squared errors of model inputs, per example and per dimension."
    return [Table("Evaluated", rows, note)]


def kept_pictures(folder: Path, drawn: Mapping[str, Shown]) -> list[Picture]:
    """Saves figures as `folder`/NAME, to be printed and to be plotted anew; returns them as
    sections, in their order."""
    make_directory(folder)
    for name, shown in drawn.items():
        saving.save(shown.figure, folder / f"{name}.png")
    return [Picture(one.heading, saving.png(one.figure), one.caption) for one in drawn.values()]


def write_model_report(
    directory: RunDirectory,
    config: AnyConfig,
    title: str,
    summary: str,
    tables: Sequence[Table],
    drawn: Mapping[str, Shown],
) -> Path:
    """The page of a run or a codec: its first table and what was evaluated, the figures, the other
    tables, how it was made.

    Figures go to the directory too; where it has a page to walk through the codes, the report
    links to it. Returns the path of the report.
    """
    sections: list[Section] = [tables[0], *evaluated_tables(directory)]
    sections += [*kept_pictures(directory.figures, drawn), *tables[1:]]
    sections += [configuration_table(to_dict(config)), environment_table(environment())]
    links = EXPLORER_LINK if (directory.path / EXPLORER).exists() else {}
    return write_report(directory.report_file, title, summary, sections, links)


def link_to_explorer(directory: RunDirectory) -> None:
    """Makes the report of a run, where one was written before its explorer, link to that.

    Raises UserError where the file cannot be written.
    """
    if not directory.report_file.is_file():
        return
    page = directory.report_file.read_text(encoding="utf-8")
    link = _environment().get_template("links.html").render(links=EXPLORER_LINK)
    if link not in page:
        page = page.replace("</header>", f"{link}</header>", 1)
        write_atomically(directory.report_file, page.encode("utf-8"))


def write_report(
    path: str | Path,
    title: str,
    summary: str,
    sections: Sequence[Section],
    links: Mapping[str, str] = MappingProxyType({}),
) -> Path:
    """Writes the page to `path` in one step; all text is escaped. Returns the path.

    `links` are files beside it, by what they are called. Raises UserError where the file cannot be
    written.
    """
    page = (
        _environment()
        .get_template("page.html")
        .render(
            title=title,
            summary=_paragraphs(summary),
            sections=sections,
            links=links,
            is_verdict=is_verdict,
        )
    )
    return write_atomically(path, page.encode("utf-8"))


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("ae_jax.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def markdown_table(rows: Sequence[Row], padded_to: int = PADDED_TO) -> str:
    """The rows as a Markdown table that also reads well on a terminal; numbers to the right.

    Cells longer than `padded_to` stick out, rather than fill all others of a column with blanks.
    """
    names = columns(rows)
    lines = [[_unpiped(text) for text in line] for line in (names, *_texts(rows))]
    longest = [max(3, *(len(line[i]) for line in lines)) for i in range(len(names))]
    widths = [min(length, padded_to) for length in longest]
    right = [is_numeric(rows, name) for name in names]
    padded = [
        [t.rjust(w) if r else t.ljust(w) for t, w, r in zip(line, widths, right, strict=True)]
        for line in lines
    ]
    rule = [("-" * (w - 1) + ":") if r else "-" * w for w, r in zip(widths, right, strict=True)]
    return "\n".join(f"| {' | '.join(line)} |" for line in [padded[0], rule, *padded[1:]])


def csv_table(rows: Sequence[Row]) -> str:
    """The rows as a table with commas, a blank where a row has no value; numbers in full."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns(rows), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def columns(rows: Sequence[Row]) -> list[str]:
    """All column names, in the order they first occur."""
    return list(dict.fromkeys(name for row in rows for name in row))


def is_numeric(rows: Sequence[Row], column: str) -> bool:
    """Whether the column holds a number, and nothing but numbers and gaps.

    A number that was written out (`1e+06`, `18,490`, `64 %`) is one too.
    """
    values = [row[column] for row in rows if not is_gap(row.get(column))]
    return bool(values) and all(_is_number(value) for value in values)


def is_gap(value: object) -> bool:
    """Whether there is nothing to show: None, or an empty text."""
    return value is None or value == ""


def _is_number(value: object) -> bool:
    if isinstance(value, str):
        return value == AWAY or NUMBER.fullmatch(value) is not None
    return isinstance(value, numbers.Real) and not is_verdict(value)


def _texts(rows: Sequence[Row]) -> list[list[str]]:
    """The cells of each row; the numbers of a column have as many decimals as each other."""
    by_column = [_column([row.get(name) for row in rows]) for name in columns(rows)]
    return [list(line) for line in zip(*by_column, strict=True)]


def _column(values: Sequence[Any]) -> list[str]:
    plain = [v for v in values if _is_plain(v)]
    decimals = _decimals(plain)
    if decimals is None:
        # Of whole numbers all have their thousands apart, or none.
        whole = all(isinstance(v, numbers.Integral) for v in plain)
        if whole and any(abs(v) >= THOUSANDS_FROM for v in plain):
            return [f"{v:,}" if _is_plain(v) else cell(v) for v in values]
        return [cell(value) for value in values]
    return [f"{value:,.{decimals}f}" if _is_plain(value) else cell(value) for value in values]


def _size(value: Any) -> Any:
    return abs(value)


def _is_plain(value: Any) -> bool:
    """Whether the value is a number that digits before and after a point can show."""
    return (
        isinstance(value, numbers.Real)
        and not is_verdict(value)
        and _size(value) < LARGEST  # also not NaN; a whole number may be beyond all floats
    )


def _decimals(values: Sequence[float]) -> int | None:
    """How many decimals show every value of a column, to at most six digits of the largest.

    None for whole numbers, and where one number of decimals would hide the small values or show
    digits of the large ones that mean nothing.
    """
    sizes = [abs(float(v)) for v in values if v != 0]
    if not sizes or all(isinstance(v, numbers.Integral) for v in values):
        return None
    needed = 0
    for size in sizes:
        text = f"{size:.6g}"
        if "e" in text:
            return None
        needed = max(needed, len(text.partition(".")[2]))
    most = max(0, 5 - math.floor(math.log10(max(sizes))))
    least = max(0, 1 - math.floor(math.log10(min(sizes))))  # two digits of the smallest
    if least > most and needed > most:
        return None
    return min(needed, most)


def is_verdict(value: object) -> bool:
    """Whether the value is a yes or a no, Python's or numpy's."""
    return isinstance(value, (bool, np.bool_))


def cell(value: Any) -> str:
    """A value as a reader wants it: yes or no, six significant digits, a dash for a gap."""
    if is_gap(value):
        return "–"
    if is_verdict(value):
        return "yes" if value else "no"
    if isinstance(value, numbers.Integral):
        return f"{value:,}" if _size(value) >= THOUSANDS_FROM else str(value)
    if isinstance(value, numbers.Real):
        return AWAY if math.isinf(value) else f"{float(value):.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {cell(each)}" for key, each in value.items()) or "–"
    if isinstance(value, (list, tuple)):
        return ", ".join(cell(each) for each in value) or "–"
    return str(value)


def _unpiped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _paragraphs(text: str) -> list[str]:
    return [part.strip() for part in text.split("\n\n") if part.strip()]
