"""Chunks of whole batches from the host, read ahead by Grain in background threads.

A stream is a random-access list of chunks: which examples a chunk holds follows from its place
alone, so a stream begins anywhere and gives from there what it would have given.
"""

import os
from collections.abc import Callable, Iterator
from functools import lru_cache
from threading import Lock
from typing import Any

import numpy as np

from ae_jax.data.base import Split
from ae_jax.data.batches import Order

Chunk = dict[str, np.ndarray]

# Large enough that reading and starting a program cost little for each step.
CHUNK_BYTES = 32 << 20
# Reading records leaves Python's lock alone most of the time, so threads add up.
_THREADS = min(8, os.cpu_count() or 1)
_AHEAD = _THREADS + 1
# On the device at once: the chunk that is trained on, and the next one.
CHUNKS_ON_DEVICE = 2


def steps_in_chunk(batch_bytes: int, budget: int, steps: int) -> int:
    """How many batches go into a chunk: as many as the bytes for examples on the device allow."""
    most = min(CHUNK_BYTES, budget // CHUNKS_ON_DEVICE)
    return max(1, min(most // batch_bytes, steps))


def chunks(
    split: Split,
    order_of: Callable[[int], Order],
    steps: int,
    chunk_steps: int,
    *,
    first_pass: int = 0,
    first_step: int = 0,
    passes: int = 1,
    places: np.ndarray | slice = slice(None),
) -> Iterator[Chunk]:
    """Chunks {x, id, mask}, with y and condition where there are any, [K, B, ...], of some passes.

    order_of     the order of a pass over the split, with `steps` rows
    chunk_steps  K; the last chunk of a pass holds the rest
    first_pass   where the stream begins, at `first_step` of it, with `passes` in all
    places       those of every batch that this process reads
    Raises UserError where examples cannot be read.
    """
    import grain  # takes a second, which runs that do not stream need not wait

    each = -(-steps // chunk_steps)
    order_of = _remembered(order_of)
    first = first_pass * each + first_step // chunk_steps

    def read(place: int) -> Chunk:
        rows = slice(place % each * chunk_steps, (place % each + 1) * chunk_steps)
        if place == first:
            rows = slice(first_step, rows.stop)
        order = order_of(place // each)
        index = np.asarray(order.index)[rows][:, places]
        chunk = {
            "x": np.asarray(split.x[index]),
            "id": index + np.int32(split.first_id or 0),
            "mask": np.asarray(order.mask)[rows][:, places],
        }
        if split.y is not None:
            chunk["y"] = np.asarray(split.y[index])
        if split.condition is not None:
            chunk["condition"] = np.asarray(split.condition[index], np.float32)
        return chunk

    dataset = grain.MapDataset.range(first, passes * each).map(read)
    options = grain.ReadOptions(num_threads=_THREADS, prefetch_buffer_size=_AHEAD)
    return iter(dataset.to_iter_dataset(options))


def _remembered(order_of: Callable[[int], Order]) -> Callable[[int], Order]:
    """The orders of the pass that is read and of the next, on the host, each made once."""
    lock = Lock()

    @lru_cache(maxsize=2)
    def made(index: int) -> Order:
        order = order_of(index)
        held: Any = np.asarray(order.index), np.asarray(order.mask)
        return Order(*held)

    def order(index: int) -> Order:
        with lock:
            return made(index)

    return order
