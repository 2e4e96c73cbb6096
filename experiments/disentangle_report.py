"""The figures of the comparison of disentanglement."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ae_jax.api import Fitted
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
TRAVERSED = 6  # dimensions of a code
VALUES = np.linspace(-2, 2, 9)
FIRST = 2000  # pictures that tell which dimensions vary


@style()
def measures_figure(of_setting: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """Each measure against the reconstruction: a point a setting, with standard errors."""
    figure = Figure((8.6, 5.6), layout="constrained")
    grid = figure.subplots(2, 3, sharex=True)
    for axes, measure in zip(grid.flat, MEASURES, strict=True):
        for place, (name, columns) in enumerate(of_setting.items()):
            x, y = columns["reconstruction"], columns[measure]
            look = line_style(place, markers=True) | {"linestyle": "none"}
            axes.errorbar(
                x.mean(), y.mean(), yerr=_error(y), xerr=_error(x), label=name, capsize=2, **look
            )
        axes.set_title(measure)
        axes.margins(0.12)
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(4))
    grid[1, 1].set_xlabel("reconstruction term (nats per picture)")
    legend_below(figure)
    return figure


def _error(values: np.ndarray) -> float | None:
    return values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else None


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
