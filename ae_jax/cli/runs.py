"""`ae-jax runs`: what lies below a folder, without opening any of it."""

import warnings
from pathlib import Path
from typing import Any

import click

from ae_jax.core.errors import RunWarning, UserError
from ae_jax.core.files import read_json
from ae_jax.objectives import OBJECTIVES, Objective
from ae_jax.report.differences import shown, varied
from ae_jax.report.pages import markdown_table
from ae_jax.train.checkpoints import latest_step
from ae_jax.train.config import flat
from ae_jax.train.over import short_names
from ae_jax.train.records import has_stalled, is_look
from ae_jax.train.rundir import RunDirectory

_SECTIONS = {"data", "model", "objective", "optim", "groups", "codec", "train", "eval"}
# Told apart by their own columns.
_SAID = ("data.name", "objective.name", "codec.name")


def show(folder: Path) -> None:
    """Prints a table with a row a run. Raises UserError where there is none."""
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    found = {
        path.parent: config
        for path in sorted(folder.rglob("config.json"))
        if (config := _configuration(path)) is not None
    }
    if not found:
        raise UserError(f"there is no run below {folder}")
    options = {path: flat(config) for path, config in found.items()}
    # Networks are compared with networks, and codecs with codecs.
    networks = [each for each in options.values() if "codec.name" not in each]
    codecs = [each for each in options.values() if "codec.name" in each]
    differ = dict.fromkeys([*varied(networks, in_all=True), *varied(codecs, in_all=True)])
    named = [name for name in differ if name not in _SAID]
    rows = [
        {
            "run": path.relative_to(folder).as_posix(),
            **_what(options[path]),
            # Before what differs, which may be much: a terminal shows the left of a wide table.
            **_reached(path, options[path]),
            **{
                short: shown(options[path].get(name))
                for name, short in zip(named, short_names(named), strict=True)
            },
        }
        for path in found
    ]
    click.echo(markdown_table(rows))


def _configuration(path: Path) -> dict[str, Any] | None:
    """What a file holds, if it is the configuration of a run."""
    try:
        values = read_json(path)
    except UserError:
        return None
    # What was exported says more of the model than a run does.
    is_run = isinstance(values, dict) and {"data", "train"} <= {*values} <= _SECTIONS
    return values if is_run else None


def _has_lost_patience(
    path: Path, options: dict[str, Any], looks: list[dict[str, Any]], headline: str, up: bool
) -> bool:
    """Whether `train.patience` has ended the run."""
    patience, said = options.get("train.patience"), RunDirectory(path).maximises()
    if not isinstance(patience, int) or not looks:
        return False
    split = "valid" if f"valid/{headline}" in looks[-1] else "train"
    scores = [look.get(f"{split}/{headline}") for look in looks]
    sign = 1.0 if (up if said is None else said) else -1.0
    known = [sign * score for score in scores if isinstance(score, int | float)]
    return len(known) == len(scores) and has_stalled(known, patience)


def _what(options: dict[str, Any]) -> dict[str, Any]:
    method = options.get("codec.name", options.get("objective.name"))
    return {"data": shown(options.get("data.name")), "method": shown(method)}


def _reached(path: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Epochs done and the headline of the last look, by split."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RunWarning)
            records = RunDirectory(path).records()
            step = latest_step(RunDirectory(path).checkpoints)
    except UserError as error:
        return {"state": f"damaged: {error}"}
    diverged = RunDirectory(path).diverged() is not None
    if not records:
        if diverged:
            return {"state": "diverged"}
        return {"state": f"in its first epoch, step {step}" if step else "not begun"}
    last = records[-1]
    if "codec.name" in options:
        state = "converged" if last.get("converged") else "not converged"
        return {"state": state, "iterations": last["step"], "objective": last.get("objective")}
    epoch, epochs, name = (
        last.get("epoch"),
        options.get("train.epochs"),
        options.get("objective.name"),
    )
    if not (isinstance(epoch, int) and isinstance(epochs, int) and isinstance(name, str)):
        return {"state": "damaged: config.json or metrics.jsonl has another form"}
    looks = [record for record in records if is_look(record)]
    # An objective of the user's own is not executed for its headline, which the run wrote down.
    known = OBJECTIVES.get(name) if name in OBJECTIVES else Objective
    headline = RunDirectory(path).headline() or known.headline
    # Records may be ahead of what is saved, of a run that was killed.
    saved = step >= last.get("step", 0)
    state = "diverged" if diverged else "over" if saved and epoch >= epochs else "not over"
    how = headline, known.maximise
    if saved and state == "not over" and _has_lost_patience(path, options, looks, *how):
        state = "stopped"
    row: dict[str, Any] = {"state": state}
    row["epoch"] = f"{epoch}/{epochs}"
    for split in ("valid", "test"):
        if looks and f"{split}/{headline}" in looks[-1]:
            row[f"{split}/{headline}"] = looks[-1][f"{split}/{headline}"]
    return row
