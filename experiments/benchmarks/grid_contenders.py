"""Grids of this library for `grid`."""

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ae_jax.data import load
from ae_jax.train.arithmetic import step_flops
from ae_jax.train.config import DataConfig, RunConfig
from ae_jax.train.devices import stacking_pays
from ae_jax.train.grid import Member, prepare_members, train_grid
from ae_jax.train.optimisers import Adagrad
from experiments.benchmarks.ours import config_of
from experiments.benchmarks.workload import Workload, peak_mib

LATENT_SIZES, STEP_SIZES = (3, 5, 10, 20, 200), (0.01, 0.02, 0.1)


def members(
    workload: Workload, count: int, stack: str, sizes: Sequence[int] = LATENT_SIZES
) -> dict:
    """Trains the first `count` runs of the figure's grid; seconds of a later epoch of all.

    "step_flops" are those of a run with the largest code, and "stacks" whether `auto` would.
    """
    data = load("mnist", limit=workload.examples)
    each_seed = [(step, size) for step in STEP_SIZES for size in reversed(sizes)]
    chosen = []
    for index in range(count):
        seed, setting = divmod(index, len(each_seed))
        step, size = each_seed[setting]
        chosen.append(Member(f"{index}", _config(workload, size, step, seed)))
    with tempfile.TemporaryDirectory() as folder:
        outcomes = train_grid(chosen, data, Path(folder), stack=stack)
    records = [outcome.records for outcome in outcomes.values()]
    # Seconds of a record are the run's share, so those of all runs add up to the time of all.
    first = sum(run[0]["seconds"] for run in records)
    total = sum(run[-1]["seconds"] for run in records)
    used = peak_mib()
    flops = max(step_flops(setup) for setup in prepare_members(chosen, data).values())
    return {
        "epoch": (total - first) / workload.epochs,
        "peak_mib": round(used),
        "step_flops": flops,
        "stacks": stacking_pays(flops),
    }


def _config(workload: Workload, size: int, step: float, seed: int) -> RunConfig:
    data = DataConfig("mnist", preprocess="grey", limit=workload.examples)
    sized = dataclasses.replace(workload, latent_dim=size)
    # Small steps only: a run that diverged would end early and make the rest look fast. No burn-in,
    # which takes no time and may be longer than a run that is timed.
    optimiser = Adagrad(learning_rate=step / 100)
    return dataclasses.replace(config_of(sized, data, seed=seed), optim=optimiser)
