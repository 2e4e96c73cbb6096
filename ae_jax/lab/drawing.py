"""Figures of an experiment: by name, in the one look of the library, and what they are drawn of."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from ae_jax.api import Fitted
from ae_jax.codecs import Codec
from ae_jax.core.errors import UserError
from ae_jax.core.registry import Registry
from ae_jax.data import Split
from ae_jax.report import comparisons, dictionaries, figures
from ae_jax.report.drawing import Curves
from ae_jax.report.pages import Shown

FIGURES = Registry[Callable[..., Figure]](
    "figure",
    {
        "atoms": dictionaries.atom_tiles,
        "bars": comparisons.bars,
        "bound_curves": figures.bound_curves,
        "codes": figures.scatter_codes,
        "curve_panels": comparisons.curve_panels,
        "curves": comparisons.curves,
        "dictionaries": dictionaries.dictionary_panels,
        "image_grid": figures.image_grid,
        "image_panels": comparisons.image_panels,
        "loss_curves": figures.loss_curves,
        "manifold": figures.manifold,
        "reconstructions": figures.reconstructions,
        "scatter_panels": comparisons.scatter_panels,
    },
)


def shown(kind: str, heading: str, *given: Any, caption: str = "", **options: Any) -> Shown:
    """The figure of a registered kind, or of `path/to/file.py:function`, with its heading.

    shown("curves", "Error by size", {"autoencoder": (sizes, errors)}, "size of the code", "error")

    Raises UserError for an unknown kind.
    """
    return Shown(FIGURES.get(kind)(*given, **options), heading, caption)


def reconstructed(
    x: np.ndarray | Split, models: Mapping[str, Fitted | Codec], heading: str, caption: str = ""
) -> Shown:
    """Raw examples [N, ...] in the top row and, below them, what each model makes of them.

    One of the models at least is a run; a codec by itself is of rows [N, D] in model units.
    Raises UserError where there is no run, or runs see the examples in different units.
    """
    seen = {name: one.inputs(x) for name, one in models.items() if isinstance(one, Fitted)}
    if not seen:
        raise UserError("reconstructions need a run among the models: it says in what units")
    (first, inputs), *others = seen.items()
    for name, theirs in others:
        if not np.array_equal(theirs, inputs):
            raise UserError(
                f"{first} and {name} see the examples in different units, which one row of "
                "originals cannot show"
            )

    def made_by(model: Fitted | Codec) -> np.ndarray:
        if isinstance(model, Fitted):
            return model.reconstruct(x, units="model")
        codes = model.encode(jnp.asarray(inputs.reshape(len(inputs), -1)))
        return np.asarray(model.decode(codes)).reshape(inputs.shape)

    rows = {name: made_by(model) for name, model in models.items()}
    return shown("reconstructions", heading, inputs, rows, caption=caption)


def along(model: Fitted, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Epochs [n] and a metric [n] at the records of a run that have it, such as `test/elbo`.

    Raises UserError where none has it.
    """
    known = dict.fromkeys(name for record in model.records for name in record)
    if metric not in known:
        raise UserError(f"no record has {metric!r}; there are: {', '.join(known)}")
    seen = [(record["epoch"], record[metric]) for record in model.records if metric in record]
    epochs, values = np.array(seen, float).reshape(-1, 2).T
    return epochs, values


def level(value: float, curves: Curves) -> tuple[np.ndarray, np.ndarray]:
    """A value as a horizontal line over the whole range of curves. Raises UserError for none."""
    if not any(len(x) for x, _ in curves.values()):
        raise UserError("a level is drawn over the range of curves, and there are none")
    ends = np.concatenate([x for x, _ in curves.values()])
    return np.array([ends.min(), ends.max()]), np.array([value, value])
