"""Sparse codes of MNIST: what they cost in reconstruction, and what they are good for.

Claim   Of 256 code units, the k highest leave exactly k alive; an L1 penalty and a KL divergence
        to a low rate leave less than half of those alive that a dense code uses. A linear
        classifier does at least as well on each kind of sparse code as on the dense one.

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

import numpy as np

from ae_jax.cli.shell import run_command
from ae_jax.data import load
from ae_jax.lab import Findings, Lab, experiment, rounded, run_rows
from ae_jax.report.claims import Claim, at_least, at_most, equal_to
from experiments.sparse_codes import (
    DENSE,
    KL_WEIGHT,
    SIGMOID_THRESHOLD,
    Coder,
    Kind,
    Preset,
    code_row,
    kl,
    l1,
    member,
    pca_row,
    pixel_accuracy,
    top_k,
)
from experiments.sparse_report import ERROR, pictures

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
    "active units": 2,
    "mean activation": 4,
    "squared error": 3,
    "of the whole code": 3,
    "accuracy": 4,
}


@experiment("sparse", PRESETS)
def main(preset: Preset, lab: Lab) -> Findings:
    """Sparse codes of three kinds beside a dense one: error, active units, and a classifier.

    Interrupted and started again, it continues; what is finished is reused.
    """
    dataset = load(preset.dataset, protocol="full")
    kinds = (DENSE, *preset.kinds)
    members = {kind: member(preset, dataset, kind) for kind in kinds}
    fitted = lab.train(list(members.values()), dataset)
    coders = {
        kind: Coder(kind, fitted[one.name]) for kind, one in members.items() if one.name in fitted
    }
    rows = {kind: code_row(coder, preset.probe) for kind, coder in coders.items()}
    dim = int(np.prod(dataset.shape))
    return Findings(
        protocol=(
            f"{preset.dataset}, grey levels in [0, 1], {dim}-{preset.latent_dim}-{dim}, squared "
            f"error, {len(dataset.splits['train']):,} training examples, Adam, {preset.epochs} "
            "epochs"
        ),
        note=(
            f"{ERROR.capitalize()} on the test split, inactive units at their mean while inactive "
            "in training, or of the whole code as it is; active units are means over it, dead ones "
            "are active on none of it. Accuracy is that of logistic regression fitted on the codes "
            f"of {preset.probe:,} training examples; on the pixels it is "
            f"{pixel_accuracy(dataset, preset.probe):.4f}. A sigmoid unit counts as active above "
            f"{SIGMOID_THRESHOLD:g}, others above 0; the KL has weight {KL_WEIGHT:g}."
        ),
        tables={
            "Codes on the test split": rounded(
                [*rows.values(), pca_row(preset, dataset)], CODE_DIGITS
            )
        },
        pictures=pictures(preset, coders, dataset),
        claims=claims(preset, rows),
        runs=run_rows(fitted),
    )


def claims(preset: Preset, rows: dict[Kind, dict]) -> list[Claim]:
    """Exactly k alive; few alive under a penalty; codes as good for a classifier as dense ones."""
    found = [
        equal_to(
            f"active units of the {kind.k} highest",
            row["active units"],
            kind.k,
            "units per example",
            "the definition of the code",
        )
        for kind, row in rows.items()
        if kind.latent == "top_k"
    ]
    dense = rows[DENSE]
    for kind in preset.representatives:
        if kind not in rows:
            continue
        found.append(
            at_most(
                f"{kind.name}: active units are less than half of those of the dense code",
                rows[kind]["active units"],
                dense["active units"] / 2,
                0.0,
                "units per example",
                "the claim of this experiment",
            )
        )
        found.append(
            at_least(
                f"{kind.name}: a linear classifier is at least as good as on the dense code",
                100 * rows[kind]["accuracy"],
                100 * dense["accuracy"],
                0.0,
                "% of test digits",
                "the claim of this experiment",
            )
        )
    return found


if __name__ == "__main__":
    run_command(main)
