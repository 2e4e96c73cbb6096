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

from ae_jax.data import load
from ae_jax.lab import Claim, Findings, Lab, claim, experiment, run_command, run_rows
from experiments import stacked_ways as ways
from experiments.baselines import first_components, pca_error, pca_of, rows_of
from experiments.deep import UNIT
from experiments.stacked_ways import AT_ONCE, KINDS, LONGER, RATES, Course, Preset

PRESETS = {
    "smoke": Preset("digits", (32,), 4, 2, 4, 2, 500, seeds=2),
    "quick": Preset("mnist", (256, 64), 16, 3, 6, 1, 20_000),
    "standard": Preset("mnist", (256, 64), 16, 20, 100, 5, None),
}


@experiment("stacked", PRESETS)
def main(preset: Preset, lab: Lab) -> Findings:
    """Layer by layer in three ways, and at once: squared error after each stage."""
    dataset = load(preset.dataset, protocol="paper", limit=preset.limit)
    deep, longer = preset.config(dataset), preset.longer.config(dataset)
    courses = {
        kind: ways.layer_by_layer(preset, lab, dataset, deep, kind, how)
        for kind, how in KINDS.items()
    }
    courses[AT_ONCE] = ways.at_once(preset, lab, dataset, deep, "at_once")
    courses[LONGER] = ways.at_once(preset, lab, dataset, longer, "at_once_longer")
    components, test = pca_of(dataset, max(preset.sizes)), rows_of(dataset, "test")
    linear = [pca_error(first_components(components, size), test) for size in preset.sizes]
    shape = preset.shape_and_size(dataset)
    return Findings(
        protocol=f"{dataset.name}, pixels in [0, 1], {shape}, cross-entropy",
        note=(
            "Squared error summed over the pixels of a test image, of the whole the mean of "
            f"{preset.seeds} seeds and its standard error over them. After a layer it is that of "
            "the layers so far, unrolled and not trained together, of the first seed. Each layer "
            f"had {preset.layer_epochs} epochs, fine-tuning {preset.epochs}; PCA has as many "
            "components as the layer has units. The step size of the whole, and of layers that are "
            f"autoencoders, is for each way the best of {', '.join(f'{r:g}' for r in RATES)} by "
            "the error of the whole on held-out training digits, of the first seed; RBMs have the "
            "paper's."
        ),
        tables={
            "Test error after each stage": ways.stage_rows(preset, courses, linear),
            "Error on held-out training digits by step size": ways.rate_rows(courses),
        },
        pictures=ways.pictures(preset, dataset, courses, linear),
        claims=claims(courses),
        runs=[row for course in courses.values() for row in run_rows(course.runs)],
    )


def claims(courses: dict[str, Course]) -> list[Claim]:
    """Every way by layers beside the whole at once with equal epochs: by how much it is better."""
    found = []
    for kind, course in courses.items():
        if course.by_layer:
            name = (
                f"by how much pretraining by {kind} lowers the test error below that of training "
                "at once for as many epochs in all, beside twice the standard error over seeds"
            )
            gain = courses[LONGER].tuned.error.less(course.tuned.error)
            how = {"at_least": 2 * gain.standard_error, "unit": UNIT, "source": "measured here"}
            found.append(claim(name, gain.mean, **how))
    return found


if __name__ == "__main__":
    run_command(main)
