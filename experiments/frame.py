"""The edges that experiments share: options, training by name, and what they leave behind.

An experiment is a function of a preset and a `Lab` that returns its `Findings`:

    @experiment("bottleneck", PRESETS)
    def main(preset: Preset, lab: Lab) -> Findings:
        \"\"\"Squared error by size of the code, beside PCA.\"\"\"

which is a command with --preset, --workdir, --launcher and --print-only. Started again, it goes on
where its runs stand. It ends with results.json, figures/*.png and report.html in its folder.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ae_jax.api import Fitted, fit, restore
from ae_jax.cli import launch_options
from ae_jax.cli.launch import Launcher, Local, plan
from ae_jax.codecs import CodecSpec
from ae_jax.core.errors import TrainingDiverged
from ae_jax.data import DataSet
from ae_jax.report.claims import Claim, write_results
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
from ae_jax.train.checkpoints import Which
from ae_jax.train.config import CodecConfig, DataConfig
from ae_jax.train.grid import Member, prepare_members
from ae_jax.train.progress import fit_progress, progress
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


@dataclasses.dataclass(frozen=True)
class Lab:
    """Where an experiment trains: the folder of its runs, and the launcher.

    `fits` is off where nothing may be fitted, because only a plan is asked for.
    """

    root: Path
    launcher: Launcher = Local()
    fits: bool = True

    def train(
        self, members: Sequence[Member], dataset: DataSet, which: Which = "latest"
    ) -> dict[str, Fitted]:
        """Trains members to their ends; fitted models by name, without those that diverged.

        `which` is the checkpoint that is taken: `best` is so on the validation split.
        """
        outcomes = self.launcher.train(members, dataset, self.root, listener_for=_bar)
        ended = [m for m in members if not isinstance(outcomes[m.name], TrainingDiverged)]
        return restored(self.root, ended, dataset, which)

    def fit(self, name: str, codec: CodecSpec, dataset: DataSet, preprocess: str) -> Fitted:
        """A codec, fitted in this process and kept as the run `name`, or read back from there."""
        workdir = self.root / name
        if not (self.fits or RunDirectory(workdir).checkpoints.is_dir()):
            raise WouldFit(name)
        data = DataConfig(dataset.name, dataset.protocol, preprocess, dataset.limit)
        config = CodecConfig(data=data, codec=codec)
        with fit_progress(name) as listener:
            return fit(dataset, config=config, workdir=workdir, listeners=[listener])


def restored(
    root: Path, members: Sequence[Member], dataset: DataSet, which: Which = "latest"
) -> dict[str, Fitted]:
    """Trained members by name, from their latest or best checkpoints, on one copy of the data."""
    setups = prepare_members(members, dataset)
    return {
        name: restore(RunDirectory(root / name), setup, which) for name, setup in setups.items()
    }


class WouldFit(Exception):
    """Ends a plan at a codec that has not been fitted yet."""


def _bar(member: Member):
    headline = member.config.objective.headline
    return progress(member.name, member.config.train.epochs, headline)


def rounded(rows: Rows, digits: Mapping[str, int]) -> Rows:
    """Rows for a table, the numbers of each column named with so many decimals.

    Claims are made from the rows as they were: what a table rounds may be on the other side.
    """
    return [
        {key: round(value, digits[key]) if key in digits else value for key, value in row.items()}
        for row in rows
    ]


def run_rows(fitted: Mapping[str, Fitted]) -> Rows:
    """One row a run: epochs, steps, and seconds of training."""
    return [
        {
            "run": name,
            "epochs": model.records[-1]["epoch"],
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
    return [*sections, environment_table(results["environment"])]


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


def experiment(
    name: str, presets: Mapping[str, Any]
) -> Callable[[Callable[..., Findings]], click.Command]:
    """Makes a function of (preset, lab, its own options) a command; its docstring is the help.

    The first sentence of the docstring is the title of the report.
    """

    def decorate(function: Callable[..., Findings]) -> click.Command:
        title = inspect.getdoc(function).split("\n")[0].rstrip(".")

        @functools.wraps(function)
        def main(preset, workdir, where, print_only, **own):
            root = workdir or Path("checkpoints") / name / preset
            if print_only:
                _show_plan(lambda lab: function(presets[preset], lab, **own), root, where)
                return
            findings = function(presets[preset], Lab(root, where), **own)
            publish(root, f"{title}: {preset}", findings)

        for option in (
            click.option(
                "--workdir",
                type=click.Path(path_type=Path, file_okay=False),
                help=f"Default: checkpoints/{name}/PRESET.",
            ),
            click.option(
                "--preset", type=click.Choice(list(presets)), default="quick", show_default=True
            ),
        ):
            main = option(main)
        return click.command()(launch_options.options(main))

    return decorate


def _show_plan(function: Callable[[Lab], Findings], root: Path, where: Launcher) -> None:
    """Prints what an experiment would train next; what follows may depend on what that finds."""
    try:
        runs = plan.next_runs(lambda planner: function(Lab(root, planner, fits=False)))
    except WouldFit as stop:
        click.echo(f"next: the fit of {stop} and of codecs after it, without an estimate of time")
        return
    whole = len(runs), sum(run.goal for run in runs)
    plan.show(runs, root, where, whole=whole, members=[run.member for run in runs])
