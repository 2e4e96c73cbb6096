"""Grids of this library for `grid`."""

import itertools
import tempfile
from pathlib import Path

import jax

from ae_jax.config import DataConfig, EvalConfig, ModelConfig, RunConfig, TrainConfig
from ae_jax.data import load
from ae_jax.objectives import Elbo
from ae_jax.train.grid import Member, train_grid
from ae_jax.train.optimisers import Adagrad
from experiments.benchmarks.workload import INIT_SCALE, Workload, peak_mib

LATENT_SIZES, STEP_SIZES = (3, 5, 10, 20, 200), (0.01, 0.02, 0.1)


def members(workload: Workload, count: int, stack: str) -> dict:
    """Trains the first `count` runs of the figure's grid; seconds of a later epoch of all."""
    data = load("mnist", limit=workload.examples)
    endless = itertools.product(itertools.count(), STEP_SIZES, LATENT_SIZES[::-1])
    chosen = [
        Member(f"{index}", _config(workload, size, step, seed))
        for index, (seed, step, size) in enumerate(itertools.islice(endless, count))
    ]
    with tempfile.TemporaryDirectory() as folder:
        outcomes = train_grid(chosen, data, Path(folder), stack=stack)
    records = [outcome.records for outcome in outcomes.values()]
    # Seconds of a record are the run's share, so those of all runs add up to the time of all.
    first = sum(run[0]["seconds"] for run in records)
    total = sum(run[-1]["seconds"] for run in records)
    memory = jax.devices()[0].memory_stats() or {}
    peak = memory.get("peak_bytes_in_use", 0) / 2**20 or peak_mib()
    return {"epoch": (total - first) / workload.epochs, "first": first, "peak_mib": round(peak)}


def _config(workload: Workload, size: int, step: float, seed: int) -> RunConfig:
    epochs = workload.epochs + 1
    return RunConfig(
        data=DataConfig("mnist", preprocess="grey", limit=workload.examples),
        model=ModelConfig(
            hidden=(workload.hidden,),
            activation="tanh",
            latent_dim=size,
            head="bernoulli",
            init="normal",
            init_scale=INIT_SCALE,
        ),
        objective=Elbo(parameter_prior="normal"),
        # Small steps only: a run that diverged would end early and make the rest look fast.
        optim=Adagrad(learning_rate=step / 100, burn_in=100),
        train=TrainConfig(batch_size=workload.batch_size, epochs=epochs, seed=seed),
        eval=EvalConfig(every=epochs, train_examples=1000),
    )
