"""What the loop drives: one run, or many runs stacked into one program.

An engine holds the states of its runs on the devices and offers `epoch`, `look` and `state`. The
loop cannot tell one from many; a run among others comes out as it does alone, to rounding.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ae_jax.data.batches import DeviceSplit, Order, Totals, sequential_order, shuffled_order
from ae_jax.data.preprocess import Statistics
from ae_jax.models.padding import cropped, padded
from ae_jax.train.part import Part
from ae_jax.train.program import (
    AXIS,
    Architecture,
    Numbers,
    compiled_evaluation,
    evaluate_split,
    fetch,
    on_parts,
    place,
    run_epoch,
)
from ae_jax.train.setup import Setup
from ae_jax.train.step import StepReport, TrainState

MEMBERS = "members"
# Where a leading axis of members lies, and what all members share.
EACH, COMMON = PartitionSpec(MEMBERS), PartitionSpec()


# Is given what tells, once all is over that was begun, what the epoch has summed up so far.
Between = Callable[[Callable[[], Part]], None]


def nothing(so_far: Callable[[], Part]) -> None:
    """For whoever has nothing to do between chunks."""


class Engine(Protocol):
    """Trains one or more runs on so many `devices`; each from the epoch after that of its state.

    Epochs that no run is left for may be skipped.
    """

    devices: int

    def epoch(self, epoch: int, between: Between = nothing) -> list[StepReport]:
        """One epoch of every run; returns when it is over, with a report on the host for each.

        One that takes its examples in chunks calls `between` after each, which may look at `state`
        and end the epoch by what it raises. An epoch begins where the state stands.
        """

    def look(self) -> list[dict[str, Totals]]:
        """For every run the objective's metrics, summed over the head of each split."""

    def state(self, index: int) -> TrainState:
        """The state of a run as it is when trained alone."""


class Single:
    """One run in the execution of its setup."""

    def __init__(self, setup: Setup, state: TrainState, part: Part | None = None):
        self._setup, self._state, self._part = setup, state, part or Part()
        self.devices = 1 if setup.execution.mesh is None else setup.execution.mesh.size

    def epoch(self, epoch: int, between: Between = nothing) -> list[StepReport]:
        setup, split = self._setup, self._setup.splits["train"]
        begun = steps_into_epoch(setup, self._state)
        order = shuffled_order(
            self._state.seed,
            jnp.asarray(epoch, jnp.uint32),
            len(split),
            setup.config.train.batch_size,
        )
        if begun:  # where its examples came in chunks before
            order = jax.tree.map(lambda rows: rows[begun:], order)
        self._state, report = setup.execution.epoch(
            self._state, order, split, setup.numbers, architecture=setup.architecture
        )
        if not begun:
            return [fetch(report)]
        whole, self._part = self._part.with_steps(fetch(report)), Part()
        return [whole.report()]

    def look(self) -> list[dict[str, Totals]]:
        setup, state = self._setup, self._state
        totals = {
            name: compiled_evaluation(
                state.variables,
                setup.execution.replicate(order),
                setup.splits[name],
                setup.numbers,
                state.seed,
                state.step,
                architecture=setup.architecture,
            )
            for name, order in look_orders(setup).items()
        }
        return [fetch(totals)]

    def state(self, index: int) -> TrainState:
        return self._state


