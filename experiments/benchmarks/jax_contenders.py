"""The contenders in bare JAX: one scan of the same arithmetic, and the loop of tutorials."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from experiments.benchmarks.workload import (
    INIT_SCALE,
    LEARNING_RATE,
    PIXELS,
    Workload,
    digits,
    timed_epochs,
)


def bare_scan(workload: Workload, without: Sequence[str] = ()) -> dict:
    """The same arithmetic by hand: one scan an epoch, nothing around it.

    `without` names what is left out: `adagrad` (plain gradient descent instead), `prior` (the MAP
    term) and `activations` (the identity instead; pixels have a squared error).
    """
    pixels = jnp.asarray(digits(workload))
    batches = len(pixels) // workload.batch_size

    def step(carry, index: Array):
        params, sums, key = carry
        key, noise_key = jax.random.split(key)
        noise = jax.random.normal(noise_key, (workload.batch_size, workload.latent_dim))
        x = pixels[index].astype(jnp.float32) / 255
        loss, grads = jax.value_and_grad(_loss)(params, x, noise, len(pixels), without)
        if "adagrad" in without:
            params = jax.tree.map(lambda p, g: p - 1e-4 * g, params, grads)
        else:
            params, sums = _adagrad(params, sums, grads)
        return (params, sums, key), loss

    @jax.jit
    def epoch(carry, key: Array):
        order = jax.random.permutation(key, len(pixels))
        order = order[: batches * workload.batch_size].reshape(batches, workload.batch_size)
        with jax.default_matmul_precision("float32"):  # as the library's, on every device
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
        with jax.default_matmul_precision("float32"):
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


def _loss(params, x: Array, noise: Array, num_examples: int, without: Sequence[str] = ()) -> Array:
    """Negative bound of Kingma & Welling 2014 with the MAP term, mean over the batch."""
    curved = "activations" not in without

    def affine(name: str, inputs: Array) -> Array:
        kernel, bias = params[name]
        return inputs @ kernel + bias[None]

    def hidden(name: str, inputs: Array) -> Array:
        return jnp.tanh(affine(name, inputs)) if curved else affine(name, inputs)

    features = hidden("hidden", x)
    mean, log_variance = affine("mean", features), affine("log_variance", features)
    z = mean + jnp.exp(0.5 * log_variance) * noise
    logits = affine("pixels", hidden("decoder", z))
    normaliser = jax.nn.softplus(logits) if curved else 0.5 * logits**2
    reconstruction = (x * logits - normaliser).sum(-1)
    kl = 0.5 * (mean**2 + jnp.exp(log_variance) - 1 - log_variance).sum(-1)
    bound = (reconstruction - kl).mean()
    if "prior" in without:
        return -bound
    squares = sum(jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(params))
    return 0.5 * squares / num_examples - bound


def _adagrad(params, sums, grads):
    sums = jax.tree.map(lambda s, g: s + g * g, sums, grads)
    params = jax.tree.map(
        lambda p, g, s: p - LEARNING_RATE * g * jax.lax.rsqrt(s + 1e-8), params, grads, sums
    )
    return params, sums
