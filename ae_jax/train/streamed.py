"""Training on examples that do not fit on the device: the same step on chunks from the host.

A chunk holds whole batches, in the very order that a run from device memory takes. Noise belongs
to steps and examples, so a streamed run has the numbers of one that is not.
"""

import dataclasses
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ae_jax.core.errors import present
from ae_jax.data.batches import Order, Totals, shuffled_order
from ae_jax.data.streaming import Chunk, chunks, steps_in_chunk
from ae_jax.objectives import Batch
from ae_jax.train.engines import Between, look_orders, nothing, steps_into_epoch
from ae_jax.train.part import Part
from ae_jax.train.program import (
    AXIS,
    Architecture,
    BatchOf,
    Numbers,
    data_mesh,
    evaluate_batches,
    on_parts,
    run_steps,
)
from ae_jax.train.setup import Setup
from ae_jax.train.step import StepReport, TrainState


def run_chunk(
    state: TrainState,
    chunk: dict[str, Array],
    numbers: Numbers,
    *,
    architecture: Architecture,
    axis_name: str | None = None,
) -> tuple[TrainState, StepReport]:
    """One step for each batch of the chunk; the state after it and the reports of the steps [K]."""
    return run_steps(
        state, chunk, _inputs_of(numbers, architecture), numbers, architecture, axis_name
    )


@partial(jax.jit, static_argnames="architecture")
def evaluate_chunk(
    variables: Any,
    chunk: dict[str, Array],
    numbers: Numbers,
    seed: Array,
    step: Array,
    *,
    architecture: Architecture,
) -> Totals:
    """The objective's metrics, summed over each batch of the chunk: leaves [K]."""
    batch_of = _inputs_of(numbers, architecture)
    return evaluate_batches(variables, chunk, batch_of, numbers, seed, step, architecture)


def _inputs_of(numbers: Numbers, architecture: Architecture) -> BatchOf:
    """What turns a batch as it was read into model inputs."""

    def batch_of(raw: Batch, key: Array) -> Batch:
        x = architecture.preprocess(raw["x"], numbers.statistics, key, raw["id"])
        return {**raw, "x": x}

    return batch_of


class Streamed:
    """One run whose examples come from the host; an `engines.Engine`.

    Each process reads its own places of every batch for training, and all of the batches of a
    look. Reading goes on into the next epoch while the loop looks and saves.
    """

    def __init__(self, setup: Setup, state: TrainState, part: Part | None = None):
        self._setup, self._state = setup, state
        self._part = part or Part()
        self._running: StepReport | None = None
        self._programs = _programs(setup.config.train.parallel)
        self.devices = 1 if self._programs.mesh is None else self._programs.mesh.size
        self._stream: Iterator[Chunk] = iter(())
        self._next_epoch = -1  # what the stream will give

    def epoch(self, epoch: int, between: Between = nothing) -> list[StepReport]:
        setup, begun = self._setup, steps_into_epoch(self._setup, self._state)
        if epoch != self._next_epoch or epoch > setup.config.train.epochs:
            self._stream = self._stream_from(epoch, begun)
        self._next_epoch = epoch + 1
        left = setup.steps_per_epoch - begun
        while left:
            # While the device is at work on the chunk before.
            chunk = self._programs.place(next(self._stream))
            left -= chunk["id"].shape[0]
            if self._running is not None:
                between(self._so_far)
            self._state, report = self._programs.train(
                self._state, chunk, setup.numbers, architecture=setup.architecture
            )
            self._so_far()  # no more than two chunks lie on the device
            self._running = report
        whole, self._part = self._so_far(), Part()
        return [whole.report()]

    def _so_far(self) -> Part:
        """What the epoch has summed up, once all is over that was begun."""
        if self._running is not None:
            running, self._running = jax.device_get(self._running), None
            self._part = self._part.with_steps(running)
        return self._part

    def look(self) -> list[dict[str, Totals]]:
        orders = look_orders(self._setup)
        return [{name: self._totals(name, order) for name, order in orders.items()}]

    def state(self, index: int) -> TrainState:
        return self._state

    @property
    def _chunk_steps(self) -> int:
        return self._steps_in_chunk(
            self._setup.config.train.batch_size, self._setup.steps_per_epoch
        )

    def _steps_in_chunk(self, batch_size: int, steps: int) -> int:
        return steps_in_chunk(
            batch_size * self._setup.example_bytes, self._setup.examples_budget, steps
        )

    def _stream_from(self, epoch: int, begun: int = 0) -> Iterator[Chunk]:
        """The chunks of an epoch from a step of it on, and of all after it; epochs count from 1."""
        setup, seed = self._setup, jnp.asarray(jax.device_get(self._state.seed))
        split, size = setup.dataset.splits["train"], setup.config.train.batch_size

        def order_of(index: int) -> Order:
            return shuffled_order(seed, jnp.asarray(index + 1, jnp.uint32), len(split), size)

        return chunks(
            split,
            order_of,
            setup.steps_per_epoch,
            self._chunk_steps,
            first_pass=epoch - 1,
            first_step=begun,
            passes=max(epoch, setup.config.train.epochs),
            places=self._programs.places(size),
        )

    def _totals(self, name: str, order: Order) -> Totals:
        setup, state, parts, running = self._setup, self._state, [], None
        steps, size = order.index.shape
        for chunk in chunks(
            setup.dataset.splits[name], lambda _: order, steps, self._steps_in_chunk(size, steps)
        ):
            totals = evaluate_chunk(
                state.variables,
                setup.execution.replicate(chunk),
                setup.numbers,
                state.seed,
                state.step,
                architecture=setup.architecture,
            )
            if running is not None:
                parts.append(jax.device_get(running))
            running = totals
        parts.append(jax.device_get(running))
        return jax.device_get(jax.tree.map(jnp.sum, _joined(parts)))


