"""Lines: how training went, and what was measured over sizes or options."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ae_jax.api import Fitted
from ae_jax.core.errors import UserError
from ae_jax.report import comparisons, figures
from ae_jax.report.courses import axis_labels, courses
from ae_jax.report.drawing import Curves, logarithmic, name_lines, ticks_where_measured
from ae_jax.report.style import style


def learning_curves(
    models: Fitted | Mapping[str, Fitted],
    metric: str | None = None,
    splits: str | Sequence[str] | None = None,
    *,
    axes: Axes | None = None,
) -> Axes:
    """A metric after each epoch that looked at the data, one line a split; of a codec, iterations.

    `metric` is by default the headline of the objective, such as `elbo`, and by name any that
    records hold. Several models by their names are drawn in one axes.
    """
    splits = [splits] if isinstance(splits, str) else splits
    named = {"": models} if isinstance(models, Fitted) else models
    if not isinstance(named, Mapping) or not named:
        raise UserError("there is no model to show curves of: give one, or several by their names")
    lines: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, model in named.items():
        found = courses(model, metric, splits)
        lines |= {" ".join(filter(None, (name, split))): line for split, line in found.items()}
    labels = {name: axis_labels(model, metric) for name, model in named.items()}
    x_label, y_label = next(iter(labels.values()))
    for name, own in labels.items():
        if own != (x_label, y_label):
            raise UserError(
                f"{name} has {own[1]} by {own[0]}, and the first {y_label} by {x_label}: they do "
                "not go into one axes"
            )
    if axes is None:
        return figures.loss_curves(lines, x_label, y_label).axes[0]
    with style():
        figures.draw_lines(axes, lines, x_label, y_label, markers=False)
        axes.legend()
    return axes


def _numbers(name: object, line: Any) -> tuple[np.ndarray, np.ndarray]:
    try:
        x, y = line
        numbers = np.asarray(x, float), np.asarray(y, float)
    except (TypeError, ValueError) as error:
        raise UserError(f"{name} is no pair of abscissae and values, which are numbers") from error
    if numbers[1].size == 0:
        raise UserError(f"{name} has no values to show")
    return numbers


def curves(
    lines: Curves,
    x_label: str,
    y_label: str,
    *,
    log_x: bool = False,
    log_y: bool = False,
    axes: Axes | None = None,
) -> Axes:
    """One line for each label, from abscissae [n] and values [n], or [S, n] of S seeds.

    Of seeds the mean is drawn, with bars of one standard deviation; a level of two equal values is
    dashed and has its name at the line.
    """
    if not isinstance(lines, Mapping) or not lines:
        raise UserError("there is no line to show: give abscissae and values by their names")
    lines = {str(name): _numbers(name, line) for name, line in lines.items()}
    for name, (x, y) in lines.items():
        if np.ndim(x) != 1 or np.ndim(y) not in (1, 2) or np.shape(y)[-1] != len(x):
            raise UserError(
                f"{name} has abscissae of shape {np.shape(x)} and values of shape {np.shape(y)}: "
                "they are [n], and [n] or [seeds, n]"
            )
    if axes is None:
        return comparisons.curves(lines, x_label, y_label, log_x=log_x, log_y=log_y).axes[0]
    with style():
        figures.draw_lines(axes, lines, x_label, y_label, markers=True)
        logarithmic(axes, log_x, log_y)
        ticks_where_measured(axes, lines)
        name_lines(axes)
        axes.legend()
    return axes