class Stacked:
    """Runs that differ in numbers and in the size of the code, stepped together by `vmap`.

    Codes are padded to the largest, and the members are spread over the devices, with
    `devices_each` of them sharing the batches of a member. All are stepped at every epoch, so that
    the program and its rounding stay the same: those that stand further along start over from
    their own state when their epoch comes.
    """

    def __init__(
        self, setups: Sequence[Setup], states: Sequence[TrainState], devices_each: int = 1
    ):
        largest = max(setups, key=lambda setup: setup.config.model.latent_dim)
        self._setup, self._mesh = largest, member_mesh(devices_each)
        self._shapes = [setup.state_shapes() for setup in setups]
        self._full = largest.state_shapes()
        self.devices = self._mesh.size
        # Every device has as many members: the last one fills up.
        filled = list(range(len(setups)))
        filled += [filled[-1]] * (-len(filled) % self._mesh.shape[MEMBERS])
        apart, everywhere = NamedSharding(self._mesh, EACH), NamedSharding(self._mesh, COMMON)
        self._everywhere = everywhere
        self._states = place(_stack([padded(states[i], self._full) for i in filled]), apart)
        stands = [epoch_of(*run) for run in zip(setups, states, strict=True)]
        self._waiting = {
            i: (stand, states[i]) for i, stand in enumerate(stands) if stand > min(stands)
        }
        placement = _by_member(apart, everywhere)
        self._numbers = place(_stacked_numbers([setups[i] for i in filled]), placement)
        self._splits = {name: place(split, everywhere) for name, split in largest.splits.items()}

    def epoch(self, epoch: int, between: Between = nothing) -> list[StepReport]:
        for index in [i for i, (stand, _) in self._waiting.items() if stand < epoch]:
            _, state = self._waiting.pop(index)
            state = place(padded(state, self._full), self._everywhere)
            self._states = _with_member(self._states, state, index)
        self._states, reports = run_member_epochs(
            self._states,
            jnp.asarray(epoch, jnp.uint32),
            self._splits["train"],
            self._numbers,
            mesh=self._mesh,
            architecture=self._setup.architecture,
            batch_size=self._setup.config.train.batch_size,
        )
        return self._apart(reports)

    def look(self) -> list[dict[str, Totals]]:
        totals = {
            name: evaluate_members(
                self._states,
                order,
                self._splits[name],
                self._numbers,
                mesh=self._mesh,
                architecture=self._setup.architecture,
            )
            for name, order in look_orders(self._setup).items()
        }
        return self._apart(totals)

    def state(self, index: int) -> TrainState:
        return cropped(_member(self._states, index), self._shapes[index])

    def _apart(self, stacked: Any) -> list[Any]:
        """One tree on the host for each run."""
        values = fetch(stacked)
        return [jax.tree.map(lambda leaf, i=i: leaf[i], values) for i in range(len(self._shapes))]


def epoch_of(setup: Setup, state: TrainState) -> int:
    """How many epochs a state has been trained."""
    return int(state.step) // setup.steps_per_epoch


def steps_into_epoch(setup: Setup, state: TrainState) -> int:
    """How many steps of an epoch that is not over a state has been trained."""
    return int(state.step) % setup.steps_per_epoch


def look_orders(setup: Setup) -> dict[str, Order]:
    """Which examples a look takes of each split."""
    looks, orders = setup.config.eval, {}
    for name, split in setup.splits.items():
        count = min(len(split), looks.train_examples) if name == "train" else len(split)
        orders[name] = sequential_order(count, min(count, looks.batch_size))
    return orders


