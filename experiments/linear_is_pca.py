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

import dataclasses

import numpy as np

from ae_jax.api import Fitted
from ae_jax.cli.shell import run_command
from ae_jax.codecs.pca import PcaCodec
from ae_jax.data import DataSet, Split, load
from ae_jax.lab import Findings, Lab, Rows, Shown, experiment, rounded, run_rows
from ae_jax.objectives import Reconstruction
from ae_jax.report import comparisons, figures
from ae_jax.report.claims import Claim, at_most
from ae_jax.train.config import DataConfig, EvalConfig, ModelConfig, RunConfig, TrainConfig
from ae_jax.train.grid import Member
from ae_jax.train.optimisers import Adam
from experiments.baselines import (
    one_of_each,
    pca_of,
    pca_of_rows,
    pca_reconstructions,
    rows_of,
    squared_error,
)
from experiments.subspaces import (
    comparison,
    directions,
    excess_curve,
    principal_angles,
    raw_reconstructions,
    spans_of,
    training_rows,
)


@dataclasses.dataclass(frozen=True)
class Choice:
    """One autoencoder of the irises.

    prepared   `raw`, `centred`, or `standardized` by measurement
    """

    name: str
    prepared: str = "centred"
    hidden: tuple[int, ...] = ()
    latent: str = "deterministic"
    tied: bool = False

    @property
    def line(self) -> bool:
        """Whether its decoder is affine, and so draws a line."""
        return not self.hidden


PLAIN = Choice("linear")
CHOICES = (
    PLAIN,
    Choice("linear, tied", tied=True),
    Choice("hidden layers of tanh units", hidden=(10,)),
    Choice("linear, not centred", "raw"),
    Choice("linear, not centred, tied", "raw", tied=True),
    Choice("linear, standardised", "standardized"),
    Choice("rectified code unit", latent="relu"),
    Choice("sigmoid code unit", latent="sigmoid"),
)


@dataclasses.dataclass(frozen=True)
class Preset:
    """How far to go: the images, epochs on them and on the irises, and which choices."""

    dataset: str
    latent_dim: int
    epochs: int
    iris_epochs: int
    choices: tuple[Choice, ...] = CHOICES


PRESETS = {
    "smoke": Preset("digits", 4, 300, 200, (*CHOICES[:3], CHOICES[5])),
    "quick": Preset("mnist", 16, 10, 400),
    "standard": Preset("mnist", 16, 100, 2000),
}
IRIS_AXES = ("sepal width (cm)", "petal length (cm)")
IRIS_COLUMNS = [1, 2]
SPECIES = ("setosa", "versicolor", "virginica")
LOSS_MARGIN = 1.0  # per cent
COMPARISON_DIGITS = {"autoencoder": 5, "PCA": 5, "excess (%)": 4, "largest angle (degrees)": 3}
IRIS_ANGLE, IMAGE_ANGLE = 1.0, 10.0  # degrees
THEORY = "the optimum of a linear autoencoder is PCA (Baldi & Hornik 1989)"


def irises(prepared: str) -> DataSet:
    """Sepal width and petal length of all 150 irises; what is tested is what is trained on."""
    stored = load("iris", protocol="full").splits
    x = np.concatenate([stored["train"].x, stored["test"].x])[:, IRIS_COLUMNS]
    y = np.concatenate([stored["train"].y, stored["test"].y])
    if prepared == "centred":
        x = x - x.mean(axis=0, keepdims=True)
    split = Split(x, y)
    return DataSet(f"iris_{prepared}", {"train": split, "test": split}, protocol="full")


def iris_member(choice: Choice, dataset: DataSet, epochs: int) -> Member:
    standardized = choice.prepared == "standardized"
    config = RunConfig(
        data=DataConfig(
            dataset.name,
            protocol="full",
            preprocess="standardization" if standardized else "identity",
        ),
        model=ModelConfig(
            hidden=choice.hidden,
            latent=choice.latent,
            latent_dim=1,
            tied=choice.tied,
            head="gaussian_fixed",
        ),
        objective=Reconstruction(),
        optim=Adam(learning_rate=0.02, schedule="cosine"),
        train=TrainConfig(batch_size=15, epochs=epochs),
        eval=EvalConfig(every=epochs),
    )
    return Member(f"iris/{choice.name.replace(', ', '-').replace(' ', '_')}", config)


def image_member(preset: Preset, dataset: DataSet) -> Member:
    config = RunConfig(
        data=DataConfig(dataset.name, protocol="full", preprocess="grey"),
        model=ModelConfig(
            hidden=(),
            latent="deterministic",
            latent_dim=preset.latent_dim,
            head="gaussian_fixed",
        ),
        objective=Reconstruction(),
        optim=Adam(learning_rate=5e-3, schedule="cosine"),
        train=TrainConfig(batch_size=128, epochs=preset.epochs),
        eval=EvalConfig(every=preset.epochs),
    )
    return Member(dataset.name, config)


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


