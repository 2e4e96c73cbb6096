"""The workload that all contenders train: the network of Kingma & Welling 2014 on MNIST.

784-H-Z-H-784 with tanh units, Bernoulli pixels with grey targets, one sample an example, Adagrad
and the MAP term, in batches. Every contender does the same arithmetic; what differs is the code
around it.
"""

import dataclasses
import resource
import sys
import time
from collections.abc import Callable

import numpy as np

from ae_jax.data import load

READY = "ready"  # what a contender prints before it waits
PIXELS = 784
LEARNING_RATE = 0.01
INIT_SCALE = 0.01


@dataclasses.dataclass(frozen=True)
class Workload:
    """Sizes and length; `epochs` are timed after one that is not."""

    hidden: int = 500
    latent_dim: int = 20
    batch_size: int = 100
    epochs: int = 5
    examples: int = 60_000

    def products(self) -> int:
        """Multiply-adds an example that training needs: forward, and both gradients of each layer
        but for the one towards the pixels, which nobody asks for."""
        layers = (
            PIXELS * self.hidden,
            2 * self.hidden * self.latent_dim,
            self.latent_dim * self.hidden,
            self.hidden * PIXELS,
        )
        return 3 * sum(layers) - PIXELS * self.hidden

    def flops(self) -> float:
        """Floating-point operations of the matrix products of an epoch."""
        return 2.0 * self.products() * self.examples


def digits(workload: Workload) -> np.ndarray:
    """The first training digits of MNIST as bytes, [N, 784]."""
    x = load("mnist", protocol="full").splits["train"].x
    return np.asarray(x[: workload.examples]).reshape(-1, PIXELS)


def wait_for_turn() -> None:
    """Says that this process has nothing to do, and waits until it may; goes on if nobody asks."""
    print(READY, flush=True)
    sys.stdin.readline()


def timed_epochs(epoch: Callable[[int], None], workload: Workload) -> dict:
    """Seconds of each epoch after the first, which compiles; `epoch` waits for its end."""
    seconds = []
    for index in range(workload.epochs + 1):
        wait_for_turn()
        start = time.perf_counter()
        epoch(index)
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds[1:], "first": seconds[0], "peak_mib": peak_mib()}


def peak_mib() -> float:
    """The most memory that this process has held, MiB: the accelerator's, or the machine's."""
    jax = sys.modules.get("jax")  # contenders without it stay without it
    stats = jax.devices()[0].memory_stats() if jax else None
    if stats and "peak_bytes_in_use" in stats:
        return stats["peak_bytes_in_use"] / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
