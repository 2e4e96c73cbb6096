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

import numpy as np

from ae_jax.data import DataSet, load
from ae_jax.lab import Claim, Findings, Lab, Rows, claim, experiment, rounded, run_command, run_rows
from experiments import bottleneck_models as models
from experiments.bottleneck_models import ERROR, Preset
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
    "autoencoder": 4, "PCA": 4, "per pixel": 6, "PCA per pixel": 6, "PCA / autoencoder": 3
}  # fmt: skip


@experiment("bottleneck", PRESETS)
def main(preset: Preset, lab: Lab) -> Findings:
    """Autoencoders with a bottleneck: squared error by size of the code, beside PCA."""
    dataset = load(preset.dataset, protocol="full")
    fitted = models.by_layout(preset, lab, dataset)
    optimised = models.by_optimiser(preset, lab, dataset.limited(preset.limit))
    sizes = models.size_rows(preset, dataset, fitted)
    depths = models.depth_rows(preset, fitted)
    steps = models.optimiser_rows(optimised)
    deeper = f"Encoders of more layers, code of {preset.depth_size}"
    return Findings(
        protocol=protocol(preset, dataset),
        note=(
            f"{ERROR.capitalize()}, summed over pixels. PCA has the mean and components of the "
            "training split, unclipped. Where a code has more dimensions than the hidden layer, "
            f"of {preset.hidden[-1]} units, that layer is the bottleneck."
        ),
        tables={
            "Test error by code size": rounded(sizes, SIZE_DIGITS),
            deeper: rounded(depths, ERROR_DIGITS),
            f"Optimisers, code of {preset.optimiser_size}": rounded(steps, ERROR_DIGITS),
        },
        pictures=models.pictures(preset, dataset, fitted, sizes, optimised),
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


def claims(preset: Preset, sizes: Rows, depths: Rows) -> list[Claim]:
    """PCA as published, the autoencoder below it, and more layers below fewer."""
    found = [pca_claim(sizes)] if preset.dataset == "mnist" else []
    for row in sizes:
        if row["code size"] in CLAIMED:
            name = (
                "PCA has at least the test error of the autoencoder at code size "
                f"{row['code size']}"
            )
            found.append(claim(name, row["PCA / autoencoder"], at_least=1.0, unit="ratio"))
    if len(depths) > 1:
        few, many = depths[0], depths[-1]
        name = (
            f"test error with hidden layers {many['hidden layers']} is no more than with "
            f"{few['hidden layers']}, code of {preset.depth_size}"
        )
        source = "more layers add capacity"
        found.append(claim(name, many["test"], at_most=few["test"], unit=ERROR, source=source))
    return found


def pca_claim(sizes: Rows) -> Claim:
    """The largest deviation of PCA's test errors from those published, relative to these."""
    published = pca_errors()
    shares = [
        abs(row["PCA per pixel"] / published[row["code size"]] - 1)
        for row in sizes
        if published.get(row["code size"], 0) > 0
    ]
    name = "test errors of PCA are the published ones at every size, largest relative deviation"
    share = 100 * max(shares)
    return claim(name, share, at_most=0.0, tolerance=0.1, unit="%", source=PUBLISHED)


if __name__ == "__main__":
    run_command(main)
