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

from ae_jax.cli.shell import run_command
from ae_jax.data import load
from ae_jax.lab import Findings, Lab, Rows, experiment, rounded, run_rows
from ae_jax.report.claims import Claim, at_least, at_most
from ae_jax.train.grid import Member
from ae_jax.train.optimisers import Adam
from experiments.bottleneck_models import (
    LEARNING_RATE,
    Preset,
    compare_optimisers,
    configured,
    depth_rows,
    name_of,
    optimiser_rows,
    protocol,
    size_rows,
)
from experiments.bottleneck_report import ERROR, pictures
from experiments.published import pca_errors

MNIST_SIZES = (784, 256, 64, 32, 16, 8, 4, 2, 1)
MNIST_DEPTHS = ((256,), (256, 128), (256, 128, 64))
PRESETS = {
    "smoke": Preset("digits", 60, (8, 2), ((32,), (32, 16)), 2, 2, 256, 5),
    "quick": Preset("mnist", 2, MNIST_SIZES, MNIST_DEPTHS, 8, 32, 10_000, 8),
    "standard": Preset("mnist", 30, MNIST_SIZES, MNIST_DEPTHS, 8, 32, 10_000, 100),
}
# Sizes at which the autoencoder is held to be better than PCA.
CLAIMED = range(1, 65)
PUBLISHED = "closed form, experiments/targets/pca_mnist.json"
ERROR_DIGITS = {"train": 3, "test": 3}
SIZE_DIGITS = {
    "autoencoder": 4,
    "PCA": 4,
    "per pixel": 6,
    "PCA per pixel": 6,
    "PCA / autoencoder": 3,
}


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


if __name__ == "__main__":
    run_command(main)
