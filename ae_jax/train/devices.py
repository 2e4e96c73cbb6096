"""All that depends on the kind of device: memory, precision, noise, and whether stacking pays."""

import os
import time
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from functools import cache

import jax
import jax.numpy as jnp
from jax import Array

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

# From so many operations on, the products of one step keep a CPU busy.
CPU_FULL_STEP = 2e7


def product_precision(name: str) -> str:
    """JAX's name for matrix products of a `train.precision` on the devices at hand."""
    return _PRECISIONS.get(jax.default_backend(), _PRECISIONS["cpu"])[name]


def float32_products() -> AbstractContextManager:
    """Within it, matrix products are float32 on every device: for what is measured, not trained."""
    return jax.default_matmul_precision(product_precision("float32"))


def bit_generator() -> Hashable:
    """What `jax.random.key` takes for noise inside steps; the bits are the same on every device."""
    return THREEFRY if jax.default_backend() == "cpu" else "threefry2x32"


def stacking_pays(step_flops: float) -> bool:
    """Whether runs of so many operations a step (`arithmetic`) are faster stacked than in turn.

    An accelerator is nowhere near full with one small network. A CPU is, but for the smallest:
    there what a step costs beside its products is shared, and beyond them batched products of
    stacked runs are no faster than those of one run (`experiments.benchmark --suite grid`).
    """
    return jax.default_backend() != "cpu" or step_flops < CPU_FULL_STEP


def memory_limit(device: jax.Device) -> int:
    """Bytes that the device can hold: its own memory, or the machine's for a CPU."""
    stats = device.memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"]
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@cache
def matrix_rate(precision: str = "float32") -> float:
    """Multiply-adds a second, times two, of a large matrix product on one device, measured once."""
    product, factor = large_product(precision)
    best = float("inf")
    for _ in range(3 if jax.default_backend() == "cpu" else 10):
        start = time.perf_counter()
        product(factor, factor).block_until_ready()
        best = min(best, time.perf_counter() - start)
    return 2.0 * factor.shape[0] ** 3 / best


def large_product(precision: str) -> tuple[Callable[[Array, Array], Array], Array]:
    """A compiled matrix product, large enough to fill the device, and a factor for both its sides.

    All powers of the factor are the factor itself.
    """
    side = 1024 if jax.default_backend() == "cpu" else 8192
    with jax.default_matmul_precision(product_precision(precision)):
        factor = jnp.full((side, side), 1.0 / side)
        product = jax.jit(jnp.matmul).lower(factor, factor).compile()
    product(factor, factor).block_until_ready()
    return product, factor
