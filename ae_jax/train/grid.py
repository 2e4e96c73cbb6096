"""Grids: runs on one data set that differ in some of their configuration.

Runs that differ in numbers only (seed, step size, size of the code, weights of an objective,
constants of a schedule) share one program; they are stacked into it where that is faster, and take
turns elsewhere.
"""

import dataclasses
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any, Literal

import jax

from ae_jax.core.errors import TrainingDiverged, UserError, is_out_of_memory, present
from ae_jax.data.base import DataSet
from ae_jax.train import processes
from ae_jax.train.arithmetic import step_flops
from ae_jax.train.checkpoints import latest_step
from ae_jax.train.config import DataConfig, RunConfig
from ae_jax.train.devices import memory_limit, memory_share, stacking_pays
from ae_jax.train.kept import KeptOutcome, kept_outcome
from ae_jax.train.loop import Outcome, Run, train_together
from ae_jax.train.prepare import prepare_run
from ae_jax.train.records import Listener
from ae_jax.train.rundir import RunDirectory
from ae_jax.train.schedule import look_epochs
from ae_jax.train.setup import Setup

Stack = Literal["auto", "always", "never"]

# What else listens to a run, opened with its setup and its directory.
TrackersFor = Callable[[Setup, RunDirectory], AbstractContextManager[Sequence[Listener]]]

# Of a device's memory; the rest is for batches, activations and what the compiler wants.
STATE_SHARE = 0.5


@dataclasses.dataclass(frozen=True)
class Member:
    """One run of a grid; `name` is its directory below that of the grid.

    `start` are parameters that it starts from (see `prepare_run`); by default it draws its own.
    """

    name: str
    config: RunConfig
    start: Any = dataclasses.field(default=None, compare=False, repr=False)


def train_grid(
    members: Sequence[Member],
    dataset: DataSet,
    root: Path,
    *,
    until: int | None = None,
    listener_for: Callable[[Member], AbstractContextManager[Listener]] | None = None,
    trackers_for: TrackersFor | None = None,
    stack: Stack = "auto",
    devices_each: int = 1,
) -> dict[str, Outcome | KeptOutcome | TrainingDiverged]:
    """Trains the members up to epoch `until` and returns their outcomes by name, in order.

    Members share the examples on the device, and the compiled program where they differ in
    numbers only. `stack` says whether those train at once (`auto`: on accelerators, where steps
    are too small to fill a CPU, and where several processes share the work), in groups as large
    as memory allows (halved where a device still runs out of it), spread over all devices with
    `devices_each` of them to a member. Each continues from where its own directory stands. A
    member whose loss does not stay finite has that error for its outcome; the others go on. One
    that is finished costs the reading of its files.

    Raises UserError.
    """
    _check_devices(devices_each)
    processes.check_runs({member.name: member.config for member in members}, dataset)
    over = finished(members, dataset, root, until)
    going = [member for member in members if member.name not in over]
    setups = prepare_members(going, dataset, root)
    patience_ended = any(
        over[m.name].records[-1]["epoch"] < _last_epoch(m.config, until)
        for m in members
        if m.name in over
    )
    interrupted = [
        m
        for m in going
        if _saved_all_but_the_end(setups[m.name], root / m.name, until)
        or (patience_ended and latest_step(RunDirectory(root / m.name).checkpoints))
    ]
    if over and any(_members_at_once([setups[m.name]], stack) > 1 for m in interrupted):
        # Those that are over are in the program again, so that the rest ends with the same bits.
        over, going = {}, list(members)
        setups = prepare_members(going, dataset, root)
    outcomes: dict[str, Outcome | KeptOutcome | TrainingDiverged] = {**over}
    groups = [
        part
        for alike in by_program(going, setups)
        for part in parts_of(alike, _members_at_once([setups[m.name] for m in alike], stack))
    ]
    for group in groups:
        with ExitStack() as opened:
            runs = {}
            for member in group:
                setup, directory = setups[member.name], RunDirectory(root / member.name)
                heard = [opened.enter_context((listener_for or _silent)(member))]
                if trackers_for is not None:
                    heard += opened.enter_context(trackers_for(setup, directory))
                runs[member.name] = Run(setup, directory, tuple(heard))
            outcomes |= _train_what_fits(runs, until, devices_each)
    return {member.name: outcomes[member.name] for member in members}


def finished(
    members: Sequence[Member], dataset: DataSet, root: Path, until: int | None
) -> dict[str, KeptOutcome]:
    """The outcomes of members that are over, by name, as their files tell."""
    found = {
        member.name: kept_outcome(member.config, dataset, member.start, root / member.name, until)
        for member in members
    }
    kept = {name: outcome for name, outcome in found.items() if outcome is not None}
    processes.check_alike({"finished": sorted(kept)})
    return kept


def _last_epoch(config: RunConfig, until: int | None) -> int:
    """Where a run ends, if patience does not end it before."""
    return config.train.epochs if until is None else until


def prepare_members(
    members: Sequence[Member], dataset: DataSet, root: Path | None = None
) -> dict[str, Setup]:
    """The setups of members by name, on one copy of the data. Raises UserError for any.

    Those that have a run below `root` are not asked what a run is when it begins.
    """
    setups: dict[str, Setup] = {}
    by_data: dict[DataConfig, Setup] = {}
    for member in members:
        like = by_data.get(member.config.data) or next(iter(setups.values()), None)
        begins = root is None or not RunDirectory(root / member.name).holds_run
        setup = prepare_run(member.config, dataset, member.start, like, begins=begins)
        setups[member.name] = by_data[member.config.data] = setup
    return setups


