"""The same deep autoencoder trained layer by layer in three ways, and at once.

Claim   Trained layer by layer, by RBMs, autoencoders or denoising autoencoders, and then whole, the
        network has a smaller squared error on test digits than the same network trained at once
        for as many epochs as layers and fine-tuning took together, by more than seeds differ. Each
        way has the step size that suits it best.

Command python -m experiments.stacked --preset smoke|quick|standard [--workdir DIR] [--print-only]

        smoke     seconds; the 8x8 digits
        quick     20,000 digits, 3 epochs a layer, 6 of fine-tuning, three seeds; ten minutes on two
                  CPU cores
        standard  50,000 digits, 20 epochs a layer, 100 of fine-tuning; hours on two CPU cores

Protocol  784-256-64-16 and its mirror, logistic units, a linear code, cross-entropy on pixels in
        [0, 1], weights from Glorot's range times four, Adam with a cosine schedule. A layer is
        trained on the codes of the one before. The error after a stage is that of the autoencoder
        that the layers so far make, in pixels. 10,000 training digits are held out and choose
        the step size of each way from the same four; the test split chooses nothing.

Figures figures/error_by_stage.png, error_by_epoch.png (fine-tuning), reconstructions.png.
"""

import numpy as np

from ae_jax.cli.shell import run_command
from ae_jax.data import load
from ae_jax.eval.estimates import standard_error
from ae_jax.lab import Findings, Lab, experiment, run_rows
from ae_jax.report.claims import Claim, at_least
from ae_jax.train.config import DataConfig
from experiments.baselines import first_components, pca_of
from experiments.deep import UNIT, deep_config, pca_error, shape_and_size
from experiments.stacked_report import pictures, rate_rows, stage_rows
from experiments.stacked_ways import (
    AT_ONCE,
    KINDS,
    LONGER,
    RATES,
    Course,
    Preset,
    at_once,
    layer_by_layer,
)

PRESETS = {
    "smoke": Preset("digits", (32,), 4, 500, 2, 4, 2, seeds=2),
    "quick": Preset("mnist", (256, 64), 16, 20_000, 3, 6, 1),
    "standard": Preset("mnist", (256, 64), 16, None, 20, 100, 5),
}
NOTE = (
    "Squared error summed over the pixels of a test image, of the whole the mean of {preset.seeds} "
    "seeds and its standard error over them. After a layer it is that of the layers so far, "
    "unrolled and not trained together, of the first seed. Each layer had {preset.layer_epochs} "
    "epochs, fine-tuning {preset.epochs}; PCA has as many components as the layer has units. The "
    "step size of the whole, and of layers that are autoencoders, is for each way the best of "
    "{rates} by the error of the whole on held-out training digits, of the first seed; RBMs have "
    "the paper's."
)


@experiment("stacked", PRESETS)
def main(preset: Preset, lab: Lab) -> Findings:
    """Layer by layer in three ways, and at once: squared error after each stage.

    Interrupted and started again, it continues; what is finished is reused.
    """
    dataset = load(preset.dataset, protocol="paper", limit=preset.limit)
    data = DataConfig(preset.dataset, protocol="paper", preprocess="grey", limit=preset.limit)
    deep = deep_config(data, preset.sizes, preset.epochs, preset.looks)
    longer = deep_config(data, preset.sizes, preset.all_epochs, preset.looks)
    courses = {
        kind: layer_by_layer(preset, lab, dataset, deep, kind, how) for kind, how in KINDS.items()
    }
    courses[AT_ONCE] = at_once(preset, lab, dataset, deep, "at_once")
    courses[LONGER] = at_once(preset, lab, dataset, longer, "at_once_longer")
    components = pca_of(dataset, max(preset.sizes))
    linear = [pca_error(dataset, first_components(components, size)) for size in preset.sizes]
    return Findings(
        protocol=(
            f"{dataset.name}, pixels in [0, 1], {shape_and_size(dataset, preset.sizes)}, "
            "cross-entropy"
        ),
        note=NOTE.format(preset=preset, rates=", ".join(f"{rate:g}" for rate in RATES)),
        tables={
            "Test error after each stage": stage_rows(preset, courses, linear),
            "Error on held-out training digits by step size": rate_rows(courses),
        },
        pictures=pictures(preset, dataset, courses, linear),
        claims=claims(courses),
        runs=[row for course in courses.values() for row in run_rows(course.runs)],
    )


def claims(courses: dict[str, Course]) -> list[Claim]:
    """Every way by layers beside the whole at once with equal epochs: by how much it is better."""
    rival = courses[LONGER].tuned.errors
    found = []
    for name, course in courses.items():
        if not course.by_layer:
            continue
        own = course.tuned.errors
        error = float(np.hypot(standard_error(own), standard_error(rival)))
        found.append(
            at_least(
                f"by how much pretraining by {name} lowers the test error below that of training "
                "at once for as many epochs in all, beside twice the standard error over seeds",
                float(rival.mean() - own.mean()),
                2 * error,
                0.0,
                UNIT,
                "measured here",
            )
        )
    return found


if __name__ == "__main__":
    run_command(main)
