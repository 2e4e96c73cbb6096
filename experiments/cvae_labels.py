"""The label as the condition of a VAE: what it is worth in nats, and class and style apart."""

import dataclasses

import numpy as np

from ae_jax.api import Fitted
from ae_jax.data import DataSet
from ae_jax.lab import Lab, Member, Rows, network
from ae_jax.objectives import Elbo
from experiments.cvae_quadrants import PARTICLES, WATCHED, MetricsOf, examples_of, rows_of

MODELS = {"unconditional": "none", "label-conditional": "label"}


@dataclasses.dataclass(frozen=True)
class LabelBudget:
    """Sizes and lengths of training; each model is trained once a seed."""

    width: int
    latent_dim: int
    epochs: int
    seeds: int


def label_run(condition: str, seed: int, budget: LabelBudget, dataset: DataSet) -> Member:
    """D-500-20-500-D with the label into encoder and decoder, or without."""
    form = {"activation": "relu", "init": "glorot_uniform", "head": "bernoulli"}
    sizes = {"hidden": (budget.width,), "latent_dim": budget.latent_dim, "batch_size": 128}
    how = {"epochs": budget.epochs, "every": budget.epochs, "train_examples": WATCHED}
    how |= {"schedule": "cosine", "seed": seed, "condition": condition}
    config = network(dataset, "fixed_binarization", **form, **sizes, **how)
    return Member(f"labels/condition={condition}/seed={seed}", config)


def train_labels(budget: LabelBudget, dataset: DataSet, lab: Lab) -> dict[str, list[Fitted]]:
    """The trained models of each kind, one a seed, without those that diverged."""
    members = {
        kind: [label_run(condition, seed, budget, dataset) for seed in range(budget.seeds)]
        for kind, condition in MODELS.items()
    }
    fitted = lab.train([one for kind in members.values() for one in kind], dataset)
    return {
        kind: [fitted[one.name] for one in runs if one.name in fitted]
        for kind, runs in members.items()
    }


def bounds(models: dict[str, list[Fitted]]) -> dict[str, np.ndarray]:
    """The bound on the test digits of each seed, nats, [S]: mean of 10 samples of q(z|x, y)."""
    terms = MetricsOf(Elbo(num_samples=PARTICLES))
    return {
        kind: np.array(
            [rows_of(model, examples_of(model, "test"), terms)["elbo"].mean() for model in runs]
        )
        for kind, runs in models.items()
    }


def standard_error(values: np.ndarray) -> float:
    """Of the mean of values [N]."""
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def label_rows(by_kind: dict[str, np.ndarray]) -> Rows:
    """One row a kind: mean and standard error over seeds."""
    return [
        {
            "VAE": kind,
            "bound on test digits": f"{values.mean():.2f}",
            "standard error over seeds": f"{standard_error(values):.2f}",
            "seeds": len(values),
        }
        for kind, values in by_kind.items()
    ]


def styles(model: Fitted, count: int) -> np.ndarray:
    """Means of p(x|z, y) for every class y (rows) and the same `count` codes z (columns)."""
    classes = model.setup.architecture.model.classes
    codes = np.random.default_rng(0).normal(size=(count, model.setup.latent_dim))
    labels = np.repeat(np.arange(classes), count)
    return model.decode(np.tile(codes, (classes, 1)), y=labels, units="model")


def class_and_style(models: dict[str, list[Fitted]], count: int) -> dict[str, np.ndarray]:
    """The images of the figure by the title of their panel."""
    plain, conditional = (models[kind][0] for kind in MODELS)
    images = styles(conditional, count)
    return {
        "label-conditional VAE: a class a row, a code a column": images,
        "unconditional VAE: samples": plain.sample(len(images), units="model"),
    }
