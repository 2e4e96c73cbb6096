"""A linear autoencoder trained by gradients finds the subspace of PCA; which choices matter?

Claim   Trained with squared error, the linear autoencoder ends within 0.01 % of the least error
        that any linear map of that rank has, which is PCA's, on two measurements of irises (2-1-2)
        and on MNIST, and its decoder spans the subspace of the first principal components.

Command python -m experiments.linear_is_pca --preset smoke|quick|standard [--workdir DIR]
            [--launcher local|slurm [--slurm OPTION=VALUE ...]] [--print-only]

        smoke     seconds; iris, and the 8x8 digits for MNIST
        quick     10 epochs of MNIST; about a minute on two CPU cores
        standard  100 epochs of MNIST; about 10 minutes on two CPU cores

Protocol  Iris: sepal width and petal length in cm of all 150 flowers, batches of 15, Adam with a
        cosine schedule. MNIST: 60,000 training digits in [0, 1], not centred, 784-16-784, batches
        of 128. Errors are of the training data, whose optimum PCA is. An autoencoder
        equals PCA where its error is within 1 % of the optimum and the line of its decoder within
        1 degree of the first principal component; PCA of its inputs is that of the data in the
        units that the network saw. Every layer has biases; the optimum without
        them is a truncated singular value decomposition of the data as they are.

Figures figures/lines.png (the irises with both lines), loss.png (error over that of PCA by epoch),
        reconstructions.png.
"""

import numpy as np

from ae_jax.api import Fitted
from ae_jax.codecs.pca import PcaCodec
from ae_jax.data import load
from ae_jax.lab import (
    Claim,
    Findings,
    Lab,
    Rows,
    Shown,
    claim,
    experiment,
    reconstructed,
    rounded,
    run_command,
    run_rows,
    shown,
)
from ae_jax.report.comparisons import lines_through_points
from experiments import linear_choices as choices
from experiments.baselines import one_of_each, pca_of
from experiments.linear_choices import (
    CHOICES,
    IMAGE_ANGLE_CLAIMED,
    IRIS_ANGLE_CLAIMED,
    LOSS_CLAIMED,
    PLAIN,
    Preset,
)
from experiments.subspaces import comparison, directions, excess_curve

PRESETS = {
    "smoke": Preset("digits", 4, 300, 200, (*CHOICES[:3], CHOICES[5])),
    "quick": Preset("mnist", 16, 10, 400),
    "standard": Preset("mnist", 16, 100, 2000),
}
COMPARISON_DIGITS = {"autoencoder": 5, "PCA": 5, "excess (%)": 4, "largest angle (degrees)": 3}


@experiment("linear_is_pca", PRESETS)
def main(preset: Preset, lab: Lab) -> Findings:
    """Linear autoencoders are PCA, and what makes them something else."""
    images = load(preset.dataset, protocol="full")
    linear = choices.train_on_images(preset, lab, images)
    chosen = {choice: choices.train_on_irises(choice, preset, lab) for choice in preset.choices}
    principal, flowers = pca_of(images, preset.latent_dim), pca_of(choices.irises("centred"), 1)
    compared = [
        {"data": "iris", **comparison(chosen[PLAIN], flowers)},
        {"data": preset.dataset, **comparison(linear, principal)},
    ]
    angles = [row.pop("angles") for row in compared]
    dim, counted, test = len(principal.mean), len(images.splits["train"]), images.splits["test"]
    return Findings(
        protocol=(
            f"iris: sepal width and petal length of 150 flowers, 2-1-2; {preset.dataset}, "
            f"grey levels in [0, 1], {dim}-{preset.latent_dim}-{dim}, {counted:,} training "
            "examples; linear, squared error, Adam"
        ),
        note=(
            "Squared error of an example, mean over the training data, and angles in degrees "
            "between the span of the decoder and that of the first principal components. Turning "
            f"the subspace of images costs little: {choices.gap(images, preset.latent_dim)}."
        ),
        tables={
            "The linear autoencoder beside PCA": rounded(compared, COMPARISON_DIGITS),
            "Which choices make an autoencoder of the irises equal PCA": choices.table(chosen),
        },
        pictures={
            "lines": lines(chosen[PLAIN], flowers),
            "loss": shown(
                "curves", "How far the training error is above its optimum",
                {"iris": excess_curve(chosen[PLAIN], flowers),
                 preset.dataset: excess_curve(linear, principal)},
                "epoch", "training error over that of PCA (%)",
                log_x=True, log_y=True, markers=False,
                caption="Means over each epoch, while it changed the weights.",
            ),
            "reconstructions": reconstructed(
                test.x[one_of_each(test)], {"autoencoder": linear, "PCA": principal},
                "Test digits, the linear autoencoder and PCA",
            ),
        },
        claims=claims(compared),
        runs=run_rows(
            {"linear autoencoder of images": linear}
            | {choice.name: model for choice, model in chosen.items()}
        ),
        more={"principal_angles": angles[1].round(3).tolist()},
    )  # fmt: skip


def lines(model: Fitted, codec: PcaCodec) -> Shown:
    """The irises as measured, with the line of the decoder and that of PCA."""
    train = choices.irises("raw").splits["train"]
    mean = train.x.mean(axis=0)
    through = mean + model.decode(np.zeros((1, 1)), units="model")[0]
    drawn = {
        "first principal component": (mean, np.asarray(codec.components)[0]),
        "linear autoencoder": (through, directions(model)[0]),
    }
    labels = np.array([choices.SPECIES[label] for label in train.y])
    return Shown(
        lines_through_points(train.x, drawn, choices.IRIS_AXES, labels),
        "Irises with the line of the autoencoder and that of PCA",
        "The autoencoder was trained on centred data; its line is moved back by their mean.",
    )


def claims(compared: Rows) -> list[Claim]:
    """For irises and images: the error near its optimum, and the subspace near that of PCA."""
    found = []
    for row, limit in zip(compared, (IRIS_ANGLE_CLAIMED, IMAGE_ANGLE_CLAIMED), strict=True):
        error = (
            f"squared error of the linear autoencoder is within {LOSS_CLAIMED:g} % of the optimum"
        )
        angle = f"the largest principal angle between decoder and PCA is at most {limit:g} degrees"
        for name, column, most, unit in (
            (error, "excess (%)", LOSS_CLAIMED, "% over PCA"),
            (angle, "largest angle (degrees)", limit, "degrees"),
        ):
            name, judged = f"{row['data']}: {name}", {"tolerance": most, "source": choices.THEORY}
            found.append(claim(name, row[column], at_most=0.0, unit=unit, **judged))
    return found


if __name__ == "__main__":
    run_command(main)
