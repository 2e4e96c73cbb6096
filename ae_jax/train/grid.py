"""Grids: runs on one data set that differ in some of their configuration."""

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from ae_jax.config import RunConfig
from ae_jax.data.base import DataSet
from ae_jax.errors import TrainingDiverged
from ae_jax.train.loop import Listener, Outcome, train
from ae_jax.train.rundir import RunDirectory
from ae_jax.train.setup import prepare_run


@dataclasses.dataclass(frozen=True)
class Member:
    """One run of a grid; `name` is its directory below that of the grid."""

    name: str
    config: RunConfig


def train_grid(
    members: Sequence[Member],
    dataset: DataSet,
    root: Path,
    *,
    until: int | None = None,
    listener_for: Callable[[Member], AbstractContextManager[Listener]] | None = None,
) -> dict[str, Outcome | TrainingDiverged]:
    """Trains the members up to epoch `until` and returns their outcomes by name.

    Members run in turn and share the examples on the device; those that differ in numbers only
    share the compiled program too. Each continues from where its own directory stands. A member
    whose loss does not stay finite has that error for its outcome; the others go on.
    """
    outcomes, placed = {}, None
    for member in members:
        setup = prepare_run(member.config, dataset, placed)
        placed = setup.splits
        open_listener = listener_for or (lambda _: nullcontext(_ignore))
        with open_listener(member) as listener:
            try:
                outcomes[member.name] = train(
                    setup, RunDirectory(root / member.name), until=until, listeners=[listener]
                )
            except TrainingDiverged as error:
                outcomes[member.name] = error
    return outcomes


def _ignore(record: dict) -> None:
    del record
