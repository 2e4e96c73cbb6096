"""Types of options with the values they may take, checked where a configuration is read."""

from typing import Annotated

from pydantic import BeforeValidator, Field


def _no_truth(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("input should be a whole number")
    return value


# No more than a computer counts to: what lies beyond is a mistake, and no float holds it.
Count = Annotated[int, Field(ge=1, lt=2**62), BeforeValidator(_no_truth)]
Whole = Annotated[int, Field(ge=0, lt=2**62), BeforeValidator(_no_truth)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]
