"""What an experiment leaves behind: results.json, figures and report.html, made of its findings."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ae_jax.api import Fitted
from ae_jax.core.commit import UNKNOWN
from ae_jax.report.claims import Claim, origin, write_results
from ae_jax.report.pages import (
    Picture,
    Section,
    Shown,
    Table,
    claims_table,
    environment_table,
    kept_pictures,
    markdown_table,
    runs_table,
    write_report,
)
from ae_jax.train import processes
from ae_jax.train.rundir import RunDirectory

Rows = list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Findings:
    """What an experiment found.

    protocol   one sentence: data, split, preprocessing, network, units; it stands by every number
    note       how settings were chosen and what the numbers are
    tables     rows by heading, the main one first
    pictures   figures by the name of their file
    runs       one row a training run or fit: what it was, how long it took
    more       further entries of results.json, of numbers and text
    """

    protocol: str
    note: str
    tables: Mapping[str, Rows]
    pictures: Mapping[str, Shown]
    claims: Sequence[Claim] = ()
    runs: Rows = dataclasses.field(default_factory=list)
    more: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def rounded(rows: Rows, digits: Mapping[str, int]) -> Rows:
    """Rows for a table, the numbers of each column named with so many decimals.

    Claims are made from the rows as they were: what a table rounds may be on the other side.
    """
    return [
        {
            key: round(value, digits[key]) if key in digits and value != "" else value
            for key, value in row.items()
        }
        for row in rows
    ]


def run_rows(fitted: Mapping[str, Fitted]) -> Rows:
    """One row a run: epochs and steps of what was kept of it, and seconds of all its training."""
    return [
        {
            "run": name,
            "epochs": model.reached[-1]["epoch"],
            "steps": model.step,
            "training seconds": round(model.records[-1]["seconds"], 1),
        }
        for name, model in fitted.items()
    ]


def fit_row(name: str, model: Fitted) -> dict[str, Any]:
    """A row of `Findings.runs` for a fitted codec."""
    last = model.records[-1]
    return {
        "run": name,
        "iterations": model.step,
        "converged": last["converged"],
        "seconds": round(last["seconds"], 1),
    }


def publish(root: Path, title: str, findings: Findings) -> None:
    """Writes figures, results.json and report.html below `root` and says what they hold.

    Of several processes the first one does.
    """
    if not processes.is_first():
        return
    directory = RunDirectory(root)
    pictures = kept_pictures(directory.figures, findings.pictures)
    results = write_results(
        directory.results_file,
        findings.claims,
        findings.runs,
        trained=_trained_below(root),
        title=title,
        protocol=findings.protocol,
        note=findings.note,
        tables=dict(findings.tables),
        figures={name: shown.heading for name, shown in findings.pictures.items()},
        **findings.more,
    )
    sections = _sections(results, findings, pictures)
    write_report(directory.report_file, title, findings.protocol, sections)
    _show(results, directory)


def _trained_below(root: Path) -> dict[str, Any] | None:
    """When the runs below a folder began or went on, trials too, and at which commits."""
    files = root.rglob("provenance.json")
    starts = [start for file in files for start in RunDirectory(file.parent).trained()]
    if not starts:
        return None
    starts.sort(key=lambda start: start["at"])  # "unknown" comes last
    when = [start["at"] for start in starts if start["at"] != UNKNOWN] or [UNKNOWN]
    commits = list(dict.fromkeys(start["commit"] for start in starts))
    return {"first": when[0], "last": when[-1], "commits": commits}


def _sections(
    results: Mapping[str, Any], findings: Findings, pictures: list[Picture]
) -> list[Section]:
    main, *others = [Table(heading, rows) for heading, rows in findings.tables.items()]
    sections: list[Section] = [dataclasses.replace(main, note=findings.note)]
    if findings.claims:
        sections.append(claims_table(results["claims"]))
    sections += [*pictures, *others]
    if findings.runs:
        sections.append(runs_table(findings.runs))
    return [*sections, environment_table(results["environment"] | {"origin": origin(results)})]


def _show(results: Mapping[str, Any], directory: RunDirectory) -> None:
    """Prints the tables and the verdicts and says where everything lies."""
    click.echo(f"\n{results['protocol']}\n")
    for heading, rows in results["tables"].items():
        click.echo(f"{heading}\n\n{markdown_table(rows)}\n")
    click.echo(f"{results['note']}\n")
    for claim in results["claims"]:
        click.echo(f"{'holds' if claim['holds'] else 'DOES NOT HOLD'}: {claim['name']}")
    click.echo(f"\nfigures: {directory.figures}\nresults: {directory.results_file}")
    click.echo(f"report:  {directory.report_file}")
