"""The same deep autoencoder trained layer by layer in three ways, and at once.

Claim   Trained layer by layer, by RBMs, autoencoders or denoising autoencoders, and then whole, the
        network has a smaller squared error on test digits than the same network trained at once
        for as many epochs as fine-tuning took, and than at once for as many epochs as layers and
        fine-tuning took together.

Command python -m experiments.stacked --preset smoke|quick|standard [--workdir DIR] [--print-only]

        smoke     seconds; the 8x8 digits
        quick     20,000 digits, 3 epochs a layer, 6 of fine-tuning; minutes on two CPU cores
        standard  60,000 digits, 20 epochs a layer, 100 of fine-tuning; an hour on two CPU cores

Protocol  784-256-64-16 and its mirror, logistic units, a linear code, cross-entropy on pixels in
        [0, 1], Adam with a cosine schedule. A layer is trained on the codes of the one before. The
        error after a stage is that of the autoencoder that the layers so far make, in pixels. The
        test split chooses nothing.

Figures figures/error_by_stage.png, error_by_epoch.png (fine-tuning), reconstructions.png.
"""

import dataclasses

import numpy as np
from matplotlib.figure import Figure

from ae_jax.api import Fitted
from ae_jax.api.layerwise import Layerwise
from ae_jax.cli.shell import run_command
from ae_jax.data import DataSet, load
from ae_jax.objectives import Denoising, Reconstruction
from ae_jax.report import figures
from ae_jax.report.claims import Claim, at_most
from ae_jax.train.config import DataConfig, RunConfig
from ae_jax.train.grid import Member
from ae_jax.train.optimisers import Adam
from experiments.baselines import (
    first_components,
    one_of_each,
    pca_of,
)
from experiments.deep import (
    RBMS,
    UNIT,
    by_layers,
    deep_config,
    error_curve,
    error_on_test,
    pca_error,
    runs_of,
    shape_and_size,
    trained,
    with_epochs,
)
from experiments.frame import Findings, Lab, Rows, Shown, experiment, run_rows


@dataclasses.dataclass(frozen=True)
class Preset:
    """How far to go.

    hidden, code  units of the encoder's layers, the last of them the code
    limit         training examples; all by default
    layer_epochs  of each layer
    epochs        of fine-tuning
    looks         epochs between two looks at the test split
    """

    dataset: str
    hidden: tuple[int, ...]
    code: int
    limit: int | None
    layer_epochs: int
    epochs: int
    looks: int

    @property
    def sizes(self) -> tuple[int, ...]:
        return (*self.hidden, self.code)

    @property
    def all_epochs(self) -> int:
        """Epochs of the layers and of fine-tuning together."""
        return len(self.sizes) * self.layer_epochs + self.epochs


PRESETS = {
    "smoke": Preset("digits", (32,), 4, 500, 2, 4, 2),
    "quick": Preset("mnist", (256, 64), 16, 20_000, 3, 6, 1),
    "standard": Preset("mnist", (256, 64), 16, None, 20, 100, 5),
}
ADAM = Adam(learning_rate=1e-3, schedule="cosine")
KINDS = {
    "RBMs": RBMS,
    "autoencoders": Layerwise(Reconstruction(), ADAM),
    "denoising autoencoders": Layerwise(Denoising(corruption="masking", level=0.3), ADAM),
}
AT_ONCE, LONGER = "at once", "at once, as many epochs in all"


@dataclasses.dataclass(frozen=True)
class Course:
    """One way of training: errors after each layer and at the end, on the test split."""

    model: Fitted
    by_layer: tuple[float, ...] = ()

    @property
    def error(self) -> float:
        return self.model.records[-1]["test/squared_error"]


@experiment("stacked", PRESETS)
def main(preset: Preset, lab: Lab) -> Findings:
    """Layer by layer in three ways, and at once: squared error after each stage.

    Interrupted and started again, it continues; what is finished is reused.
    """
    dataset = load(preset.dataset, protocol="full", limit=preset.limit)
    data = DataConfig(preset.dataset, protocol="full", preprocess="grey", limit=preset.limit)
    deep = deep_config(data, preset.sizes, preset.epochs, preset.looks)
    longer = deep_config(data, preset.sizes, preset.all_epochs, preset.looks)
    courses, runs = {}, {}
    for kind, how in KINDS.items():
        course, fitted = layer_by_layer(preset, lab, dataset, deep, kind, how)
        courses[kind] = course
        runs |= fitted
    members = {
        AT_ONCE: Member("at_once", deep),
        LONGER: Member("at_once_longer", longer),
    }
    for name, member in members.items():
        courses[name] = Course(trained(lab, member, dataset))
        runs[member.name] = courses[name].model
    components = pca_of(dataset, max(preset.sizes))
    linear = [pca_error(dataset, first_components(components, size)) for size in preset.sizes]
    return Findings(
        protocol=(
            f"{dataset.name}, pixels in [0, 1], {shape_and_size(dataset, preset.sizes)}, "
            "cross-entropy"
        ),
        note=(
            "Squared error summed over the pixels of a test image. After a layer it is that of the "
            "layers so far, unrolled and not trained together. Each layer had "
            f"{preset.layer_epochs} epochs, fine-tuning {preset.epochs}; PCA has as many "
            "components as the layer has units."
        ),
        tables={"Test error after each stage": stage_rows(preset, courses, linear)},
        pictures=pictures(preset, dataset, courses, linear),
        claims=claims(courses),
        runs=run_rows(runs),
    )