def by_program(members: Sequence[Member], setups: Mapping[str, Setup]) -> list[list[Member]]:
    """Members in groups that share a program, in the order of their first."""
    groups: dict[Hashable, list[Member]] = {}
    for member in members:
        groups.setdefault(shared_program(setups[member.name]), []).append(member)
    return list(groups.values())


def parts_of(group: Sequence[Member], size: int | None) -> list[list[Member]]:
    """A group in parts of at most `size` members, whole where that is None."""
    size = size or max(1, len(group))
    return [list(group[i : i + size]) for i in range(0, len(group), size)]


def shared_program(setup: Setup) -> Hashable:
    """What decides the program of a run: runs with equal keys can be stacked."""
    config = setup.config
    can_pad = setup.architecture.model.can_pad and config.objective.can_pad
    model = dataclasses.replace(
        config.model, init_scale=1.0, latent_dim=1 if can_pad else config.model.latent_dim
    )
    train = dataclasses.replace(config.train, seed=0, patience=None)
    types = type(config.objective), setup.architecture.optimisers
    # The tree of the numbers holds the options that decide branches, and which are absent.
    numbers = setup.numbers
    branches = jax.tree.structure((numbers.objective, numbers.optimiser, numbers.groups))
    return config.data, model, train, config.eval, types, branches


def _members_at_once(setups: Sequence[Setup], stack: Stack) -> int:
    """How many of the runs that share a program train together; 1 where they take turns."""
    if stack == "never" or any(setup.placement != "replicated" for setup in setups):
        return 1  # stacked runs gather their batches from the device of each
    largest = max(setups, key=lambda setup: setup.config.model.latent_dim)
    if stack == "auto" and jax.process_count() == 1 and not stacking_pays(step_flops(largest)):
        return 1
    return _members_that_fit(largest)


def _members_that_fit(largest: Setup) -> int:
    """How many states with their gradients fit on all devices together, at least one."""
    state = largest.state_shapes()
    leaves = [*jax.tree.leaves(state), *jax.tree.leaves(state.params)]  # gradients are alike
    each = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)
    memory = memory_share(memory_limit(jax.local_devices()[0]), jax.local_device_count())
    available = STATE_SHARE * memory * jax.device_count()
    return max(1, int(available // each))


def _train_what_fits(
    runs: Mapping[str, Run], until: int | None, devices_each: int
) -> dict[str, Outcome | TrainingDiverged]:
    """Trains runs that share a program, in halves where the devices cannot hold them together."""
    try:
        return _train_group(runs, until, devices_each)
    except RuntimeError as error:
        # Processes that share the runs would have to agree on this.
        if not is_out_of_memory(error) or len(runs) == 1 or jax.process_count() > 1:
            raise
    # Out of the handler: the error keeps alive what could not be held.
    outcomes: dict[str, Outcome | TrainingDiverged] = {}
    names, middle = list(runs), len(runs) // 2
    for half in (names[:middle], names[middle:]):
        outcomes |= _train_what_fits({name: runs[name] for name in half}, until, devices_each)
    return outcomes


def _train_group(
    runs: Mapping[str, Run], until: int | None, devices_each: int
) -> dict[str, Outcome | TrainingDiverged]:
    """Trains runs that share a program.

    A group that was killed while it saved is in one program again, and continues with the same
    bits. Runs that were over when others were added to the grid are not trained with those.
    """
    config = next(iter(runs.values())).setup.config
    end = _last_epoch(config, until)
    stands = {name: _epochs_done(run) for name, run in runs.items()}
    # Before one of them writes its end, all have written the last look before it.
    last_look = _last_look(config, end)
    furthest = max((epoch for epoch in stands.values() if epoch < end), default=end)
    over = [name for name in runs if stands[name] >= end and furthest < last_look]
    outcomes: dict[str, Outcome | TrainingDiverged] = {}
    for part in (over, [name for name in runs if name not in over]):
        if part:
            together = [runs[name] for name in part]
            ends = train_together(together, until=until, devices_each=devices_each)
            outcomes |= dict(zip(part, ends, strict=True))
    return outcomes


def _saved_all_but_the_end(setup: Setup, path: Path, until: int | None) -> bool:
    """Whether a run stands at its last save but one, where others of its group may be over."""
    config, directory = setup.config, RunDirectory(path)
    end = _last_epoch(config, until)
    done = latest_step(directory.checkpoints) // setup.steps_per_epoch
    return directory.config_file.is_file() and _last_look(config, end) <= done < end


def _last_look(config: RunConfig, end: int) -> int:
    """The last epoch before `end` at which a run is looked at; 0 where there is none."""
    return max((epoch for epoch in look_epochs(config) if epoch < end), default=0)


def _epochs_done(run: Run) -> int:
    """Where a run continues: the epoch of its latest checkpoint."""
    return latest_step(present(run.directory, "directory").checkpoints) // run.setup.steps_per_epoch


def _check_devices(devices_each: int) -> None:
    if devices_each < 1 or jax.device_count() % devices_each:
        raise UserError(
            f"{jax.device_count()} devices do not divide into groups of {devices_each} a member"
        )


def _silent(member: Member) -> AbstractContextManager[Listener]:
    return nullcontext(lambda record: None)
