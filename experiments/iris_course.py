"""How the 2-1-2 network learns the irises: its line by epoch, and the loss by step size.

Claim   Trained by stochastic gradients, the linear network 2-1-2 turns its line to the first
        principal axis: at a step of 0.01 its error ends within 1 % of the least that any line has
        and its line within 1 degree. A step of 0.0003 is too slow to get there; at 0.1 the steps
        themselves keep the error above its optimum; 0.3, just below the largest stable step,
        oscillates; 0.5 is above it, and the loss leaves the finite numbers.

Command python -m experiments.iris_course --preset smoke|quick|standard [--workdir DIR]

        smoke     seconds; 40 epochs
        quick     300 epochs; about a minute on two CPU cores
        standard  3,000 epochs; about two minutes on two CPU cores

Protocol  Sepal width and petal length in cm of all 150 irises, less their mean; linear units with
        biases; half the squared error of an example, which the Gaussian likelihood of unit
        variance has, is minimised by plain stochastic gradient descent at a constant step, batches
        of 15, one start for all steps. Errors are means over an epoch, while it changed the
        weights, or of all flowers at the end of an epoch. About a minimum with weights of equal
        length in both layers the largest curvature is twice the largest variance v: steps above
        1 / v cannot stay there.

Figures figures/lines.png (the line of the network at several epochs), loss.png (error by epoch and
        step size, and its last 100 epochs).
"""

import dataclasses

import numpy as np

from ae_jax.data import DataSet
from ae_jax.lab import Findings, Lab, Member, autoencoder, experiment, run_command, run_rows
from ae_jax.train.optimisers import Sgd
from ae_jax.train.rundir import RunDirectory
from experiments.baselines import pca_of
from experiments.iris_course_report import (
    GOOD,
    STEPS,
    Course,
    claims,
    end_rows,
    line_rows,
    pictures,
)
from experiments.linear_choices import irises
from experiments.stages import stages
from experiments.subspaces import comparison


@dataclasses.dataclass(frozen=True)
class Preset:
    """How far to go, and the epochs at which the line is drawn."""

    epochs: int
    shown: tuple[int, ...] = (1, 5, 10, 30)


PRESETS = {
    "smoke": Preset(40, (1, 10)),
    "quick": Preset(300),
    "standard": Preset(3000),
}


def member(step: float, dataset: DataSet, epochs: int) -> Member:
    how = {"optimiser": Sgd(learning_rate=step), "schedule": "constant", "batch_size": 15}
    form = {"hidden": (), "latent_dim": 1, "head": "gaussian_fixed"}
    config = autoencoder(dataset, "identity", epochs=epochs, **form, **how)
    return Member(f"step={step:g}", config)


@experiment("iris_course", PRESETS)
def main(preset: Preset, lab: Lab) -> Findings:
    """The course of learning of a linear network on two measurements of irises."""
    dataset = irises("centred")
    codec = pca_of(dataset, 1)
    courses = {
        step: course(lab, member(step, dataset, preset.epochs), dataset, preset, step == GOOD)
        for step in STEPS
    }
    optimum = comparison(courses[GOOD].models[preset.epochs], codec)["PCA"]
    stable = 1 / (float(codec.explained_variance[0]) * (1 - 1 / len(dataset.splits["train"])))
    return Findings(
        protocol=(
            "iris: sepal width and petal length of 150 flowers, centred, 2-1-2, linear with "
            f"biases, plain stochastic gradients, batches of 15, {preset.epochs} epochs"
        ),
        note=(
            f"Squared error of an example, of which the first principal component has {optimum:.4f}"
            f"; angles are between its axis and the line of the decoder. 1 / v is {stable:.3f}. "
            "Errors at the end are of all flowers, those of the last epochs means over an epoch."
        ),
        tables={
            "By step size, at the end": end_rows(courses, codec, optimum),
            f"The line at a step of {GOOD:g}": line_rows(courses[GOOD], codec),
        },
        pictures=pictures(courses, codec, optimum),
        claims=claims(courses, codec, optimum),
        runs=run_rows(
            {
                f"step {step:g}": one.models[preset.epochs]
                for step, one in courses.items()
                if preset.epochs in one.models
            }
        ),
    )


def course(lab: Lab, run: Member, dataset: DataSet, preset: Preset, is_shown: bool) -> Course:
    """Trained to the end or to where the loss is not finite."""
    shown = preset.shown if is_shown else ()
    models = stages(lab, run, dataset, (*shown, preset.epochs))
    records = RunDirectory(lab.root / run.name).records()
    errors = np.array([record["running/squared_error"] for record in records])
    return Course(models, errors, preset.epochs)


if __name__ == "__main__":
    run_command(main)
