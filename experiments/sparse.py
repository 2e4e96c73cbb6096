"""Sparse codes of MNIST: what they cost in reconstruction, and what they are good for.

Claim   Of 256 code units, the 25 highest, an L1 penalty and a KL divergence to a low rate leave
        less than half of those alive that a dense code uses. A linear classifier does better on
        each kind of sparse code than on the dense one, by two standard errors over test digits.

Command python -m experiments.sparse --preset smoke|quick|standard [--workdir DIR]
            [--launcher local|slurm [--slurm OPTION=VALUE ...]] [--print-only]

        smoke     seconds; the 8x8 digits
        quick     5 epochs; about 3 minutes on two CPU cores
        standard  50 epochs; about an hour on two CPU cores

Protocol  784-256-784, one layer on either side of the code, linear pixels, squared error; 60,000
        training digits in [0, 1], Adam with a cosine schedule, batches of 128. Dense: rectified
        units without a penalty. Sparse: rectified units with an L1 penalty, sigmoid units whose
        mean over the batch is drawn to a rate rho, and the k highest of linear units, each at
        three strengths; features and claims are of the middle one. A unit is active on an example
        where its code is above a threshold, 0 or, for sigmoids, which never reach 0, 0.1. Errors
        are of codes whose inactive units say nothing: each stands at its mean over the training
        examples on which it is inactive, which is 0 where inactive units are. The classifier is
        logistic regression on standardised codes of the first training examples, scored on the
        whole test split. PCA has as many components as the codes have units.

Figures figures/features_*.png (what a unit adds to the image), error_by_active_units.png.
"""

import math

import numpy as np

from ae_jax.data import DataSet, load
from ae_jax.lab import (
    Claim,
    Estimate,
    Findings,
    Lab,
    claim,
    experiment,
    rounded,
    run_command,
    run_rows,
)
from experiments import sparse_codes as codes
from experiments.sparse_codes import DENSE, ERROR, Kind, Preset, kl, l1, top_k

KINDS = (
    *(l1(weight) for weight in (0.03, 0.1, 0.3)),
    *(kl(rho) for rho in (0.02, 0.05, 0.1)),
    *(top_k(k) for k in (10, 25, 50)),
)
PRESETS = {
    "smoke": Preset("digits", 48, 40, (l1(0.1), kl(0.05), top_k(4), top_k(8)), 800),
    "quick": Preset("mnist", 256, 5, KINDS, 3000),
    "standard": Preset("mnist", 256, 50, KINDS, 20_000),
}
CODE_DIGITS = {
    "active units": 2, "mean activation": 4, "squared error": 3, "of the whole code": 3,
    "accuracy": 4,
}  # fmt: skip


@experiment("sparse", PRESETS)
def main(preset: Preset, lab: Lab) -> Findings:
    """Sparse codes of three kinds beside a dense one: error, active units, and a classifier."""
    dataset = load(preset.dataset, protocol="full")
    coders, fitted = codes.train_all(preset, lab, dataset)
    rows = {kind: coder.row(preset.probe) for kind, coder in coders.items()}
    table = [*rows.values(), codes.pca_row(preset, dataset)]
    return Findings(
        protocol=protocol(preset, dataset),
        note=(
            f"{ERROR.capitalize()} on the test split, inactive units at their mean while inactive "
            "in training, or of the whole code as it is; active units are means over it, dead ones "
            "are active on none of it. Accuracy is that of logistic regression fitted on the codes "
            f"of {preset.probe:,} training examples; on the pixels it is "
            f"{codes.pixel_accuracy(dataset, preset.probe):.4f}. A sigmoid unit counts as active "
            f"above {codes.SIGMOID_THRESHOLD:g}, others above 0; the KL has weight "
            f"{codes.KL_WEIGHT:g}."
        ),
        tables={"Codes on the test split": rounded(table, CODE_DIGITS)},
        pictures=codes.pictures(preset, coders, dataset),
        claims=claims(preset, rows, len(dataset.splits["test"])),
        runs=run_rows(fitted),
    )


def protocol(preset: Preset, dataset: DataSet) -> str:
    dim = int(np.prod(dataset.shape))
    return (
        f"{preset.dataset}, grey levels in [0, 1], {dim}-{preset.latent_dim}-{dim}, squared error, "
        f"{len(dataset.splits['train']):,} training examples, Adam, {preset.epochs} epochs"
    )


def claims(preset: Preset, rows: dict[Kind, dict], tested: int) -> list[Claim]:
    """Few alive under a penalty; codes as good for a classifier as dense ones."""
    units, found = "units per example", []
    dense = rows[DENSE]
    for kind in preset.representatives:
        if kind in rows:
            few = f"{kind.name}: active units are less than half of those of the dense code"
            half, active = dense["active units"] / 2, rows[kind]["active units"]
            good = f"{kind.name}: accuracy of a linear classifier less that on the dense code"
            gain = accuracy_gain(rows[kind]["accuracy"], dense["accuracy"], tested)
            found += [
                claim(few, active, at_most=half, unit=units),
                claim(good, gain, at_least=0.0, errors=2, unit="% of test digits"),
            ]
    return found


def accuracy_gain(ours: float, theirs: float, count: int) -> Estimate:
    """The difference of two accuracies, %, with the error of two independent sets of `count`
    digits: they are the same digits, so that it is rather less."""
    variance = ours * (1 - ours) + theirs * (1 - theirs)
    return Estimate(100 * (ours - theirs), 100 * math.sqrt(variance / count), (), count)


if __name__ == "__main__":
    run_command(main)
