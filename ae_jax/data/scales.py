"""Whether values are of a scale that is hardly meant: columns that most would go unseen beside, and
grey levels up to 255 that are taken for real numbers."""

import sys

import numpy as np

from ae_jax.data.base import DataSet

LARGE_RATIO = 1e3
_ROWS = 10_000
_PICTURES = 100


def scale_advice(data: DataSet) -> str | None:
    """One sentence where standard deviations of columns differ by a factor of 1,000 or more.

    Measurements [N, D] only, looked at over the first 10,000 training rows; columns that do not
    vary are left out.
    """
    if data.max_value is not None or data.is_counts or len(data.shape) != 1:
        return None
    rows = np.asarray(data.splits["train"].x[:_ROWS], np.float64)
    known = np.isfinite(rows)
    if not known.any(axis=0).all():
        return None  # of a column that nobody measured there is no scale
    spread = np.nanstd(np.where(known, rows, np.nan), axis=0)
    varying = np.flatnonzero(spread > 0)
    if not varying.size:
        return None
    least, most = varying[spread[varying].argmin()], varying[spread[varying].argmax()]
    if spread[most] < LARGE_RATIO * spread[least]:
        return None
    named = data.facts.feature_names or tuple(f"column {i}" for i in range(len(spread)))
    return (
        f"{data.name}: {named[most]} varies by {spread[most]:.3g} and {named[least]} by "
        f"{spread[least]:.3g}; data.preprocess=standardization lets both count alike"
    )


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
        for advice in (scale_advice(data), grey_advice(data)):
            if advice is not None:
                print(advice, file=sys.stderr)
