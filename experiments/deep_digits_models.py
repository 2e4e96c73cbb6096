"""Deep autoencoders of digits, pretrained and from scratch, and the rows of their errors."""

import dataclasses
from typing import Any

import numpy as np

from ae_jax.api import Fitted
from ae_jax.api.layerwise import Pretrained, pretrain
from ae_jax.data import DataSet
from ae_jax.eval.estimates import standard_error
from ae_jax.lab import Lab, Rows
from ae_jax.train.config import DataConfig
from ae_jax.train.grid import Member
from experiments.deep import (
    RBMS,
    Tuned,
    at_rate,
    deep_config,
    in_folder,
    layer_runs,
    published,
    trained,
    tuned,
    with_epochs,
)


@dataclasses.dataclass(frozen=True)
class Preset:
    """How far to go.

    hidden, code     units of the encoder's layers, the last of them the code
    layer_epochs     of contrastive divergence on each layer
    epochs           of fine-tuning, and of training from scratch
    logistic_epochs  of logistic PCA
    looks            epochs between two looks at the test split
    beats            the published method whose error is not to be exceeded
    rates            step sizes to choose from, for fine-tuning and from scratch
    """

    dataset: str
    hidden: tuple[int, ...]
    code: int
    layer_epochs: int
    epochs: int
    logistic_epochs: int
    looks: int
    beats: str | None
    rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3, 1e-2)

    @property
    def sizes(self) -> tuple[int, ...]:
        return (*self.hidden, self.code)


LOGISTIC_RATE = 3e-3
PRETRAINED, SCRATCH, LOGISTIC, PCA = "pretrained by RBM", "from scratch", "logistic PCA", "PCA"


@dataclasses.dataclass(frozen=True)
class Models:
    """What was trained: the layers, the network from them and from scratch, and what is beside."""

    layers: Pretrained
    tuned: dict[str, Tuned]
    logistic: Fitted
    runs: dict[str, Fitted]

    def model(self, way: str) -> Fitted:
        return self.tuned[way].models[0]


def train_all(preset: Preset, lab: Lab, held_out: DataSet, dataset: DataSet) -> Models:
    """The autoencoders on `held_out`, which has validation digits; logistic PCA on all."""
    data = DataConfig(preset.dataset, protocol="paper", preprocess="grey")
    deep = deep_config(data, preset.sizes, preset.epochs, preset.looks)
    layers = pretrain(deep, held_out, with_epochs(RBMS, preset.layer_epochs), in_folder(lab, "rbm"))
    runs = layer_runs("rbm", layers)
    starts = {PRETRAINED: ("rbm", layers.params()), SCRATCH: ("scratch", None)}

    def way(folder: str, start: Any) -> Tuned:
        def train(rate: float, seed: int) -> Fitted:
            member = Member(f"{folder}/rate={rate:g}", at_rate(layers.config, rate, seed), start)
            runs[member.name] = trained(lab, member, held_out)
            return runs[member.name]

        return tuned(train, preset.rates, seeds=1)

    found = {name: way(*start) for name, start in starts.items()}
    all_digits = dataclasses.replace(data, protocol="full")
    shallow = deep_config(
        all_digits,
        (preset.code,),
        preset.logistic_epochs,
        preset.looks,
        learning_rate=LOGISTIC_RATE,
    )
    runs["logistic_pca"] = trained(lab, Member("logistic_pca", shallow), dataset)
    return Models(layers, found, runs["logistic_pca"], runs)


def image_errors(model: Fitted, rows: np.ndarray) -> np.ndarray:
    """Squared error of every test image [N], from its pixels in [0, 1], [N, D]."""
    test = model.setup.dataset.splits["test"]
    reconstructed = model.reconstruct(test, units="model").reshape(rows.shape)
    return np.square(np.asarray(reconstructed, np.float64) - rows).sum(axis=1)


def error_rows(preset: Preset, errors: dict[str, np.ndarray], models: Models) -> Rows:
    sources = published(preset.dataset) or {}
    sources = {PRETRAINED: sources.get("autoencoder", ""), **sources}
    epochs = {
        PRETRAINED: f"{preset.layer_epochs} a layer, then {preset.epochs}",
        SCRATCH: str(preset.epochs),
        LOGISTIC: str(preset.logistic_epochs),
        PCA: "closed form",
    }
    training = {**{name: models.model(name) for name in models.tuned}, LOGISTIC: models.logistic}
    return [
        {
            "method": f"autoencoder, {name}" if name in models.tuned else name,
            "epochs": epochs[name],
            "step size": models.tuned[name].step if name in models.tuned else "",
            "training error": round(training_error(training[name]), 2) if name in training else "",
            "test error": round(float(values.mean()), 2),
            "±": round(standard_error(values), 2),
            "published": sources.get(name, ""),
        }
        for name, values in errors.items()
    ]


def training_error(model: Fitted) -> float:
    """Squared error per image on the first 10,000 training examples, at the end."""
    return model.records[-1]["train/squared_error"]


def layer_rows(preset: Preset, unrolled: list[float], errors: dict[str, np.ndarray]) -> Rows:
    rows = [
        {"layers": depth, "code": preset.sizes[depth - 1], "test error": round(value, 2)}
        for depth, value in enumerate(unrolled, 1)
    ]
    after = {"layers": "all, fine-tuned", "code": preset.code}
    return [*rows, {**after, "test error": round(float(errors[PRETRAINED].mean()), 2)}]
