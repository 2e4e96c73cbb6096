"""Plain arguments of a fitted model's methods, checked before work: whole numbers and codes."""

import operator
from typing import Any

import numpy as np

from ae_jax.core.door import admit
from ae_jax.core.errors import UserError

SEEDS = 2**32


def whole_number(value: Any, what: str, low: int, high: int | None = None) -> int:
    """The value, if it is a whole number of [low, high). Raises UserError."""
    try:
        number = None if isinstance(value, bool | np.bool_) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < low or (high is not None and number >= high):
        below = "" if high is None else f" and below {high}"
        raise UserError(f"{what} is a whole number from {low}{below}, not {value!r}")
    return number


def checked_codes(z: Any, size: int) -> np.ndarray:
    """Codes [N, Z] float32. Raises UserError for what are none of that size, or not finite."""
    codes = admit(z, "codes", check_digits=False).values.astype(np.float32)
    if codes.ndim != 2 or codes.shape[1] != size:
        raise UserError(f"codes have shape {codes.shape}; the model decodes [N, {size}]")
    if not np.isfinite(codes).all():
        raise UserError("codes hold NaN or infinite values, of which there is no example")
    return codes
