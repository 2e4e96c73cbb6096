"""Codes of two dimensions that can be drawn: 784-100-2-100-784 on 100 digits and on all of them.

Claim   The autoencoder 784-100-2-100-784 has 157,200 weights, and with two code units it
        reconstructs digits with a smaller squared error than two principal components do: 100
        digits that it was trained on, and the test digits when trained on all.

Command python -m experiments.code_2d --preset smoke|quick|standard [--workdir DIR]
            [--launcher local|slurm [--slurm OPTION=VALUE ...]] [--print-only]

        smoke     seconds; the 8x8 digits
        quick     200 epochs of 100 digits, 4 of all; about a minute on two CPU cores
        standard  1,000 epochs and 100; about 40 minutes on two CPU cores

Protocol  Grey levels in [0, 1], rectified hidden units, a linear code, linear pixels, squared
        error, Adam. The 100 digits are the first ten of each class of the training split,
        batches of 10; all are the 60,000 training digits, batches of 128. At each of three
        learning rates; figures and claims are of the one with the least training error. PCA has
        the mean and components of the same training digits.

Figures figures/loss_100.png, loss_all.png (training error by epoch and learning rate),
        codes_100.png, codes_all.png (codes beside two principal components),
        reconstructions_100.png, reconstructions_all.png.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from ae_jax.api import Fitted
from ae_jax.cli.shell import run_command
from ae_jax.codecs.pca import PcaCodec
from ae_jax.data import DataSet, Split, load
from ae_jax.lab import Findings, Lab, Rows, Shown, experiment, run_rows
from ae_jax.models import Examples, build_autoencoder, parameter_counts
from ae_jax.objectives import Reconstruction
from ae_jax.report import comparisons, figures
from ae_jax.report.claims import Claim, at_most, equal_to
from ae_jax.train.config import DataConfig, EvalConfig, ModelConfig, RunConfig, TrainConfig
from ae_jax.train.grid import Member
from ae_jax.train.optimisers import Adam
from experiments.baselines import (
    one_of_each,
    pca_of,
    pca_reconstructions,
    rows_of,
    squared_error,
)

CODE = 2
EACH = 10  # digits of each class in the small set
SHOWN = 1000  # codes in a scatter of all digits


@dataclasses.dataclass(frozen=True)
class Preset:
    """How far to go: the images, and epochs on 100 of them and on all."""

    dataset: str
    few_epochs: int
    all_epochs: int
    rates: tuple[float, ...] = (3e-4, 1e-3, 5e-3)


PRESETS = {
    "smoke": Preset("digits", 150, 30, (1e-3, 5e-3)),
    "quick": Preset("mnist", 200, 4),
    "standard": Preset("mnist", 1000, 100),
}
MODEL = ModelConfig(
    hidden=(100,),
    activation="relu",
    init="glorot_uniform",
    latent="deterministic",
    latent_dim=CODE,
    head="gaussian_fixed",
)
# Weights of networks as lectures count them, without biases: data, hidden, code -> weights.
COUNTED = {(784, 100, 2): 157_200, (100, 10, 2): 2_040}
ERROR = "squared error per image"


@dataclasses.dataclass(frozen=True)
class Trained:
    """What came of one training set: models by learning rate, PCA, and the better model."""

    name: str
    dataset: DataSet
    models: dict[float, Fitted]
    codec: PcaCodec

    @property
    def rate(self) -> float:
        """The learning rate with the least training error."""
        return min(self.models, key=lambda rate: self.error(rate, "train"))

    @property
    def best(self) -> Fitted:
        return self.models[self.rate]

    def error(self, rate: float, split: str) -> float:
        return self.models[rate].records[-1][f"{split}/squared_error"]

    def pca_error(self, split: str) -> float:
        x = rows_of(self.dataset, split)
        return squared_error(x, pca_reconstructions(self.codec, x))


def few_of(dataset: DataSet) -> DataSet:
    """The first digits of each class of the training split for training; the same test split."""
    train = dataset.splits["train"]
    chosen = one_of_each(train, EACH)
    splits = {"train": Split(train.x[chosen], train.y[chosen]), "test": dataset.splits["test"]}
    splits["test"] = dataclasses.replace(splits["test"], first_id=None)
    return dataclasses.replace(dataset, name=f"{dataset.name}_few", splits=splits)


def configured(dataset: DataSet, rate: float, epochs: int, batch_size: int) -> RunConfig:
    count = len(dataset.splits["train"])
    return RunConfig(
        data=DataConfig(dataset.name, protocol="full", preprocess="grey"),
        model=MODEL,
        objective=Reconstruction(),
        optim=Adam(learning_rate=rate),
        train=TrainConfig(batch_size=batch_size, epochs=epochs),
        eval=EvalConfig(every=epochs, train_examples=count),
    )


def train_on(
    name: str, dataset: DataSet, lab: Lab, rates: tuple[float, ...], epochs: int, batch_size: int
) -> Trained:
    members = {
        rate: Member(f"{name}/step={rate:g}", configured(dataset, rate, epochs, batch_size))
        for rate in rates
    }
    fitted = lab.train(list(members.values()), dataset)
    models = {rate: fitted[m.name] for rate, m in members.items() if m.name in fitted}
    return Trained(name, dataset, models, pca_of(dataset, CODE))


@experiment("code_2d", PRESETS)
def main(preset: Preset, lab: Lab) -> Findings:
    """Two-dimensional codes of digits: an autoencoder beside two principal components.

    Interrupted and started again, it continues; what is finished is reused.
    """
    dataset = load(preset.dataset, protocol="full")
    few = train_on("100", few_of(dataset), lab, preset.rates, preset.few_epochs, EACH)
    everything = train_on("all", dataset, lab, preset.rates, preset.all_epochs, 128)
    both = (few, everything)
    return Findings(
        protocol=(
            f"{preset.dataset}, grey levels in [0, 1], {architecture(dataset)}, rectified, linear "
            f"code, squared error, Adam; {len(few.dataset.splits['train'])} training examples for "
            f"{preset.few_epochs} epochs, or {len(dataset.splits['train']):,} for "
            f"{preset.all_epochs}"
        ),
        note=f"{ERROR.capitalize()}, summed over pixels; PCA has two components, unclipped.",
        tables={
            "Squared error by learning rate": [row for one in both for row in error_rows(one)],
            "Parameters": parameter_rows(),
        },
        pictures={k: v for one in both for k, v in pictures(one).items()},
        claims=claims(preset, few, everything),
        runs=[row for one in both for row in run_rows(by_name(one))],
    )


def by_name(one: Trained) -> dict[str, Fitted]:
    return {f"{one.name}, step size {rate:g}": model for rate, model in one.models.items()}


def architecture(dataset: DataSet) -> str:
    dim, hidden = int(np.prod(dataset.shape)), MODEL.hidden[0]
    return f"{dim}-{hidden}-{CODE}-{hidden}-{dim}"


def error_rows(one: Trained) -> Rows:
    """One row a learning rate, and one for PCA."""
    rows = [
        {
            "training examples": len(one.dataset.splits["train"]),
            "method": f"autoencoder, learning rate {rate:g}",
            "train": round(one.error(rate, "train"), 3),
            "test": round(one.error(rate, "test"), 3),
        }
        for rate in one.models
    ]
    pca = {
        "training examples": len(one.dataset.splits["train"]),
        "method": "PCA",
        "train": round(one.pca_error("train"), 3),
        "test": round(one.pca_error("test"), 3),
    }
    return [*rows, pca]


def count_parameters(dim: int, hidden: int, code: int) -> dict[str, int]:
    """Numbers in an autoencoder dim-hidden-code-hidden-dim, by kind (`parameter_counts`)."""
    config = dataclasses.replace(MODEL, hidden=(hidden,), latent_dim=code)
    model = build_autoencoder(config, Examples((dim,)))
    blank = {"x": jax.ShapeDtypeStruct((1, dim), jnp.float32)}
    return parameter_counts(jax.eval_shape(model.init, jax.random.key(0), blank)["params"])


def parameter_rows() -> Rows:
    """One row a network: its weights, biases and their sum."""
    rows = []
    for dim, hidden, code in COUNTED:
        counts = count_parameters(dim, hidden, code)
        rows.append(
            {
                "network": f"{dim}-{hidden}-{code}-{hidden}-{dim}",
                "weights": counts["weights"],
                "biases": counts["other"],
                "parameters": counts["total"],
            }
        )
    return rows


def claims(preset: Preset, few: Trained, everything: Trained) -> list[Claim]:
    """Parameters as counted by hand, and errors below those of two principal components."""
    found = [
        equal_to(
            f"weights of {dim}-{hidden}-{code}-{hidden}-{dim}, without biases",
            count_parameters(dim, hidden, code)["weights"],
            count,
            "weights",
            "2 (dim x hidden + hidden x code)",
        )
        for (dim, hidden, code), count in COUNTED.items()
    ]
    for one, split in ((few, "train"), (everything, "test")):
        count = len(one.dataset.splits["train"])
        found.append(
            at_most(
                f"trained on {count} examples, the {split} error is no more than that of two "
                "principal components",
                one.error(one.rate, split),
                one.pca_error(split),
                0.0,
                ERROR,
                "PCA in closed form",
            )
        )
    return found


def pictures(one: Trained) -> dict[str, Shown]:
    """Loss by epoch, codes by digit, and reconstructions, of one training set."""
    of = f"{len(one.dataset.splits['train']):,} training examples"
    split = "train" if one.name == "100" else "test"
    examples = one.dataset.splits[split].head(SHOWN)
    rows = rows_of(one.dataset, split)[: len(examples)]
    chosen = one_of_each(examples)
    losses = {
        f"learning rate {rate:g}": (
            np.array([record["epoch"] for record in model.records]),
            np.array([record["running/squared_error"] for record in model.records]),
        )
        for rate, model in one.models.items()
    } | {"PCA": _level(one.best, one.pca_error("train"))}
    pca_images = pca_reconstructions(one.codec, rows[chosen]).reshape(-1, *one.dataset.shape)
    return {
        f"loss_{one.name}": Shown(
            comparisons.curves(losses, "epoch", f"training {ERROR}", markers=False),
            f"Training error by epoch and learning rate, {of}",
            "Means over each epoch, while it changed the weights.",
        ),
        f"codes_{one.name}": Shown(
            comparisons.scatter_panels(
                {
                    "two principal components": np.asarray(one.codec.encode(rows)),
                    "code of the autoencoder": one.best.encode(examples.x),
                },
                examples.y,
            ),
            f"Codes of {len(examples):,} {split} digits by class, {of}",
        ),
        f"reconstructions_{one.name}": Shown(
            figures.reconstructions(
                one.best.inputs(examples.x[chosen]),
                {
                    "PCA": pca_images,
                    "autoencoder": one.best.reconstruct(examples.x[chosen], units="model"),
                },
            ),
            f"{split.capitalize()} digits, two principal components, two code units, {of}",
        ),
    }


def _level(model: Fitted, value: float) -> tuple[np.ndarray, np.ndarray]:
    """A level line over the epochs of a run."""
    return np.array([1, model.records[-1]["epoch"]]), np.array([value, value])


if __name__ == "__main__":
    run_command(main)
