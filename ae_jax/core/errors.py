"""The two ways a run can fail on purpose, one of those that it cannot help, and warnings."""

import warnings
from typing import TypeVar

T = TypeVar("T")


class UserError(Exception):
    """Something the user can mend. One clear sentence; the command line exits with status 2."""


class TrainingDiverged(Exception):
    """The loss became infinite or NaN. Names the step; the command line exits with status 3."""


class Stopped(Exception):
    """A signal asked to stop; what was trained is saved, and the same command continues."""


def present(value: T | None, what: str) -> T:
    """A value that has been set by now. Raises RuntimeError where it has not: a fault of ours."""
    if value is None:
        raise RuntimeError(f"{what} has not been set")
    return value


def shortened(text: str, most: int = 80) -> str:
    """The text, or its beginning and its length: what a user gave may be a whole file."""
    return text if len(text) <= most else f"{text[:most]}... ({len(text):,} characters)"


class RunWarning(UserWarning):
    """Something about a run that its user should know, and that does not end it. One sentence."""


def warn(sentence: str) -> None:
    """Says a sentence as a `RunWarning`; the command line shows it as a line of its own."""
    warnings.warn(sentence, RunWarning, stacklevel=3)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether JAX says that a device has not enough memory."""
    return "RESOURCE_EXHAUSTED" in str(error)
