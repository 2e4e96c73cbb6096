"""How a compiled epoch runs on devices: one program, four ways to spread it.

`run_epoch` is the program: a scan of the pure step over an order of batches. Under `jit` it runs
on one device; under `sharded` the compiler splits each batch over a mesh; under `shard_map` and
`pmap` each device runs it on its share of each batch and the step averages over the mapped axis.
All four give the same update, to rounding.
"""

import dataclasses
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jax import Array
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ae_jax.core.errors import present
from ae_jax.data.base import Split
from ae_jax.data.batches import DeviceSplit, Order, Totals, take_batch, totals_by_batch
from ae_jax.data.preprocess import Preprocess, Statistics
from ae_jax.models import BoundModel
from ae_jax.models.padding import in_use
from ae_jax.numerics.noise import stream_key
from ae_jax.objectives import Batch, Objective
from ae_jax.train.optimisers import Optimiser
from ae_jax.train.step import StepReport, TrainState, evaluate_objective, make_step

AXIS = "data"
REST = ""  # the label of parameters that no group's optimiser takes

# What makes a batch of model inputs of an item, with the key of its noise.
BatchOf = Callable[[Any, Array], Batch]


@dataclasses.dataclass(frozen=True)
class Architecture:
    """What a program is compiled for: equal architectures share one compilation.

    The classes of objective and optimisers are part of it: JAX takes the pytrees of two dataclasses
    with the same fields for equal, and would run the program of one for the other. `precision` is
    that of matrix products, as JAX names it.
    """

    model: Any
    latent_dim: int
    preprocess: Preprocess
    objective: type[Objective]
    optimisers: tuple[type[Optimiser], ...]
    precision: str = "float32"


@struct.dataclass
class Numbers:
    """What a program is given as data, besides examples: it may differ between runs at no cost.

    `latent_dim` is given where the code of the architecture is padded: how much of it is in use.
    """

    objective: Objective
    optimiser: Optimiser
    statistics: Statistics
    total_steps: Array | float
    latent_dim: Array | None = None
    groups: dict[str, Optimiser] = struct.field(default_factory=dict)
    steps_per_epoch: Array | int | None = None

    def active(self, architecture: Architecture) -> Array | None:
        """Which dimensions of the code are in use, [Z]; None where all are."""
        if self.latent_dim is None:
            return None
        return in_use(architecture.latent_dim, self.latent_dim)

    def transformation(self) -> optax.GradientTransformation:
        """The optimiser, or those of the groups that have their own."""
        steps = self.total_steps, self.steps_per_epoch
        rest = self.optimiser.build(*steps)
        if not self.groups:
            return rest
        own = {name: one.build(*steps) for name, one in self.groups.items()}
        return optax.partition({REST: rest, **own}, self.labels)

    def labels(self, params: dict[str, Any]) -> dict[str, Any]:
        """The optimiser of every parameter: that of its part, or of its objective's group."""
        own = {*self.groups}
        group_of = {part: g for g, parts in self.objective.groups.items() for part in parts}

        def labels(part: str, tree: Any) -> Any:
            label = next((name for name in (part, group_of.get(part)) if name in own), REST)
            return jax.tree.map(lambda _: label, tree)

        return {part: labels(part, tree) for part, tree in params.items()}


def run_epoch(
    state: TrainState,
    order: Order,
    split: DeviceSplit,
    numbers: Numbers,
    *,
    architecture: Architecture,
    axis_name: str | None = None,
) -> tuple[TrainState, StepReport]:
    """One step for each row of the order; returns the state after it and its report."""

    def batch_of(row: Order, key: Array) -> Batch:
        return take_batch(split, row, architecture.preprocess, numbers.statistics, key)

    state, reports = run_steps(state, order, batch_of, numbers, architecture, axis_name)
    return state, reports.over_steps()


def run_steps(
    state: TrainState,
    items: Any,
    batch_of: BatchOf,
    numbers: Numbers,
    architecture: Architecture,
    axis_name: str | None = None,
) -> tuple[TrainState, StepReport]:
    """One step for each item, stacked along S; the state after them and their reports, [S]."""
    step = make_step(
        architecture.model,
        numbers.objective,
        numbers.transformation(),
        numbers.active(architecture),
    )

    def body(state: TrainState, item: Any) -> tuple[TrainState, StepReport]:
        key = stream_key(state.seed, "preprocessing", state.step)
        return step(state, batch_of(item, key), axis_name=axis_name)

    with jax.default_matmul_precision(architecture.precision):
        return jax.lax.scan(body, state, items)


def evaluate_split(
    variables: Any,
    order: Order,
    split: DeviceSplit,
    numbers: Numbers,
    seed: Array,
    step: Array,
    *,
    architecture: Architecture,
) -> Totals:
    """The objective's metrics over a split, summed; the same noise at every call with a seed."""

    def batch_of(row: Order, key: Array) -> Batch:
        return take_batch(split, row, architecture.preprocess, numbers.statistics, key)

    totals = evaluate_batches(variables, order, batch_of, numbers, seed, step, architecture)
    return jax.tree.map(jnp.sum, totals)


def evaluate_batches(
    variables: Any,
    items: Any,
    batch_of: BatchOf,
    numbers: Numbers,
    seed: Array,
    step: Array,
    architecture: Architecture,
) -> Totals:
    """The objective's metrics summed over each batch, [S]."""
    active = numbers.active(architecture)

    def values_of(batch: Batch, key: Array) -> dict[str, Array]:
        model = BoundModel(architecture.model, variables, active=active)
        terms = evaluate_objective(numbers.objective, model, batch, key, step)
        return terms.reported()

    key = stream_key(seed, "evaluation")
    with jax.default_matmul_precision(architecture.precision):
        return totals_by_batch(items, batch_of, key, values_of)


