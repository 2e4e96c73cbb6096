"""Autoencoders of irises and digits by what is chosen in them, each beside PCA."""

import dataclasses

import numpy as np

from ae_jax.api import Fitted
from ae_jax.data import DataSet, Split, load
from ae_jax.lab import Lab, Member, Rows, autoencoder
from experiments.baselines import pca_error, pca_of, pca_of_rows, rows_of, squared_error
from experiments.subspaces import (
    directions,
    principal_angles,
    raw_reconstructions,
    spans_of,
    training_rows,
)


@dataclasses.dataclass(frozen=True)
class Choice:
    """One autoencoder of the irises.

    prepared   `raw`, `centred`, or `standardized` by measurement
    """

    name: str
    prepared: str = "centred"
    hidden: tuple[int, ...] = ()
    latent: str = "deterministic"
    tied: bool = False

    @property
    def line(self) -> bool:
        """Whether its decoder is affine, and so draws a line."""
        return not self.hidden


PLAIN = Choice("linear")
CHOICES = (
    PLAIN,
    Choice("linear, tied", tied=True),
    Choice("hidden layers of tanh units", hidden=(10,)),
    Choice("linear, not centred", "raw"),
    Choice("linear, not centred, tied", "raw", tied=True),
    Choice("linear, standardised", "standardized"),
    Choice("rectified code unit", latent="relu"),
    Choice("sigmoid code unit", latent="sigmoid"),
)


@dataclasses.dataclass(frozen=True)
class Preset:
    """How far to go: the images, epochs on them and on the irises, and which choices."""

    dataset: str
    latent_dim: int
    epochs: int
    iris_epochs: int
    choices: tuple[Choice, ...] = CHOICES


IRIS_AXES = ("sepal width (cm)", "petal length (cm)")
IRIS_COLUMNS = [1, 2]
SPECIES = ("setosa", "versicolor", "virginica")
# Within which an autoencoder of the irises counts as PCA, in the table of choices.
LOSS_MARGIN, IRIS_ANGLE = 1.0, 1.0  # per cent, degrees
# What is claimed of the plain one, per cent and degrees.
LOSS_CLAIMED, IRIS_ANGLE_CLAIMED, IMAGE_ANGLE_CLAIMED = 0.01, 0.01, 1.0
THEORY = "the optimum of a linear autoencoder is PCA (Baldi & Hornik 1989)"


def irises(prepared: str) -> DataSet:
    """Sepal width and petal length of all 150 irises; what is tested is what is trained on."""
    stored = load("iris", protocol="full").splits
    x = np.concatenate([stored["train"].x, stored["test"].x])[:, IRIS_COLUMNS]
    y = np.concatenate([stored["train"].y, stored["test"].y])
    if prepared == "centred":
        x = x - x.mean(axis=0, keepdims=True)
    split = Split(x, y)
    return DataSet(f"iris_{prepared}", {"train": split, "test": split}, protocol="full")


def train_on_irises(choice: Choice, preset: Preset, lab: Lab) -> Fitted:
    dataset = irises("centred" if choice.prepared == "centred" else "raw")
    preprocess = "standardization" if choice.prepared == "standardized" else "identity"
    how = {"epochs": preset.iris_epochs, "learning_rate": 0.02, "batch_size": 15}
    form = {"hidden": choice.hidden, "latent": choice.latent, "tied": choice.tied}
    config = autoencoder(dataset, preprocess, latent_dim=1, head="gaussian_fixed", **form, **how)
    member = Member(f"iris/{choice.name.replace(', ', '-').replace(' ', '_')}", config)
    return lab.train([member], dataset)[member.name]


def train_on_images(preset: Preset, lab: Lab, dataset: DataSet) -> Fitted:
    how = {"epochs": preset.epochs, "learning_rate": 5e-3, "batch_size": 128}
    form = {"hidden": (), "latent_dim": preset.latent_dim, "head": "gaussian_fixed"}
    config = autoencoder(dataset, "grey", **form, **how)
    return lab.train([Member(dataset.name, config)], dataset)[dataset.name]


def table(chosen: dict[Choice, Fitted]) -> Rows:
    """One row a choice, and one for the optimum without biases, in closed form."""
    raw = rows_of(irises("raw"), "train")
    codec = pca_of(irises("raw"), 1)
    optimum, component = pca_error(codec, raw), np.asarray(codec.components)
    rows = []
    for choice, model in chosen.items():
        error = squared_error(training_rows(model), raw_reconstructions(model))
        spans = directions(model) if choice.line else None
        how = {
            "autoencoder": choice.name,
            "linear": choice.line and choice.latent == "deterministic",
            "data": choice.prepared,
            "tied": choice.tied,
            "biases": True,
        }
        own = {"equals PCA of its inputs": equals_own_pca(model, spans is not None)}
        rows.append(how | verdict(error, optimum, spans, component) | own)
    span = np.linalg.svd(raw, full_matrices=False)[2][:1]
    how = {"autoencoder": "linear, not centred, no biases (closed form)", "linear": True}
    found = verdict(squared_error(raw, raw @ span.T @ span), optimum, span, component)
    own = {"equals PCA of its inputs": found["equals PCA"]}
    return [*rows, how | {"data": "raw", "tied": True, "biases": False} | found | own]


def equals_own_pca(model: Fitted, line: bool) -> bool:
    """Whether the model is PCA of what it was given, be it rescaled, in these very units."""
    x = model.inputs(model.setup.dataset.splits["train"])
    codec = pca_of_rows(x, model.config.model.latent_dim)
    error = squared_error(x, model.reconstruct(model.setup.dataset.splits["train"], units="model"))
    optimum = pca_error(codec, x)
    spans = spans_of(model) if line else None
    return verdict(error, optimum, spans, np.asarray(codec.components))["equals PCA"]


def verdict(error: float, optimum: float, spans: np.ndarray | None, component: np.ndarray) -> dict:
    """Error over that of PCA, angle, and whether both say that it is PCA."""
    excess = 100 * (error / optimum - 1)
    angle = None if spans is None else float(principal_angles(spans, component)[0])
    return {
        "squared error": round(error, 5),
        "over PCA (%)": round(excess, 3),
        "angle (degrees)": None if angle is None else round(angle, 3),
        "equals PCA": abs(excess) <= LOSS_MARGIN and angle is not None and angle <= IRIS_ANGLE,
    }


def gap(dataset: DataSet, count: int) -> str:
    """How much variance the first component that is left out has, in words."""
    variance = pca_of(dataset, count + 1).explained_variance
    share = float(variance[count] / variance[count - 1])
    return (
        f"component {count + 1} has {100 * share:.0f} % of the variance of component {count}, "
        "the last that is kept"
    )
