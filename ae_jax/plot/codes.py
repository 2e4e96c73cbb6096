"""Where codes lie."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ae_jax.api import Fitted
from ae_jax.api.arguments import whole_number
from ae_jax.core.errors import UserError
from ae_jax.data.base import Split
from ae_jax.report import pictures
from ae_jax.report.style import Figure, style


@style()
def codes(
    model: Fitted | np.ndarray,
    x: np.ndarray | Split | None = None,
    labels: Any = None,
    *,
    dims: tuple[int, int] = (0, 1),
    y: Any = None,
    condition: Any = None,
    axes: Axes | None = None,
) -> Axes:
    """Two dimensions of the codes of examples `x`, in colours by `labels` [N].

    The names of up to twenty labels stand at the medians of their codes. In place of a model there
    may be codes [N, Z]. `y` and `condition` are what a conditional model needs.
    """
    if isinstance(model, Fitted):
        if x is None:
            raise UserError("codes are of examples: give them as x")
        z = model.encode(x, y, condition)
    else:
        z = np.asarray(model)
        if x is not None or z.ndim != 2:
            raise UserError("codes are [N, Z], and stand for a model with its examples x")
    if np.shape(dims) != (2,) or z.shape[1] < 2:
        raise UserError(f"a plane has two dims, not {dims!r} of a code of {z.shape[1]} dimensions")
    first, second = (whole_number(dim, "a dimension of the code", 0, z.shape[1]) for dim in dims)
    if labels is not None:
        labels = np.asarray(labels)
        if labels.shape != (len(z),):
            raise UserError(f"{len(z)} codes need labels of shape ({len(z)},), not {labels.shape}")
        if labels.dtype == object:
            labels = np.array([str(label) for label in labels])
    if axes is None:
        axes = Figure((6.0, 5.6), layout="constrained").add_subplot()
    pictures.draw_codes(axes, z[:, [first, second]], labels)
    axes.set(xlabel=_name(dims, 0), ylabel=_name(dims, 1))
    return axes


def _name(dims: Sequence[int], place: int) -> str:
    which = ("first ", "second ")[place] if tuple(dims) == (0, 1) else ""
    return f"{which}code coordinate $z_{{{dims[place] + 1}}}$"
