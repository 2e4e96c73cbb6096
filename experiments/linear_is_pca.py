"""A linear autoencoder trained by gradients finds the subspace of PCA; which choices matter?

Claim   Trained with squared error, the linear autoencoder ends within 1 % of the least error that
        any linear map of that rank has, which is PCA's, on two measurements of irises (2-1-2) and
        on MNIST, and its decoder spans the subspace of the first principal components.

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

from ae_jax.cli.shell import run_command
from ae_jax.data import load
from ae_jax.lab import Findings, Lab, Rows, experiment, rounded, run_rows
from ae_jax.report.claims import Claim, at_most
from experiments.baselines import pca_of
from experiments.linear_choices import (
    CHOICES,
    IMAGE_ANGLE,
    IRIS_ANGLE,
    LOSS_MARGIN,
    PLAIN,
    THEORY,
    Preset,
    choice_rows,
    gap,
    image_member,
    irises,
    train_choice,
)
from experiments.linear_is_pca_report import pictures
from experiments.subspaces import comparison

PRESETS = {
    "smoke": Preset("digits", 4, 300, 200, (*CHOICES[:3], CHOICES[5])),
    "quick": Preset("mnist", 16, 10, 400),
    "standard": Preset("mnist", 16, 100, 2000),
}
COMPARISON_DIGITS = {"autoencoder": 5, "PCA": 5, "excess (%)": 4, "largest angle (degrees)": 3}


@experiment("linear_is_pca", PRESETS)
def main(preset: Preset, lab: Lab) -> Findings:
    """Linear autoencoders are PCA, and what makes them something else.

    Interrupted and started again, it continues; what is finished is reused.
    """
    images = load(preset.dataset, protocol="full")
    member = image_member(preset, images)
    linear = lab.train([member], images)[member.name]
    chosen = {choice: train_choice(choice, preset, lab) for choice in preset.choices}
    principal, flowers = pca_of(images, preset.latent_dim), pca_of(irises("centred"), 1)
    compared = [
        {"data": "iris", **comparison(chosen[PLAIN], flowers)},
        {"data": preset.dataset, **comparison(linear, principal)},
    ]
    counted = len(images.splits["train"])
    return Findings(
        protocol=(
            f"iris: sepal width and petal length of 150 flowers, 2-1-2; {preset.dataset}, "
            f"grey levels in [0, 1], {len(principal.mean)}-{preset.latent_dim}-"
            f"{len(principal.mean)}, {counted:,} training examples; linear, squared error, Adam"
        ),
        note=(
            "Squared error of an example, mean over the training data, and angles in degrees "
            "between the span of the decoder and that of the first principal components. Turning "
            f"the subspace of images costs little: {gap(images, preset.latent_dim)}."
        ),
        tables={
            "The linear autoencoder beside PCA": rounded(
                [{key: row[key] for key in row if key != "angles"} for row in compared],
                COMPARISON_DIGITS,
            ),
            "Which choices make an autoencoder of the irises equal PCA": choice_rows(chosen),
        },
        pictures=pictures(preset, chosen[PLAIN], linear, flowers, principal, images),
        claims=claims(compared),
        runs=run_rows({"linear autoencoder of images": linear})
        + run_rows({choice.name: model for choice, model in chosen.items()}),
        more={"principal_angles": compared[1]["angles"].round(3).tolist()},
    )


def claims(compared: Rows) -> list[Claim]:
    """For irises and images: the error near its optimum, and the subspace near that of PCA."""
    limits = (IRIS_ANGLE, IMAGE_ANGLE)
    found = []
    for row, limit in zip(compared, limits, strict=True):
        found += [
            at_most(
                f"{row['data']}: squared error of the linear autoencoder is within "
                f"{LOSS_MARGIN:g} % of the optimum",
                row["excess (%)"],
                0.0,
                LOSS_MARGIN,
                "% over PCA",
                THEORY,
            ),
            at_most(
                f"{row['data']}: the largest principal angle between decoder and PCA is at most "
                f"{limit:g} degrees",
                row["largest angle (degrees)"],
                0.0,
                limit,
                "degrees",
                THEORY,
            ),
        ]
    return found


if __name__ == "__main__":
    run_command(main)
