"""What the course of learning of irises shows: tables, claims and figures."""

import dataclasses

import numpy as np

from ae_jax.api import Fitted
from ae_jax.codecs.pca import PcaCodec
from ae_jax.lab import Rows, Shown
from ae_jax.report import comparisons
from ae_jax.report.claims import Claim, at_least, at_most, equal_to
from experiments.linear_choices import IRIS_AXES, SPECIES, THEORY, irises
from experiments.subspaces import comparison, directions

SLOW, GOOD, NOISY, EDGE, UNSTABLE = 3e-4, 1e-2, 0.1, 0.3, 0.5
STEPS = (SLOW, GOOD, NOISY, EDGE, UNSTABLE)
LAST = 100  # epochs of the zoom


@dataclasses.dataclass(frozen=True)
class Course:
    """A run of one step size: its models by epoch, and the error of each epoch while finite."""

    models: dict[int, Fitted]
    errors: np.ndarray
    epochs: int

    @property
    def diverged(self) -> bool:
        return len(self.errors) < self.epochs

    @property
    def last(self) -> np.ndarray:
        return self.errors[-LAST:]


def name_of(step: float, one: Course) -> str:
    end = f", not finite in epoch {len(one.errors) + 1}" if one.diverged else ""
    return f"step {step:g}{end}"


def end_rows(courses: dict[float, Course], codec: PcaCodec, optimum: float) -> Rows:
    rows = []
    for step, one in courses.items():
        row = {"step size": step, "finite epochs": len(one.errors)}
        if one.diverged:
            row |= {"squared error": "not finite", "over PCA (%)": None, "angle (degrees)": None}
            rows.append(row | {"mean of the last epochs over PCA (%)": None})
            continue
        found = comparison(one.models[one.epochs], codec)
        row |= {
            "squared error": round(found["autoencoder"], 4),
            "over PCA (%)": round(found["excess (%)"], 3),
            "angle (degrees)": round(found["largest angle (degrees)"], 3),
            "mean of the last epochs over PCA (%)": round(
                100 * (float(one.last.mean()) / optimum - 1), 3
            ),
        }
        rows.append(row)
    return rows


def line_rows(one: Course, codec: PcaCodec) -> Rows:
    rows = []
    for epoch, model in one.models.items():
        found = comparison(model, codec)
        rows.append(
            {
                "epoch": epoch,
                "squared error": round(found["autoencoder"], 4),
                "angle (degrees)": round(found["largest angle (degrees)"], 3),
            }
        )
    return rows


def claims(courses: dict[float, Course], codec: PcaCodec, optimum: float) -> list[Claim]:
    good, slow = (
        comparison(courses[step].models[courses[step].epochs], codec) for step in (GOOD, SLOW)
    )
    noise = 100 * (float(courses[NOISY].last.mean()) / optimum - 1)
    over = "% over PCA"
    return [
        at_most(f"step {GOOD:g}: squared error", good["excess (%)"], 0.0, 1.0, over, THEORY),
        at_most(
            f"step {GOOD:g}: angle to the first principal axis",
            good["largest angle (degrees)"],
            0.0,
            1.0,
            "degrees",
            THEORY,
        ),
        at_least(
            f"step {SLOW:g} is too small: squared error",
            slow["excess (%)"],
            10.0,
            0.0,
            over,
            "here",
        ),
        at_least(
            f"step {NOISY:g}: mean error of the last {len(courses[NOISY].last)} epochs stays above",
            noise,
            1.0,
            0.0,
            over,
            "noise of constant steps",
        ),
        at_least(
            f"step {EDGE:g} oscillates: spread of the last epochs over that at {GOOD:g}",
            float(courses[EDGE].last.std() / courses[GOOD].last.std()),
            10.0,
            0.0,
            "ratio of standard deviations",
            "just below 1 / v",
        ),
        equal_to(
            f"step {UNSTABLE:g} is too large: the loss leaves the finite numbers",
            int(courses[UNSTABLE].diverged),
            1,
            "1 is yes",
            "above 1 / v",
        ),
    ]


def pictures(courses: dict[float, Course], codec: PcaCodec, optimum: float) -> dict[str, Shown]:
    train = irises("raw").splits["train"]
    mean = train.x.mean(axis=0)
    drawn = {"first principal axis": (mean, np.asarray(codec.components)[0])}
    for epoch, model in courses[GOOD].models.items():
        drawn[f"epoch {epoch}"] = (
            mean + model.decode(np.zeros((1, 1)), units="model")[0],
            directions(model)[0],
        )
    losses = {
        name_of(step, one): (np.arange(1, len(one.errors) + 1), one.errors)
        for step, one in courses.items()
    }
    return {
        "lines": Shown(
            comparisons.lines_through_points(
                train.x,
                drawn,
                IRIS_AXES,
                np.array([SPECIES[label] for label in train.y]),
                is_course=True,
            ),
            f"The line that the network spans, at a step of {GOOD:g}",
        ),
        "loss": Shown(
            comparisons.loss_with_zoom(
                losses, LAST, "squared error of an example", level=("PCA", optimum)
            ),
            f"Loss by epoch and step size, and its last {LAST} epochs",
            "A run whose loss is not finite any more ends there.",
        ),
    }
