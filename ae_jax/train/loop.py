"""The one training loop: epochs, looks, checkpoints and records.

Every run goes through `train`, alone or as a member of a grid. What a method needs beyond it is
an objective; what a user wants to see beyond it is a listener.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp

from ae_jax.data.batches import sequential_order, shuffled_order
from ae_jax.errors import TrainingDiverged
from ae_jax.train.checkpoints import Checkpoints
from ae_jax.train.execution import evaluate_split
from ae_jax.train.rundir import RunDirectory
from ae_jax.train.schedule import look_epochs
from ae_jax.train.setup import Setup
from ae_jax.train.step import NO_STEP, StepReport, TrainState

Record = dict[str, Any]
Listener = Callable[[Record], None]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The state after the last epoch and one record an epoch."""

    state: TrainState
    records: list[Record]

    @property
    def last_look(self) -> Record:
        """The newest record that holds an evaluation of every split."""
        return [record for record in self.records if is_look(record)][-1]


def is_look(record: Record) -> bool:
    """Whether a record holds an evaluation besides the running means of its epoch."""
    return any(name.startswith("train/") for name in record)


def train(
    setup: Setup,
    directory: RunDirectory | None = None,
    *,
    until: int | None = None,
    listeners: Sequence[Listener] = (),
) -> Outcome:
    """Trains up to epoch `until`, by default to the end of the run, from where it stands.

    With a directory, the run continues from its latest checkpoint and saves one at every look;
    records go to metrics.jsonl. A record holds epoch, step, samples (seen in training), seconds
    (of training so far), `running/...` (means over the epoch while it changed the parameters) and
    at a look `train/...`, `valid/...`, `test/...`: nats per example unless the metric says
    otherwise.

    Raises TrainingDiverged at the first loss that is not finite; what was saved stays.
    """
    last = setup.config.train.epochs if until is None else until
    if directory is None:
        return _run(setup, setup.initial_state(), [], last, None, listeners)
    objective = setup.numbers.objective
    with (
        directory.claim(setup.config, setup.dataset),
        Checkpoints(directory.checkpoints, objective.headline, objective.maximise) as saved,
    ):
        state, records = _resume(setup, directory, saved)

        def keep(state: TrainState, record: Record) -> None:
            directory.append(record)
            if is_look(record):
                saved.save(state, {objective.headline: record[_selection_metric(setup)]})

        return _run(setup, state, records, last, keep, listeners)


def _resume(
    setup: Setup, directory: RunDirectory, saved: Checkpoints
) -> tuple[TrainState, list[Record]]:
    state = setup.initial_state()
    if saved.step() is not None:
        state = saved.restore(state)
    return state, directory.rewind(int(state.step))


def _run(
    setup: Setup,
    state: TrainState,
    records: list[Record],
    last: int,
    keep: Callable[[TrainState, Record], None] | None,
    listeners: Sequence[Listener],
) -> Outcome:
    records = list(records)
    looks = {*look_epochs(setup.config), last}
    seconds = records[-1]["seconds"] if records else 0.0
    for epoch in range(int(state.step) // setup.steps_per_epoch + 1, last + 1):
        start = time.perf_counter()
        state, report = _epoch(setup, state, epoch)
        running = report.totals.means()  # waits for the device, so that the clock is right
        elapsed = time.perf_counter() - start
        seconds += elapsed
        _check_finite(report, epoch)
        record = _record(setup, epoch, seconds, elapsed, running)
        if epoch in looks:
            record |= _look(setup, state, epoch)
        records.append(record)
        if keep is not None:
            keep(state, record)
        for listener in listeners:
            listener(record)
    return Outcome(state, records)


def _epoch(setup: Setup, state: TrainState, epoch: int) -> tuple[TrainState, StepReport]:
    size = setup.config.train.batch_size
    order = shuffled_order(
        state.seed, jnp.asarray(epoch, jnp.uint32), len(setup.splits["train"]), size
    )
    return setup.execution.epoch(
        state, order, setup.splits["train"], setup.numbers, architecture=setup.architecture
    )


_ADVICE = "the last checkpoint before it is kept; a smaller optim.learning_rate may help"


def _check_finite(report: StepReport, epoch: int) -> None:
    if int(report.bad_step) != NO_STEP:
        raise TrainingDiverged(
            f"the loss is not finite at step {int(report.bad_step)} (epoch {epoch}); {_ADVICE}"
        )


def _record(
    setup: Setup, epoch: int, seconds: float, elapsed: float, running: dict[str, float]
) -> Record:
    num_train = len(setup.splits["train"])
    return {
        "epoch": epoch,
        "step": epoch * setup.steps_per_epoch,
        "samples": epoch * num_train,
        "seconds": round(seconds, 4),
        "examples_per_second": round(num_train / elapsed, 1),
        **{f"running/{name}": value for name, value in running.items()},
    }


def _look(setup: Setup, state: TrainState, epoch: int) -> Record:
    """The objective's metrics on every split, with noise that is the same at every look.

    Raises TrainingDiverged where a loss is not finite: the last update of the epoch did that.
    """
    record = {}
    for name, split in setup.splits.items():
        count = len(split)
        if name == "train":
            count = min(count, setup.config.eval.train_examples)
        order = sequential_order(count, min(count, setup.config.eval.batch_size))
        totals = evaluate_split(
            state.params,
            setup.execution.replicate(order),
            split,
            setup.numbers,
            state.seed,
            state.step,
            architecture=setup.architecture,
        )
        means = totals.means()
        for metric in ("loss", setup.numbers.objective.headline):
            if not math.isfinite(means[metric]):
                raise TrainingDiverged(
                    f"the {metric} of the {name} split is not finite after epoch {epoch}; {_ADVICE}"
                )
        record |= {f"{name}/{metric}": value for metric, value in means.items()}
    return record


def _selection_metric(setup: Setup) -> str:
    """What the best checkpoint is best at: never the test split."""
    split = "valid" if "valid" in setup.splits else "train"
    return f"{split}/{setup.numbers.objective.headline}"
