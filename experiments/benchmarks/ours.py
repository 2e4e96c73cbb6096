"""The workload as a run of this library: one configuration behind all suites."""

import dataclasses
import tempfile
import time
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ae_jax.config import DataConfig, EvalConfig, ModelConfig, RunConfig, TrainConfig
from ae_jax.data import load
from ae_jax.objectives import Elbo
from ae_jax.train.devices import measured_matrix_rate
from ae_jax.train.listeners import progress
from ae_jax.train.loop import train
from ae_jax.train.optimisers import Adagrad
from ae_jax.train.rundir import RunDirectory
from ae_jax.train.setup import prepare_run
from experiments.benchmarks.workload import INIT_SCALE, LEARNING_RATE, Workload, peak_mib

LOOK_EXAMPLES = 1000
PEAK_REPEATS = 30


def config_of(workload: Workload, data: DataConfig, **train: Any) -> RunConfig:
    """The run of a workload, one epoch longer than what is timed, with one look at its end."""
    epochs = workload.epochs + 1
    return RunConfig(
        data=data,
        model=ModelConfig(
            hidden=(workload.hidden,),
            activation="tanh",
            latent_dim=workload.latent_dim,
            head="bernoulli",
            init="normal",
            init_scale=INIT_SCALE,
        ),
        objective=Elbo(parameter_prior="normal"),
        optim=Adagrad(learning_rate=LEARNING_RATE),
        train=TrainConfig(batch_size=workload.batch_size, epochs=epochs, **train),
        eval=EvalConfig(every=epochs, train_examples=LOOK_EXAMPLES),
    )


def library(
    workload: Workload,
    preprocess: str = "grey",
    convolutional: bool = False,
    precision: str = "float32",
) -> dict:
    """A run with all that it does for a user: metrics, records, progress.

    A look at the data is no part of an epoch: the run ends in two of them, of which the second,
    with everything compiled, tells what it takes, and what it takes to start saving ("look",
    seconds).
    """
    longer = dataclasses.replace(workload, epochs=workload.epochs + 2)
    config = config_of(longer, DataConfig(preprocess=preprocess), precision=precision)
    config = dataclasses.replace(
        config, eval=dataclasses.replace(config.eval, every=config.train.epochs - 1)
    )
    if convolutional:
        channels = dict(encoder="conv", decoder="conv", hidden=(32, 64), activation="relu")
        model = dataclasses.replace(config.model, **channels, init="he_normal", init_scale=1.0)
        config = dataclasses.replace(config, model=model)
    data = load("mnist", protocol="full", limit=workload.examples)
    arrived = []
    with tempfile.TemporaryDirectory() as folder, open(Path(folder) / "log", "w") as log:
        setup = prepare_run(config, data)
        with redirect_stderr(log), progress("benchmark", config.train.epochs, "elbo") as show:

            def listen(record: dict) -> None:
                show(record)
                arrived.append(time.perf_counter())

            start = time.perf_counter()
            outcome = train(setup, RunDirectory(Path(folder) / "run"), listeners=[listen])
    first, *timed, _, last = np.diff([start, *arrived]).tolist()
    before, after = (record["seconds"] for record in outcome.records[-2:])
    return {
        "seconds": timed,
        "first": first,
        "look": last - (after - before),
        "bound": outcome.records[-1]["test/elbo"],
        "share": outcome.records[-1]["matrix_rate_share"],
        "peak_mib": peak_mib(),
    }


def matrix_product(workload: Workload, precision: str = "float32") -> dict:
    """The matrix-product rates of the machine, GFLOP/s.

    `rate` is that of large products in a row of as many operations as an epoch has, the best row
    of as many as there are epochs; `peak` that of the best single product.
    """
    return {
        "rate": measured_matrix_rate(precision, workload.epochs, workload.flops()) / 1e9,
        "peak": measured_matrix_rate(precision, PEAK_REPEATS) / 1e9,
    }


def device(workload: Workload) -> dict:
    """The kind of device at hand, asked for by a process that does not keep it."""
    del workload
    return {"kind": jax.default_backend()}
