"""Linear or not: every codec and a few networks at one code size, on one split, in one table.

Claim   At the same size of the code a deep autoencoder reconstructs unseen digits better than PCA
        (Hinton & Salakhutdinov 2006), and a linear autoencoder does not (Baldi & Hornik 1989).

Command python -m experiments.linear_or_not --preset smoke|quick|standard

        smoke     seconds; the 8x8 digits, and no claim
        quick     10,000 training digits; about 5 minutes on two CPU cores
        standard  60,000 training digits and longer training, for an idle machine

Protocol  Grey MNIST digits in [0, 1]; training and test split are the same for all. Seconds are
        those of fitting or training with compilation. A linear probe is logistic regression on
        standardised codes, fitted to training codes, scored on test codes.

Figures figures/error.png (test error of each), reconstructions.png.
"""

import dataclasses
import math

import numpy as np
from matplotlib.figure import Figure

from ae_jax.api import Fitted
from ae_jax.cli.shell import run_command
from ae_jax.codecs import CODECS
from ae_jax.data import DataSet, load
from ae_jax.eval import LinearProbe
from ae_jax.lab import Findings, Lab, Rows, Shown, experiment
from ae_jax.objectives import Elbo, Objective, Reconstruction
from ae_jax.report import comparisons, figures
from ae_jax.report.claims import Claim, at_least, at_most
from ae_jax.train.config import DataConfig, EvalConfig, ModelConfig, RunConfig, TrainConfig
from ae_jax.train.grid import Member

SHOWN = 12


@dataclasses.dataclass(frozen=True)
class Preset:
    """Data, size of the code, and how long to train; None of `limit` is all examples."""

    dataset: str
    limit: int | None
    latent_dim: int
    hidden: tuple[int, ...]
    epochs: int
    iterations: int
    claimed: bool = True


PRESETS = {
    "smoke": Preset("digits", 300, 6, (24,), 2, 3, claimed=False),
    "quick": Preset("mnist", 10_000, 30, (500, 250), 30, 50),
    "standard": Preset("mnist", None, 30, (1000, 500, 250), 100, 300),
}


def members(preset: Preset) -> list[Member]:
    """The networks: the linear autoencoder, the deep one, and the variational one."""

    def member(
        name: str, objective: Objective, hidden: tuple[int, ...], **model: str | float
    ) -> Member:
        config = RunConfig(
            data=DataConfig(preset.dataset, preprocess="grey"),
            model=ModelConfig(
                latent_dim=preset.latent_dim, hidden=hidden, init="glorot_uniform", **model
            ),
            objective=objective,
            train=TrainConfig(epochs=preset.epochs),
            eval=EvalConfig(every=preset.epochs),
        )
        return Member(name, config)

    point = {"latent": "deterministic", "head": "gaussian_fixed"}
    return [
        member("linear autoencoder", Reconstruction(), (), **point),
        member("deep autoencoder", Reconstruction(), preset.hidden, activation="relu", **point),
        member("variational autoencoder", Elbo(), preset.hidden, activation="relu"),
    ]


def codecs(preset: Preset, dataset: DataSet, lab: Lab) -> dict[str, Fitted]:
    """Every codec, fitted and kept as a run below the lab's folder."""
    found = {}
    for name, kind in CODECS.items():
        spec = kind(preset.latent_dim)
        if hasattr(spec, "max_iterations"):
            spec = spec.replace(max_iterations=preset.iterations)
        found[name] = lab.fit(name, spec, dataset, "grey")
    return found


def row(name: str, model: Fitted) -> dict[str, object]:
    """One line of the table."""
    setup = model.setup
    train = model.evaluation_data("train")
    values = model.evaluate("test", ["code_use", LinearProbe(train=train)])
    one_hot = values["l0"] == 1.0 and setup.latent_dim > 1
    return {
        "method": name,
        "test MSE": round(values["squared_error_per_dimension"], 5),
        "L0 of the code": round(values["l0"], 1),
        "bits of the code": round(math.log2(setup.latent_dim), 1) if one_hot else None,
        "seconds to fit": round(model.records[-1]["seconds"], 1),
        "linear-probe accuracy": round(values["linear_probe_accuracy"], 3),
    }


def claims(rows: Rows) -> list[Claim]:
    """What the literature says of linear and deep autoencoders."""
    error = {line["method"]: line["test MSE"] for line in rows}
    deep, linear = (error[f"{kind} autoencoder"] / error["pca"] for kind in ("deep", "linear"))
    return [
        at_most(
            "a deep autoencoder reconstructs better than PCA at the same code size",
            deep,
            1.0,
            0.0,
            "test MSE / PCA's",
            "Hinton & Salakhutdinov 2006",
        ),
        at_least(
            "a linear autoencoder does not",
            linear,
            1.0,
            0.01,
            "test MSE / PCA's",
            "Baldi & Hornik 1989",
        ),
    ]


def error_figure(rows: Rows) -> Figure:
    """One bar a method, the best on top, with its error and the seconds of fitting."""
    networks = {line["method"]: line["method"].endswith("autoencoder") for line in rows}
    return comparisons.bars(
        {line["method"]: line["test MSE"] for line in rows},
        "test MSE a pixel, and the seconds to fit",
        notes={line["method"]: f"({line['seconds to fit']:.0f} s)" for line in rows},
        groups={name: "network" if is_one else "codec" for name, is_one in networks.items()},
    )


@experiment("linear_or_not", PRESETS)
def main(preset: Preset, lab: Lab) -> Findings:
    """Linear or not: codecs and networks at one code size, side by side."""
    dataset = load(preset.dataset, protocol="full", limit=preset.limit)
    networks = lab.train(members(preset), dataset)
    found = codecs(preset, dataset, lab) | networks
    rows = [row(name, model) for name, model in found.items()]
    examples = dataset.splits["test"].head(SHOWN)
    inputs = next(iter(found.values())).inputs(examples)
    restored = {
        name: np.clip(model.reconstruct(examples, units="model"), 0, 1)
        for name, model in found.items()
    }
    return Findings(
        protocol=(
            f"{len(dataset.splits['train']):,} training examples of {preset.dataset} in [0, 1], "
            f"{len(dataset.splits['test']):,} for test, codes of {preset.latent_dim}"
        ),
        note=(
            "Squared errors are means over pixels of reconstructions from the mean code. L0 is the "
            f"mean number of non-zero values of a code. Networks: {preset.epochs} epochs of Adam, "
            f"hidden layers {list(preset.hidden)}, none for the linear one; codecs: at most "
            f"{preset.iterations} iterations. Seconds include compilation."
        ),
        tables={"Methods": rows},
        pictures={
            "error": Shown(error_figure(rows), "Test error and seconds to fit"),
            "reconstructions": Shown(
                figures.reconstructions(inputs, restored), "Test examples from their codes"
            ),
        },
        claims=claims(rows) if preset.claimed and len(networks) == 3 else [],
        runs=[
            {
                "run": name,
                "steps": model.step,
                "converged": model.records[-1].get("converged"),
                "seconds": round(model.records[-1]["seconds"], 1),
            }
            for name, model in found.items()
        ],
    )


if __name__ == "__main__":
    run_command(main)
