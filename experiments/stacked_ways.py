"""The ways of training a deep autoencoder by layers and at once, each at its best step size."""

import dataclasses

from ae_jax.api import Fitted
from ae_jax.api.layerwise import WHOLE, Layerwise, Pretrained, pretrain
from ae_jax.data import DataSet
from ae_jax.lab import Lab
from ae_jax.objectives import Denoising, Reconstruction
from ae_jax.train.config import RunConfig
from ae_jax.train.grid import Member
from ae_jax.train.optimisers import Adam
from experiments.deep import (
    RBMS,
    Tuned,
    at_rate,
    error_on_test,
    in_folder,
    layer_runs,
    trained,
    tuned,
    with_epochs,
)


@dataclasses.dataclass(frozen=True)
class Preset:
    """How far to go.

    hidden, code  units of the encoder's layers, the last of them the code
    limit         training examples; all that are not held out by default
    layer_epochs  of each layer
    epochs        of fine-tuning
    looks         epochs between two looks at the test split
    seeds         runs of each way of training
    """

    dataset: str
    hidden: tuple[int, ...]
    code: int
    limit: int | None
    layer_epochs: int
    epochs: int
    looks: int
    seeds: int = 3

    @property
    def sizes(self) -> tuple[int, ...]:
        return (*self.hidden, self.code)

    @property
    def all_epochs(self) -> int:
        """Epochs of the layers and of fine-tuning together."""
        return len(self.sizes) * self.layer_epochs + self.epochs


ADAM = Adam(learning_rate=1e-3, schedule="cosine")
KINDS = {
    "RBMs": RBMS,
    "autoencoders": Layerwise(Reconstruction(), ADAM),
    "denoising autoencoders": Layerwise(Denoising(corruption="masking", level=0.3), ADAM),
}
AT_ONCE, LONGER = "at once", "at once, as many epochs in all"
RATES = (1e-3, 3e-3, 1e-2, 3e-2)  # of layers that are autoencoders, and of the whole


@dataclasses.dataclass(frozen=True)
class Course:
    """One way of training at its best step size; what its layers make before, from the first seed.

    runs       all that were trained, by the names of their folders
    by_layer   squared error per test image of the layers so far, unrolled
    """

    tuned: Tuned
    runs: dict[str, Fitted]
    by_layer: tuple[float, ...] = ()

    @property
    def model(self) -> Fitted:
        return self.tuned.models[0]

    @property
    def error(self) -> float:
        return float(self.tuned.errors.mean())


def layer_by_layer(
    preset: Preset, lab: Lab, dataset: DataSet, deep: RunConfig, kind: str, how: Layerwise
) -> Course:
    folder = kind.replace(" ", "_").lower()
    trained_layers: dict[str, Pretrained] = {}
    runs: dict[str, Fitted] = {}

    def train(rate: float, seed: int) -> Fitted:
        stages = with_epochs(how, preset.layer_epochs, seed=seed)
        layers_at = f"{folder}/seed={seed}"
        if not how.by_rbm:  # whose step sizes are the paper's
            stages = dataclasses.replace(
                stages, optim=dataclasses.replace(ADAM, learning_rate=rate)
            )
            layers_at += f"/rate={rate:g}"
        if layers_at not in trained_layers:
            layers = pretrain(deep, dataset, stages, in_folder(lab, layers_at))
            trained_layers[layers_at] = layers
            runs.update(layer_runs(layers_at, layers))
        layers = trained_layers[layers_at]
        config = at_rate(layers.config, rate, seed)
        member = Member(f"{folder}/seed={seed}/rate={rate:g}/{WHOLE}", config, layers.params())
        runs[member.name] = trained(lab, member, dataset)
        return runs[member.name]

    found = tuned(train, RATES, preset.seeds)
    first = trained_layers[f"{folder}/seed=0" + ("" if how.by_rbm else f"/rate={found.rate:g}")]
    depths = range(1, len(preset.sizes) + 1)
    errors = tuple(error_on_test(first.model(dataset, depth)) for depth in depths)
    return Course(found, runs, errors)


def at_once(preset: Preset, lab: Lab, dataset: DataSet, config: RunConfig, folder: str) -> Course:
    runs: dict[str, Fitted] = {}

    def train(rate: float, seed: int) -> Fitted:
        member = Member(f"{folder}/seed={seed}/rate={rate:g}", at_rate(config, rate, seed))
        runs[member.name] = trained(lab, member, dataset)
        return runs[member.name]

    return Course(tuned(train, RATES, preset.seeds), runs)
