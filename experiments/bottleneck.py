"""Undercomplete autoencoders of MNIST: how small may the code be?

Claim   At every code size from 1 to 64, an autoencoder with one hidden layer on either side has a
        smaller squared error on the test digits than PCA of that size, by the factor in the table.
        PCA here agrees with the published figures of PCA.

Command python -m experiments.bottleneck --preset smoke|quick|standard [--workdir DIR]
            [--launcher local|slurm [--slurm OPTION=VALUE ...]] [--print-only]

        smoke     seconds; the 8x8 digits
        quick     2 epochs; about 4 minutes on two CPU cores
        standard  30 epochs; about an hour on two CPU cores, minutes on an accelerator

Protocol  784-256-z-256-784, rectified hidden units, a linear code, pixels limited to (0, 1) and
        trained by cross-entropy, which lowers the squared error sooner than training on it does;
        60,000 training digits in [0, 1], Adam with a cosine schedule, batches of 128. Deeper
        encoders (mirrored decoders) at one code size with the same training. Optimisers at one
        code size on the first 10,000 digits; of each, the step size with the smallest error on
        its training digits is shown in the figure. The test split chooses nothing.

Figures figures/reconstructions.png (original digits over those of each code size),
        error_by_size.png, optimisers.png.
"""

import dataclasses

import numpy as np

from ae_jax.api import Fitted
from ae_jax.cli.shell import run_command
from ae_jax.data import DataSet, load
from ae_jax.lab import Findings, Lab, Rows, Shown, experiment, rounded, run_rows
from ae_jax.objectives import Reconstruction
from ae_jax.report import comparisons, figures
from ae_jax.report.claims import Claim, at_least, at_most
from ae_jax.train.config import DataConfig, EvalConfig, ModelConfig, RunConfig, TrainConfig
from ae_jax.train.grid import Member
from ae_jax.train.optimisers import Adam, Optimiser, RmsProp, Sgd
from experiments.baselines import (
    first_components,
    one_of_each,
    pca_of,
    pca_reconstructions,
    rows_of,
    squared_error,
)
from experiments.published import pca_errors


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


MNIST_SIZES = (784, 256, 64, 32, 16, 8, 4, 2, 1)
MNIST_DEPTHS = ((256,), (256, 128), (256, 128, 64))
PRESETS = {
    "smoke": Preset("digits", 60, (8, 2), ((32,), (32, 16)), 2, 2, 256, 5),
    "quick": Preset("mnist", 2, MNIST_SIZES, MNIST_DEPTHS, 8, 32, 10_000, 8),
    "standard": Preset("mnist", 30, MNIST_SIZES, MNIST_DEPTHS, 8, 32, 10_000, 100),
}
# Sizes at which the autoencoder is held to be better than PCA.
CLAIMED = range(1, 65)
LEARNING_RATE = 2e-3
OPTIMISERS: dict[str, tuple[Optimiser, ...]] = {
    "SGD": (Sgd(learning_rate=0.003), Sgd(learning_rate=0.01), Sgd(learning_rate=0.03)),
    "RMSProp": tuple(RmsProp(learning_rate=rate) for rate in (5e-4, LEARNING_RATE, 8e-3, 0.03)),
    "Adam": tuple(Adam(learning_rate=rate) for rate in (5e-4, LEARNING_RATE, 8e-3, 0.03)),
}
VISIBLE = 1e-6  # squared error per image: less is rounding
PUBLISHED = "closed form, experiments/targets/pca_mnist.json"
ERROR = "squared error per image"
ERROR_DIGITS = {"train": 3, "test": 3}
SIZE_DIGITS = {
    "autoencoder": 4,
    "PCA": 4,
    "per pixel": 6,
    "PCA per pixel": 6,
    "PCA / autoencoder": 3,
}


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


@experiment("bottleneck", PRESETS)
def main(preset: Preset, lab: Lab) -> Findings:
    """Autoencoders with a bottleneck: squared error by size of the code, beside PCA.

    Interrupted and started again, it continues; what is finished is reused.
    """
    dataset = load(preset.dataset, protocol="full")
    layouts = [(size, preset.hidden) for size in preset.sizes]
    layouts += [(preset.depth_size, hidden) for hidden in preset.depths[1:]]
    adam = Adam(learning_rate=LEARNING_RATE)
    members = [
        Member(name_of(*layout), configured(dataset, *layout, adam, preset.epochs))
        for layout in layouts
    ]
    fitted = lab.train(members, dataset)
    optimised = compare_optimisers(preset, lab, dataset.limited(preset.limit))
    sizes = size_rows(preset, dataset, fitted)
    depths = depth_rows(preset, fitted)
    tables = {
        "Test error by code size": rounded(sizes, SIZE_DIGITS),
        f"Encoders of more layers, code of {preset.depth_size}": rounded(depths, ERROR_DIGITS),
        f"Optimisers, code of {preset.optimiser_size}": rounded(
            optimiser_rows(optimised), ERROR_DIGITS
        ),
    }
    return Findings(
        protocol=protocol(preset, dataset),
        note=(
            f"{ERROR.capitalize()}, summed over pixels. PCA has the mean and components of the "
            "training split, unclipped. Where a code has more dimensions than the hidden layer, "
            f"of {preset.hidden[-1]} units, that layer is the bottleneck."
        ),
        tables=tables,
        pictures=pictures(preset, dataset, fitted, sizes, optimised),
        claims=claims(preset, sizes, depths),
        runs=run_rows(fitted | optimised),
    )


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


