"""Sparse autoencoders and what their codes are like: active units, errors, a linear classifier."""

import dataclasses
import functools

import numpy as np

from ae_jax.api import Fitted
from ae_jax.data import DataSet
from ae_jax.eval import CodeUse
from ae_jax.eval.codes import probe_accuracy
from ae_jax.objectives import Objective, Reconstruction, Sparse, SparseKL, SparseL1
from ae_jax.train.config import DataConfig, EvalConfig, ModelConfig, RunConfig, TrainConfig
from ae_jax.train.grid import Member
from ae_jax.train.optimisers import Adam
from experiments.baselines import pca_of, pca_reconstructions, rows_of, squared_error


@dataclasses.dataclass(frozen=True)
class Kind:
    """One autoencoder: how its code is made sparse, and how strongly.

    threshold   above which the absolute value of a unit counts as active
    """

    family: str
    strength: str
    latent: str
    objective: Objective
    k: int = 1
    threshold: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.family}, {self.strength}" if self.strength else self.family

    @property
    def folder(self) -> str:
        return self.name.replace(", ", "/").replace(" ", "_")


SIGMOID_THRESHOLD = 0.1
KL_WEIGHT = 1.0
DENSE = Kind("dense", "", "relu", Reconstruction())


def l1(weight: float) -> Kind:
    return Kind("L1", f"weight {weight:g}", "relu", SparseL1(weight=weight))


def kl(rho: float) -> Kind:
    objective = SparseKL(weight=KL_WEIGHT, rho=rho, threshold=SIGMOID_THRESHOLD)
    return Kind("KL", f"rho {rho:g}", "sigmoid", objective, threshold=SIGMOID_THRESHOLD)


def top_k(k: int) -> Kind:
    return Kind("k highest", f"k {k}", "top_k", Sparse(), k=k)


@dataclasses.dataclass(frozen=True)
class Preset:
    """How far to go.

    kinds    the sparse autoencoders, three of each family, the middle one its representative
    probe    training examples that the classifier is fitted on
    """

    dataset: str
    latent_dim: int
    epochs: int
    kinds: tuple[Kind, ...]
    probe: int

    @property
    def representatives(self) -> tuple[Kind, ...]:
        """The middle strength of each family."""
        families = dict.fromkeys(kind.family for kind in self.kinds)
        members = [[k for k in self.kinds if k.family == family] for family in families]
        return tuple(alike[len(alike) // 2] for alike in members)


RESTING = 10_000  # training examples that tell where inactive units rest


def member(preset: Preset, dataset: DataSet, kind: Kind) -> Member:
    config = RunConfig(
        data=DataConfig(dataset.name, protocol="full", preprocess="grey"),
        model=ModelConfig(
            hidden=(),
            latent=kind.latent,
            latent_dim=preset.latent_dim,
            latent_k=kind.k,
            head="gaussian_fixed",
        ),
        objective=kind.objective,
        optim=Adam(learning_rate=2e-3, schedule="cosine"),
        train=TrainConfig(batch_size=128, epochs=preset.epochs),
        eval=EvalConfig(every=preset.epochs),
    )
    return Member(kind.folder, config)


@dataclasses.dataclass(frozen=True)
class Coder:
    """A trained autoencoder and what its codes are like on the test split."""

    kind: Kind
    model: Fitted

    def active(self, codes: np.ndarray) -> np.ndarray:
        """Which units are active, [N, Z] bool."""
        return np.abs(codes) > self.kind.threshold

    @functools.cached_property
    def resting(self) -> np.ndarray:
        """The mean of each unit over the training examples on which it is inactive, [Z]."""
        codes = self.model.encode(self.model.setup.dataset.splits["train"].head(RESTING).x)
        idle = ~self.active(codes)
        return np.where(idle, codes, 0.0).sum(axis=0) / np.maximum(idle.sum(axis=0), 1)

    def codes(self, x: np.ndarray) -> np.ndarray:
        """Codes [N, Z] of raw examples, inactive units at rest."""
        codes = self.model.encode(x)
        return np.where(self.active(codes), codes, self.resting[None])

    @functools.cached_property
    def use(self) -> dict[str, float]:
        """L0, dead units and mean activation on the test split (`CodeUse`)."""
        return self.model.evaluate("test", [CodeUse(self.kind.threshold)])

    @functools.cached_property
    def error(self) -> float:
        """Test squared error per image, decoded from what the active units say."""
        dataset = self.model.setup.dataset
        decoded = self.model.decode(self.codes(dataset.splits["test"].x), units="model")
        return squared_error(rows_of(dataset, "test"), decoded)

    def accuracy(self, count: int) -> float:
        """Of the classifier, fitted on the codes of the first `count` training examples."""
        splits = self.model.setup.dataset.splits
        fit = splits["train"].head(count)
        return probe_accuracy(
            (self.codes(fit.x), fit.y), (self.codes(splits["test"].x), splits["test"].y)
        )

    @property
    def features(self) -> np.ndarray:
        """What each unit adds to the image, [Z, D], the most often active units first."""
        size = self.model.config.model.latent_dim
        decoded = self.model.decode(
            np.concatenate([np.zeros((1, size)), np.eye(size)]), units="model"
        )
        x = self.model.setup.dataset.splits["test"].x
        order = np.argsort(-self.active(self.model.encode(x)).mean(axis=0), kind="stable")
        return (decoded[1:] - decoded[:1])[order]


def code_row(coder: Coder, probe: int) -> dict:
    return {
        "code": coder.kind.name,
        "active units": coder.use["l0"],
        "dead units": int(coder.use["dead_units"]),
        "mean activation": coder.use["mean_activation"],
        "squared error": coder.error,
        "of the whole code": coder.model.records[-1]["test/squared_error"],
        "accuracy": coder.accuracy(probe),
    }


def pca_row(preset: Preset, dataset: DataSet) -> dict:
    """What as many principal components do, none of which is ever inactive."""
    codec = pca_of(dataset, min(preset.latent_dim, int(np.prod(dataset.shape))))
    x, test = rows_of(dataset, "train")[: preset.probe], rows_of(dataset, "test")
    codes = np.asarray(codec.encode(test))
    error = squared_error(test, pca_reconstructions(codec, test))
    return {
        "code": "PCA",
        "active units": codes.shape[1],
        "dead units": 0,
        "mean activation": float(codes.mean()),
        "squared error": error,
        "of the whole code": error,
        "accuracy": probe_accuracy(
            (np.asarray(codec.encode(x)), dataset.splits["train"].y[: preset.probe]),
            (codes, dataset.splits["test"].y),
        ),
    }


def pixel_accuracy(dataset: DataSet, count: int) -> float:
    """What the classifier does on the pixels themselves."""
    train, test = dataset.splits["train"], dataset.splits["test"]
    x = rows_of(dataset, "train")[:count]
    return probe_accuracy((x, train.y[:count]), (rows_of(dataset, "test"), test.y))
