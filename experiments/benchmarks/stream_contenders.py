"""Training on a set in files, streamed or from device memory, and the reader alone."""

import dataclasses
import math
import time
from collections.abc import Iterator
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from ae_jax.data import Split, load, write_records
from ae_jax.data.batches import num_batches, shuffled_order
from ae_jax.data.streaming import chunks, steps_in_chunk
from ae_jax.train.config import DataConfig
from ae_jax.train.loop import train
from ae_jax.train.prepare import prepare_run
from experiments.benchmarks.ours import LOOK_EXAMPLES, config_of
from experiments.benchmarks.workload import Workload, peak_mib

BLOCK = 2000


def write_set(folder: Path, shape: tuple[int, ...], examples: int) -> tuple[Path, int]:
    """Writes grey levels drawn at random, and returns the folder and the bytes of all examples."""
    rng = np.random.default_rng(0)

    def blocks(count: int) -> Iterator[Split]:
        for start in range(0, count, BLOCK):
            size = (min(BLOCK, count - start), *shape)
            yield Split(rng.integers(0, 256, size, dtype=np.uint8))

    splits = {"train": blocks(examples), "test": blocks(LOOK_EXAMPLES)}
    write_records(folder, splits, max_value=255.0)
    return folder, (examples + LOOK_EXAMPLES) * math.prod(shape)


def training(workload: Workload, folder: str, budget: int | None) -> dict:
    """Seconds of an epoch after the first; streamed where a budget is given."""
    config = config_of(workload, DataConfig(folder, preprocess="grey", memory_budget=budget))
    # A look goes over batches of the size that the budget is for.
    looks = dataclasses.replace(config.eval, batch_size=workload.batch_size)
    config = dataclasses.replace(config, eval=looks)
    setup = prepare_run(config, load(folder))
    if setup.streams != (budget is not None):
        raise RuntimeError(f"with a budget of {budget} the set streams: {setup.streams}")
    seconds = [record["seconds"] for record in train(setup).records]
    epoch = (seconds[-1] - seconds[0]) / workload.epochs
    return {"epoch": epoch, "first": seconds[0], "peak_mib": peak_mib()}


def reading(workload: Workload, folder: str, budget: int) -> dict:
    """Examples a second that arrive on the host when nobody trains on them."""
    split = load(folder).splits["train"]
    steps = num_batches(len(split), workload.batch_size)
    batch_bytes = workload.batch_size * math.prod(split.x.shape[1:])
    stream = chunks(
        split,
        lambda epoch: shuffled_order(
            jnp.uint32(0), jnp.uint32(epoch), len(split), workload.batch_size
        ),
        steps,
        steps_in_chunk(batch_bytes, budget, steps),
    )
    seen = next(stream)["mask"].sum()  # opens the files
    start, first = time.perf_counter(), seen
    for chunk in stream:
        seen += chunk["mask"].sum()
    return {"rate": float(seen - first) / (time.perf_counter() - start)}
