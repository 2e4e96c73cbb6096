"""What the experiments with deep autoencoders share: layers in a lab, and published figures."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ae_jax.api import Fitted
from ae_jax.api.layerwise import WHOLE, Layerwise, Pretrained, Train, pretrain
from ae_jax.codecs.pca import PcaCodec
from ae_jax.core.errors import TrainingDiverged
from ae_jax.core.files import read_json
from ae_jax.data import DataSet
from ae_jax.eval.estimates import standard_error
from ae_jax.lab import Lab
from ae_jax.objectives import ContrastiveDivergence, Reconstruction
from ae_jax.train.config import DataConfig, EvalConfig, ModelConfig, RunConfig, TrainConfig
from ae_jax.train.grid import Member
from ae_jax.train.optimisers import Adam, Momentum
from experiments.baselines import pca_reconstructions, rows_of, squared_error
from experiments.published import FIGURE_2

TARGETS = FIGURE_2.with_name("hinton_salakhutdinov.json")
SOURCE = "Hinton & Salakhutdinov 2006"
UNIT = "squared error per image"
# As the paper's code has them: weight cost 0.0002, and a smaller step for linear units.
RBMS = Layerwise(ContrastiveDivergence(weight_decay=2e-4), Momentum(0.1), Momentum(1e-3))


def published(dataset: str) -> dict[str, float] | None:
    """Squared errors per image by method, with 30-dimensional codes; None where none are known."""
    record = read_json(TARGETS).get(dataset)
    return record and {name: value for name, value in record.items() if name != "settings"}


def deep_config(
    data: DataConfig,
    sizes: Sequence[int],
    epochs: int,
    looks: int,
    *,
    head: str = "bernoulli",
    batch_size: int = 100,
    learning_rate: float = 1e-3,
) -> RunConfig:
    """An encoder of logistic units with a linear code, `sizes` units in all, and its mirror.

    Trained by Adam with a cosine schedule on the reconstruction error of the head.
    """
    *hidden, code = sizes
    return RunConfig(
        data=data,
        model=ModelConfig(
            hidden=tuple(hidden),
            activation="sigmoid",
            latent="deterministic",
            latent_dim=code,
            head=head,
        ),
        objective=Reconstruction(),
        optim=Adam(learning_rate=learning_rate, schedule="cosine"),
        train=TrainConfig(batch_size=batch_size, epochs=epochs),
        eval=EvalConfig(every=looks),
    )


def with_epochs(how: Layerwise, epochs: int, batch_size: int = 100, seed: int = 0) -> Layerwise:
    """Layers trained so long each, looked at in the end."""
    train = TrainConfig(batch_size=batch_size, epochs=epochs, seed=seed)
    return dataclasses.replace(how, train=train, eval=EvalConfig(every=epochs))


def shape_and_size(dataset: DataSet, sizes: Sequence[int]) -> str:
    """Examples of each split and units of each layer, for the protocol of a deep autoencoder."""
    layers = "-".join(map(str, (math.prod(dataset.shape), *sizes)))
    counts = " / ".join(f"{len(split):,}" for split in dataset.splits.values())
    examples = f"{counts} {' / '.join(dataset.splits)} examples"
    return f"{examples}, {layers} and its mirror, logistic units, linear code"


def at_rate(config: RunConfig, rate: float, seed: int = 0) -> RunConfig:
    """The same run with another step size and seed."""
    return dataclasses.replace(
        config,
        optim=dataclasses.replace(config.optim, learning_rate=rate),
        train=dataclasses.replace(config.train, seed=seed),
    )


def trained(lab: Lab, member: Member, dataset: DataSet) -> Fitted:
    """One run of the lab. Raises TrainingDiverged."""
    fitted = lab.train([member], dataset)
    if member.name not in fitted:
        raise TrainingDiverged(f"{member.name} diverged; its folder holds what came before")
    return fitted[member.name]


def in_folder(lab: Lab, folder: str) -> Train:
    """Training in the lab, with the runs below a folder of its own."""

    def train(member: Member, dataset: DataSet) -> Fitted:
        return trained(lab, dataclasses.replace(member, name=f"{folder}/{member.name}"), dataset)

    return train


def by_layers(
    lab: Lab, folder: str, config: Any, dataset: DataSet, how: Layerwise
) -> tuple[Pretrained, Fitted]:
    """The layers of a deep autoencoder, and what fine-tuning made of them."""
    train = in_folder(lab, folder)
    layers = pretrain(config, dataset, how, train)
    return layers, train(Member(WHOLE, layers.config, layers.params()), dataset)


def runs_of(folder: str, layers: Pretrained, whole: Fitted) -> dict[str, Fitted]:
    """All runs of one training by layers, by the names of their folders."""
    return layer_runs(folder, layers) | {f"{folder}/{WHOLE}": whole}


def layer_runs(folder: str, layers: Pretrained) -> dict[str, Fitted]:
    """The runs of the layers, by the names of their folders."""
    return {f"{folder}/layer_{i}": stage for i, stage in enumerate(layers.stages, 1)}


@dataclasses.dataclass(frozen=True)
class Tuned:
    """One way of training at the step size that suits it best.

    by_rate   squared error on validation images by step size, from the first seed
    models    trained at the best of them, one a seed
    """

    by_rate: dict[float, float]
    models: tuple[Fitted, ...]

    @property
    def rate(self) -> float:
        return best_of(self.by_rate)

    @property
    def errors(self) -> np.ndarray:
        """Squared errors per image on the test split, one a seed."""
        return np.array([error_on(model, "test") for model in self.models])

    def summary(self, name: str) -> dict[str, Any]:
        """Columns of a table: the step size, the `name`d test error and its standard error over
        seeds."""
        error = round(float(self.errors.mean()), 2)
        return {"step size": self.step, name: error, "±": round(standard_error(self.errors), 2)}

    @property
    def least(self) -> float:
        """The validation error at the best step size."""
        return self.by_rate[self.rate]

    @property
    def step(self) -> str:
        """The step size, and whether it is the largest or the smallest that was tried."""
        at_the_edge = self.rate in (min(self.by_rate), max(self.by_rate))
        return f"{self.rate:g}" + (" (at the edge)" if at_the_edge else "")


def best_of(by_rate: Mapping[float, float]) -> float:
    """The step size with the least error; one that diverged has an infinite error."""
    return min(by_rate, key=by_rate.get)


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
    rate = best_of(by_rate)
    return Tuned(by_rate, tuple(train(rate, seed) for seed in range(seeds)))


def pca_error(dataset: DataSet, codec: PcaCodec) -> float:
    """Squared error per image of test examples from their components."""
    x = rows_of(dataset, "test")
    return squared_error(x, pca_reconstructions(codec, x))


def error_on(model: Fitted, split: str) -> float:
    """Squared error per image on a split."""
    return model.evaluate(split)["squared_error_per_example"]


def error_on_test(model: Fitted) -> float:
    """Squared error per image on the test split."""
    return error_on(model, "test")


def error_curve(model: Fitted, before: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Epochs and test errors per image along training, from `before` it on where that is known."""
    looks = [record for record in model.records if "test/squared_error" in record]
    points = [(look["epoch"], look["test/squared_error"]) for look in looks]
    if before is not None:
        points.insert(0, (0, before))
    return tuple(np.array(points, float).T)


def level(value: float, curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> tuple:
    """A horizontal line across the range of curves."""
    ends = np.concatenate([x for x, _ in curves.values()])
    return np.array([ends.min(), ends.max()]), np.array([value, value])