def layer_by_layer(
    preset: Preset, lab: Lab, dataset: DataSet, deep: RunConfig, kind: str, how: Layerwise
) -> tuple[Course, dict[str, Fitted]]:
    folder = kind.replace(" ", "_").lower()
    how = with_epochs(how, preset.layer_epochs)
    layers, whole = by_layers(lab, folder, deep, dataset, how)
    depths = range(1, len(layers.stages) + 1)
    errors = tuple(error_on_test(layers.model(dataset, depth)) for depth in depths)
    return Course(whole, errors), runs_of(folder, layers, whole)


def stage_rows(preset: Preset, courses: dict[str, Course], linear: list[float]) -> Rows:
    headings = [f"layer {i}: {size}" for i, size in enumerate(preset.sizes, 1)]
    rows = []
    for name, course in courses.items():
        by_layer = [round(value, 2) for value in course.by_layer] or [""] * len(headings)
        row = {"trained": f"by {name}" if course.by_layer else name}
        row |= dict(zip(headings, by_layer, strict=True))
        epochs = course.model.records[-1]["epoch"]
        rows.append(row | {"epochs of the whole": epochs, "whole": round(course.error, 2)})
    pca = dict(zip(headings, (round(value, 2) for value in linear), strict=True))
    return [
        *rows,
        {"trained": "PCA"} | pca | {"epochs of the whole": "", "whole": pca[headings[-1]]},
    ]


def pictures(
    preset: Preset, dataset: DataSet, courses: dict[str, Course], linear: list[float]
) -> dict[str, Shown]:
    test = dataset.splits["test"]
    chosen = test.x[one_of_each(test)]
    shown = {name: course for name, course in courses.items() if name != LONGER}
    originals = next(iter(courses.values())).model.inputs(chosen)
    rows = {name: course.model.reconstruct(chosen, units="model") for name, course in shown.items()}
    along = {
        name: error_curve(course.model, course.by_layer[-1] if course.by_layer else None)
        for name, course in courses.items()
    }
    error = "test squared error per image"
    return {
        "error_by_stage": Shown(
            stage_figure(preset, courses, linear, error),
            "After each stage",
            "Of the layers so far, unrolled; the last stage trains them together.",
        ),
        "error_by_epoch": Shown(
            figures.loss_curves(along, "epoch of the whole network", error),
            "The whole network",
            "Trained by layers, it begins where its unrolled layers are.",
        ),
        "reconstructions": Shown(
            figures.reconstructions(originals, rows),
            "Test digits",
            f"The first of each class, from codes of {preset.code} numbers, fine-tuned.",
        ),
    }


def stage_figure(
    preset: Preset, courses: dict[str, Course], linear: list[float], error: str
) -> Figure:
    places = np.arange(len(preset.sizes) + 1)
    lines = {
        f"by {name}": (places, np.array([*course.by_layer, course.error]))
        for name, course in courses.items()
        if course.by_layer
    }
    lines["PCA of as many units"] = (places[:-1], np.array(linear))
    for name in (AT_ONCE, LONGER):
        lines[name] = (places[-1:], np.array([courses[name].error]))
    figure = figures.loss_curves(lines, "trained so far", error)
    names = [f"layer {i}: {size} units" for i, size in enumerate(preset.sizes, 1)]
    figure.axes[0].set_xticks(places, [*names, "whole"])
    for line in figure.axes[0].lines:
        line.set_marker("o")
    return figure


def claims(courses: dict[str, Course]) -> list[Claim]:
    references = {
        "for the epochs of its fine-tuning": courses[AT_ONCE].error,
        "for as many epochs as all its stages had": courses[LONGER].error,
    }
    return [
        at_most(
            f"pretrained by {name}, the network has no larger test error than trained at once "
            f"{epochs}",
            course.error,
            reference,
            0.0,
            UNIT,
            "measured here",
        )
        for epochs, reference in references.items()
        for name, course in courses.items()
        if course.by_layer
    ]


if __name__ == "__main__":
    run_command(main)
