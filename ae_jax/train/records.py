"""What a run tells of an epoch and of a look at itself, and what follows from it. No files."""

import math
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

from ae_jax.core.errors import TrainingDiverged, UserError
from ae_jax.data.batches import Totals
from ae_jax.objectives import Objective
from ae_jax.train.config import RunConfig
from ae_jax.train.setup import Setup
from ae_jax.train.step import NO_STEP, StepReport

Record = dict[str, Any]
Listener = Callable[[Record], None]


def is_look(record: Record) -> bool:
    """Whether a record holds an evaluation besides the running means of its epoch."""
    return any(name.startswith("train/") for name in record)


def selection_metric(objective: Objective, splits: Container[str]) -> str:
    """What the best checkpoint is best at: never the test split."""
    split = "valid" if "valid" in splits else "train"
    return f"{split}/{objective.headline}"


def is_out_of_patience(
    config: RunConfig, splits: Container[str], records: Sequence[Record]
) -> bool:
    """Whether the last `train.patience` looks brought nothing better than one before them."""
    patience = config.train.patience
    if patience is None:
        return False
    sign = 1.0 if config.objective.maximise else -1.0
    metric = selection_metric(config.objective, splits)
    return has_stalled([sign * look[metric] for look in records if is_look(look)], patience)


def has_stalled(scores: Sequence[float], patience: int) -> bool:
    """Whether none of the last `patience` scores is above those before them."""
    return len(scores) > patience and max(scores[-patience:]) <= max(scores[:-patience])


# Model inputs beyond this are the first thing to look at where a loss is not finite.
_LARGE_INPUT = 1e3


def advice(setup: Setup, kept: bool) -> str:
    """What to do about a loss that is not finite; `kept` says whether there is a checkpoint."""
    largest = max(abs(setup.values.low), abs(setup.values.high))
    if largest > _LARGE_INPUT:
        way = f"the model sees values up to {largest:.3g}: data.preprocess=standardization scales "
        way += "them, or scale them before"
    else:
        way = "a smaller optim.learning_rate may help"
    return f"the last checkpoint before it is kept; {way}" if kept else way


def check_finite(setup: Setup, report: StepReport, epoch: int, is_kept: Callable[[], bool]) -> None:
    """Raises TrainingDiverged where a loss was not; `is_kept` tells whether a checkpoint is."""
    if int(report.bad_step) != NO_STEP:
        raise TrainingDiverged(
            f"the loss is not finite at step {int(report.bad_step)} (epoch {epoch}); "
            f"{advice(setup, is_kept())}"
        )


def record_of(
    setup: Setup, report: StepReport, epoch: int, seconds: float, elapsed: float, work: float
) -> Record:
    """What an epoch left: `seconds` of training so far, `elapsed` of them in this epoch.

    `work` is the seconds that its matrix products alone would take.
    """
    num_train = len(setup.splits["train"])
    return {
        "epoch": epoch,
        "step": epoch * setup.steps_per_epoch,
        "samples": epoch * num_train,
        "seconds": round(seconds, 4),
        "examples_per_second": round(num_train / elapsed, 1),
        "matrix_rate_share": float(f"{work / elapsed:.3g}"),
        **{f"running/{name}": value for name, value in report.totals.means().items()},
    }


def look_of(
    setup: Setup, totals: Mapping[str, Totals], epoch: int, is_kept: Callable[[], bool]
) -> Record:
    """The objective's metrics on every split, with noise that is the same at every look.

    Raises TrainingDiverged where a loss is not finite: the last update of the epoch did that.
    """
    record: Record = {}
    for name in setup.splits:
        means = totals[name].means()
        for metric in ("loss", setup.numbers.objective.headline):
            if metric not in means:
                raise UserError(f"no example of the {name} split has a weight in {metric}")
            if not math.isfinite(means[metric]):
                raise TrainingDiverged(
                    f"the {metric} of the {name} split is not finite after epoch {epoch}; "
                    f"{advice(setup, is_kept())}"
                )
        record |= {f"{name}/{metric}": value for metric, value in means.items()}
    return record
