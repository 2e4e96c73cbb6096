"""Conditions of a fitted model's examples, as people give them: one for each, or one for all."""

from typing import Any

import numpy as np

from ae_jax.core.errors import UserError


def checked_labels(y: Any, count: int, classes: int) -> np.ndarray:
    """Labels [count] int32. Raises UserError for what are none of so many classes."""
    if y is None:
        raise UserError("the model is conditioned on the label: give labels as y (--label)")
    labels = np.asarray(y)
    if labels.dtype.kind not in "iu" or labels.shape not in ((), (count,)):
        raise UserError(f"labels y have to be one whole number, or one for each of {count}")
    if labels.size and not (labels.min() >= 0 and labels.max() < classes):
        wrong = labels.min() if labels.min() < 0 else labels.max()
        raise UserError(f"labels lie between 0 and {classes - 1}, and there is {wrong}")
    return np.broadcast_to(labels, (count,)).astype(np.int32)


def checked_conditions(condition: Any, count: int, shape: tuple[int, ...]) -> np.ndarray:
    """Conditions [count, *shape] float32. Raises UserError for those of another shape."""
    if condition is None:
        raise UserError("the model is conditioned on an input: give it as condition")
    values = np.asarray(condition, np.float32)
    if values.shape not in (shape, (count, *shape)):
        raise UserError(
            f"a condition has shape {shape}, or {(count, *shape)} for all, not {values.shape}"
        )
    return np.broadcast_to(values, (count, *shape))
