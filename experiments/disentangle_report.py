"""The table, the claims and the figures of the comparison of disentanglement."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ae_jax.api import Fitted
from ae_jax.lab import Claim, Estimate, Rows, claim
from ae_jax.report.comparisons import image_panels
from ae_jax.report.drawing import legend_below, line_style
from ae_jax.report.style import style

# What a column is called, and what the evaluator calls it.
MEASURES = {
    "MIG": "mig",
    "SAP": "sap",
    "DCI disentanglement": "dci_disentanglement",
    "DCI completeness": "dci_completeness",
    "DCI informativeness": "dci_informativeness",
    "FactorVAE score": "factor_vae_score",
}
PLAIN = "VAE"
DIGITS = {"reconstruction": 2, "±": 2, "KL": 2} | {
    name: 3 for measure in MEASURES for name in (measure, f"± {measure}")
}
TRAVERSED = 6  # dimensions of a code
VALUES = np.linspace(-2, 2, 9)
FIRST = 2000  # pictures that tell which dimensions vary


def rows_of(of_setting: Mapping[str, Mapping[str, Estimate]]) -> Rows:
    """A row a setting: means over seeds, and standard errors of the measures."""
    rows = []
    for name, columns in of_setting.items():
        reconstruction = columns["reconstruction"]
        row = {"method": name, "reconstruction": reconstruction.mean,
               "±": reconstruction.standard_error, "KL": columns["KL"].mean}  # fmt: skip
        for measure in MEASURES:
            row[measure] = columns[measure].mean
            row[f"± {measure}"] = columns[measure].standard_error
        rows.append(row)
    return rows


# The measure of each paper, and where it shows its method to be ahead.
OWN = {
    "beta-TCVAE": ("MIG", "Chen et al. 2018, Fig. 4"),
    "FactorVAE": ("FactorVAE score", "Kim & Mnih 2018, Fig. 4"),
}


def claims(
    of_setting: Mapping[str, Mapping[str, Estimate]], method_of: Mapping[str, str]
) -> list[Claim]:
    """Each method by the measure of its paper, at every weight that was tried."""
    made = []
    for name, method in method_of.items():
        if method in OWN:
            measure, source = OWN[method]
            made.append(
                claim(
                    f"{measure} of {name} less that of the VAE is above two standard errors",
                    of_setting[name][measure].less(of_setting[PLAIN][measure]),
                    at_least=0.0,
                    errors=2,
                    unit="of at most 1",
                    source=source,
                )
            )
    return made


@style()
def measures_figure(of_setting: Mapping[str, Mapping[str, Estimate]]) -> Figure:
    """Each measure against the reconstruction: a point a setting, with standard errors."""
    figure = Figure((8.6, 5.6), layout="constrained")
    grid = figure.subplots(2, 3, sharex=True)
    for axes, measure in zip(grid.flat, MEASURES, strict=True):
        for place, (name, columns) in enumerate(of_setting.items()):
            x, y = columns["reconstruction"], columns[measure]
            look = line_style(place, markers=True) | {"linestyle": "none"}
            errors = {"xerr": x.standard_error, "yerr": y.standard_error}
            axes.errorbar(x.mean, y.mean, **errors, label=name, capsize=2, **look)
        axes.set_title(measure)
        axes.margins(0.12)
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(4))
    grid[1, 1].set_xlabel("reconstruction term (nats per picture)")
    legend_below(figure)
    return figure


def traversals_figure(models: Mapping[str, Fitted]) -> Figure:
    """Decodings of one picture's code as one dimension after the other goes from -2 to 2."""
    return image_panels({name: traversals(model) for name, model in models.items()}, len(VALUES))


def traversals(model: Fitted) -> np.ndarray:
    """Rows of `VALUES`, a dimension each, those whose means vary most first, [R * V, H, W, 1]."""
    pictures = model.setup.dataset.splits["train"].head(FIRST)
    spread = model.encode(pictures).var(axis=0)
    first = pictures.x[len(pictures.x) // 2]
    rows = [
        model.traverse(first, int(dim), VALUES, units="model")
        for dim in np.argsort(spread)[::-1][:TRAVERSED]
    ]
    return np.concatenate(rows)
