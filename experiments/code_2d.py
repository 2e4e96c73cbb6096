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

from ae_jax.cli.shell import run_command
from ae_jax.data import load
from ae_jax.lab import Findings, Lab, experiment, run_rows
from ae_jax.report.claims import Claim, at_most, equal_to
from experiments.code_2d_models import (
    COUNTED,
    EACH,
    ERROR,
    Preset,
    Trained,
    architecture,
    by_name,
    count_parameters,
    error_rows,
    few_of,
    parameter_rows,
    train_on,
)
from experiments.code_2d_report import pictures

PRESETS = {
    "smoke": Preset("digits", 150, 30, (1e-3, 5e-3)),
    "quick": Preset("mnist", 200, 4),
    "standard": Preset("mnist", 1000, 100),
}


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


if __name__ == "__main__":
    run_command(main)
