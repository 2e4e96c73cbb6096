"""The workload as a run of this library: one configuration behind all suites."""

import dataclasses
import math
import tempfile
import time
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import jax

from ae_jax.data import load
from ae_jax.objectives import Elbo, Iwae
from ae_jax.train.arithmetic import step_flops
from ae_jax.train.config import DataConfig, EvalConfig, ModelConfig, RunConfig, TrainConfig
from ae_jax.train.devices import large_product
from ae_jax.train.loop import train
from ae_jax.train.optimisers import Adagrad
from ae_jax.train.prepare import prepare_run
from ae_jax.train.progress import progress
from ae_jax.train.rundir import RunDirectory
from experiments.benchmarks.workload import (
    INIT_SCALE,
    LEARNING_RATE,
    Workload,
    peak_mib,
    timed_epochs,
    wait_for_turn,
)

LOOK_EXAMPLES = 1000


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
    samples: int | None = None,
) -> dict:
    """A run with all that it does for a user: metrics, records, progress.

    A look at the data is no part of an epoch: the run ends in two of them, of which the second,
    with everything compiled, tells what it takes, and what it takes to start saving ("look",
    seconds). "flops" are those of the products of an epoch. With `samples` the bound of so many is
    trained (Burda et al. 2016).
    """
    longer = dataclasses.replace(workload, epochs=workload.epochs + 2)
    config = config_of(longer, DataConfig(preprocess=preprocess), precision=precision)
    config = dataclasses.replace(
        config, eval=dataclasses.replace(config.eval, every=config.train.epochs - 1)
    )
    if samples is not None:
        config = dataclasses.replace(config, objective=Iwae(num_samples=samples))
    if convolutional:
        channels = dict(encoder="conv", decoder="conv", hidden=(32, 64), activation="relu")
        model = dataclasses.replace(config.model, **channels, init="he_normal", init_scale=1.0)
        config = dataclasses.replace(config, model=model)
    headline = config.objective.headline
    data = load("mnist", protocol="full", limit=workload.examples)
    spans = []
    with tempfile.TemporaryDirectory() as folder, open(Path(folder) / "log", "w") as log:
        setup = prepare_run(config, data)
        with redirect_stderr(log), progress("benchmark", config) as show:

            def listen(record: dict) -> None:
                nonlocal begun
                show(record)
                spans.append(time.perf_counter() - begun)
                if len(spans) <= workload.epochs:
                    wait_for_turn()
                begun = time.perf_counter()

            wait_for_turn()
            begun = time.perf_counter()
            outcome = train(setup, RunDirectory(Path(folder) / "run"), listeners=[listen])
    first, *timed, _, last = spans
    before, after = (record["seconds"] for record in outcome.records[-2:])
    return {
        "seconds": timed,
        "first": first,
        "look": last - (after - before),
        "bound": outcome.records[-1][f"test/{headline}"],
        "flops": step_flops(setup) * setup.steps_per_epoch,
        "peak_mib": peak_mib(),
    }


def matrix_products(workload: Workload, precision: str = "float32") -> dict:
    """Large matrix products, one after another, with as many operations as the workload needs."""
    product, factor = large_product(precision)
    each = 2.0 * factor.shape[0] ** 3
    count = math.ceil(workload.flops() / each)

    def run(index: int) -> None:
        del index
        power = factor
        for _ in range(count):
            power = product(power, factor)
        power.block_until_ready()

    result = timed_epochs(run, workload)
    beyond = count * each / workload.flops()
    return result | {"seconds": [second / beyond for second in result["seconds"]]}


def device(workload: Workload) -> dict:
    """The kind of device at hand, asked for by a process that does not keep it."""
    del workload
    return {"kind": jax.default_backend()}
