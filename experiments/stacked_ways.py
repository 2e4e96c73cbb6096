"""A deep autoencoder trained by layers and at once, each way at its best step size."""

import dataclasses
import functools

import numpy as np

from ae_jax.api import Fitted
from ae_jax.api.layerwise import WHOLE, Layerwise, Pretrained
from ae_jax.data import DataSet
from ae_jax.lab import Lab, Rows, Shown, reconstructed, shown
from ae_jax.objectives import Denoising, Reconstruction
from ae_jax.train.config import RunConfig
from ae_jax.train.optimisers import Adam
from experiments.baselines import one_of_each
from experiments.deep import (
    RBMS,
    Bench,
    DeepPreset,
    Tuned,
    at_rate,
    error_curve,
    error_on_test,
    tuned,
)


@dataclasses.dataclass(frozen=True)
class Preset(DeepPreset):
    """How far to go.

    limit   training examples; all that are not held out by default
    seeds   runs of each way of training
    """

    limit: int | None
    seeds: int = 3

    @property
    def longer(self) -> DeepPreset:
        """As many epochs of the whole as its layers and their fine-tuning took together."""
        return dataclasses.replace(self, epochs=len(self.sizes) * self.layer_epochs + self.epochs)


ADAM = Adam(learning_rate=1e-3, schedule="cosine")
KINDS = {
    "RBMs": RBMS,
    "autoencoders": Layerwise(Reconstruction(), ADAM),
    "denoising autoencoders": Layerwise(Denoising(corruption="masking", level=0.3), ADAM),
}
AT_ONCE, LONGER = "at once", "at once, as many epochs in all"
RATES = (1e-3, 3e-3, 1e-2, 3e-2)  # of layers that are autoencoders, and of the whole
ERROR = "test squared error per image"


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


def layer_by_layer(
    preset: Preset, lab: Lab, dataset: DataSet, deep: RunConfig, kind: str, how: Layerwise
) -> Course:
    bench, folder = Bench(lab), kind.replace(" ", "_").lower()

    @functools.cache
    def layers_of(seed: int, rate: float | None) -> Pretrained:
        stages = preset.layers(how, seed)
        if rate is None:
            return bench.layers(f"{folder}/seed={seed}", deep, dataset, stages)
        stages = dataclasses.replace(stages, optim=dataclasses.replace(ADAM, learning_rate=rate))
        return bench.layers(f"{folder}/seed={seed}/rate={rate:g}", deep, dataset, stages)

    def layers(rate: float, seed: int) -> Pretrained:
        return layers_of(seed, None if how.by_rbm else rate)  # RBMs have the paper's step sizes

    def train(rate: float, seed: int) -> Fitted:
        own = layers(rate, seed)
        name = f"{folder}/seed={seed}/rate={rate:g}/{WHOLE}"
        return bench.train(name, at_rate(own.config, rate, seed), dataset, own.params())

    found = tuned(train, RATES, preset.seeds)
    first, depths = layers(found.rate, 0), range(1, len(preset.sizes) + 1)
    errors = tuple(error_on_test(first.model(dataset, depth)) for depth in depths)
    return Course(found, bench.runs, errors)


def at_once(preset: Preset, lab: Lab, dataset: DataSet, config: RunConfig, folder: str) -> Course:
    bench = Bench(lab)

    def train(rate: float, seed: int) -> Fitted:
        name = f"{folder}/seed={seed}/rate={rate:g}"
        return bench.train(name, at_rate(config, rate, seed), dataset)

    return Course(tuned(train, RATES, preset.seeds), bench.runs)


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
        error = course.tuned.error
        rows.append(
            {
                "trained": way_of(name, course),
                **dict(zip(headings, by_layer, strict=True)),
                "epochs of the whole": course.model.records[-1]["epoch"],
                "step size": course.tuned.step,
                "whole": round(error.mean, 2),
                "±": round(error.standard_error, 2),
            }
        )
    pca = dict(zip(headings, (round(value, 2) for value in linear), strict=True))
    none = dict.fromkeys(rows[0], "")
    return [*rows, none | {"trained": "PCA", **pca, "whole": pca[headings[-1]]}]


def pictures(
    preset: Preset, dataset: DataSet, courses: dict[str, Course], linear: list[float]
) -> dict[str, Shown]:
    test = dataset.splits["test"]
    along = {
        name: error_curve(course.model, course.by_layer[-1] if course.by_layer else None)
        for name, course in courses.items()
    }
    return {
        "error_by_stage": stage_figure(preset, courses, linear),
        "error_by_epoch": shown(
            "loss_curves", "The whole network", along, "epoch of the whole network", ERROR,
            caption="Trained by layers, it begins where its unrolled layers are.",
        ),
        "reconstructions": reconstructed(
            test.x[one_of_each(test)],
            {name: course.model for name, course in courses.items() if name != LONGER},
            "Test digits",
            f"The first of each class, from codes of {preset.code} numbers, fine-tuned.",
        ),
    }  # fmt: skip


def stage_figure(preset: Preset, courses: dict[str, Course], linear: list[float]) -> Shown:
    places = np.arange(len(preset.sizes) + 1)
    lines = {
        f"by {name}": (places, np.array([*course.by_layer, course.tuned.error.mean]))
        for name, course in courses.items()
        if course.by_layer
    }
    lines["PCA of as many units"] = (places[:-1], np.array(linear))
    for name in (AT_ONCE, LONGER):
        lines[name] = (places[-1:], np.array([courses[name].tuned.error.mean]))
    caption = "Of the layers so far, unrolled; the last stage trains them together."
    one = shown("loss_curves", "After each stage", lines, "trained so far", ERROR, caption=caption)
    names = [f"layer {i}: {size} units" for i, size in enumerate(preset.sizes, 1)]
    axes = one.figure.axes[0]
    axes.set_xticks(places, [*names, "whole"])
    for line in axes.lines:
        line.set_marker("o")
    return one