def train_choice(choice: Choice, preset: Preset, lab: Lab) -> Fitted:
    dataset = irises("centred" if choice.prepared == "centred" else "raw")
    member = iris_member(choice, dataset, preset.iris_epochs)
    return lab.train([member], dataset)[member.name]


def choice_rows(chosen: dict[Choice, Fitted]) -> Rows:
    """One row a choice, and one for the optimum without biases, in closed form."""
    raw = rows_of(irises("raw"), "train")
    codec = pca_of(irises("raw"), 1)
    optimum = squared_error(raw, pca_reconstructions(codec, raw))
    component = np.asarray(codec.components)
    rows = []
    for choice, model in chosen.items():
        error = squared_error(training_rows(model), raw_reconstructions(model))
        spans = directions(model) if choice.line else None
        how = {
            "autoencoder": choice.name,
            "linear": choice.line and choice.latent == "deterministic",
            "data": choice.prepared,
            "tied": choice.tied,
            "biases": True,
        }
        own = {"equals PCA of its inputs": equals_own_pca(model, spans is not None)}
        rows.append(how | verdict(error, optimum, spans, component) | own)
    span = np.linalg.svd(raw, full_matrices=False)[2][:1]
    how = {
        "autoencoder": "linear, not centred, no biases (closed form)",
        "linear": True,
        "data": "raw",
        "tied": True,
        "biases": False,
    }
    error = squared_error(raw, raw @ span.T @ span)
    found = verdict(error, optimum, span, component)
    return [*rows, how | found | {"equals PCA of its inputs": found["equals PCA"]}]


def equals_own_pca(model: Fitted, line: bool) -> bool:
    """Whether the model is PCA of what it was given, be it rescaled, in these very units."""
    x = model.inputs(model.setup.dataset.splits["train"])
    codec = pca_of_rows(x, model.config.model.latent_dim)
    error = squared_error(x, model.reconstruct(model.setup.dataset.splits["train"], units="model"))
    optimum = squared_error(x, pca_reconstructions(codec, x))
    spans = spans_of(model) if line else None
    return verdict(error, optimum, spans, np.asarray(codec.components))["equals PCA"]


def verdict(error: float, optimum: float, spans: np.ndarray | None, component: np.ndarray) -> dict:
    """Error over that of PCA, angle, and whether both say that it is PCA."""
    excess = 100 * (error / optimum - 1)
    angle = None if spans is None else float(principal_angles(spans, component)[0])
    return {
        "squared error": round(error, 5),
        "over PCA (%)": round(excess, 3),
        "angle (degrees)": None if angle is None else round(angle, 3),
        "equals PCA": abs(excess) <= LOSS_MARGIN and angle is not None and angle <= IRIS_ANGLE,
    }


def gap(dataset: DataSet, count: int) -> str:
    """How much variance the first component that is left out has, in words."""
    variance = pca_of(dataset, count + 1).explained_variance
    share = float(variance[count] / variance[count - 1])
    return (
        f"component {count + 1} has {100 * share:.0f} % of the variance of component {count}, "
        "the last that is kept"
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


def pictures(
    preset: Preset,
    flowers: Fitted,
    linear: Fitted,
    flower_codec: PcaCodec,
    codec: PcaCodec,
    images: DataSet,
) -> dict[str, Shown]:
    test = images.splits["test"]
    chosen = one_of_each(test)
    rows = rows_of(images, "test")[chosen]
    return {
        "lines": lines(flowers, flower_codec),
        "loss": Shown(
            comparisons.curves(
                {
                    "iris": excess_curve(flowers, flower_codec),
                    preset.dataset: excess_curve(linear, codec),
                },
                "epoch",
                "training error over that of PCA (%)",
                log_x=True,
                log_y=True,
                markers=False,
            ),
            "How far the training error is above its optimum",
            "Means over each epoch, while it changed the weights.",
        ),
        "reconstructions": Shown(
            figures.reconstructions(
                linear.inputs(test.x[chosen]),
                {
                    "autoencoder": linear.reconstruct(test.x[chosen], units="model"),
                    "PCA": pca_reconstructions(codec, rows).reshape(len(chosen), *images.shape),
                },
            ),
            "Test digits, the linear autoencoder and PCA",
        ),
    }


def lines(model: Fitted, codec: PcaCodec) -> Shown:
    """The irises as measured, with the line of the decoder and that of PCA."""
    train = irises("raw").splits["train"]
    mean = train.x.mean(axis=0)
    drawn = {
        "first principal component": (mean, np.asarray(codec.components)[0]),
        "linear autoencoder": (
            mean + model.decode(np.zeros((1, 1)), units="model")[0],
            directions(model)[0],
        ),
    }
    labels = np.array([SPECIES[label] for label in train.y])
    return Shown(
        comparisons.lines_through_points(train.x, drawn, IRIS_AXES, labels),
        "Irises with the line of the autoencoder and that of PCA",
        "The autoencoder was trained on centred data; its line is moved back by their mean.",
    )


if __name__ == "__main__":
    run_command(main)
