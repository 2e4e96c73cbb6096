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
from collections.abc import Mapping

import numpy as np

from ae_jax.api import Fitted
from ae_jax.codecs import CODECS
from ae_jax.data import DataSet, load
from ae_jax.eval import LinearProbe
from ae_jax.lab import (
    Claim,
    Findings,
    Lab,
    Member,
    Rows,
    Shown,
    claim,
    experiment,
    network,
    reconstructed,
    run_command,
    shown,
)
from ae_jax.train.config import DataConfig
from experiments.baselines import image_errors, rows_of
from experiments.evaluation import ratio

SHOWN = 12
COMPARED = ("pca", "linear autoencoder", "deep autoencoder")


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


def networks(preset: Preset, dataset: DataSet, lab: Lab) -> dict[str, Fitted]:
    """The linear autoencoder, the deep one, and the variational one."""
    point = {"objective": "reconstruction", "latent": "deterministic", "head": "gaussian_fixed"}
    deep = {"hidden": preset.hidden, "activation": "relu"}
    how = {"latent_dim": preset.latent_dim, "init": "glorot_uniform"}
    how |= {"epochs": preset.epochs, "every": preset.epochs}
    members = []
    for kind, own in (("linear", {**point, "hidden": ()}), ("deep", point | deep),
                      ("variational", {**deep, "objective": "elbo"})):  # fmt: skip
        config = network(dataset, **how, **own)
        # Their part of the data is in the protocol; said here too, it would refuse runs that exist.
        config = dataclasses.replace(config, data=DataConfig(preset.dataset, preprocess="grey"))
        members.append(Member(f"{kind} autoencoder", config))
    return lab.train(members, dataset)


def codecs(preset: Preset, dataset: DataSet, lab: Lab) -> dict[str, Fitted]:
    """Every codec, fitted and kept as a run below the lab's folder."""
    found = {}
    for name, kind in CODECS.items():
        spec = kind(preset.latent_dim)
        if name != "pca" and hasattr(spec, "max_iterations"):  # PCA is solved at once here
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


def claims(errors: Mapping[str, np.ndarray]) -> list[Claim]:
    """What the literature says of linear and deep autoencoders, by errors [N] of test images."""
    deep, linear = (
        ratio(errors[f"{kind} autoencoder"], errors["pca"]) for kind in ("deep", "linear")
    )
    better = "a deep autoencoder reconstructs better than PCA at the same code size"
    hinton, baldi = "Hinton & Salakhutdinov 2006", "Baldi & Hornik 1989"
    unit, not_so = "test MSE / PCA's", "a linear autoencoder does not"
    return [
        claim(better, deep, at_most=1.0, errors=2, unit=unit, source=hinton),
        claim(not_so, linear, at_least=1.0, tolerance=0.01, unit=unit, source=baldi),
    ]


def error_figure(rows: Rows) -> Shown:
    """One bar a method, the best on top, with its error and the seconds of fitting."""
    networks = {line["method"]: line["method"].endswith("autoencoder") for line in rows}
    return shown(
        "bars",
        "Test error and seconds to fit",
        {line["method"]: line["test MSE"] for line in rows},
        "test MSE a pixel, and the seconds to fit",
        notes={line["method"]: f"({line['seconds to fit']:.0f} s)" for line in rows},
        groups={name: "network" if is_one else "codec" for name, is_one in networks.items()},
    )


@experiment("linear_or_not", PRESETS)
def main(preset: Preset, lab: Lab) -> Findings:
    """Linear or not: codecs and networks at one code size, side by side."""
    dataset = load(preset.dataset, protocol="full", limit=preset.limit)
    trained = networks(preset, dataset, lab)
    found = codecs(preset, dataset, lab) | trained
    rows = [row(name, model) for name, model in found.items()]
    errors = {
        name: image_errors(found[name], rows_of(dataset, "test"))
        for name in COMPARED
        if name in found
    }
    examples = dataset.splits["test"].head(SHOWN)
    return Findings(
        protocol=(
            f"{len(dataset.splits['train']):,} training examples of {preset.dataset} in [0, 1], "
            f"{len(dataset.splits['test']):,} for test, codes of {preset.latent_dim}"
        ),
        note=(
            "Squared errors are means over pixels of reconstructions from the mean code; those of "
            "claims are of the same test images. L0 is the "
            f"mean number of non-zero values of a code. Networks: {preset.epochs} epochs of Adam, "
            f"hidden layers {list(preset.hidden)}, none for the linear one; codecs: at most "
            f"{preset.iterations} iterations. Seconds include compilation."
        ),
        tables={"Methods": rows},
        pictures={
            "error": error_figure(rows),
            "reconstructions": reconstructed(examples, found, "Test examples from their codes"),
        },
        claims=claims(errors) if preset.claimed and len(trained) == 3 else [],
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
