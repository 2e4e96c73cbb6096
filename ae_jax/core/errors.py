"""The two ways a run can fail on purpose, one of those that it cannot help, and warnings."""

import warnings


class UserError(Exception):
    """Something the user can mend. One clear sentence; the command line exits with status 2."""


class TrainingDiverged(Exception):
    """The loss became infinite or NaN. Names the step; the command line exits with status 3."""


class RunWarning(UserWarning):
    """Something about a run that its user should know, and that does not end it. One sentence."""


def warn(sentence: str) -> None:
    """Says a sentence as a `RunWarning`; the command line shows it as a line of its own."""
    warnings.warn(sentence, RunWarning, stacklevel=3)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether JAX says that a device has not enough memory."""
    return "RESOURCE_EXHAUSTED" in str(error)