compiled_evaluation = jax.jit(evaluate_split, static_argnames="architecture")


@dataclasses.dataclass(frozen=True)
class Execution:
    """A way to run epochs: where arrays lie, and the compiled program."""

    epoch: Callable[..., tuple[TrainState, StepReport]]
    mesh: Mesh | None = None

    def replicate(self, tree: Any) -> Any:
        """The tree on every device of the execution."""
        # Committed to a device even where there is one only: a restored checkpoint is, and the
        # compiled program would otherwise be compiled again for it.
        if self.mesh is None:
            return jax.device_put(tree, jax.local_devices()[0])
        return place(tree, NamedSharding(self.mesh, PartitionSpec()))

    def put(self, split: Split) -> DeviceSplit:
        """A split with all its examples on every device of the execution."""
        return self.replicate(DeviceSplit.put(split))

    def spread(self, split: Split) -> DeviceSplit:
        """A split with a part of its examples on each device."""
        mesh = present(self.mesh, "mesh")
        sharding = NamedSharding(mesh, PartitionSpec(AXIS))
        return DeviceSplit.spread(split, mesh.size, lambda rows: place(rows, sharding))


def place(tree: Any, sharding: Any) -> Any:
    """A tree that every process holds in full, laid out over the devices of all of them.

    `sharding` is one for all leaves or a tree of them, as `jax.device_put` takes it.
    """
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)

    def put(leaf: Any, where: NamedSharding) -> Array:
        if isinstance(leaf, Array) and leaf.sharding == where:
            return leaf
        value = np.asarray(leaf)
        return jax.make_array_from_callback(value.shape, where, lambda part: value[part])

    shardings = jax.tree.broadcast(
        sharding, tree, is_leaf=lambda leaf: isinstance(leaf, NamedSharding)
    )
    return jax.tree.map(put, tree, shardings)


def common(tree: Any) -> Any:
    """A tree that every process holds in full, as arrays of all processes; one keeps its own."""
    if jax.process_count() == 1:
        return tree
    return place(tree, NamedSharding(data_mesh(), PartitionSpec()))


def fetch(tree: Any) -> Any:
    """A tree of the devices of all processes, in full on the host of each."""
    if jax.process_count() == 1:
        return jax.device_get(tree)
    return multihost_utils.process_allgather(tree, tiled=True)


def data_mesh() -> Mesh:
    """All devices in one axis, over which batches are split."""
    devices = jax.devices()
    # Explicit axes, the default, would ask every model for sharding annotations.
    return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def on_parts(function: Callable, mesh: Mesh, in_specs: Any, out_specs: Any) -> Callable:
    """`function` on each device's part of its arguments, which lie as partition specs say."""
    # Untracked: to track which values differ between devices would refuse loops and derivatives
    # of an objective that begin with what all devices share.
    return jax.shard_map(
        function, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False
    )


@cache  # so that runs which differ in numbers only share the compiled program
def execution_for(mode: str) -> Execution:
    """The execution of a mode of `train.parallel`: `jit` on the first device, others on all."""
    return _MODES[mode]()


def _jit() -> Execution:
    return Execution(jax.jit(run_epoch, static_argnames="architecture", donate_argnums=0))


def _sharded() -> Execution:
    mesh = data_mesh()
    everywhere = NamedSharding(mesh, PartitionSpec())
    batches = NamedSharding(mesh, PartitionSpec(None, AXIS))
    program = jax.jit(
        run_epoch, static_argnames="architecture", donate_argnums=0, out_shardings=everywhere
    )

    def epoch(state, order, split, numbers, *, architecture):
        order = place(order, batches)
        return program(state, order, split, numbers, architecture=architecture)

    return Execution(epoch, mesh)


def _shard_map() -> Execution:
    mesh = data_mesh()
    everywhere, batches = PartitionSpec(), PartitionSpec(None, AXIS)

    @partial(jax.jit, static_argnames="architecture", donate_argnums=0)
    def program(state, order, split, numbers, *, architecture):
        rows = everywhere
        if split.count is not None:
            split = dataclasses.replace(split, axis=AXIS)
            part = PartitionSpec(AXIS)
            rows = dataclasses.replace(split, x=part, y=part, first_id=everywhere, condition=part)
        mapped = on_parts(
            partial(run_epoch, architecture=architecture, axis_name=AXIS),
            mesh,
            (everywhere, batches, rows, everywhere),
            everywhere,
        )
        return mapped(state, order, split, numbers)

    def epoch(state, order, split, numbers, *, architecture):
        order = place(order, NamedSharding(mesh, batches))
        return program(state, order, split, numbers, architecture=architecture)

    return Execution(epoch, mesh)


def _pmap() -> Execution:
    mesh = data_mesh()
    devices = list(mesh.devices.flat)

    def mapped(state, order, split, numbers, architecture):
        return run_epoch(state, order, split, numbers, architecture=architecture, axis_name=AXIS)

    program = jax.pmap(
        mapped,
        axis_name=AXIS,
        in_axes=(None, 1, None, None, None),
        out_axes=None,
        static_broadcasted_argnums=4,
        devices=devices,
    )

    def epoch(state, order, split, numbers, *, architecture):
        steps, size = order.index.shape
        parts = jax.tree.map(lambda a: a.reshape(steps, len(devices), size // len(devices)), order)
        parts = jax.device_put(parts, NamedSharding(mesh, PartitionSpec(None, AXIS)))
        return program(state, parts, split, numbers, architecture)

    return Execution(epoch, mesh)


_MODES: dict[str, Callable[[], Execution]] = {
    "jit": _jit,
    "sharded": _sharded,
    "shard_map": _shard_map,
    "pmap": _pmap,
}
