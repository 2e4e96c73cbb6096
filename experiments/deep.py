"""What the experiments with deep autoencoders share: layers in a lab, and published figures."""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ae_jax.api import Fitted
from ae_jax.api.layerwise import Layerwise, Pretrained, pretrain
from ae_jax.core.errors import TrainingDiverged
from ae_jax.core.files import read_json
from ae_jax.data import DataSet
from ae_jax.lab import Estimate, Lab, Member, along, autoencoder
from ae_jax.objectives import ContrastiveDivergence
from ae_jax.train.checkpoints import Which
from ae_jax.train.config import EvalConfig, RunConfig, TrainConfig
from ae_jax.train.optimisers import Momentum
from experiments.published import TARGETS

SOURCE = "Hinton & Salakhutdinov 2006"
UNIT = "squared error per image"
# As the paper's code has them: weight cost 0.0002, and a smaller step for linear units.
RBMS = Layerwise(ContrastiveDivergence(weight_decay=2e-4), Momentum(0.1), Momentum(1e-3))


def published(dataset: str) -> dict[str, float]:
    """Squared errors per image by method, with 30-dimensional codes; none where none are known."""
    record = read_json(TARGETS / "hinton_salakhutdinov.json").get(dataset, {})
    return {name: value for name, value in record.items() if name != "settings"}


@dataclasses.dataclass(frozen=True)
class DeepPreset:
    """How far to go with an encoder of logistic units with a linear code, and its mirror.

    hidden, code   units of the encoder's layers, the last of them the code
    layer_epochs   of each layer
    epochs         of the whole: of fine-tuning, or from scratch
    looks          epochs between two looks at the test split
    """

    dataset: str
    hidden: tuple[int, ...]
    code: int
    layer_epochs: int
    epochs: int
    looks: int

    @property
    def sizes(self) -> tuple[int, ...]:
        return (*self.hidden, self.code)

    def config(self, dataset: DataSet, preprocess: str = "grey", **options: Any) -> RunConfig:
        """The whole, trained by Adam with a cosine schedule on the reconstruction error."""
        form = {"hidden": self.hidden, "latent_dim": self.code, "activation": "sigmoid"}
        usual = {"head": "bernoulli", "every": self.looks}
        return autoencoder(dataset, preprocess, epochs=self.epochs, **form, **usual | options)

    def layers(self, how: Layerwise, seed: int = 0) -> Layerwise:
        """How its layers are trained, looked at in the end."""
        train = TrainConfig(epochs=self.layer_epochs, seed=seed)
        return dataclasses.replace(how, train=train, eval=EvalConfig(every=self.layer_epochs))

    def shape_and_size(self, dataset: DataSet) -> str:
        """Examples of each split and units of each layer, for the protocol."""
        layers = "-".join(map(str, (math.prod(dataset.shape), *self.sizes)))
        counts = " / ".join(f"{len(split):,}" for split in dataset.splits.values())
        examples = f"{counts} {' / '.join(dataset.splits)} examples"
        return f"{examples}, {layers} and its mirror, logistic units, linear code"


@dataclasses.dataclass(frozen=True)
class Bench:
    """A lab that notes all that it trains: `runs` by the names of their folders, in order."""

    lab: Lab
    runs: dict[str, Fitted] = dataclasses.field(default_factory=dict)

    def train(
        self,
        name: str,
        config: RunConfig,
        dataset: DataSet,
        start: Any = None,
        which: Which = "latest",
    ) -> Fitted:
        """One run, from given parameters where there are some. Raises TrainingDiverged."""
        fitted = self.lab.train([Member(name, config, start)], dataset, which)
        if name not in fitted:
            raise TrainingDiverged(f"{name} diverged; its folder holds what came before")
        self.runs[name] = fitted[name]
        return fitted[name]

    def layers(
        self, folder: str, config: RunConfig, dataset: DataSet, how: Layerwise
    ) -> Pretrained:
        """The layers of a deep autoencoder, runs below a folder of their own."""

        def train(member: Member, data: DataSet) -> Fitted:
            return self.train(f"{folder}/{member.name}", member.config, data, member.start)

        return pretrain(config, dataset, how, train)


def at_rate(config: RunConfig, rate: float, seed: int = 0) -> RunConfig:
    """The same run with another step size and seed."""
    return dataclasses.replace(
        config,
        optim=dataclasses.replace(config.optim, learning_rate=rate),
        train=dataclasses.replace(config.train, seed=seed),
    )


@dataclasses.dataclass(frozen=True)
class Tuned:
    """One way of training at the step size that suits it best.

    by_rate   squared error on validation images by step size, from the first seed; infinite where
              it diverged
    models    trained at the best of them, one a seed
    """

    by_rate: dict[float, float]
    models: tuple[Fitted, ...]

    @property
    def rate(self) -> float:
        """The step size with the least error."""
        return min(self.by_rate, key=self.by_rate.__getitem__)

    @property
    def least(self) -> float:
        """The validation error at the best step size."""
        return self.by_rate[self.rate]

    @functools.cached_property
    def error(self) -> Estimate:
        """Squared error per image on the test split, over seeds."""
        return Estimate.of(error_on_test(model) for model in self.models)

    @property
    def step(self) -> str:
        """The step size, and whether it is the largest or the smallest that was tried."""
        at_the_edge = self.rate in (min(self.by_rate), max(self.by_rate))
        return f"{self.rate:g}" + (" (at the edge)" if at_the_edge else "")


def tuned(train: Callable[[float, int], Fitted], rates: Sequence[float], seeds: int) -> Tuned:
    """The best of the step sizes on validation images, trained once for each seed.

    `train` gives the model of a step size and a seed; asked for it again, it reads it.
    """
    by_rate = {}
    for rate in rates:
        try:
            by_rate[rate] = error_on(train(rate, 0), "valid")
        except TrainingDiverged:
            by_rate[rate] = math.inf
    best = Tuned(by_rate, ()).rate
    return Tuned(by_rate, tuple(train(best, seed) for seed in range(seeds)))


def error_on(model: Fitted, split: str) -> float:
    """Squared error per image on a split."""
    return model.evaluate(split)["squared_error_per_example"]


def error_on_test(model: Fitted) -> float:
    """Squared error per image on the test split."""
    return error_on(model, "test")


def error_curve(model: Fitted, before: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Epochs and test errors per image along training, from `before` it on where that is known."""
    epochs, errors = along(model, "test/squared_error")
    if before is None:
        return epochs, errors
    return np.concatenate([[0.0], epochs]), np.concatenate([[before], errors])