def _joined(parts: list[Any]) -> Any:
    """Trees of [K] after one another, as one tree of [S]."""
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


@dataclasses.dataclass(frozen=True)
class _Programs:
    """The compiled step over a chunk in a mode of `train.parallel`, and where its batches lie."""

    train: Callable[..., tuple[TrainState, StepReport]]
    mesh: Mesh | None = None

    def places(self, batch_size: int) -> np.ndarray:
        """The places of each batch that are on devices of this process."""
        if self.mesh is None:
            return np.arange(batch_size)
        parts = self._sharding(AXIS).addressable_devices_indices_map((batch_size,))
        return np.unique(np.concatenate([np.arange(batch_size)[part] for part in parts.values()]))

    def place(self, chunk: Chunk) -> dict[str, Array]:
        """A chunk of this process's places on the devices, as part of the chunk of all."""
        if self.mesh is None:
            return jax.device_put(chunk, jax.local_devices()[0])
        sharding = self._sharding(None, AXIS)
        if jax.process_count() == 1:
            return jax.device_put(chunk, sharding)
        size = chunk["id"].shape[1] * self.mesh.size // len(self.mesh.local_devices)
        places = self.places(size)

        def put(leaf: np.ndarray) -> Array:
            def part(index: tuple[slice, ...] | None) -> np.ndarray:
                start, stop, _ = present(index, "place")[1].indices(size)
                first = np.searchsorted(places, start)
                return leaf[:, first : first + stop - start]

            shape = (leaf.shape[0], size, *leaf.shape[2:])
            return jax.make_array_from_callback(shape, sharding, part)

        return jax.tree.map(put, chunk)

    def _sharding(self, *axes: str | None) -> NamedSharding:
        return NamedSharding(present(self.mesh, "mesh"), PartitionSpec(*axes))


@cache  # so that runs which differ in numbers only share the compiled program
def _programs(mode: str) -> _Programs:
    compiled = partial(jax.jit, static_argnames="architecture", donate_argnums=0)
    if mode == "jit":
        return _Programs(compiled(run_chunk))
    mesh = data_mesh()
    everywhere = PartitionSpec()
    if mode == "sharded":
        return _Programs(compiled(run_chunk, out_shardings=NamedSharding(mesh, everywhere)), mesh)

    @compiled
    def run_chunk_on_parts(state, chunk, numbers, *, architecture):
        mapped = on_parts(
            partial(run_chunk, architecture=architecture, axis_name=AXIS),
            mesh,
            (everywhere, PartitionSpec(None, AXIS), everywhere),
            everywhere,
        )
        return mapped(state, chunk, numbers)

    return _Programs(run_chunk_on_parts, mesh)
