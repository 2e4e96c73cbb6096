"""The two ways a run can fail on purpose."""


class UserError(Exception):
    """Something the user can mend. One clear sentence; the command line exits with status 2."""


class TrainingDiverged(Exception):
    """The loss became infinite or NaN. Names the step; the command line exits with status 3."""
