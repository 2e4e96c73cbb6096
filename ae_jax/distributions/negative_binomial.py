"""Counts that vary more than their mean says."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from ae_jax.distributions.base import COUNTS, Distribution, Support, flat_events
from ae_jax.distributions.drawing import draw_from
from ae_jax.distributions.levels import inside_or
from ae_jax.distributions.poisson import draw_counts
from ae_jax.distributions.stirling import HALF_LOG_TWO_PI, stirling_error
from ae_jax.numerics.softplus import softplus


@struct.dataclass
class NegativeBinomial(Distribution):
    """Independent counts of variance mean + dispersion * mean^2; `log_mean` [..., B, D...].

    They are Poisson counts whose rate is gamma distributed with shape 1 / dispersion. As the
    dispersion goes to 0 they become Poisson counts. `log_dispersion` broadcasts to the means.
    """

    log_mean: Array
    log_dispersion: Array
    event_ndims: int = struct.field(pytree_node=False, default=1)
    support: ClassVar[Support] = COUNTS

    def log_prob(self, value: Array) -> Array:
        """sum_d log p_d(x_d), nats, [..., B]; -inf for what is no count."""
        x, log_mean, log_dispersion = flat_events(
            self.event_ndims, value, self.log_mean, self.log_dispersion
        )
        inside, x = inside_or(x, self.support, 0.0)
        at_zero = -jnp.exp(-log_dispersion) * softplus(log_mean + log_dispersion)
        terms = jnp.where(x == 0.0, at_zero, _of_positive(x, log_mean, -log_dispersion))
        return jnp.sum(jnp.where(inside, terms, -jnp.inf), axis=-1)

    def mean(self) -> Array:
        """[..., B, D...]."""
        return jnp.exp(self.log_mean)

    def sample(self, keys: Array, num_samples: int, first: Array | int = 0) -> Array:
        """Counts as floats, [K, ..., B, D...]."""
        parameters = jnp.broadcast_arrays(self.log_mean, self.log_dispersion)
        return draw_from(_draw, keys, num_samples, first, self.event_ndims, *parameters)


def _draw(key: Array, log_mean: Array, log_dispersion: Array) -> Array:
    of_rate, of_count = jax.random.split(key)
    log_gamma = jax.random.loggamma(of_rate, jnp.exp(-log_dispersion))
    return draw_counts(of_count, log_gamma + log_dispersion + log_mean)


def _of_positive(x: Array, log_mean: Array, log_shape: Array) -> Array:
    """log p of counts from 1 on (others are taken for 1), elementwise.

    With r the shape, n = x + r and u = log(mean / x), in which the large terms cancel for large
    counts and for large r alike (see `stirling`):

        log p = log(r / (2 pi x n)) / 2 + d(n) - d(r) - d(x) + x u - n log((mean + r) / n)
    """
    x, shape = jnp.maximum(x, 1.0), jnp.exp(log_shape)
    n = x + shape
    errors = stirling_error(n) - stirling_error(shape) - stirling_error(x)
    highest = 0.5 * (log_shape - jnp.log(x) - jnp.log(n)) - HALF_LOG_TWO_PI + errors
    u = log_mean - jnp.log(x)
    excess = x * jnp.expm1(u) / n  # (mean + r) / n - 1
    near = jnp.log1p(jnp.maximum(excess, -0.5))
    far = jnp.logaddexp(log_mean, log_shape) - jnp.log(n)
    share = jnp.where(excess > -0.5, near, far)
    # The same with what is lost in x u where r is small beside x, and x far from the mean:
    # x u - n log((mean + r) / n) = x (log(1 + r / x) - log(1 + r / mean)) - r log((mean + r) / n)
    log_odds = log_shape - log_mean
    is_small = (log_shape < jnp.log(x)) & (
        shape * (1 + jnp.exp(jnp.minimum(-u, 80.0))) < x * jnp.abs(u)
    )
    small = (
        x * (jnp.log1p(jnp.where(is_small, shape / x, 0.0)) - softplus(log_odds)) - shape * share
    )
    return highest + jnp.where(is_small, small, x * u - n * share)
