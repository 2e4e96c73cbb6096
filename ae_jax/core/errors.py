"""The two ways a run can fail on purpose, and one of those that it cannot help."""


class UserError(Exception):
    """Something the user can mend. One clear sentence; the command line exits with status 2."""


class TrainingDiverged(Exception):
    """The loss became infinite or NaN. Names the step; the command line exits with status 3."""


class Stopped(Exception):
    """A signal asked to stop; what was trained is saved, and the same command continues."""


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether JAX says that a device has not enough memory."""
    return "RESOURCE_EXHAUSTED" in str(error)
