"""Members of a grid that are finished: read from their files, without a setup.

A setup looks at all examples and traces the program; two hundred finished members took half a
minute to say that there was nothing to do.
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ae_jax.core.errors import UserError
from ae_jax.core.files import read_json
from ae_jax.data.base import DataSet
from ae_jax.data.batches import num_batches
from ae_jax.models.build import settled_start
from ae_jax.train.checkpoints import Checkpoints, latest_step
from ae_jax.train.config import RunConfig, differences, to_dict
from ae_jax.train.prepare import prepare_run
from ae_jax.train.records import Record, is_look, is_out_of_patience
from ae_jax.train.rundir import RunDirectory, describe
from ae_jax.train.start import Start
from ae_jax.train.step import TrainState

# What a setup settles or takes from the data set: the directory has the outcome.
_SETTLED = ("data.name", "data.protocol", "data.limit")
_AUTO = ("data.preprocess", "model.head", "model.prior")


class KeptOutcome:
    """As `loop.Outcome`, of a run that is over; the state is read when it is asked for."""

    def __init__(
        self,
        config: RunConfig,
        dataset: DataSet,
        start: Any,
        directory: RunDirectory,
        records: list[Record],
    ):
        self._config, self._dataset, self._start = config, dataset, start
        self._directory = directory
        self.records = records

    @property
    def last_look(self) -> Record:
        """The newest record that holds an evaluation of every split."""
        return [record for record in self.records if is_look(record)][-1]

    @functools.cached_property
    def state(self) -> TrainState:
        """The state after the last epoch. Raises UserError where it cannot be read."""
        setup = prepare_run(self._config, self._dataset, self._start, begins=False)
        path, last = self._directory.checkpoints, latest_step(self._directory.checkpoints)
        run = self._directory.identity(self._dataset)
        with Checkpoints(path, setup.headline, setup.maximise, read_only=True, run=run) as saved:
            state = saved.restore(setup.initial_state())
        if int(state.step) != last:
            raise UserError(
                f"the checkpoint {path / str(last)} is damaged: without that folder the same "
                f"command trains again from step {int(state.step)}"
            )
        return state


def kept_outcome(
    config: RunConfig, dataset: DataSet, start: Any, path: Path, until: int | None
) -> KeptOutcome | None:
    """The outcome of a run that its directory says is over; None where a setup has to find out.

    A run that has lost the record of its end is one of these: its checkpoint has it too. Raises
    UserError where files of code that it names were edited since.
    """
    directory = RunDirectory(path)
    epochs = config.train.epochs if until is None else until
    goal = epochs * num_batches(len(dataset.splits["train"]), config.train.batch_size)
    is_there = directory.config_file.is_file()
    at_goal = is_there and latest_step(directory.checkpoints) >= goal
    if not is_there or not at_goal and config.train.patience is None:
        return None
    known_by = None if start is None else Start(start).fingerprint
    if directory.start() != known_by or not _is_of(directory, config, dataset):
        return None
    if not at_goal and not _lost_patience(directory, config, dataset):
        return None
    try:
        directory.check_code()
    except UserError as error:
        raise UserError(
            f"{path}: code that this finished run was trained with was edited since: put it back, "
            "or train in a folder of its own"
        ) from error
    step = latest_step(directory.checkpoints)
    records = directory.records(step)
    end = step - step % num_batches(len(dataset.splits["train"]), config.train.batch_size)
    if all(record["step"] != end for record in records):
        return None
    return KeptOutcome(config, dataset, start, directory, records)


def gave_up(config: RunConfig, dataset: DataSet, path: Path) -> bool:
    """Whether a run is over before its last epoch, by `train.patience`."""
    directory = RunDirectory(path)
    if config.train.patience is None or not directory.config_file.is_file():
        return False
    # More epochs than it had change nothing of that.
    saved = read_json(directory.config_file)
    had = saved.get("train", {}).get("epochs") if isinstance(saved, dict) else None
    if isinstance(had, int) and 0 < had < config.train.epochs:
        train = dataclasses.replace(config.train, epochs=had)
        config = dataclasses.replace(config, train=train)
    return _is_of(directory, config, dataset) and _lost_patience(directory, config, dataset)


def _lost_patience(directory: RunDirectory, config: RunConfig, dataset: DataSet) -> bool:
    records = directory.records(latest_step(directory.checkpoints))
    return is_out_of_patience(config, dataset.splits, records)


def _is_of(directory: RunDirectory, config: RunConfig, dataset: DataSet) -> bool:
    batch_size = min(config.train.batch_size, len(dataset.splits["train"]))
    train = dataclasses.replace(config.train, batch_size=batch_size)
    config = dataclasses.replace(config, model=settled_start(config.model), train=train)
    found, ours = read_json(directory.config_file), to_dict(config)
    if not isinstance(found, dict):
        return False
    changes = {line.split(":")[0] for line in differences(found, ours)}
    open_ = {path for path in _AUTO if _at(ours, path) == "auto"}
    if changes - {*_SETTLED, *open_}:
        return False
    same: Sequence[dict] = [read_json(directory.data_file), describe(dataset)]
    before, now = ({**each, "name": ""} for each in same)
    return not differences(before, now)


def _at(values: dict[str, Any], path: str) -> Any:
    section, _, option = path.partition(".")
    return values[section][option]
