"""What a device is capable of: memory, the rate of its products, and whether stacking pays."""

import os
import time
from collections.abc import Callable
from functools import cache

import jax
import jax.numpy as jnp
from jax import Array

from ae_jax.numerics.precision import product_precision

# From so many operations on, the products of one step keep a CPU busy.
CPU_FULL_STEP = 2e7


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


def memory_share(limit: int, devices: int) -> int:
    """Bytes of `memory_limit` for each of so many devices of this process that are in use: the
    forced devices of a CPU share the machine's."""
    return limit // devices if jax.default_backend() == "cpu" else limit


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
