"""All that depends on the kind of device: memory, precision, noise, and whether stacking pays."""

import math
import os
import time
from collections.abc import Hashable
from contextlib import AbstractContextManager
from functools import cache

import jax
import jax.numpy as jnp

from ae_jax.threefry import THREEFRY

# What `train.precision` means for matrix products. The names on the right are JAX's: on a CPU,
# which has float32 products only, all of them are the same.
_PRECISIONS = {
    "cpu": {"float32": "float32", "tensorfloat32": "tensorfloat32", "bfloat16": "bfloat16"},
    "gpu": {
        "float32": "float32",
        "tensorfloat32": "TF32_TF32_F32",
        "bfloat16": "BF16_BF16_F32",
    },
    # One pass of a TPU's units is bfloat16, three are about TF32, six are float32.
    "tpu": {"float32": "float32", "tensorfloat32": "tensorfloat32", "bfloat16": "bfloat16"},
}


def product_precision(name: str) -> str:
    """JAX's name for matrix products of a `train.precision` on the devices at hand."""
    return _PRECISIONS.get(jax.default_backend(), _PRECISIONS["cpu"])[name]


def float32_products() -> AbstractContextManager:
    """Within it, matrix products are float32 on every device: for what is measured, not trained."""
    return jax.default_matmul_precision(product_precision("float32"))


def bit_generator() -> Hashable:
    """What `jax.random.key` takes for noise inside steps; the bits are the same on every device."""
    return THREEFRY if jax.default_backend() == "cpu" else "threefry2x32"


def stacking_pays() -> bool:
    """Whether runs that share a program are faster stacked than in turn.

    An accelerator is nowhere near full with one small network. A CPU is: there, batched products
    of stacked runs are slower than those of one run (`experiments.benchmark --suite grid`).
    """
    return jax.default_backend() != "cpu"


def memory_limit(device: jax.Device) -> int:
    """Bytes that the device can hold: its own memory, or the machine's for a CPU."""
    stats = device.memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"]
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@cache
def matrix_rate(precision: str = "float32") -> float:
    """Multiply-adds a second, times two, of a large matrix product on one device, measured once."""
    return measured_matrix_rate(precision, 3 if jax.default_backend() == "cpu" else 10)


def measured_matrix_rate(precision: str, repeats: int, operations: float = 0.0) -> float:
    """The rate of the best of so many large products, one after another.

    With `operations`, each of the repeats is a chain of products of at least so many: a clock that
    sinks under load, and neighbours on the machine, then count as they do for a long program.
    """
    side = 1024 if jax.default_backend() == "cpu" else 8192
    each = 2.0 * side**3
    count = max(1, math.ceil(operations / each))
    with jax.default_matmul_precision(product_precision(precision)):
        product = jax.jit(jnp.matmul)
        factor = jnp.full((side, side), 1.0 / side)  # whose powers are itself
        product(factor, factor).block_until_ready()
        best = float("inf")
        for _ in range(repeats):
            start, power = time.perf_counter(), factor
            for _ in range(count):
                power = product(power, factor)
            power.block_until_ready()
            best = min(best, time.perf_counter() - start)
    return count * each / best
