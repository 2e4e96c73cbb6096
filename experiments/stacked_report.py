"""Tables and figures of networks trained by layers: errors after each stage and epoch."""

import numpy as np
from matplotlib.figure import Figure

from ae_jax.data import DataSet
from ae_jax.lab import Rows, Shown
from ae_jax.report import figures
from experiments.baselines import one_of_each
from experiments.deep import error_curve
from experiments.stacked_ways import AT_ONCE, LONGER, Course, Preset


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
