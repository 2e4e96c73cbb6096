"""Figures of codes of two dimensions: planes, scatter plots, reconstructions."""

import numpy as np

from ae_jax.api import Fitted
from ae_jax.lab import Shown
from ae_jax.report import comparisons, figures
from experiments.baselines import one_of_each, pca_reconstructions, rows_of
from experiments.code_2d_models import ERROR, Trained

SHOWN = 1000  # codes in a scatter of all digits


def pictures(one: Trained) -> dict[str, Shown]:
    """Loss by epoch, codes by digit, and reconstructions, of one training set."""
    of = f"{len(one.dataset.splits['train']):,} training examples"
    split = "train" if one.name == "100" else "test"
    examples = one.dataset.splits[split].head(SHOWN)
    rows = rows_of(one.dataset, split)[: len(examples)]
    chosen = one_of_each(examples)
    losses = {
        f"learning rate {rate:g}": (
            np.array([record["epoch"] for record in model.records]),
            np.array([record["running/squared_error"] for record in model.records]),
        )
        for rate, model in one.models.items()
    } | {"PCA": _level(one.best, one.pca_error("train"))}
    pca_images = pca_reconstructions(one.codec, rows[chosen]).reshape(-1, *one.dataset.shape)
    return {
        f"loss_{one.name}": Shown(
            comparisons.curves(losses, "epoch", f"training {ERROR}", markers=False),
            f"Training error by epoch and learning rate, {of}",
            "Means over each epoch, while it changed the weights.",
        ),
        f"codes_{one.name}": Shown(
            comparisons.scatter_panels(
                {
                    "two principal components": np.asarray(one.codec.encode(rows)),
                    "code of the autoencoder": one.best.encode(examples.x),
                },
                examples.y,
            ),
            f"Codes of {len(examples):,} {split} digits by class, {of}",
        ),
        f"reconstructions_{one.name}": Shown(
            figures.reconstructions(
                one.best.inputs(examples.x[chosen]),
                {
                    "PCA": pca_images,
                    "autoencoder": one.best.reconstruct(examples.x[chosen], units="model"),
                },
            ),
            f"{split.capitalize()} digits, two principal components, two code units, {of}",
        ),
    }


def _level(model: Fitted, value: float) -> tuple[np.ndarray, np.ndarray]:
    """A level line over the epochs of a run."""
    return np.array([1, model.records[-1]["epoch"]]), np.array([value, value])
