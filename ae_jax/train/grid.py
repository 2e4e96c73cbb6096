"""Grids: runs on one data set that differ in some of their configuration.

Runs that differ in numbers only (seed, step size, size of the code, weights of an objective,
constants of a schedule) share one program; they are stacked into it where that is faster, and take
turns elsewhere.
"""

import dataclasses
import math
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any, Literal

import jax

from ae_jax.config import RunConfig
from ae_jax.data.base import DataSet
from ae_jax.errors import TrainingDiverged, UserError
from ae_jax.nn import LATENTS
from ae_jax.train.checkpoints import latest_step
from ae_jax.train.devices import memory_limit, stacking_pays
from ae_jax.train.loop import Listener, Outcome, Run, train_together
from ae_jax.train.rundir import RunDirectory
from ae_jax.train.setup import Setup, prepare_run

Stack = Literal["auto", "always", "never"]

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


@dataclasses.dataclass(frozen=True)
class _Prepared:
    member: Member
    setup: Setup
    directory: RunDirectory


def train_grid(
    members: Sequence[Member],
    dataset: DataSet,
    root: Path,
    *,
    until: int | None = None,
    listener_for: Callable[[Member], AbstractContextManager[Listener]] | None = None,
    stack: Stack = "auto",
    devices_each: int = 1,
) -> dict[str, Outcome | TrainingDiverged]:
    """Trains the members up to epoch `until` and returns their outcomes by name, in order.

    Members share the examples on the device, and the compiled program where they differ in
    numbers only. `stack` says whether those train at once (`auto`: on accelerators), in groups as
    large as memory allows, spread over all devices with `devices_each` of them to a member. Each
    continues from where its own directory stands. A member whose loss does not stay finite has
    that error for its outcome; the others go on. Raises UserError.
    """
    _check_devices(devices_each)
    placed, prepared = None, []
    for member in members:
        setup = prepare_run(member.config, dataset, placed, member.start)
        placed = setup.splits
        prepared.append(_Prepared(member, setup, RunDirectory(root / member.name)))
    at_once = stacking_pays() if stack == "auto" else stack == "always"
    # Stacked runs gather their batches from the device.
    at_once = at_once and not any(one.setup.streams for one in prepared)
    groups = _groups(prepared) if at_once else [[one] for one in prepared]
    outcomes = {}
    for group in groups:
        outcomes |= _train_group(group, until, listener_for or _silent, devices_each)
    return {member.name: outcomes[member.name] for member in members}


def shared_program(setup: Setup) -> Hashable:
    """What decides the program of a run: runs with equal keys can be stacked."""
    config = setup.config
    latent = LATENTS.get(config.model.latent)
    can_pad = getattr(latent, "can_pad", False) and config.objective.can_pad
    model = dataclasses.replace(
        config.model, init_scale=1.0, latent_dim=1 if can_pad else config.model.latent_dim
    )
    train = dataclasses.replace(config.train, seed=0, patience=None)
    types = type(config.objective), type(config.optim)
    # The tree of the numbers holds the options that decide branches, and which are absent.
    branches = jax.tree.structure((setup.numbers.objective, setup.numbers.optimiser))
    return config.data, model, train, config.eval, types, branches


def _groups(prepared: Sequence[_Prepared]) -> list[list[_Prepared]]:
    """Members by program, in the order of their first, in parts that fit into memory."""
    by_program: dict[Hashable, list[_Prepared]] = {}
    for one in prepared:
        by_program.setdefault(shared_program(one.setup), []).append(one)
    groups = []
    for alike in by_program.values():
        size = _members_that_fit([one.setup for one in alike])
        groups += [alike[i : i + size] for i in range(0, len(alike), size)]
    return groups


def _members_that_fit(setups: Sequence[Setup]) -> int:
    """How many states with their gradients fit on all devices together, at least one."""
    largest = max(setups, key=lambda setup: setup.config.model.latent_dim)
    state = largest.state_shapes()
    leaves = [*jax.tree.leaves(state), *jax.tree.leaves(state.params)]  # gradients are alike
    each = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)
    available = STATE_SHARE * memory_limit(jax.local_devices()[0]) * jax.device_count()
    return max(1, int(available // each))


def _train_group(
    group: Sequence[_Prepared],
    until: int | None,
    listener_for: Callable[[Member], AbstractContextManager[Listener]],
    devices_each: int,
) -> dict[str, Outcome | TrainingDiverged]:
    """Trains members that share a program; those behind catch up with the others first."""
    outcomes: dict[str, Outcome | TrainingDiverged] = {}
    going = list(group)
    with ExitStack() as opened:
        listeners = {
            one.member.name: opened.enter_context(listener_for(one.member)) for one in group
        }
        while going:
            stands = {one.member.name: _epochs_done(one) for one in going}
            least, *more = sorted(set(stands.values()))
            behind = [one for one in going if stands[one.member.name] == least]
            runs = [Run(one.setup, one.directory, (listeners[one.member.name],)) for one in behind]
            ends = train_together(runs, until=more[0] if more else until, devices_each=devices_each)
            outcomes |= {one.member.name: end for one, end in zip(behind, ends, strict=True)}
            going = [one for one in going if more and not _has_ended(one, outcomes, more[0])]
    return outcomes


def _epochs_done(one: _Prepared) -> int:
    """Where a member continues: the epoch of its latest checkpoint."""
    return latest_step(one.directory.checkpoints) // one.setup.steps_per_epoch


def _has_ended(one: _Prepared, outcomes: dict, epoch: int) -> bool:
    """Whether a member diverged or ran out of patience before the epoch that others stand at."""
    end = outcomes.get(one.member.name)
    if isinstance(end, TrainingDiverged):
        return True
    return end is not None and end.records[-1]["epoch"] < epoch


def _check_devices(devices_each: int) -> None:
    if devices_each < 1 or jax.device_count() % devices_each:
        raise UserError(
            f"{jax.device_count()} devices do not divide into groups of {devices_each} a member"
        )


def _silent(member: Member) -> AbstractContextManager[Listener]:
    return nullcontext(lambda record: None)
