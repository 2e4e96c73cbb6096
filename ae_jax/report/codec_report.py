"""Figures and the report of a fitted codec."""

from pathlib import Path

import numpy as np

from ae_jax.api import Fitted
from ae_jax.codecs.form import FORMS
from ae_jax.report import dictionaries, figures
from ae_jax.report.pages import Shown, Table, write_model_report
from ae_jax.report.style import data_name, display_name
from ae_jax.train.config import to_dict
from ae_jax.train.rundir import RunDirectory

SHOWN = 12
TILED = 144
SAMPLED = 100


def write(model: Fitted, directory: RunDirectory) -> Path:
    """Writes `figures/` and `report.html` of a codec; returns the path of the report."""
    name, last = to_dict(model.config)["codec"]["name"], model.records[-1]
    form = FORMS.get(name)
    ended = "converged" if last["converged"] else "did not converge"
    inputs = display_name(model.config.data.preprocess)
    summary = (
        f"{inputs} inputs, {model.setup.latent_dim} atoms; {ended} after "
        f"{model.step:,} iterations. "
    ) + (f"Minimised: {form.minimised}. Atoms: {form.atoms}. Codes: {form.codes}." if form else "")
    title = f"{data_name(model.setup.dataset.name)}: {display_name(name)}"
    return write_model_report(
        directory, model.config, title, summary, [_values(model)], _figures(model)
    )


def _figures(model: Fitted) -> dict[str, Shown]:
    """The figures of all that this codec can show."""
    steps = np.array([record["step"] for record in model.records])
    objectives = np.array([record["objective"] for record in model.records])
    curve = figures.loss_curves({"train": (steps, objectives)}, "iteration", "objective")
    drawn = {"training": Shown(curve, "The objective at each iteration")}
    dataset = model.setup.dataset
    if dataset.is_picture:
        atoms = np.asarray(model.params.atoms)[:TILED].reshape(-1, *dataset.shape)
        drawn["atoms"] = Shown(dictionaries.atom_tiles(atoms), "Atoms")
        first = dataset.splits["test"].head(SHOWN)
        rows = {"reconstruction": model.reconstruct(first, units="model")}
        pair = figures.reconstructions(model.inputs(first), rows)
        drawn["reconstructions"] = Shown(pair, "Reconstructions of test examples")
        if model.has_prior:
            grid = figures.image_grid(model.sample(SAMPLED, units="model"), 10, 10)
            drawn["samples"] = Shown(grid, "Means of p(x|z) for codes from the prior")
    return drawn


def _values(model: Fitted) -> Table:
    rows = [
        {
            "split": split,
            **{display_name(name): round(v, 5) for name, v in model.evaluate(split).items()},
        }
        for split in model.setup.splits
    ]
    note = "Squared errors of model inputs, per example and per dimension; log p(x) in nats."
    return Table("Values", rows, note)
