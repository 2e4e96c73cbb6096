"""Figures and the report of a single run."""

from pathlib import Path
from typing import Any, cast

import numpy as np
from matplotlib.figure import Figure

from ae_jax.api import Fitted
from ae_jax.models import parameter_counts
from ae_jax.report import figures
from ae_jax.report.courses import axis_labels, courses
from ae_jax.report.pages import Shown, Table, write_model_report
from ae_jax.report.style import as_given, data_name, display_name
from ae_jax.train.config import RunConfig, to_dict
from ae_jax.train.records import is_look
from ae_jax.train.rundir import RunDirectory

SHOWN = 12
SCATTERED = 5000
MANIFOLD_SIDE = 20


def write(model: Fitted, directory: RunDirectory) -> Path:
    """Writes `figures/` and `report.html` of a run; returns the path of the report."""
    config = cast(RunConfig, model.config)
    objective = display_name(to_dict(config)["objective"]["name"])
    title = f"{data_name(model.setup.dataset.name)}: {objective}"
    inputs, head = display_name(config.data.preprocess), display_name(config.model.head)
    summary = (
        f"{inputs} inputs, {head} likelihood, code of "
        f"{config.model.latent_dim} dimensions, after {model.step:,} steps. Bounds are in nats "
        "per example, summed over dimensions."
    )
    tables = [_final_table(model), _parameter_table(model)]
    return write_model_report(directory, config, title, summary, tables, _figures(model))


def _figures(model: Fitted) -> dict[str, Shown]:
    """The figures of all that this run can show."""
    looked = any(is_look(record) for record in model.records)  # not yet, if the clock saved it
    drawn = {"training": Shown(_curves(model), "Training")} if looked else {}
    test = model.setup.dataset.splits["test"]
    if model.setup.dataset.is_picture:
        first = test.head(SHOWN)
        rows = {"reconstruction": model.reconstruct(first, units="model")}
        pair = figures.reconstructions(model.inputs(first), rows)
        drawn["reconstructions"] = Shown(pair, "Reconstructions of test examples")
        drawn |= _samples(model)
    if model.setup.latent_dim == 2:
        is_picture = model.setup.dataset.is_picture
        if is_picture and model.has_plane and model.condition_kind == "none":
            codes = figures.manifold_coordinates(MANIFOLD_SIDE)
            manifold = figures.manifold(model.decode(codes, units="model"), MANIFOLD_SIDE)
            drawn["manifold"] = Shown(manifold, "The plane of codes")
        if test.y is not None:
            shown = test.head(SCATTERED)
            labels, names = np.asarray(shown.y), model.setup.dataset.classes
            if names is not None:
                labels = np.asarray(names)[labels]
            scatter = figures.scatter_codes(model.encode(shown), labels)
            drawn["codes"] = Shown(scatter, "Codes of test examples by label")
    return drawn


def _samples(model: Fitted) -> dict[str, Shown]:
    """Samples from the prior, if there is one; by class in rows, with one code a column."""
    if not model.has_prior or model.condition_kind == "input":
        return {}
    if model.condition_kind == "none":
        grid = figures.image_grid(model.sample(100, units="model"), 10, 10)
        return {"samples": Shown(grid, "Means of p(x|z) for codes from the prior")}
    network: Any = model.setup.architecture.model
    names = model.setup.dataset.classes or tuple(map(str, range(network.classes)))
    rows = {
        # By number too, where two classes have one name.
        as_given(name if names.count(name) == 1 else f"{name} ({label})"): model.sample(
            SHOWN, y=label, units="model"
        )
        for label, name in enumerate(names[: network.classes])
    }
    grid = figures.image_rows(rows)
    return {"samples": Shown(grid, "Means of p(x|z, y): a label a row, a draw of z a column")}


def _curves(model: Fitted) -> Figure:
    return figures.loss_curves(courses(model), *axis_labels(model))


def _final_table(model: Fitted) -> Table:
    looks = [r for r in model.records if is_look(r) and r["step"] <= model.step]
    if not looks:  # it was saved by the clock, before its first look
        return Table("Final values", [], "The run has not been looked at yet.")
    last, rows = looks[-1], []
    for split in model.setup.splits:
        prefix = f"{split}/"
        values = {k.removeprefix(prefix): v for k, v in last.items() if k.startswith(prefix)}
        rows.append({"split": split, **{display_name(k): _rounded(v) for k, v in values.items()}})
    note = f"Nats per example after epoch {last['epoch']}, with the samples of the objective."
    return Table("Final values", rows, note)


def _rounded(value: float | None) -> float | None:
    """Three decimals; null in the records stands for what was not finite."""
    return None if value is None else round(value, 3)


def _parameter_table(model: Fitted) -> Table:
    rows = [{"what": k, "count": v} for k, v in parameter_counts(model.params).items()]
    return Table("Parameters", rows, "Weights are the entries of kernels; biases are among other.")
