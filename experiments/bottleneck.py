"""Undercomplete autoencoders of MNIST: how small may the code be?

Claim   At every code size from 1 to 64, an autoencoder with one hidden layer on either side has a
        smaller squared error on the test digits than PCA of that size, by more than twice the
        standard error over images. Where the code is no smaller than the hidden layer (256, 784),
        PCA is ahead. Three layers have a lower error than one, and cross-entropy than training by
        the squared error itself, each at its best step size. PCA here agrees with the published
        figures of PCA.

Command python -m experiments.bottleneck --preset smoke|quick|standard [--workdir DIR]
            [--launcher local|slurm [--slurm OPTION=VALUE ...]] [--print-only]

        smoke     seconds; the 8x8 digits
        quick     2 epochs, 10 of deeper ones; about ten minutes on two CPU cores
        standard  30 epochs, 60 of deeper ones; more than an hour on two CPU cores, minutes on an
                  accelerator

Protocol  784-256-z-256-784, rectified hidden units, a linear code, pixels limited to (0, 1) and
        trained by cross-entropy; 60,000 training digits in [0, 1], Adam with a cosine schedule,
        batches of 128. Deeper encoders (mirrored decoders), and one trained by squared error, whose
        pixels are not limited, at one code size: for these 10,000 training digits are held out and
        choose the step size of each from the same four. Optimisers at one code size on the first
        10,000 digits; of each, the step size with the smallest error on its training digits is
        shown in the figure. The test split chooses nothing.

Figures figures/reconstructions.png (original digits over those of each code size),
        error_by_size.png, optimisers.png.
"""

import numpy as np

from ae_jax.data import DataSet, load
from ae_jax.lab import (
    Claim,
    Estimate,
    Findings,
    Lab,
    Rows,
    claim,
    experiment,
    rounded,
    run_command,
    run_rows,
)
from experiments import bottleneck_layers as layers
from experiments import bottleneck_models as models
from experiments.bottleneck_layers import Way
from experiments.bottleneck_models import ERROR, Preset, SizeErrors
from experiments.published import pca_errors

MNIST_SIZES = (784, 256, 64, 32, 16, 8, 4, 2, 1)
MNIST_DEPTHS = ((256,), (256, 128), (256, 128, 64))
PRESETS = {
    "smoke": Preset("digits", 60, (8, 2), ((32,), (32, 16)), 2, 4, 2, 256, 5),
    "quick": Preset("mnist", 2, MNIST_SIZES, MNIST_DEPTHS, 8, 10, 32, 10_000, 8),
    "standard": Preset("mnist", 30, MNIST_SIZES, MNIST_DEPTHS, 8, 60, 32, 10_000, 100),
}
CLEAR = 2.0  # standard errors over images
PUBLISHED = "closed form, experiments/targets/pca_mnist.json"
ERROR_DIGITS = {"train": 3, "test": 3}
SIZE_DIGITS = {
    "autoencoder": 4, "PCA": 4, "PCA - autoencoder": 3, "±": 3, "per pixel": 6, "PCA per pixel": 6,
    "PCA / autoencoder": 3,
}  # fmt: skip


@experiment("bottleneck", PRESETS)
def main(preset: Preset, lab: Lab) -> Findings:
    """Autoencoders with a bottleneck: squared error by size of the code, beside PCA."""
    held_out, dataset = (load(preset.dataset, protocol=name) for name in ("paper", "full"))
    fitted = models.by_size(preset, lab, dataset)
    optimised = models.by_optimiser(preset, lab, dataset.limited(preset.limit))
    ways, tried = layers.ways(preset, lab, held_out)
    errors = models.size_errors(preset, dataset, fitted)
    sizes = models.size_rows(dataset, errors)
    steps = models.optimiser_rows(optimised)
    named = {models.name_of(size, preset.hidden): model for size, model in fitted.items()}
    return Findings(
        protocol=protocol(preset, dataset),
        note=(
            f"{ERROR.capitalize()}, summed over pixels; ± is a standard error over test images. "
            "PCA has the mean and components of the training split, unclipped. Where a code has "
            f"more dimensions than the hidden layer, of {preset.hidden[-1]} units, that layer is "
            f"the bottleneck. More layers, and the other loss, had {preset.depth_epochs} epochs on "
            f"{len(held_out.splits['train']):,} examples at the step size that is best on "
            f"{len(held_out.splits['valid']):,} others. Optimisers had {preset.optimiser_epochs} "
            f"epochs on the first {preset.limit:,} examples; the codes of all sizes are trained at "
            f"Adam's {models.LEARNING_RATE:g}."
        ),
        tables={
            "Test error by code size": rounded(sizes, SIZE_DIGITS),
            f"More layers, and the other loss, code of {preset.depth_size}": layers.rows(ways),
            f"Optimisers, code of {preset.optimiser_size}": rounded(steps, ERROR_DIGITS),
        },
        pictures=models.pictures(preset, dataset, fitted, sizes, optimised),
        claims=claims(preset, sizes, errors, ways),
        runs=run_rows(named | optimised | tried),
    )


def protocol(preset: Preset, dataset: DataSet) -> str:
    dim = int(np.prod(dataset.shape))
    return (
        f"{preset.dataset}, grey levels in [0, 1], {dim}-{preset.hidden[0]}-z-{preset.hidden[0]}-"
        f"{dim}, rectified, linear code, cross-entropy, {len(dataset.splits['train']):,} training "
        f"examples, Adam, {preset.epochs} epochs"
    )


def claims(
    preset: Preset, sizes: Rows, errors: dict[int, SizeErrors], ways: list[Way]
) -> list[Claim]:
    """PCA as published; the autoencoder against it at every size, more layers against fewer."""
    found = [pca_claim(sizes)] if preset.dataset == "mnist" else []
    clear = {"at_least": 0.0, "errors": CLEAR, "unit": ERROR}
    for size, each in errors.items():
        if size < preset.hidden[-1]:
            ahead, gain = "the autoencoder", each.gain
        else:
            ahead, gain = "PCA", Estimate.of(each.ours - each.pca)
        name = f"by how much {ahead} is ahead at code size {size}, beside twice its standard error"
        found.append(claim(name, gain, **clear))
    few, many = ways[0], ways[len(preset.depths) - 1]
    found.append(
        claim(
            f"by how much hidden layers {many.layers} lower the test error below that with "
            f"{few.layers}, code of {preset.depth_size}, each at its best step size",
            few.less(many),
            source="more layers add capacity",
            **clear,
        )
    )
    name = f"by how much {few.loss} lowers the test error below that after training by "
    return [*found, claim(name + ways[-1].loss, ways[-1].less(few), **clear)]


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
