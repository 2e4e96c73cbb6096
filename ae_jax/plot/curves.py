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
    splits: Sequence[str] | None = None,
    *,
    axes: Axes | None = None,
) -> Axes:
    """A metric after each epoch that looked at the data, one line a split; of a codec, iterations.

    `metric` is by default the headline of the objective, such as `elbo`, and by name any that
    records hold. Several models by their names are drawn in one axes.
    """
    named = {"": models} if isinstance(models, Fitted) else dict(models)
    if not named:
        raise UserError("there is no model to show curves of")
    lines: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, model in named.items():
        found = courses(model, metric, splits)
        lines |= {" ".join(filter(None, (name, split))): line for split, line in found.items()}
    first = next(iter(named.values()))
    x_label, y_label = axis_labels(first, metric)
    if axes is None:
        return figures.loss_curves(lines, x_label, y_label).axes[0]
    with style():
        draw_curves(axes, lines)
        axes.set(xlabel=x_label, ylabel=y_label)
        axes.legend()
    return axes
