"""Reconstruction, plain or of what was corrupted."""

import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from ae_jax.core.ranges import NonNegative
from ae_jax.data.corruption import CORRUPTIONS
from ae_jax.distributions import known_from
from ae_jax.numerics.noise import example_keys
from ae_jax.objectives.base import Batch, BoundModel, Objective, Terms, draw


@struct.dataclass
class Reconstruction(Objective):
    """-log p(x|z) at the code of x, nats per example, under whatever head the model has.

    With a Gaussian head of fixed standard deviation s it is squared error / (2 s^2) and a constant.
    A random code is sampled once an example. Metrics: `reconstruction` log p(x|z); `squared_error`
    of the mean of p(x|z), summed over an example (an image); `squared_error_per_pixel`.
    """

    headline: ClassVar[str] = "reconstruction"
    maximise: ClassVar[bool] = True
    can_pad: ClassVar[bool] = True

    def __call__(self, model: BoundModel, batch: Batch, key: Array, step: Array) -> Terms:
        draws = draw(model, batch, key, num_samples=1)
        metrics = fit_metrics(draws.likelihood, batch["x"])
        return Terms(-metrics["reconstruction"], metrics)


@struct.dataclass
class Denoising(Objective):
    """-log p(x|z) of the clean x at the code of a corrupted one (Vincent et al. 2008).

    corruption   a registered corruption, or `file.py:Name` of one
    level        its strength: a standard deviation, or the share of entries that are hit

    The corruption is fresh at every step and belongs to the example. Metrics as `Reconstruction`,
    against the clean x.
    """

    level: NonNegative = 0.3
    corruption: str = struct.field(pytree_node=False, default="masking")

    headline: ClassVar[str] = "reconstruction"
    maximise: ClassVar[bool] = True
    can_pad: ClassVar[bool] = True

    def bind(self, num_examples: int) -> "Denoising":
        """Raises UserError for an unknown corruption or a level that it cannot have."""
        CORRUPTIONS.get(self.corruption).check(self.level)
        return self

    def __call__(self, model: BoundModel, batch: Batch, key: Array, step: Array) -> Terms:
        corruption_key, draw_key = jax.random.split(key)
        keys = example_keys(corruption_key, batch["id"])
        corrupted = CORRUPTIONS.get(self.corruption)(keys, batch["x"], self.level)
        draws = draw(model, {**batch, "x": corrupted}, draw_key, num_samples=1)
        metrics = fit_metrics(draws.likelihood, batch["x"])
        return Terms(-metrics["reconstruction"], metrics)


def fit_metrics(likelihood: Any, x: Array) -> dict[str, Array]:
    """How well p(x|z), with one code an example [1, B, ...], fits x [B, ...]; each [B]."""
    mean = known_from(likelihood, x).mean()[0]
    error = jnp.square(mean - x).sum(axis=tuple(range(1, x.ndim)))
    return {
        "reconstruction": likelihood.log_prob(x)[0],
        "squared_error": error,
        "squared_error_per_pixel": error / math.prod(x.shape[1:]),
    }
