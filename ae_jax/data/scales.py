"""Whether values are hardly meant: columns that most would go unseen beside, columns of one value
throughout, and grey levels up to 255 that are taken for real numbers."""

import sys

import numpy as np

from ae_jax.data.base import DataSet

LARGE_RATIO = 1e3
_ROWS = 10_000
_PICTURES = 100
_SHOWN = 3


def scale_advice(data: DataSet) -> str | None:
    """One sentence where standard deviations of columns differ by a factor of 1,000 or more.

    Measurements [N, D] only, looked at over the first 10,000 training rows; columns that do not
    vary are left out.
    """
    spread = _spread(data)
    varying = np.flatnonzero(spread > 0)
    if not varying.size:
        return None
    least, most = varying[spread[varying].argmin()], varying[spread[varying].argmax()]
    if spread[most] < LARGE_RATIO * spread[least]:
        return None
    named = _names(data)
    return (
        f"{data.name}: {named[most]} varies by {spread[most]:.3g} and {named[least]} by "
        f"{spread[least]:.3g}; data.preprocess=standardization lets both count alike"
    )


def constant_advice(data: DataSet) -> str | None:
    """One sentence where columns of measurements have one value in all rows looked at.

    Of columns without names only where all are like that: among those of pictures laid flat, the
    border often is.
    """
    spread = _spread(data)
    constant = np.flatnonzero(spread == 0)
    if not constant.size or not (data.facts.feature_names or constant.size == len(spread)):
        return None
    shown = ", ".join(_names(data)[i] for i in constant[:_SHOWN])
    more = f" and {constant.size - _SHOWN} more" if constant.size > _SHOWN else ""
    return (
        f"{data.name}: {shown}{more} did not vary in the training rows looked at, and a column "
        "that never varies says nothing about an example"
    )


def _spread(data: DataSet) -> np.ndarray:
    """The standard deviation of each column of measurements [N, D]; of other data none, [0].

    Over the first 10,000 training rows. A column that nobody measured has no scale, nor then have
    the others.
    """
    if data.max_value is not None or data.is_counts or len(data.shape) != 1:
        return np.empty(0)
    rows = np.asarray(data.splits["train"].x[:_ROWS], np.float64)
    known = np.isfinite(rows)
    if not known.any(axis=0).all():
        return np.empty(0)
    spread = np.nanstd(np.where(known, rows, np.nan), axis=0)
    # Rounding of the mean: what is the same number throughout has no spread at all.
    highest = np.where(known, rows, -np.inf).max(axis=0)
    lowest = np.where(known, rows, np.inf).min(axis=0)
    return np.where(highest == lowest, 0.0, spread)


def _names(data: DataSet) -> tuple[str, ...]:
    return data.facts.feature_names or tuple(f"column {i}" for i in range(data.shape[0]))


def grey_advice(data: DataSet) -> str | None:
    """One sentence where pictures of real numbers look like grey levels from 0 to 255.

    Looked at over the first 100 training examples.
    """
    if data.max_value is not None or data.is_counts or len(data.shape) != 3:
        return None
    first = np.asarray(data.splits["train"].x[:_PICTURES], np.float64)
    first = first[np.isfinite(first)]
    if not first.size or not (first.min() >= 0 and 1 < first.max() <= 255):
        return None
    return (
        f"{data.name}: pictures with values up to {first.max():g} are taken for real numbers; as "
        "uint8, or divided by 255, they are grey levels in [0, 1]"
    )


def advise(data: DataSet, preprocess: str) -> None:
    """Says so on stderr where values will be taken as they are (`auto` or `identity`)."""
    if preprocess in ("auto", "identity"):
        for advice in (scale_advice(data), constant_advice(data), grey_advice(data)):
            if advice is not None:
                print(advice, file=sys.stderr)
