"""Conditions of a fitted model's examples, as people give them: one for each, or one for all."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ae_jax.core.errors import UserError
from ae_jax.core.registry import unknown_name
from ae_jax.data.arrays import holds_text


def checked_labels(
    y: Any, count: int, classes: int, names: Sequence[str] | None = None
) -> np.ndarray:
    """Labels [count] int32, given as numbers or by the `names` of classes.

    Raises UserError for what are none of so many classes.
    """
    if y is None:
        raise UserError("the model is conditioned on the label: give labels as y (--label)")
    labels = np.asarray(_unmasked(y, "labels y"))
    if holds_text(labels):
        labels = _numbered(labels.astype(str), names or ())
    if labels.dtype.kind not in "iu" or labels.shape not in ((), (count,)):
        raise UserError(f"labels y have to be one whole number, or one for each of {count}")
    if labels.size and not (labels.min() >= 0 and labels.max() < classes):
        wrong = labels.min() if labels.min() < 0 else labels.max()
        raise UserError(f"labels lie between 0 and {classes - 1}, and there is {wrong}")
    return np.broadcast_to(labels, (count,)).astype(np.int32)


def _numbered(labels: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """The numbers of classes that are given by their names."""
    if not names:
        raise UserError("the classes of this model have no names: labels y are whole numbers")
    numbers = {name: number for number, name in enumerate(names)}
    unknown = [name for name in np.unique(labels) if name not in numbers]
    if unknown:
        raise unknown_name("class", str(unknown[0]), names)
    return np.array([numbers[name] for name in labels.ravel()]).reshape(labels.shape)


def checked_conditions(condition: Any, count: int, shape: tuple[int, ...]) -> np.ndarray:
    """Conditions [count, *shape] float32. Raises UserError for those of another shape."""
    if condition is None:
        raise UserError("the model is conditioned on an input: give it as condition")
    given = _unmasked(condition, "the condition")
    try:
        values = np.asarray(given)
    except ValueError as error:  # rows of different lengths
        raise UserError("a condition is an array of numbers") from error
    if values.dtype.kind not in "biuf":
        raise UserError(f"a condition is an array of real numbers, not of type {values.dtype}")
    if values.shape not in (shape, (count, *shape)):
        raise UserError(
            f"a condition has shape {shape}, or {(count, *shape)} for all, not {values.shape}"
        )
    values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise UserError("some values of the condition are not finite")
    return np.broadcast_to(values, (count, *shape))


def _unmasked(given: Any, what: str) -> Any:
    if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
        raise UserError(f"some values of {what} are masked: leave those examples out")
    return given