def claims(preset: Preset, sizes: Rows, depths: Rows) -> list[Claim]:
    """PCA as published, the autoencoder below it, and more layers below fewer."""
    found = []
    if preset.dataset == "mnist":
        found.append(pca_claim(sizes))
    found += [
        at_least(
            f"PCA has at least the test error of the autoencoder at code size {row['code size']}",
            row["PCA / autoencoder"],
            1.0,
            0.0,
            "ratio",
            "the claim of this experiment",
        )
        for row in sizes
        if row["code size"] in CLAIMED
    ]
    if len(depths) > 1:
        found.append(
            at_most(
                f"test error with hidden layers {depths[-1]['hidden layers']} is no more than with "
                f"{depths[0]['hidden layers']}, code of {preset.depth_size}",
                depths[-1]["test"],
                depths[0]["test"],
                0.0,
                ERROR,
                "more layers add capacity",
            )
        )
    return found


def pca_claim(sizes: Rows) -> Claim:
    """The largest deviation of PCA's test errors from those published, relative to these."""
    published = pca_errors()
    shares = [
        abs(row["PCA per pixel"] / published[row["code size"]] - 1)
        for row in sizes
        if published.get(row["code size"], 0) > 0
    ]
    return at_most(
        "test errors of PCA are the published ones at every size, largest relative deviation",
        100 * max(shares),
        0.0,
        0.1,
        "%",
        PUBLISHED,
    )


def pictures(
    preset: Preset,
    dataset: DataSet,
    fitted: dict[str, Fitted],
    sizes: Rows,
    optimised: dict[str, Fitted],
) -> dict[str, Shown]:
    test = dataset.splits["test"]
    chosen = test.x[one_of_each(test)]
    first = next(iter(fitted.values()))
    rows = {
        f"z = {size}": fitted[name_of(size, preset.hidden)].reconstruct(chosen, units="model")
        for size in preset.sizes
        if name_of(size, preset.hidden) in fitted
    }
    widths = np.array([row["code size"] for row in sizes])
    errors = {}
    for method in ("autoencoder", "PCA"):
        values = np.array([row[method] for row in sizes])
        # PCA of as many components as pixels has no error, which no logarithm shows.
        errors[method] = widths, np.where(values > VISIBLE, values, np.nan)
    return {
        "reconstructions": Shown(
            figures.reconstructions(first.inputs(chosen), rows),
            "Original digits over their reconstructions, by code size",
            "Test digits, one of each class.",
        ),
        "error_by_size": Shown(
            comparisons.curves(
                errors,
                "size of the code",
                f"test {ERROR}",
                log_x=True,
                log_y=True,
                ticks=tuple(sorted(widths.tolist())),
            ),
            "Test error by code size",
        ),
        "optimisers": Shown(
            figures.loss_curves(
                best_curves(optimised),
                y_label=f"training {ERROR}",
                title=f"code of {preset.optimiser_size}, first {preset.limit:,} training examples",
            ),
            "Optimisers, each at the best of its step sizes",
            "Means over each epoch, while it changed the weights.",
        ),
    }


def best_curves(optimised: dict[str, Fitted]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Training error by epoch of each optimiser, at the step size that ends with the least."""
    best: dict[str, Fitted] = {}
    for name, model in optimised.items():
        kind = _optimiser_of(name)
        if kind not in best or _train_error(model) < _train_error(best[kind]):
            best[kind] = model
    return {
        f"{kind}, step size {model.config.optim.learning_rate:g}": (
            np.array([record["epoch"] for record in model.records]),
            np.array([record["running/squared_error"] for record in model.records]),
        )
        for kind, model in best.items()
    }


def _train_error(model: Fitted) -> float:
    return model.records[-1]["train/squared_error"]


if __name__ == "__main__":
    run_command(main)
