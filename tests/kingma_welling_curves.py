"""Looks and published curves made by hand, for tests of the grid and of its search."""

import numpy as np


def look(samples: float, train: float, test: float) -> dict:
    return {
        "epoch": round(samples / 1e5),
        "samples": samples,
        "seconds": samples / 1e5,
        "train/elbo": train,
        "test/elbo": test,
    }


# Linear in log10(samples): -120 at 1e5, -110 at 1e6, -100 at 1e7.
CURVE = np.array([[1e5, -120.0], [1e7, -100.0]])
SMALL, LARGE = (0.1, 0.01), (0.1, 0.1)  # settings: initial scale, step size


def paper(*sizes: int) -> dict:
    # Each size is 5 nats above the one before.
    return {
        (size, method, split): CURVE + [0.0, 5.0 * place]
        for place, size in enumerate(sizes)
        for method in ("aevb", "wake_sleep")
        for split in ("train", "test")
    }
