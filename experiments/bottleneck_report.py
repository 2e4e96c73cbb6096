"""Figures of bottlenecks: error by size, depth and optimiser, and reconstructions."""

import numpy as np

from ae_jax.api import Fitted
from ae_jax.data import DataSet
from ae_jax.lab import Rows, Shown
from ae_jax.report import comparisons, figures
from experiments.baselines import one_of_each
from experiments.bottleneck_models import VISIBLE, Preset, _optimiser_of, name_of

ERROR = "squared error per image"


def pictures(
    preset: Preset,
    dataset: DataSet,
    fitted: dict[str, Fitted],
    sizes: Rows,
    optimised: dict[str, Fitted],
) -> dict[str, Shown]:
    test = dataset.splits["test"]
    chosen = test.x[one_of_each(test)]
    first = next(iter(fitted.values()))
    rows = {
        f"z = {size}": fitted[name_of(size, preset.hidden)].reconstruct(chosen, units="model")
        for size in preset.sizes
        if name_of(size, preset.hidden) in fitted
    }
    widths = np.array([row["code size"] for row in sizes])
    errors = {}
    for method in ("autoencoder", "PCA"):
        values = np.array([row[method] for row in sizes])
        # PCA of as many components as pixels has no error, which no logarithm shows.
        errors[method] = widths, np.where(values > VISIBLE, values, np.nan)
    return {
        "reconstructions": Shown(
            figures.reconstructions(first.inputs(chosen), rows),
            "Original digits over their reconstructions, by code size",
            "Test digits, one of each class.",
        ),
        "error_by_size": Shown(
            comparisons.curves(
                errors,
                "size of the code",
                f"test {ERROR}",
                log_x=True,
                log_y=True,
                ticks=tuple(sorted(widths.tolist())),
            ),
            "Test error by code size",
        ),
        "optimisers": Shown(
            figures.loss_curves(
                best_curves(optimised),
                y_label=f"training {ERROR}",
                title=f"code of {preset.optimiser_size}, first {preset.limit:,} training examples",
            ),
            "Optimisers, each at the best of its step sizes",
            "Means over each epoch, while it changed the weights.",
        ),
    }


def best_curves(optimised: dict[str, Fitted]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Training error by epoch of each optimiser, at the step size that ends with the least."""
    best: dict[str, Fitted] = {}
    for name, model in optimised.items():
        kind = _optimiser_of(name)
        if kind not in best or _train_error(model) < _train_error(best[kind]):
            best[kind] = model
    return {
        f"{kind}, step size {model.config.optim.learning_rate:g}": (
            np.array([record["epoch"] for record in model.records]),
            np.array([record["running/squared_error"] for record in model.records]),
        )
        for kind, model in best.items()
    }


def _train_error(model: Fitted) -> float:
    return model.records[-1]["train/squared_error"]
