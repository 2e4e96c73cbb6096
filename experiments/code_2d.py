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

from ae_jax.data import load
from ae_jax.lab import Claim, Estimate, Findings, Lab, claim, experiment, run_command, run_rows
from experiments import code_2d_models as models
from experiments.code_2d_models import EACH, ERROR, Preset, Trained

PRESETS = {
    "smoke": Preset("digits", 150, 30, (1e-3, 5e-3)),
    "quick": Preset("mnist", 200, 4),
    "standard": Preset("mnist", 1000, 100),
}


@experiment("code_2d", PRESETS)
def main(preset: Preset, lab: Lab) -> Findings:
    """Two-dimensional codes of digits: an autoencoder beside two principal components."""
    dataset = load(preset.dataset, protocol="full")
    few_digits, rates = models.few_of(dataset), preset.rates
    few = models.train_on("100", few_digits, lab, rates, preset.few_epochs, EACH)
    everything = models.train_on("all", dataset, lab, rates, preset.all_epochs, 128)
    both = (few, everything)
    return Findings(
        protocol=(
            f"{preset.dataset}, grey levels in [0, 1], {models.architecture(dataset)}, rectified, "
            f"linear code, squared error, Adam; {few.count} training examples for "
            f"{preset.few_epochs} epochs, or {everything.count:,} for {preset.all_epochs}"
        ),
        note=f"{ERROR.capitalize()}, summed over pixels; PCA has two components, unclipped.",
        tables={
            "Squared error by learning rate": [row for one in both for row in one.rows()],
            "Parameters": models.parameter_rows(),
        },
        pictures=models.pictures(few) | models.pictures(everything),
        claims=claims(few, everything),
        runs=[row for one in both for row in run_rows(one.by_name)],
    )


def claims(few: Trained, everything: Trained) -> list[Claim]:
    """Errors below those of two principal components."""
    found = []
    for one, split in ((few, "train"), (everything, "test")):
        name = (
            f"trained on {one.count} examples, the {split} error less that of two principal "
            "components"
        )
        less, source = Estimate.of(one.less_than_pca(split)), "PCA in closed form"
        found.append(claim(name, less, at_most=0.0, errors=2, unit=ERROR, source=source))
    return found


if __name__ == "__main__":
    run_command(main)
