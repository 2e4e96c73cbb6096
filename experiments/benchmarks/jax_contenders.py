"""The contenders in JAX: this library, a bare scan of the same arithmetic, the usual loop."""

import tempfile
import time
from contextlib import redirect_stderr
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ae_jax.config import DataConfig, EvalConfig, ModelConfig, RunConfig, TrainConfig
from ae_jax.data import load
from ae_jax.objectives import Elbo
from ae_jax.train.listeners import progress
from ae_jax.train.loop import train
from ae_jax.train.optimisers import Adagrad
from ae_jax.train.rundir import RunDirectory
from ae_jax.train.setup import prepare_run
from experiments.benchmarks.workload import (
    INIT_SCALE,
    LEARNING_RATE,
    PIXELS,
    Workload,
    digits,
    peak_mib,
    timed_epochs,
)


def library(workload: Workload, preprocess: str = "grey") -> dict:
    """Runs of this library with all that it does for a user: metrics, checkpoints, progress.

    A look at the data is not part of training and is not timed; its checkpoint is.
    """
    config = RunConfig(
        data=DataConfig(preprocess=preprocess),
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
        train=TrainConfig(batch_size=workload.batch_size, epochs=workload.epochs + 1),
        eval=EvalConfig(every=workload.epochs + 1, train_examples=1000),
    )
    data = load("mnist", protocol="full", limit=workload.examples)
    arrived = []
    with tempfile.TemporaryDirectory() as folder, open(Path(folder) / "log", "w") as log:
        setup = prepare_run(config, data)
        with redirect_stderr(log), progress("benchmark", workload.epochs + 1, "elbo") as show:

            def listen(record: dict) -> None:
                show(record)
                arrived.append(time.perf_counter())

            start = time.perf_counter()
            train(setup, RunDirectory(Path(folder) / "run"), listeners=[listen])
    seconds = np.diff([start, *arrived]).tolist()
    return {"seconds": seconds[1:-1], "first": seconds[0], "peak_mib": peak_mib()}


def bare_scan(workload: Workload, optimiser: str = "adagrad") -> dict:
    """The same arithmetic by hand: one scan an epoch, nothing around it."""
    pixels = jnp.asarray(digits(workload))
    batches = len(pixels) // workload.batch_size

    def step(carry, index: Array):
        params, sums, key = carry
        key, noise_key = jax.random.split(key)
        noise = jax.random.normal(noise_key, (workload.batch_size, workload.latent_dim))
        x = pixels[index].astype(jnp.float32) / 255
        loss, grads = jax.value_and_grad(_loss)(params, x, noise, len(pixels))
        if optimiser == "sgd":
            params = jax.tree.map(lambda p, g: p - 1e-4 * g, params, grads)
        else:
            params, sums = _adagrad(params, sums, grads)
        return (params, sums, key), loss

    @jax.jit
    def epoch(carry, key: Array):
        order = jax.random.permutation(key, len(pixels))
        order = order[: batches * workload.batch_size].reshape(batches, workload.batch_size)
        return jax.lax.scan(step, carry, order)

    carry = _start(workload)

    def run(index: int) -> None:
        nonlocal carry
        carry, losses = epoch(carry, jax.random.key(index))
        losses.block_until_ready()

    return timed_epochs(run, workload)


def tutorial_loop(workload: Workload) -> dict:
    """As tutorials have it: one jitted step a batch, batches gathered as floats on the host."""
    pixels = digits(workload).astype(np.float32) / 255

    @jax.jit
    def step(carry, x: Array):
        params, sums, key = carry
        key, noise_key = jax.random.split(key)
        noise = jax.random.normal(noise_key, (x.shape[0], workload.latent_dim))
        loss, grads = jax.value_and_grad(_loss)(params, x, noise, len(pixels))
        return (*_adagrad(params, sums, grads), key), loss

    carry, shuffle = _start(workload), np.random.default_rng(0)

    def run(index: int) -> None:
        del index
        nonlocal carry
        order = shuffle.permutation(len(pixels))
        total = 0.0
        for first in range(0, len(order) - workload.batch_size + 1, workload.batch_size):
            carry, loss = step(carry, pixels[order[first : first + workload.batch_size]])
            total += float(loss)  # the running loss that tutorials print

    return timed_epochs(run, workload)


def matrix_product(workload: Workload) -> dict:
    """The float32 matrix-product rate of the machine: the best of square sizes, GFLOP/s."""
    del workload
    product = jax.jit(jnp.matmul)
    rates = {}
    for side in (1024, 2048, 4096):
        a = jnp.ones((side, side))
        product(a, a).block_until_ready()
        best = float("inf")
        for _ in range(8):
            start = time.perf_counter()
            product(a, a).block_until_ready()
            best = min(best, time.perf_counter() - start)
        rates[side] = 2 * side**3 / best / 1e9
    return {"rate": max(rates.values()), "rates": rates}


def _start(workload: Workload):
    """Parameters by name, zero sums of squares, and a key."""
    hidden, latent = workload.hidden, workload.latent_dim
    shapes = {
        "hidden": (PIXELS, hidden),
        "mean": (hidden, latent),
        "log_variance": (hidden, latent),
        "decoder": (latent, hidden),
        "pixels": (hidden, PIXELS),
    }
    keys = jax.random.split(jax.random.key(0), len(shapes))
    params = {
        name: (INIT_SCALE * jax.random.normal(key, shape), jnp.zeros(shape[1]))
        for key, (name, shape) in zip(keys, shapes.items(), strict=True)
    }
    return params, jax.tree.map(jnp.zeros_like, params), jax.random.key(1)


def _loss(params, x: Array, noise: Array, num_examples: int) -> Array:
    """Negative bound of Kingma & Welling 2014 with the MAP term, mean over the batch."""

    def affine(name: str, inputs: Array) -> Array:
        kernel, bias = params[name]
        return inputs @ kernel + bias

    features = jnp.tanh(affine("hidden", x))
    mean, log_variance = affine("mean", features), affine("log_variance", features)
    z = mean + jnp.exp(0.5 * log_variance) * noise
    logits = affine("pixels", jnp.tanh(affine("decoder", z)))
    reconstruction = (x * logits - jax.nn.softplus(logits)).sum(-1)
    kl = 0.5 * (mean**2 + jnp.exp(log_variance) - 1 - log_variance).sum(-1)
    squares = sum(jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(params))
    return (kl - reconstruction).mean() + 0.5 * squares / num_examples


def _adagrad(params, sums, grads):
    sums = jax.tree.map(lambda s, g: s + g * g, sums, grads)
    params = jax.tree.map(
        lambda p, g, s: p - LEARNING_RATE * g * jax.lax.rsqrt(s + 1e-8), params, grads, sums
    )
    return params, sums
