"""An experiment as a command: options, presets, and what it would train next.

    @experiment("bottleneck", PRESETS)
    def main(preset: Preset, lab: Lab) -> Findings:
        \"\"\"Squared error by size of the code, beside PCA.\"\"\"

is a command with --preset, --workdir, --launcher and --print-only. Started again, it goes on where
its runs stand. It ends with results.json, figures/*.png and report.html in its folder.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from ae_jax.cli import launch_options
from ae_jax.cli.launch import Launcher, plan
from ae_jax.lab.findings import Findings, publish
from ae_jax.lab.training import Lab, WouldFit

DEFAULT = "quick"
RESUMES = "Interrupted and started again, it continues; what is finished is reused."


def experiment(
    name: str, presets: Mapping[str, Any]
) -> Callable[[Callable[..., Findings]], click.Command]:
    """Makes a function of (preset, lab, its own options) a command.

    Its docstring is the help, where what all experiments do is added, and the first line of it the
    title of the report.
    """

    def decorate(function: Callable[..., Findings]) -> click.Command:
        says = inspect.getdoc(function) or name
        title = says.split("\n")[0].rstrip(".")

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
                "--preset",
                type=click.Choice(list(presets)),
                default=DEFAULT if DEFAULT in presets else next(iter(presets)),
                show_default=True,
            ),
        ):
            main = option(main)
        return click.command(help=f"{says}\n\n{RESUMES}")(launch_options.options(main))

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
