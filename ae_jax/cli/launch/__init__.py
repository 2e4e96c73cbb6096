"""Where the runs of a grid are trained: in this process, or by the jobs of a cluster.

A launcher trains members as `train_grid` does and returns their records, so that an experiment
reads the same whichever it was given.
"""

import dataclasses
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from ae_jax.api import beside
from ae_jax.core.errors import TrainingDiverged, UserError
from ae_jax.data.base import DataSet
from ae_jax.data.batches import num_batches
from ae_jax.train.checkpoints import latest_step
from ae_jax.train.grid import Member, train_grid
from ae_jax.train.kept import gave_up
from ae_jax.train.records import Listener, Record
from ae_jax.train.rundir import RunDirectory

ListenerFor = Callable[[Member], AbstractContextManager[Listener]]
Outcomes = dict[str, list[Record] | TrainingDiverged]


class Launcher(Protocol):
    """Trains the members of a grid somewhere."""

    def train(
        self,
        members: Sequence[Member],
        dataset: DataSet,
        root: Path,
        *,
        until: int | None = None,
        listener_for: ListenerFor | None = None,
        track: Sequence[str] = (),
    ) -> Outcomes:
        """Trains members up to epoch `until`; the records of each by name, in order.

        A member whose loss did not stay finite has that error instead. `track` names trackers, in
        which each member is a run. Raises UserError.
        """

    def parts(self, members: Sequence[Member], dataset: DataSet) -> list[list[Member]]:
        """What is trained at the same time where there is room: members by process."""


@dataclasses.dataclass(frozen=True)
class Local:
    """This process, with those that were started with it as one."""

    def train(
        self,
        members: Sequence[Member],
        dataset: DataSet,
        root: Path,
        *,
        until: int | None = None,
        listener_for: ListenerFor | None = None,
        track: Sequence[str] = (),
    ) -> Outcomes:
        outcomes = train_grid(
            members,
            dataset,
            root,
            until=until,
            listener_for=listener_for,
            trackers_for=partial(beside, track, root),
        )
        return {
            name: end if isinstance(end, TrainingDiverged) else end.records
            for name, end in outcomes.items()
        }

    def parts(self, members: Sequence[Member], dataset: DataSet) -> list[list[Member]]:
        return [list(members)]


def goal(member: Member, dataset: DataSet, until: int | None) -> int:
    """The step at which a member stands after epoch `until`, by default after its last one."""
    train = member.config.train
    epochs = train.epochs if until is None else until
    return epochs * num_batches(len(dataset.splits["train"]), train.batch_size)


def is_over(member: Member, dataset: DataSet, root: Path, until: int | None) -> bool:
    """Whether nothing is left to train of a member: it is at its goal, or out of patience."""
    path = root / member.name
    at_its_goal = latest_step(RunDirectory(path).checkpoints) >= goal(member, dataset, until)
    return at_its_goal or gave_up(member.config, dataset, path)


def kept_records(path: Path) -> list[Record]:
    """The records of a run's directory up to its latest checkpoint, from where it would go on."""
    directory = RunDirectory(path)
    return directory.records(latest_step(directory.checkpoints))


def launcher_named(
    name: str, assignments: Sequence[str] = (), members_per_task: int | None = None
) -> Launcher:
    """The launcher of `--launcher`, with `option=value` assignments for Slurm. Raises UserError."""
    if name == "slurm":
        from ae_jax.cli.launch.cluster import Slurm

        return Slurm(dict(map(_assignment, assignments)), members_per_task)
    if assignments or members_per_task is not None:
        raise UserError("--slurm and --members-per-task need --launcher slurm")
    return Local()


def _assignment(text: str) -> tuple[str, Any]:
    """`option=value`, with a value in JSON, or text where it is not."""
    name, equals, raw = text.partition("=")
    if not (name and equals):
        raise UserError(f"{text!r} is not of the form option=value")
    try:
        return name.replace("-", "_"), json.loads(raw)
    except json.JSONDecodeError:
        return name.replace("-", "_"), raw
