"""Autoencoders of many sizes, depths and optimisers, and the rows of their errors."""

import dataclasses

import numpy as np

from ae_jax.api import Fitted
from ae_jax.data import DataSet
from ae_jax.lab import Lab, Rows
from ae_jax.objectives import Reconstruction
from ae_jax.train.config import DataConfig, EvalConfig, ModelConfig, RunConfig, TrainConfig
from ae_jax.train.grid import Member
from ae_jax.train.optimisers import Adam, Optimiser, RmsProp, Sgd
from experiments.baselines import (
    first_components,
    pca_of,
    pca_reconstructions,
    rows_of,
    squared_error,
)


@dataclasses.dataclass(frozen=True)
class Preset:
    """How far to go.

    sizes      of the code, trained as one grid with `hidden`
    depths     encoders that are compared at code size `depth_size`; the first is `hidden`
    limit      training examples of the comparison of optimisers, at code size `optimiser_size`
    """

    dataset: str
    epochs: int
    sizes: tuple[int, ...]
    depths: tuple[tuple[int, ...], ...]
    depth_size: int
    optimiser_size: int
    limit: int
    optimiser_epochs: int

    @property
    def hidden(self) -> tuple[int, ...]:
        return self.depths[0]


LEARNING_RATE = 2e-3
OPTIMISERS: dict[str, tuple[Optimiser, ...]] = {
    "SGD": (Sgd(learning_rate=0.003), Sgd(learning_rate=0.01), Sgd(learning_rate=0.03)),
    "RMSProp": tuple(RmsProp(learning_rate=rate) for rate in (5e-4, LEARNING_RATE, 8e-3, 0.03)),
    "Adam": tuple(Adam(learning_rate=rate) for rate in (5e-4, LEARNING_RATE, 8e-3, 0.03)),
}
VISIBLE = 1e-6  # squared error per image: less is rounding


def configured(
    dataset: DataSet, size: int, hidden: tuple[int, ...], optimiser: Optimiser, epochs: int
) -> RunConfig:
    """An autoencoder of grey levels: `hidden` rectified layers, a linear code, their mirror."""
    return RunConfig(
        data=DataConfig(dataset.name, protocol="full", limit=dataset.limit),
        model=ModelConfig(
            hidden=hidden,
            activation="relu",
            init="glorot_uniform",
            latent="deterministic",
            latent_dim=size,
            head="bernoulli",
        ),
        objective=Reconstruction(),
        optim=optimiser.replace(schedule="cosine"),
        train=TrainConfig(batch_size=128, epochs=epochs),
        eval=EvalConfig(every=epochs),
    )


def name_of(size: int, hidden: tuple[int, ...]) -> str:
    return f"size={size}/hidden={'-'.join(map(str, hidden))}"


def protocol(preset: Preset, dataset: DataSet) -> str:
    dim = int(np.prod(dataset.shape))
    return (
        f"{preset.dataset}, grey levels in [0, 1], {dim}-{preset.hidden[0]}-z-{preset.hidden[0]}-"
        f"{dim}, rectified, linear code, cross-entropy, {len(dataset.splits['train']):,} training "
        f"examples, Adam, {preset.epochs} epochs"
    )


def compare_optimisers(preset: Preset, lab: Lab, dataset: DataSet) -> dict[str, Fitted]:
    """Each optimiser at each of its step sizes, by name; those that diverged are left out."""
    members = [
        Member(
            f"optimiser={name}/step={optimiser.learning_rate:g}",
            configured(
                dataset,
                preset.optimiser_size,
                preset.hidden,
                optimiser,
                preset.optimiser_epochs,
            ),
        )
        for name, optimisers in OPTIMISERS.items()
        for optimiser in optimisers
    ]
    return lab.train(members, dataset)


def size_rows(preset: Preset, dataset: DataSet, fitted: dict[str, Fitted]) -> Rows:
    """One row a code size: the errors on the test split of the autoencoder and of PCA."""
    test = rows_of(dataset, "test")
    components = pca_of(dataset, max(preset.sizes))
    rows = []
    for size in preset.sizes:
        if name_of(size, preset.hidden) not in fitted:
            continue
        last = fitted[name_of(size, preset.hidden)].records[-1]
        pca = squared_error(test, pca_reconstructions(first_components(components, size), test))
        ours = last["test/squared_error"]
        rows.append(
            {
                "code size": size,
                "autoencoder": ours,
                "PCA": pca,
                "per pixel": ours / test.shape[1],
                "PCA per pixel": pca / test.shape[1],
                "PCA / autoencoder": pca / ours,
            }
        )
    return rows


def depth_rows(preset: Preset, fitted: dict[str, Fitted]) -> Rows:
    """One row an encoder at one code size, the shallowest first."""
    rows = []
    for hidden in preset.depths:
        model = fitted.get(name_of(preset.depth_size, hidden))
        if model is not None:
            last = model.records[-1]
            rows.append(
                {
                    "hidden layers": "-".join(map(str, hidden)),
                    "train": last["train/squared_error"],
                    "test": last["test/squared_error"],
                }
            )
    return rows


def optimiser_rows(optimised: dict[str, Fitted]) -> Rows:
    """One row an optimiser and step size."""
    return [
        {
            "optimiser": _optimiser_of(name),
            "step size": model.config.optim.learning_rate,
            "train": model.records[-1]["train/squared_error"],
            "test": model.records[-1]["test/squared_error"],
        }
        for name, model in optimised.items()
    ]


def _optimiser_of(name: str) -> str:
    return name.split("/")[0].removeprefix("optimiser=")
