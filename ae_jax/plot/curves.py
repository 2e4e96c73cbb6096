"""How training went."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from ae_jax.api import Fitted
from ae_jax.core.errors import UserError
from ae_jax.report import figures
from ae_jax.report.courses import axis_labels, courses
from ae_jax.report.drawing import draw_curves
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
        draw_curves(axes, lines)
        axes.set(xlabel=x_label, ylabel=y_label)
        axes.legend()
    return axes
