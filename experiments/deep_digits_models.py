"""Deep autoencoders of digits, pretrained and from scratch: rows of their errors, and figures."""

import dataclasses
from typing import Any

import numpy as np

from ae_jax.api import Fitted
from ae_jax.api.layerwise import Pretrained
from ae_jax.codecs.pca import PcaCodec
from ae_jax.data import DataSet
from ae_jax.eval.estimates import standard_error
from ae_jax.lab import Lab, Rows, Shown, level, reconstructed, shown
from experiments.baselines import one_of_each
from experiments.deep import RBMS, Bench, DeepPreset, Tuned, at_rate, error_curve, published, tuned


@dataclasses.dataclass(frozen=True)
class Preset(DeepPreset):
    """How far to go.

    logistic_epochs  of logistic PCA
    beats            the published method whose error is not to be exceeded
    rates            step sizes to choose from, for fine-tuning and from scratch
    """

    logistic_epochs: int
    beats: str | None
    rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3, 1e-2)

    @property
    def logistic(self) -> DeepPreset:
        """Logistic PCA: the same without hidden layers."""
        return dataclasses.replace(self, hidden=(), epochs=self.logistic_epochs)


LOGISTIC_RATE = 3e-3
PRETRAINED, SCRATCH, LOGISTIC, PCA = "pretrained by RBM", "from scratch", "logistic PCA", "PCA"


@dataclasses.dataclass(frozen=True)
class Models:
    """What was trained: the layers, the network from them and from scratch, and what is beside.

    All are of all training digits; step sizes and validation errors in `tuned` are of a part.
    """

    layers: Pretrained
    tuned: dict[str, Tuned]
    logistic: Fitted
    runs: dict[str, Fitted]

    def model(self, way: str) -> Fitted:
        return self.tuned[way].models[0]


def train_all(preset: Preset, lab: Lab, held_out: DataSet, dataset: DataSet) -> Models:
    """All on `dataset`, at the step sizes that the validation digits of `held_out` chose."""
    bench, how = Bench(lab), preset.layers(RBMS)
    part = bench.layers("rbm", preset.config(held_out), held_out, how)
    whole = bench.layers("all/rbm", preset.config(dataset), dataset, how)

    def way(folder: str, start: Any, start_of_all: Any) -> Tuned:
        def train(rate: float, seed: int) -> Fitted:
            config = at_rate(part.config, rate, seed)
            return bench.train(f"{folder}/rate={rate:g}", config, held_out, start)

        chosen = tuned(train, preset.rates, seeds=1)
        config = at_rate(whole.config, chosen.rate)
        model = bench.train(f"all/{folder}/rate={chosen.rate:g}", config, dataset, start_of_all)
        return dataclasses.replace(chosen, models=(model,))

    found = {
        PRETRAINED: way("rbm", part.params(), whole.params()),
        SCRATCH: way("scratch", None, None),
    }
    shallow = preset.logistic.config(dataset, learning_rate=LOGISTIC_RATE)
    return Models(whole, found, bench.train("logistic_pca", shallow, dataset), bench.runs)


def error_rows(preset: Preset, errors: dict[str, np.ndarray], models: Models) -> Rows:
    sources = published(preset.dataset)
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
    after = round(float(errors[PRETRAINED].mean()), 2)
    return [*rows, {"layers": "all, fine-tuned", "code": preset.code, "test error": after}]


def pictures(
    dataset: DataSet,
    models: Models,
    codec: PcaCodec,
    errors: dict[str, np.ndarray],
    unrolled: list[float],
) -> dict[str, Shown]:
    test = dataset.splits["test"]
    deep = models.model(PRETRAINED)
    curves = {
        PRETRAINED: error_curve(deep, before=unrolled[-1]),
        SCRATCH: error_curve(models.model(SCRATCH)),
        LOGISTIC: error_curve(models.logistic),
    }
    curves[PCA] = level(float(errors[PCA].mean()), curves)
    sources = published(dataset.name)
    if sources:
        curves["published autoencoder"] = level(sources["autoencoder"], curves)
    y_label = "test squared error per image"
    return {
        "reconstructions": reconstructed(
            test.x[one_of_each(test)],
            {"autoencoder": deep, LOGISTIC: models.logistic, PCA: codec},
            "Test digits",
            f"The first of each class, from codes of {len(codec.components)} numbers.",
        ),
        "error_by_epoch": shown("loss_curves", "Along training", curves, y_label=y_label),
    }