def _stack(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def _member(stacked: Any, index: Array | int) -> Any:
    leaves, form = jax.tree.flatten(stacked)
    return form.unflatten(_leaves_of_member(leaves, index))


def _with_member(stacked: Any, member: Any, index: Array | int) -> Any:
    leaves, form = jax.tree.flatten(stacked)
    return form.unflatten(_leaves_with_member(leaves, form.flatten_up_to(member), index))


# Of leaves: JAX takes the trees of two dataclasses with the same fields for equal, and a program
# for whole trees would now and then return those of another class.
@jax.jit
def _leaves_of_member(stacked: list[Array], index: Array | int) -> list[Array]:
    return [leaf[index] for leaf in stacked]


@partial(jax.jit, donate_argnums=0)
def _leaves_with_member(
    stacked: list[Array], member: list[Array], index: Array | int
) -> list[Array]:
    def chosen(leaf: Array, own: Array) -> Array:
        # A choice by element, unlike a write at an index, leaves each member on its device.
        is_it = jnp.arange(len(leaf)) == index
        return jnp.where(is_it.reshape(-1, *[1] * own.ndim), own, leaf)

    return list(map(chosen, stacked, member))


def _stacked_numbers(setups: Sequence[Setup]) -> Numbers:
    """Numbers with a leading axis of members; the statistics of the data are common to all."""
    sizes = [setup.config.model.latent_dim for setup in setups]
    # Codes of one size are whole in every member, and their model is what it is alone.
    in_use: list[Array | None] = [None] * len(sizes)
    if len(set(sizes)) > 1:
        in_use = [jnp.asarray(size, jnp.int32) for size in sizes]
    numbers = [
        dataclasses.replace(setup.numbers, statistics=Statistics(None), latent_dim=size)
        for setup, size in zip(setups, in_use, strict=True)
    ]
    return dataclasses.replace(_stack(numbers), statistics=setups[0].numbers.statistics)


def _by_member(member: Any, common: Any) -> Numbers:
    """A tree of `in_axes` or partition specs for stacked numbers."""
    return Numbers(member, member, common, *[member] * 4)


def member_mesh(devices_each: int) -> Mesh:
    """All devices, as many times as there are groups of `devices_each`, which share a member."""
    devices = jax.devices()
    return jax.make_mesh(
        (len(devices) // devices_each, devices_each),
        (MEMBERS, AXIS),
        axis_types=(AxisType.Auto, AxisType.Auto),
        devices=devices,
    )


@partial(jax.jit, static_argnames=("mesh", "architecture", "batch_size"), donate_argnums=0)
def run_member_epochs(
    states: TrainState,
    epoch: Array,
    split: DeviceSplit,
    numbers: Numbers,
    *,
    mesh: Mesh,
    architecture: Architecture,
    batch_size: int,
) -> tuple[TrainState, StepReport]:
    """An epoch of all members: states, numbers and reports have a leading axis of members."""
    axis_name = AXIS if mesh.shape[AXIS] > 1 else None

    def one(state: TrainState, order: Order, split: DeviceSplit, numbers: Numbers):
        return run_epoch(
            state, order, split, numbers, architecture=architecture, axis_name=axis_name
        )

    orders = jax.vmap(lambda seed: shuffled_order(seed, epoch, len(split), batch_size))(states.seed)
    batches = PartitionSpec(MEMBERS, None, axis_name)
    mapped = _over_members(one, mesh, EACH, batches, COMMON, _by_member(EACH, COMMON))
    return mapped(states, orders, split, numbers)


@partial(jax.jit, static_argnames=("mesh", "architecture"))
def evaluate_members(
    states: TrainState,
    order: Order,
    split: DeviceSplit,
    numbers: Numbers,
    *,
    mesh: Mesh,
    architecture: Architecture,
) -> dict[str, Totals]:
    """The metrics of all members on the same examples, with a leading axis of members."""

    def one(state: TrainState, order: Order, split: DeviceSplit, numbers: Numbers):
        return evaluate_split(
            state.variables,
            order,
            split,
            numbers,
            state.seed,
            state.step,
            architecture=architecture,
        )

    mapped = _over_members(one, mesh, EACH, COMMON, COMMON, _by_member(EACH, COMMON))
    return mapped(states, order, split, numbers)


def _over_members(function: Callable, mesh: Mesh, *specs: Any) -> Callable:
    """`function` of one member, mapped over those of a device, on all devices."""
    axes = tuple(_axes(spec) for spec in specs)
    return on_parts(jax.vmap(function, in_axes=axes), mesh, specs, EACH)


def _axes(spec: Any) -> Any:
    """The `in_axes` of what lies as a partition spec (or a tree of them) says."""

    def axis(leaf: PartitionSpec) -> int | None:
        return 0 if MEMBERS in leaf else None

    return jax.tree.map(axis, spec, is_leaf=lambda leaf: isinstance(leaf, PartitionSpec))
