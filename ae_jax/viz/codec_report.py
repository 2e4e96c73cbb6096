"""Figures and the report of a fitted codec."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ae_jax.api import Fitted
from ae_jax.codecs.form import FORMS
from ae_jax.config import to_dict
from ae_jax.experiment import environment
from ae_jax.train.rundir import RunDirectory
from ae_jax.viz import dictionaries, figures
from ae_jax.viz.report import Picture, Section, Table, environment_table, write_report

SHOWN = 12
TILED = 144
SAMPLED = 100


def write(model: Fitted, directory: RunDirectory) -> Path:
    """Writes `figures/` and `report.html` of a codec; returns the path of the report."""
    sections: list[Section] = [_values(model)]
    for name, (heading, figure) in _figures(model).items():
        figures.save(figure, directory.figures / f"{name}.png")
        sections.append(Picture(heading, figures.png(figure)))
    sections += [_options(model), environment_table(environment())]
    name, last = to_dict(model.config)["codec"]["name"], model.records[-1]
    form = FORMS.get(name)
    ended = "converged" if last["converged"] else "did not converge"
    summary = (
        f"{model.config.data.preprocess} inputs, {model.setup.latent_dim} atoms; {ended} after "
        f"{model.step:,} iterations. "
    ) + (f"Minimised: {form.minimised}. Atoms: {form.atoms}. Codes: {form.codes}." if form else "")
    return write_report(
        directory.report_file, f"{model.setup.dataset.name}: {name}", summary, sections
    )


def _figures(model: Fitted) -> dict[str, tuple[str, Figure]]:
    """Name, heading and figure of all that this codec can show."""
    steps = np.array([record["step"] for record in model.records])
    objectives = np.array([record["objective"] for record in model.records])
    curve = figures.loss_curves({"train": (steps, objectives)}, "iteration", "objective")
    drawn = {"training": ("The objective at each iteration", curve)}
    dataset = model.setup.dataset
    if dataset.is_picture:
        atoms = np.asarray(model.params.atoms)[:TILED].reshape(-1, *dataset.shape)
        drawn["atoms"] = ("Atoms", dictionaries.atom_tiles(atoms))
        first = dataset.splits["test"].head(SHOWN)
        rows = {"reconstruction": model.reconstruct(first)}
        pair = figures.reconstructions(model.inputs(first), rows)
        drawn["reconstructions"] = ("Reconstructions of test examples", pair)
        if hasattr(model.params, "prior"):
            grid = figures.image_grid(model.sample(SAMPLED), 10, 10)
            drawn["samples"] = ("Means of p(x|z) for codes from the prior", grid)
    return drawn


def _values(model: Fitted) -> Table:
    rows = [
        {"split": split, **{name: round(v, 5) for name, v in model.evaluate(split).items()}}
        for split in model.setup.splits
    ]
    note = "Squared errors of model inputs, per example and per dimension; log p(x) in nats."
    return Table("Values", rows, note)


def _options(model: Fitted) -> Table:
    rows = [
        {"option": f"{section}.{option}", "value": str(value)}
        for section, options in to_dict(model.config).items()
        for option, value in options.items()
    ]
    return Table("Configuration", rows)
