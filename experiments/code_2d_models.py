"""Autoencoders with a code of two dimensions, beside PCA: what they are and how well they do."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from ae_jax.api import Fitted
from ae_jax.codecs.pca import PcaCodec
from ae_jax.data import DataSet, Split
from ae_jax.lab import (
    Lab,
    Member,
    Rows,
    Shown,
    along,
    autoencoder,
    level,
    reconstructed,
    rounded,
    shown,
)
from ae_jax.models import Examples, ModelConfig, build_autoencoder, parameter_counts
from experiments.baselines import (
    image_errors,
    one_of_each,
    pca_error,
    pca_image_errors,
    pca_of,
    rows_of,
)

CODE = 2
EACH = 10  # digits of each class in the small set
# Weights of networks as lectures count them, without biases: data, hidden, code -> weights.
NETWORKS = ((784, 100, 2), (100, 10, 2))  # whose parameters are counted
ERROR = "squared error per image"
SHOWN = 1000  # codes in a scatter of all digits


@dataclasses.dataclass(frozen=True)
class Preset:
    """How far to go: the images, and epochs on 100 of them and on all."""

    dataset: str
    few_epochs: int
    all_epochs: int
    rates: tuple[float, ...] = (3e-4, 1e-3, 5e-3)


MODEL = {
    "hidden": (100,), "activation": "relu", "init": "glorot_uniform", "latent_dim": CODE,
    "head": "gaussian_fixed",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Trained:
    """What came of one training set: models by learning rate, PCA, and the better model."""

    name: str
    dataset: DataSet
    models: dict[float, Fitted]
    codec: PcaCodec

    @property
    def count(self) -> int:
        """Training examples."""
        return len(self.dataset.splits["train"])

    @property
    def rate(self) -> float:
        """The learning rate with the least training error."""
        return min(self.models, key=lambda rate: self.error(rate, "train"))

    @property
    def best(self) -> Fitted:
        return self.models[self.rate]

    @property
    def by_name(self) -> dict[str, Fitted]:
        return {f"{self.name}, step size {rate:g}": model for rate, model in self.models.items()}

    def error(self, rate: float, split: str) -> float:
        return self.models[rate].records[-1][f"{split}/squared_error"]

    def pca_error(self, split: str) -> float:
        return pca_error(self.codec, rows_of(self.dataset, split))

    def less_than_pca(self, split: str) -> np.ndarray:
        """Squared error of the better model on each image of a split less that of PCA, [N]."""
        x = rows_of(self.dataset, split)
        return image_errors(self.best, x, split) - pca_image_errors(self.codec, x)

    def rows(self) -> Rows:
        """One row a learning rate, and one for PCA."""
        errors = {
            f"autoencoder, learning rate {rate:g}": [self.error(rate, s) for s in ("train", "test")]
            for rate in self.models
        } | {"PCA": [self.pca_error(s) for s in ("train", "test")]}
        rows = [
            {"training examples": self.count, "method": method, "train": train, "test": test}
            for method, (train, test) in errors.items()
        ]
        return rounded(rows, {"train": 3, "test": 3})


def few_of(dataset: DataSet) -> DataSet:
    """The first digits of each class of the training split for training; the same test split."""
    train = dataset.splits["train"]
    chosen = one_of_each(train, EACH)
    splits = {"train": Split(train.x[chosen], train.y[chosen]), "test": dataset.splits["test"]}
    splits["test"] = dataclasses.replace(splits["test"], first_id=None)
    return dataclasses.replace(dataset, name=f"{dataset.name}_few", splits=splits)


def train_on(
    name: str, dataset: DataSet, lab: Lab, rates: tuple[float, ...], epochs: int, batch_size: int
) -> Trained:
    how = {"batch_size": batch_size, "schedule": "constant"}
    how["train_examples"] = len(dataset.splits["train"])
    members = {
        rate: Member(
            f"{name}/step={rate:g}",
            autoencoder(dataset, "grey", epochs=epochs, learning_rate=rate, **how, **MODEL),
        )
        for rate in rates
    }
    fitted = lab.train(list(members.values()), dataset)
    models = {rate: fitted[m.name] for rate, m in members.items() if m.name in fitted}
    return Trained(name, dataset, models, pca_of(dataset, CODE))


def architecture(dataset: DataSet) -> str:
    dim, (hidden,) = int(np.prod(dataset.shape)), MODEL["hidden"]
    return f"{dim}-{hidden}-{CODE}-{hidden}-{dim}"


def count_parameters(dim: int, hidden: int, code: int) -> dict[str, int]:
    """Numbers in an autoencoder dim-hidden-code-hidden-dim, by kind (`parameter_counts`)."""
    config = ModelConfig(
        **MODEL | {"hidden": (hidden,), "latent_dim": code}, latent="deterministic"
    )
    model = build_autoencoder(config, Examples((dim,)))
    blank = {"x": jax.ShapeDtypeStruct((1, dim), jnp.float32)}
    return parameter_counts(jax.eval_shape(model.init, jax.random.key(0), blank)["params"])


def parameter_rows() -> Rows:
    """One row a network: its weights, biases and their sum."""
    rows = []
    for dim, hidden, code in NETWORKS:
        counts = count_parameters(dim, hidden, code)
        of_kind = {"weights": counts["weights"], "biases": counts["other"]}
        name = f"{dim}-{hidden}-{code}-{hidden}-{dim}"
        rows.append({"network": name, **of_kind, "parameters": counts["total"]})
    return rows


def pictures(one: Trained) -> dict[str, Shown]:
    """Loss by epoch, codes by digit, and reconstructions, of one training set."""
    of = f"{one.count:,} training examples"
    split = "train" if one.name == "100" else "test"
    examples = one.dataset.splits[split].head(SHOWN)
    rows = rows_of(one.dataset, split)[: len(examples)]
    losses = {
        f"learning rate {rate:g}": along(model, "running/squared_error")
        for rate, model in one.models.items()
    }
    losses["PCA"] = level(one.pca_error("train"), losses)
    codes = {
        "two principal components": np.asarray(one.codec.encode(rows)),
        "code of the autoencoder": one.best.encode(examples.x),
    }
    return {
        f"loss_{one.name}": shown(
            "curves", f"Training error by epoch and learning rate, {of}",
            losses, "epoch", f"training {ERROR}", markers=False,
            caption="Means over each epoch, while it changed the weights.",
        ),
        f"codes_{one.name}": shown(
            "scatter_panels", f"Codes of {len(examples):,} {split} digits by class, {of}",
            codes, examples.y,
        ),
        f"reconstructions_{one.name}": reconstructed(
            examples.x[one_of_each(examples)],
            {"PCA": one.codec, "autoencoder": one.best},
            f"{split.capitalize()} digits, two principal components, two code units, {of}",
        ),
    }  # fmt: skip
