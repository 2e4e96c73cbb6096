"""Runs beside each other on one page: what differs, what they reached, and how they look."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ae_jax.api import Fitted
from ae_jax.core.errors import UserError
from ae_jax.objectives import CompletionElbo, MaskedReconstruction
from ae_jax.report import comparisons, figures
from ae_jax.report.claims import environment
from ae_jax.report.courses import axis_labels, courses
from ae_jax.report.differences import shown, varied
from ae_jax.report.pages import (
    Section,
    Shown,
    Table,
    cell,
    environment_table,
    evaluated_rows,
    kept_pictures,
    write_report,
)
from ae_jax.report.pictures import in_unit
from ae_jax.report.style import as_given, data_name, display_name
from ae_jax.train.codec_fit import CodecSetup
from ae_jax.train.config import flat, to_dict
from ae_jax.train.records import is_look
from ae_jax.train.rundir import RunDirectory

SHOWN = 12
SAMPLED = 25
IN_A_ROW = 4  # panels of samples
_NOTE = "Nats per example; squared errors of model inputs, per example and per dimension."

Models = Mapping[str, Fitted]


def names_of(runs: list[Path]) -> dict[str, Path]:
    """The folders by the shortest paths that tell them apart. Raises UserError for one twice."""
    whole = [run.resolve() for run in runs]
    twice = next((run for run in whole if whole.count(run) > 1), None)
    if twice is not None:
        raise UserError(f"the run {twice} is named twice")
    root = Path(os.path.commonpath([run.parent for run in whole]))
    return {run.relative_to(root).as_posix(): run for run in whole}


def page_name(names: Iterable[str]) -> str:
    """A name for the page about some runs that a page about other runs does not have."""
    digest = hashlib.sha256(json.dumps([*names]).encode()).hexdigest()[:8]
    return f"comparison-{digest}.html"


def write(models: Models, directories: Mapping[str, RunDirectory], path: Path) -> Path:
    """Writes a page about several runs to `path`, and its figures beside it; returns the path."""
    titles = list(dict.fromkeys(data_name(m.setup.dataset.name) for m in models.values()))
    summary = (
        f"Runs: {', '.join(models)}. Bounds are in nats per example, summed over dimensions; what "
        "is decoded is shown in the units of the data."
    )
    drawn = _curves(models) | _reconstructions(models) | _samples(models)
    sections: list[Section] = [_differences(models), _values(models)]
    evaluated = [
        {"run": name, **row} for name in models for row in evaluated_rows(directories[name])
    ]
    if evaluated:
        sections.append(Table("Evaluated", evaluated, _NOTE))
    sections += kept_pictures(path.parent / f"{path.stem}_figures", drawn)
    starts = [
        {"run": name, "training begun or resumed": start["at"], "at commit": start["commit"]}
        for name in models
        for start in directories[name].trained()
    ]
    if starts:
        sections.append(Table("How the runs came about", starts))
    facts = environment()
    written = {"page written": facts.pop("date"), "by commit": facts.pop("commit")}
    sections.append(environment_table(written | facts))
    title = f"{len(models)} runs: {', '.join(titles)}"
    return write_report(path, title, summary, sections)


def _differences(models: Models) -> Table:
    """A row for each option that the runs do not share, a column for each run."""
    options = {name: flat(to_dict(model.config)) for name, model in models.items()}
    rows = [
        {"option": path, **{name: _option(options[name], path) for name in models}}
        for path in varied(list(options.values()), in_all=False)
    ]
    note = "Of options of parts that a run does not have there is a dash."
    return Table("What differs", rows, note if rows else "The configurations are the same.")


def _option(options: Mapping[str, Any], path: str) -> str | None:
    """An option as text, as a column holds options of all kinds; None of one that is not there."""
    if path not in options:
        return None
    value = shown(options[path])
    return "none" if value is None else cell(value)


def _values(models: Models) -> Table:
    """A row for each run: its size, how long it trained, and what it reaches on test examples."""
    rows = []
    for name, model in models.items():
        values = model.evaluate("test")
        seconds = model.records[-1]["seconds"] if model.records else None
        rows.append(
            {
                "run": name,
                "parameters": sum(leaf.size for leaf in jax.tree.leaves(model.params)),
                "steps": model.step,
                "seconds": None if seconds is None else round(seconds, 1),
                **{display_name(key): round(value, 4) for key, value in values.items()},
            }
        )
    return Table("Values on test examples", rows, _NOTE)


def _curves(models: Models) -> dict[str, Shown]:
    """The course of each headline in one axes, of all runs that have it."""
    drawn: dict[str, Shown] = {}
    groups: dict[Any, dict[str, Fitted]] = {}
    for name, model in models.items():
        is_codec = isinstance(model.setup, CodecSetup)
        # One point, of a codec in closed form, is no course.
        if len(model.records) > 1 if is_codec else any(map(is_look, model.records)):
            groups.setdefault((axis_labels(model), _scored(model)), {})[name] = model
    for (labels, scored), members in groups.items():
        held_out = all("valid" in model.setup.splits for model in members.values())
        is_codec = labels[0] == "iteration"
        split = "valid" if held_out and not is_codec else "train"
        lines = {
            as_given(name): courses(model, splits=[split])[split] for name, model in members.items()
        }
        key = "training" if not drawn else f"training_{len(drawn) + 1}"
        caption = f"On {'validation' if split == 'valid' else 'training'} examples."
        caption += f" Of {scored}." if scored else ""
        drawn[key] = Shown(figures.loss_curves(lines, *labels), "Training", caption)
    return drawn


def _scored(model: Fitted) -> str:
    """What of an example the objective is about, where that is a part of it: no two parts share
    axes."""
    objective: Any = getattr(model.config, "objective", None)
    if not isinstance(objective, MaskedReconstruction | CompletionElbo):
        return ""
    part = "observed" if getattr(objective, "scored", "hidden") == "observed" else "hidden"
    if objective.pattern == "none":
        return f"the {part} values"
    return f"the {part} values, a share {objective.share:g} being hidden ({objective.pattern})"


def _reconstructions(models: Models) -> dict[str, Shown]:
    """The same test examples by all runs that have them, in the units of the data."""
    groups: dict[str, dict[str, Fitted]] = {}
    for name, model in models.items():
        if model.setup.dataset.is_picture and model.condition_kind != "input":
            groups.setdefault(model.setup.dataset.fingerprint, {})[name] = model
    drawn = {}
    for number, members in enumerate(groups.values(), 1):
        data = next(iter(members.values())).setup.dataset
        first = data.splits["test"].head(SHOWN)
        originals = np.asarray(first.x, np.float64)
        rows = {"original": _grey(originals, data.max_value)}
        for name, model in members.items():
            made = model.reconstruct(model.setup.dataset.splits["test"].head(SHOWN))
            rows[as_given(name)] = _grey(made, data.max_value, originals)
        figure = figures.image_rows(rows)
        key = "reconstructions" if number == 1 else f"reconstructions_{number}"
        drawn[key] = Shown(figure, "Reconstructions of test examples", data_name(data.name))
    return drawn


def _samples(models: Models) -> dict[str, Shown]:
    """Samples of all runs that have a prior; of those of labels, all classes in turn."""
    panels = {}
    for name, model in models.items():
        data = model.setup.dataset
        if not (data.is_picture and model.has_prior and model.condition_kind != "input"):
            continue
        labels = None
        if model.condition_kind == "label":
            network: Any = model.setup.architecture.model
            labels = np.arange(SAMPLED) % network.classes
        panels[as_given(name)] = _grey(
            _channels_last(model, model.sample(SAMPLED, y=labels)), data.max_value
        )
    drawn, names = {}, list(panels)
    for start in range(0, len(names), IN_A_ROW):
        part = {name: panels[name] for name in names[start : start + IN_A_ROW]}
        figure = comparisons.image_panels(part, 5)
        key = "samples" if not start else f"samples_{start // IN_A_ROW + 1}"
        drawn[key] = Shown(figure, "Samples", "Means of p(x|z) for codes from the prior.")
    return drawn


def _channels_last(model: Fitted, images: np.ndarray) -> np.ndarray:
    """Samples have the layout of the user's images."""
    if model.config.data.layout == "channels_first":
        return np.moveaxis(images, 1, -1)
    return images


def _grey(images: np.ndarray, largest: float | None, like: np.ndarray | None = None) -> np.ndarray:
    """Images in the units of the data as grey levels."""
    return images / largest if largest is not None else in_unit(images, like)
