"""Distributions of the data given a code, p(x|z), as pytrees.

Every `log_prob` is in nats, summed over the data dimensions (the last `event_ndims` axes), with
its normalising constant. Parameters have shape [..., B, D...] and broadcast against data
[B, D...], so K samples of the code an example need no reshaping: log_prob is then [K, B].
"""

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from ae_jax.numerics.softplus import softplus


@dataclasses.dataclass(frozen=True)
class Support:
    """The interval of values that a likelihood assigns a density to."""

    description: str
    low: float
    high: float


UNIT_INTERVAL = Support("[0, 1]", 0.0, 1.0)
REAL_LINE = Support("the real numbers", -math.inf, math.inf)


@struct.dataclass
class Bernoulli:
    """Independent Bernoulli pixels with the given logits, [..., B, D...].

    Targets between 0 and 1 are allowed, as in Kingma & Welling 2014 on grey digits: log_prob is
    then the negative cross-entropy, which bounds no density of grey values. Numbers for grey and
    for binary targets must not be compared.
    """

    logits: Array
    event_ndims: int = struct.field(pytree_node=False, default=1)
    support: ClassVar[Support] = UNIT_INTERVAL

    def log_prob(self, x: Array) -> Array:
        """sum_d x_d log p_d + (1 - x_d) log(1 - p_d), nats, [..., B]."""
        # softplus(l) - x l never forms p, so it is exact and has finite gradients for large |l|.
        x, logits = _flat_events(self.event_ndims, x, self.logits)
        return jnp.sum(x * logits - softplus(logits), axis=-1)

    def mean(self) -> Array:
        """Pixel probabilities, [..., B, D...]."""
        return jax.nn.sigmoid(self.logits)

    def sample(self, key: Array) -> Array:
        """Binary pixels as floats, [..., B, D...]."""
        return jax.random.bernoulli(key, self.mean()).astype(self.logits.dtype)


@struct.dataclass
class Gaussian:
    """Independent normal pixels; `mean_` [..., B, D...], `log_scale` broadcasts against it."""

    mean_: Array
    log_scale: Array
    event_ndims: int = struct.field(pytree_node=False, default=1)
    support: ClassVar[Support] = REAL_LINE

    def log_prob(self, x: Array) -> Array:
        """sum_d log N(x_d; mean_d, scale_d^2), nats, [..., B]."""
        x, mean, log_scale = _flat_events(self.event_ndims, x, self.mean_, self.log_scale)
        return jnp.sum(normal_log_density(x, mean, log_scale), axis=-1)

    def mean(self) -> Array:
        """Means, [..., B, D...]."""
        return self.mean_

    def sample(self, key: Array) -> Array:
        """Draws with the noise of the model, [..., B, D...]."""
        noise = jax.random.normal(key, self.mean_.shape, self.mean_.dtype)
        return self.mean_ + jnp.exp(self.log_scale) * noise


def normal_log_density(x: Array, mean: Array, log_scale: Array) -> Array:
    """log N(x; mean, exp(log_scale)^2), elementwise, nats."""
    x, mean, log_scale = jnp.broadcast_arrays(x, mean, log_scale)
    standardised = (x - mean) * jnp.exp(-log_scale)
    return -0.5 * jnp.square(standardised) - log_scale - 0.5 * math.log(2 * math.pi)


def _flat_events(event_ndims: int, *arrays: Array) -> list[Array]:
    """Broadcast against each other, the data dimensions as one: [..., B, D]."""
    # A loop over [28, 28, 1] is short in its innermost dimension and does not vectorise; the same
    # pixels in a row do.
    arrays = jnp.broadcast_arrays(*arrays)
    return [a.reshape(*a.shape[: a.ndim - event_ndims], -1) for a in arrays]
