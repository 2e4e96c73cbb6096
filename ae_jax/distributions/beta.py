"""Grey levels strictly between 0 and 1, with a scale of their own."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from ae_jax.distributions.base import Distribution, Support, flat_events
from ae_jax.distributions.drawing import draw_from
from ae_jax.distributions.levels import inside_or
from ae_jax.distributions.stirling import HALF_LOG_TWO_PI, stirling_error


@dataclasses.dataclass(frozen=True)
class OpenInterval(Support):
    """Values between two bounds, without the bounds themselves."""

    def contains(self, values: Array) -> Array:
        return (values > self.low) & (values < self.high)


OPEN_UNIT_INTERVAL = OpenInterval("(0, 1), without 0 and 1", 0.0, 1.0)


@struct.dataclass
class Beta(Distribution):
    """Independent beta values; `log_alpha` and `log_beta`, logarithms of the two concentrations,
    are [..., B, D...]."""

    log_alpha: Array
    log_beta: Array
    event_ndims: int = struct.field(pytree_node=False, default=1)
    support: ClassVar[Support] = OPEN_UNIT_INTERVAL

    def log_prob(self, value: Array) -> Array:
        """sum_d log p_d(x_d), nats, [..., B]; -inf outside (0, 1)."""
        x, log_a, log_b = flat_events(self.event_ndims, value, self.log_alpha, self.log_beta)
        inside, x = inside_or(x, self.support, 0.5)
        # Large concentrations cancel on paper (see `stirling`): what they multiply is how far x is
        # from the mean.
        log_n = jnp.logaddexp(log_a, log_b)
        a, b, n = jnp.exp(log_a), jnp.exp(log_b), jnp.exp(log_n)
        mean, rest = jax.nn.sigmoid(log_a - log_b), jax.nn.sigmoid(log_b - log_a)
        log_x, log_other = jnp.log(x), jnp.log1p(-x)
        distance = a * _log_ratio(x - mean, mean, log_x + log_n - log_a)
        distance = distance + b * _log_ratio(mean - x, rest, log_other + log_n - log_b)
        errors = stirling_error(n) - stirling_error(a) - stirling_error(b)
        terms = distance + errors + 0.5 * (log_a + log_b - log_n) - HALF_LOG_TWO_PI
        return jnp.sum(jnp.where(inside, terms - log_x - log_other, -jnp.inf), axis=-1)

    def mean(self) -> Array:
        """alpha / (alpha + beta), [..., B, D...]."""
        return jax.nn.sigmoid(self.log_alpha - self.log_beta)

    def sample(self, keys: Array, num_samples: int, first: Array | int = 0) -> Array:
        """Draws, [K, ..., B, D...], differentiable by the concentrations."""
        parameters = jnp.broadcast_arrays(self.log_alpha, self.log_beta)
        return draw_from(_draw, keys, num_samples, first, self.event_ndims, *parameters)


def _log_ratio(difference: Array, mean: Array, far: Array) -> Array:
    """log(1 + difference / mean), which is `far` where the two are not close."""
    is_near = jnp.abs(difference) < 0.5 * mean
    ratio = jnp.where(is_near, difference, 0.0) / jnp.where(is_near, mean, 1.0)
    return jnp.where(is_near, jnp.log1p(ratio), far)


def _draw(key: Array, log_alpha: Array, log_beta: Array) -> Array:
    of_alpha, of_beta = jax.random.split(key)
    log_ratio = jax.random.loggamma(of_alpha, jnp.exp(log_alpha))
    log_ratio = log_ratio - jax.random.loggamma(of_beta, jnp.exp(log_beta))
    # Small concentrations put draws nearer to the bounds than a float32 can tell.
    info = jnp.finfo(log_alpha.dtype)
    return jnp.clip(jax.nn.sigmoid(log_ratio), info.tiny, 1.0 - info.epsneg)
