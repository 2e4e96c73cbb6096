"""Autoencoders with a code of two dimensions, beside PCA: what they are and how well they do."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from ae_jax.api import Fitted
from ae_jax.codecs.pca import PcaCodec
from ae_jax.data import DataSet, Split
from ae_jax.lab import Lab, Rows
from ae_jax.models import Examples, build_autoencoder, parameter_counts
from ae_jax.objectives import Reconstruction
from ae_jax.train.config import DataConfig, EvalConfig, ModelConfig, RunConfig, TrainConfig
from ae_jax.train.grid import Member
from ae_jax.train.optimisers import Adam
from experiments.baselines import one_of_each, pca_of, pca_reconstructions, rows_of, squared_error

CODE = 2
EACH = 10  # digits of each class in the small set


@dataclasses.dataclass(frozen=True)
class Preset:
    """How far to go: the images, and epochs on 100 of them and on all."""

    dataset: str
    few_epochs: int
    all_epochs: int
    rates: tuple[float, ...] = (3e-4, 1e-3, 5e-3)


MODEL = ModelConfig(
    hidden=(100,),
    activation="relu",
    init="glorot_uniform",
    latent="deterministic",
    latent_dim=CODE,
    head="gaussian_fixed",
)
# Weights of networks as lectures count them, without biases: data, hidden, code -> weights.
COUNTED = {(784, 100, 2): 157_200, (100, 10, 2): 2_040}
ERROR = "squared error per image"


@dataclasses.dataclass(frozen=True)
class Trained:
    """What came of one training set: models by learning rate, PCA, and the better model."""

    name: str
    dataset: DataSet
    models: dict[float, Fitted]
    codec: PcaCodec

    @property
    def rate(self) -> float:
        """The learning rate with the least training error."""
        return min(self.models, key=lambda rate: self.error(rate, "train"))

    @property
    def best(self) -> Fitted:
        return self.models[self.rate]

    def error(self, rate: float, split: str) -> float:
        return self.models[rate].records[-1][f"{split}/squared_error"]

    def pca_error(self, split: str) -> float:
        x = rows_of(self.dataset, split)
        return squared_error(x, pca_reconstructions(self.codec, x))


def few_of(dataset: DataSet) -> DataSet:
    """The first digits of each class of the training split for training; the same test split."""
    train = dataset.splits["train"]
    chosen = one_of_each(train, EACH)
    splits = {"train": Split(train.x[chosen], train.y[chosen]), "test": dataset.splits["test"]}
    splits["test"] = dataclasses.replace(splits["test"], first_id=None)
    return dataclasses.replace(dataset, name=f"{dataset.name}_few", splits=splits)


def configured(dataset: DataSet, rate: float, epochs: int, batch_size: int) -> RunConfig:
    count = len(dataset.splits["train"])
    return RunConfig(
        data=DataConfig(dataset.name, protocol="full", preprocess="grey"),
        model=MODEL,
        objective=Reconstruction(),
        optim=Adam(learning_rate=rate),
        train=TrainConfig(batch_size=batch_size, epochs=epochs),
        eval=EvalConfig(every=epochs, train_examples=count),
    )


def train_on(
    name: str, dataset: DataSet, lab: Lab, rates: tuple[float, ...], epochs: int, batch_size: int
) -> Trained:
    members = {
        rate: Member(f"{name}/step={rate:g}", configured(dataset, rate, epochs, batch_size))
        for rate in rates
    }
    fitted = lab.train(list(members.values()), dataset)
    models = {rate: fitted[m.name] for rate, m in members.items() if m.name in fitted}
    return Trained(name, dataset, models, pca_of(dataset, CODE))


def by_name(one: Trained) -> dict[str, Fitted]:
    return {f"{one.name}, step size {rate:g}": model for rate, model in one.models.items()}


def architecture(dataset: DataSet) -> str:
    dim, hidden = int(np.prod(dataset.shape)), MODEL.hidden[0]
    return f"{dim}-{hidden}-{CODE}-{hidden}-{dim}"


def error_rows(one: Trained) -> Rows:
    """One row a learning rate, and one for PCA."""
    rows = [
        {
            "training examples": len(one.dataset.splits["train"]),
            "method": f"autoencoder, learning rate {rate:g}",
            "train": round(one.error(rate, "train"), 3),
            "test": round(one.error(rate, "test"), 3),
        }
        for rate in one.models
    ]
    pca = {
        "training examples": len(one.dataset.splits["train"]),
        "method": "PCA",
        "train": round(one.pca_error("train"), 3),
        "test": round(one.pca_error("test"), 3),
    }
    return [*rows, pca]


def count_parameters(dim: int, hidden: int, code: int) -> dict[str, int]:
    """Numbers in an autoencoder dim-hidden-code-hidden-dim, by kind (`parameter_counts`)."""
    config = dataclasses.replace(MODEL, hidden=(hidden,), latent_dim=code)
    model = build_autoencoder(config, Examples((dim,)))
    blank = {"x": jax.ShapeDtypeStruct((1, dim), jnp.float32)}
    return parameter_counts(jax.eval_shape(model.init, jax.random.key(0), blank)["params"])


def parameter_rows() -> Rows:
    """One row a network: its weights, biases and their sum."""
    rows = []
    for dim, hidden, code in COUNTED:
        counts = count_parameters(dim, hidden, code)
        rows.append(
            {
                "network": f"{dim}-{hidden}-{code}-{hidden}-{dim}",
                "weights": counts["weights"],
                "biases": counts["other"],
                "parameters": counts["total"],
            }
        )
    return rows
