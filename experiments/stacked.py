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

import dataclasses

import numpy as np
from matplotlib.figure import Figure

from ae_jax.api import Fitted
from ae_jax.api.layerwise import WHOLE, Layerwise, Pretrained, pretrain
from ae_jax.cli.shell import run_command
from ae_jax.data import DataSet, load
from ae_jax.eval.likelihood import standard_error
from ae_jax.lab import Findings, Lab, Rows, Shown, experiment, run_rows
from ae_jax.objectives import Denoising, Reconstruction
from ae_jax.report import figures
from ae_jax.report.claims import Claim, at_least
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
    Tuned,
    at_rate,
    deep_config,
    error_curve,
    error_on_test,
    in_folder,
    layer_runs,
    pca_error,
    shape_and_size,
    trained,
    tuned,
    with_epochs,
)


@dataclasses.dataclass(frozen=True)
class Preset:
    """How far to go.

    hidden, code  units of the encoder's layers, the last of them the code
    limit         training examples; all that are not held out by default
    layer_epochs  of each layer
    epochs        of fine-tuning
    looks         epochs between two looks at the test split
    seeds         runs of each way of training
    """

    dataset: str
    hidden: tuple[int, ...]
    code: int
    limit: int | None
    layer_epochs: int
    epochs: int
    looks: int
    seeds: int = 3

    @property
    def sizes(self) -> tuple[int, ...]:
        return (*self.hidden, self.code)

    @property
    def all_epochs(self) -> int:
        """Epochs of the layers and of fine-tuning together."""
        return len(self.sizes) * self.layer_epochs + self.epochs


PRESETS = {
    "smoke": Preset("digits", (32,), 4, 500, 2, 4, 2, seeds=2),
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
RATES = (1e-3, 3e-3, 1e-2, 3e-2)  # of layers that are autoencoders, and of the whole

NOTE = (
    "Squared error summed over the pixels of a test image, of the whole the mean of {preset.seeds} "
    "seeds and its standard error over them. After a layer it is that of the layers so far, "
    "unrolled and not trained together, of the first seed. Each layer had {preset.layer_epochs} "
    "epochs, fine-tuning {preset.epochs}; PCA has as many components as the layer has units. The "
    "step size of the whole, and of layers that are autoencoders, is for each way the best of "
    "{rates} by the error of the whole on held-out training digits, of the first seed; RBMs have "
    "the paper's."
)


@dataclasses.dataclass(frozen=True)
class Course:
    """One way of training at its best step size; what its layers make before, from the first seed.

    runs       all that were trained, by the names of their folders
    by_layer   squared error per test image of the layers so far, unrolled
    """

    tuned: Tuned
    runs: dict[str, Fitted]
    by_layer: tuple[float, ...] = ()

    @property
    def model(self) -> Fitted:
        return self.tuned.models[0]

    @property
    def error(self) -> float:
        return float(self.tuned.errors.mean())


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


def layer_by_layer(
    preset: Preset, lab: Lab, dataset: DataSet, deep: RunConfig, kind: str, how: Layerwise
) -> Course:
    folder = kind.replace(" ", "_").lower()
    trained_layers: dict[str, Pretrained] = {}
    runs: dict[str, Fitted] = {}

    def train(rate: float, seed: int) -> Fitted:
        stages = with_epochs(how, preset.layer_epochs, seed=seed)
        layers_at = f"{folder}/seed={seed}"
        if not how.by_rbm:  # whose step sizes are the paper's
            stages = dataclasses.replace(
                stages, optim=dataclasses.replace(ADAM, learning_rate=rate)
            )
            layers_at += f"/rate={rate:g}"
        if layers_at not in trained_layers:
            layers = pretrain(deep, dataset, stages, in_folder(lab, layers_at))
            trained_layers[layers_at] = layers
            runs.update(layer_runs(layers_at, layers))
        layers = trained_layers[layers_at]
        config = at_rate(layers.config, rate, seed)
        member = Member(f"{folder}/seed={seed}/rate={rate:g}/{WHOLE}", config, layers.params())
        runs[member.name] = trained(lab, member, dataset)
        return runs[member.name]

    found = tuned(train, RATES, preset.seeds)
    first = trained_layers[f"{folder}/seed=0" + ("" if how.by_rbm else f"/rate={found.rate:g}")]
    depths = range(1, len(preset.sizes) + 1)
    errors = tuple(error_on_test(first.model(dataset, depth)) for depth in depths)
    return Course(found, runs, errors)


def at_once(preset: Preset, lab: Lab, dataset: DataSet, config: RunConfig, folder: str) -> Course:
    runs: dict[str, Fitted] = {}

    def train(rate: float, seed: int) -> Fitted:
        member = Member(f"{folder}/seed={seed}/rate={rate:g}", at_rate(config, rate, seed))
        runs[member.name] = trained(lab, member, dataset)
        return runs[member.name]

    return Course(tuned(train, RATES, preset.seeds), runs)


def rate_rows(courses: dict[str, Course]) -> Rows:
    return [
        {"trained": way_of(name, course)}
        | {f"{rate:g}": round(error, 2) for rate, error in course.tuned.by_rate.items()}
        for name, course in courses.items()
    ]


def way_of(name: str, course: Course) -> str:
    return f"by {name}" if course.by_layer else name


def stage_rows(preset: Preset, courses: dict[str, Course], linear: list[float]) -> Rows:
    headings = [f"layer {i}: {size}" for i, size in enumerate(preset.sizes, 1)]
    rows = []
    for name, course in courses.items():
        by_layer = [round(value, 2) for value in course.by_layer] or [""] * len(headings)
        row = {"trained": way_of(name, course)}
        row |= dict(zip(headings, by_layer, strict=True))
        epochs = course.model.records[-1]["epoch"]
        rows.append(row | {"epochs of the whole": epochs} | course.tuned.summary("whole"))
    pca = dict(zip(headings, (round(value, 2) for value in linear), strict=True))
    return [
        *rows,
        {"trained": "PCA"}
        | pca
        | {"epochs of the whole": "", "step size": "", "whole": pca[headings[-1]], "±": ""},
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
