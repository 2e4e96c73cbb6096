"""The two ways a run can fail on purpose, and one of those that it cannot help."""


class UserError(Exception):
    """Something the user can mend. One clear sentence; the command line exits with status 2."""


class TrainingDiverged(Exception):
    """The loss became infinite or NaN. Names the step; the command line exits with status 3."""


class Stopped(Exception):
    """A signal asked to stop; what was trained is saved, and the same command continues."""


def shortened(text: str, most: int = 80) -> str:
    """The text, or its beginning and its length: what a user gave may be a whole file."""
    return text if len(text) <= most else f"{text[:most]}... ({len(text):,} characters)"


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether JAX says that a device has not enough memory."""
    return "RESOURCE_EXHAUSTED" in str(error)
