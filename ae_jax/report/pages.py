"""One self-contained page about an experiment or a run, and tables in plain text.

The page carries its style and its pictures inside and loads nothing from elsewhere, so it can
be mailed, archived and opened without a network.
"""

import base64
import dataclasses
import json
import numbers
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from ae_jax.core.files import make_directory, write_atomically
from ae_jax.report import figures
from ae_jax.report.claims import environment
from ae_jax.train.config import AnyConfig, to_dict
from ae_jax.train.rundir import RunDirectory

Row = Mapping[str, object]


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
    """A PNG (the bytes, for example `figures.png(figure)`) with its caption."""

    heading: str
    png: bytes
    caption: str = ""
    kind: ClassVar[str] = "picture"

    @property
    def data(self) -> str:
        return base64.b64encode(self.png).decode("ascii")


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows that map column names to values; columns stand in the order they first occur."""

    heading: str
    rows: Sequence[Row]
    note: str = ""
    kind: ClassVar[str] = "table"

    @property
    def columns(self) -> list[str]:
        return columns(self.rows)

    @property
    def numeric(self) -> set[str]:
        return {name for name in self.columns if is_numeric(self.rows, name)}


Section = Text | Picture | Table


@dataclasses.dataclass(frozen=True)
class Shown:
    """A figure with its heading and caption in a report."""

    figure: Figure
    heading: str
    caption: str = ""


CLAIM_COLUMNS = ("name", "value", "target", "tolerance", "unit", "source", "holds")


def claims_table(claims: Sequence[Row]) -> Table:
    """The claims of a `results.json`, with a note that counts those that hold."""
    rows = [{column: claim[column] for column in CLAIM_COLUMNS} for claim in claims]
    held = sum(bool(claim["holds"]) for claim in claims)
    return Table("Claims", rows, f"{held} of {len(claims)} hold.")


def environment_table(facts: Row) -> Table:
    """Where the numbers were made: one row for each entry of `environment()`."""
    return Table("Environment", [{"what": key, "is": value} for key, value in facts.items()])


def runs_table(runs: Sequence[Row]) -> Table:
    """One row for each training run behind the numbers."""
    return Table("Runs", runs)


def configuration_table(config: Mapping[str, Row]) -> Table:
    """One row for each option of a configuration, as `config.to_dict` gives it."""
    rows = [
        {"option": f"{section}.{option}", "value": str(value)}
        for section, options in config.items()
        for option, value in options.items()
    ]
    return Table("Configuration", rows)


def kept_pictures(folder: Path, drawn: Mapping[str, Shown]) -> list[Picture]:
    """Saves figures as `folder`/NAME.png; returns them as sections, in their order."""
    make_directory(folder)
    for name, shown in drawn.items():
        figures.save(shown.figure, folder / f"{name}.png")
    return [Picture(one.heading, figures.png(one.figure), one.caption) for one in drawn.values()]


def write_model_report(
    directory: RunDirectory,
    config: AnyConfig,
    title: str,
    summary: str,
    tables: Sequence[Table],
    drawn: Mapping[str, Shown],
) -> Path:
    """The page of a run or a codec: its first table, the figures, the others, how it was made.

    Figures go to the directory too. Returns the path of the page.
    """
    sections: list[Section] = [tables[0], *kept_pictures(directory.figures, drawn), *tables[1:]]
    sections += [configuration_table(to_dict(config)), environment_table(environment())]
    return write_report(directory.report_file, title, summary, sections)


def write_report(path: str | Path, title: str, summary: str, sections: Sequence[Section]) -> Path:
    """Writes the page to `path` in one step; all text is escaped. Returns the path.

    Raises UserError where the file cannot be written.
    """
    environment = Environment(
        loader=PackageLoader("ae_jax.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html").render(
        title=title,
        summary=_paragraphs(summary),
        sections=sections,
        cell=cell,
        is_verdict=is_verdict,
    )
    return write_atomically(path, page.encode("utf-8"))


def markdown_table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table that also reads well on a terminal; numbers to the right."""
    names = columns(rows)
    lines = [[_unpiped(n) for n in names]]
    lines += [[_unpiped(cell(row.get(n))) for n in names] for row in rows]
    widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(names))]
    right = [is_numeric(rows, name) for name in names]
    padded = [
        [t.rjust(w) if r else t.ljust(w) for t, w, r in zip(line, widths, right, strict=True)]
        for line in lines
    ]
    rule = [("-" * (w - 1) + ":") if r else "-" * w for w, r in zip(widths, right, strict=True)]
    return "\n".join(f"| {' | '.join(line)} |" for line in [padded[0], rule, *padded[1:]])


def columns(rows: Sequence[Row]) -> list[str]:
    """All column names, in the order they first occur."""
    return list(dict.fromkeys(name for row in rows for name in row))


def is_numeric(rows: Sequence[Row], column: str) -> bool:
    """Whether the column holds a number, and nothing but numbers and gaps."""
    values = [row[column] for row in rows if row.get(column) is not None]
    return bool(values) and all(isinstance(v, numbers.Real) and not is_verdict(v) for v in values)


def is_verdict(value: object) -> bool:
    """Whether the value is a yes or a no, Python's or numpy's."""
    return isinstance(value, (bool, np.bool_))


def cell(value: object) -> str:
    """A value as a reader wants it: yes or no, six significant digits, a dash for a gap."""
    if value is None:
        return "–"
    if is_verdict(value):
        return "yes" if value else "no"
    if isinstance(value, numbers.Integral):
        return f"{value:,}" if abs(value) >= 100_000 else str(value)
    if isinstance(value, numbers.Real):
        return f"{float(value):.6g}"
    if isinstance(value, (Mapping, list, tuple)):
        return json.dumps(value, default=str, ensure_ascii=False)
    return str(value)


def _unpiped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _paragraphs(text: str) -> list[str]:
    return [part.strip() for part in text.split("\n\n") if part.strip()]
