"""Counts whose variance is their mean."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from ae_jax.distributions.base import COUNTS, Distribution, Support, flat_events
from ae_jax.distributions.divergence import closed_form
from ae_jax.distributions.drawing import draw_from
from ae_jax.distributions.levels import inside_or
from ae_jax.distributions.stirling import HALF_LOG_TWO_PI, stirling_error


@struct.dataclass
class Poisson(Distribution):
    """Independent Poisson counts, `log_rate` [..., B, D...]."""

    log_rate: Array
    event_ndims: int = struct.field(pytree_node=False, default=1)
    support: ClassVar[Support] = COUNTS

    def log_prob(self, value: Array) -> Array:
        """sum_d log p_d(x_d), nats, [..., B]; -inf for what is no count."""
        x, log_rate = flat_events(self.event_ndims, value, self.log_rate)
        inside, x = inside_or(x, self.support, 0.0)
        # The density at a rate of x, and how far below it that of this rate is: exact for large
        # counts too, where x log rate - rate - log x! loses its digits.
        positive = jnp.maximum(x, 1.0)
        highest = -0.5 * jnp.log(positive) - HALF_LOG_TWO_PI - stirling_error(positive)
        log_ratio = log_rate - jnp.log(positive)
        terms = highest + positive * (log_ratio - jnp.expm1(log_ratio))
        terms = jnp.where(x == 0.0, -jnp.exp(log_rate), terms)
        return jnp.sum(jnp.where(inside, terms, -jnp.inf), axis=-1)

    def mean(self) -> Array:
        """Rates, [..., B, D...]."""
        return jnp.exp(self.log_rate)

    def sample(self, keys: Array, num_samples: int, first: Array | int = 0) -> Array:
        """Counts as floats, [K, ..., B, D...]."""
        return draw_from(draw_counts, keys, num_samples, first, self.event_ndims, self.log_rate)


def draw_counts(key: Array, log_rate: Array) -> Array:
    """Poisson counts as floats, of the same shape as the rates."""
    # Counts are drawn as int32; what is near its end is beyond any use, and must not wrap.
    rate = jnp.minimum(jnp.exp(log_rate), 2.0**30)
    return jax.random.poisson(key, rate).astype(log_rate.dtype)


@closed_form(Poisson, Poisson, by_dimension=True)
def _of_poissons(q: Poisson, p: Poisson) -> Array:
    """All data dimensions in a row, [..., B, D]."""
    log_q, log_p = flat_events(q.event_ndims, q.log_rate, p.log_rate)
    log_ratio = log_p - log_q
    return jnp.exp(log_q) * (jnp.expm1(log_ratio) - log_ratio)
