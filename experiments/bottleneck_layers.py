"""Autoencoders of more layers, and of another loss, each at the step size that suits it best."""

import dataclasses

import numpy as np

from ae_jax.api import Fitted
from ae_jax.data import DataSet
from ae_jax.eval.estimates import standard_error
from ae_jax.lab import Estimate, Lab, Rows
from ae_jax.train.optimisers import Adam
from experiments.baselines import image_errors, rows_of
from experiments.bottleneck_models import Preset, member
from experiments.deep import Bench, Tuned, tuned

RATES = (1e-3, 3e-3, 1e-2, 3e-2)
LOSSES = {"cross-entropy": "bernoulli", "squared error": "gaussian_fixed"}


@dataclasses.dataclass(frozen=True)
class Way:
    """One autoencoder at its best step size, and the squared errors of the test images."""

    layers: str
    loss: str
    tuned: Tuned
    errors: np.ndarray

    def less(self, other: "Way") -> Estimate:
        """By how much its errors are larger than those of the other, over the same images."""
        return Estimate.of(self.errors - other.errors)


def ways(preset: Preset, lab: Lab, dataset: DataSet) -> tuple[list[Way], dict[str, Fitted]]:
    """Encoders of more and more layers, and the first of them by both losses; all runs by name.

    The data set has validation digits, which choose the step sizes.
    """
    bench, test = Bench(lab), rows_of(dataset, "test")

    def way(hidden: tuple[int, ...], loss: str) -> Way:
        layers = "-".join(map(str, hidden))
        folder = f"layers/hidden={layers}/loss={loss.replace(' ', '_')}"

        def train(rate: float, seed: int) -> Fitted:
            name, how = f"{folder}/rate={rate:g}", Adam(learning_rate=rate)
            size, epochs = preset.depth_size, preset.depth_epochs
            one = member(name, dataset, size, hidden, how, epochs, LOSSES[loss])
            return bench.train(name, one.config, dataset)

        found = tuned(train, RATES, seeds=1)
        return Way(layers, loss, found, image_errors(found.models[0], test))

    first, *others = LOSSES
    made = [way(hidden, first) for hidden in preset.depths]
    return [*made, *(way(preset.hidden, loss) for loss in others)], bench.runs


def rows(found: list[Way]) -> Rows:
    return [
        {
            "hidden layers": way.layers,
            "trained by": way.loss,
            "step size": way.tuned.step,
            "held out": round(way.tuned.least, 2),
            "test": round(float(way.errors.mean()), 2),
            "±": round(standard_error(way.errors), 2),
        }
        for way in found
    ]
