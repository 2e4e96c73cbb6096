"""Autoencoders of many sizes, depths and optimisers: the rows of their errors, and figures."""

import dataclasses

import numpy as np

from ae_jax.api import Fitted
from ae_jax.data import DataSet
from ae_jax.lab import Estimate, Lab, Member, Rows, Shown, along, autoencoder, reconstructed, shown
from ae_jax.train.optimisers import Adam, Optimiser, RmsProp, Sgd
from experiments.baselines import (
    first_components,
    image_errors,
    one_of_each,
    pca_image_errors,
    pca_of,
    rows_of,
)


@dataclasses.dataclass(frozen=True)
class Preset:
    """How far to go.

    sizes      of the code, trained as one grid with `hidden`
    depths     encoders that are compared at code size `depth_size`, each with `depth_epochs` and
               its own step size; the first is `hidden`
    limit      training examples of the comparison of optimisers, at code size `optimiser_size`
    """

    dataset: str
    epochs: int
    sizes: tuple[int, ...]
    depths: tuple[tuple[int, ...], ...]
    depth_size: int
    depth_epochs: int
    optimiser_size: int
    limit: int
    optimiser_epochs: int

    @property
    def hidden(self) -> tuple[int, ...]:
        return self.depths[0]


LEARNING_RATE = 2e-3
OPTIMISERS: dict[str, tuple[Optimiser, ...]] = {
    "SGD": tuple(Sgd(learning_rate=rate) for rate in (0.003, 0.01, 0.03)),
    "RMSProp": tuple(RmsProp(learning_rate=rate) for rate in (5e-4, LEARNING_RATE, 8e-3, 0.03)),
    "Adam": tuple(Adam(learning_rate=rate) for rate in (5e-4, LEARNING_RATE, 8e-3, 0.03)),
}
ERROR = "squared error per image"
VISIBLE = 1e-6  # squared error per image: less is rounding


def name_of(size: int, hidden: tuple[int, ...]) -> str:
    return f"size={size}/hidden={'-'.join(map(str, hidden))}"


def member(
    name: str,
    dataset: DataSet,
    size: int,
    hidden: tuple[int, ...],
    how: Optimiser,
    epochs: int,
    head: str = "bernoulli",
) -> Member:
    """An autoencoder of grey levels: `hidden` rectified layers, a linear code, their mirror."""
    form = {"hidden": hidden, "activation": "relu", "init": "glorot_uniform", "head": head}
    config = autoencoder(
        dataset, epochs=epochs, optimiser=how, batch_size=128, latent_dim=size, **form
    )
    return Member(name, config)


def by_size(preset: Preset, lab: Lab, dataset: DataSet) -> dict[int, Fitted]:
    """Every code size with one hidden layer; those that diverged are left out."""
    adam, hidden = Adam(learning_rate=LEARNING_RATE), preset.hidden
    names = {size: name_of(size, hidden) for size in preset.sizes}
    members = [
        member(name, dataset, size, hidden, adam, preset.epochs) for size, name in names.items()
    ]
    fitted = lab.train(members, dataset)
    return {size: fitted[name] for size, name in names.items() if name in fitted}


def by_optimiser(preset: Preset, lab: Lab, dataset: DataSet) -> dict[str, Fitted]:
    """Each optimiser at each of its step sizes; those that diverged are left out."""
    layout = (preset.optimiser_size, preset.hidden)
    members = [
        member(
            f"optimiser={name}/step={how.learning_rate:g}",
            dataset, *layout, how, preset.optimiser_epochs,
        )
        for name, optimisers in OPTIMISERS.items()
        for how in optimisers
    ]  # fmt: skip
    return lab.train(members, dataset)


@dataclasses.dataclass(frozen=True)
class SizeErrors:
    """Squared errors of the test images at one code size, of the autoencoder and of PCA, [N]."""

    ours: np.ndarray
    pca: np.ndarray

    @property
    def gain(self) -> Estimate:
        """By how much the autoencoder is better, over images."""
        return Estimate.of(self.pca - self.ours)


def size_errors(
    preset: Preset, dataset: DataSet, fitted: dict[int, Fitted]
) -> dict[int, SizeErrors]:
    """The errors at each code size, PCA being of the training split."""
    test, components = rows_of(dataset, "test"), pca_of(dataset, max(preset.sizes))
    return {
        size: SizeErrors(
            image_errors(model, test), pca_image_errors(first_components(components, size), test)
        )
        for size, model in fitted.items()
    }


def size_rows(dataset: DataSet, found: dict[int, SizeErrors]) -> Rows:
    """One row a code size: the errors on the test split of the autoencoder and of PCA."""
    pixels = int(np.prod(dataset.shape))
    rows = []
    for size, errors in found.items():
        ours, pca = float(errors.ours.mean()), float(errors.pca.mean())
        row = {"code size": size, "autoencoder": ours, "PCA": pca}
        row |= {"PCA - autoencoder": errors.gain.mean, "±": errors.gain.standard_error}
        row |= {"per pixel": ours / pixels, "PCA per pixel": pca / pixels}
        rows.append(row | {"PCA / autoencoder": pca / ours})
    return rows


def optimiser_rows(optimised: dict[str, Fitted]) -> Rows:
    """One row an optimiser and step size."""
    return [
        {"optimiser": kind_of(name), "step size": step_of(model), **errors(model)}
        for name, model in optimised.items()
    ]


def kind_of(name: str) -> str:
    """The optimiser of the run of this name."""
    return name.split("/")[0].removeprefix("optimiser=")


def step_of(model: Fitted) -> float:
    return model.config.optim.learning_rate


def errors(model: Fitted) -> dict[str, float]:
    """Of both splits at the end of training."""
    return {split: model.records[-1][f"{split}/squared_error"] for split in ("train", "test")}


def pictures(
    preset: Preset,
    dataset: DataSet,
    fitted: dict[int, Fitted],
    sizes: Rows,
    optimised: dict[str, Fitted],
) -> dict[str, Shown]:
    test = dataset.splits["test"]
    widths = np.array([row["code size"] for row in sizes])
    lines = {}
    for method in ("autoencoder", "PCA"):
        values = np.array([row[method] for row in sizes])
        # PCA of as many components as pixels has no error, which no logarithm shows.
        lines[method] = widths, np.where(values > VISIBLE, values, np.nan)
    return {
        "reconstructions": reconstructed(
            test.x[one_of_each(test)],
            {f"z = {size}": model for size, model in fitted.items()},
            "Original digits over their reconstructions, by code size",
            "Test digits, one of each class.",
        ),
        "error_by_size": shown(
            "curves", "Test error by code size", lines, "size of the code", f"test {ERROR}",
            log_x=True, log_y=True, ticks=tuple(sorted(widths.tolist())),
        ),
        "optimisers": shown(
            "loss_curves", "Optimisers, each at the best of its step sizes",
            best_curves(optimised), y_label=f"training {ERROR}",
            title=f"code of {preset.optimiser_size}, first {preset.limit:,} training examples",
            caption="Means over each epoch, while it changed the weights.",
        ),
    }  # fmt: skip


def best_curves(optimised: dict[str, Fitted]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Training error by epoch of each optimiser, at the step size that ends with the least."""
    best: dict[str, Fitted] = {}
    for name, model in optimised.items():
        rival = best.setdefault(kind_of(name), model)
        if errors(model)["train"] < errors(rival)["train"]:
            best[kind_of(name)] = model
    return {
        f"{kind}, step size {step_of(model):g}": along(model, "running/squared_error")
        for kind, model in best.items()
    }
