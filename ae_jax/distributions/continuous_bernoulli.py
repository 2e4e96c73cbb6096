"""Grey levels between 0 and 1, with the cross-entropy made a density."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from ae_jax.distributions.base import UNIT_INTERVAL, Distribution, Support, flat_events, noise_for
from ae_jax.distributions.divergence import closed_form
from ae_jax.distributions.levels import inside_or

# Closer to 0 than this, logits go by a series: the mean is a difference of two large numbers.
_NEAR = 0.5


@struct.dataclass
class ContinuousBernoulli(Distribution):
    """Independent values with densities in proportion to exp(x logit) on [0, 1] (Loaiza-Ganem &
    Cunningham 2019, Eq. 5-6); `logits` [..., B, D...].

    The Bernoulli cross-entropy of grey values plus the normaliser that makes it a density.
    """

    logits: Array
    event_ndims: int = struct.field(pytree_node=False, default=1)
    support: ClassVar[Support] = UNIT_INTERVAL

    def log_prob(self, value: Array) -> Array:
        """sum_d log p_d(x_d), nats, [..., B]; -inf outside [0, 1]."""
        x, logits = flat_events(self.event_ndims, value, self.logits)
        inside, x = inside_or(x, self.support, 0.5)
        terms = x * logits - log_normaliser(logits)
        return jnp.sum(jnp.where(inside, terms, -jnp.inf), axis=-1)

    def mean(self) -> Array:
        """Expected values, [..., B, D...]: nearer to 1/2 than sigmoid(logits)."""
        return mean_of(self.logits)

    def sample(self, keys: Array, num_samples: int, first: Array | int = 0) -> Array:
        """Reparameterised draws by the inverse of the distribution function, [K, ..., B, D...]."""
        uniform = noise_for(
            jax.random.uniform, keys, num_samples, first, self.logits.shape, self.event_ndims
        )
        logits = jnp.broadcast_to(self.logits, uniform.shape)
        size = jnp.maximum(jnp.abs(logits), 1e-6)
        # Of the side on which the density is high: from there on it falls like exp(-size x).
        from_high = -jnp.log1p(uniform * jnp.expm1(-size)) / size
        return jnp.where(logits > 0.0, 1.0 - from_high, from_high)


@jax.custom_jvp
def log_normaliser(logits: Array) -> Array:
    """log of the integral of exp(x logit) over [0, 1], elementwise; its derivative is the mean."""
    size = jnp.abs(logits)
    away = jnp.maximum(size, 1e-3)
    shrunk = jnp.log(-jnp.expm1(-away) / away)
    near = size * (size / 24.0 - 0.5)
    return jnp.maximum(logits, 0.0) + jnp.where(size < 1e-3, near, shrunk)


def mean_of(logits: Array) -> Array:
    """The mean for such logits, elementwise: 1 / (1 - exp(-l)) - 1 / l, and 1/2 at 0."""
    size = jnp.maximum(jnp.abs(logits), _NEAR)
    high = -1.0 / jnp.expm1(-size) - 1.0 / size
    away = jnp.where(logits > 0.0, high, 1.0 - high)
    close = jnp.clip(logits, -_NEAR, _NEAR)
    square = jnp.square(close)
    near = 0.5 + close * (1 / 12 - square * (1 / 720 - square / 30240))
    return jnp.where(jnp.abs(logits) < _NEAR, near, away)


log_normaliser.defjvps(lambda tangent, value, logits: tangent * mean_of(logits))


@closed_form(ContinuousBernoulli, ContinuousBernoulli, by_dimension=True)
def _of_continuous_bernoullis(q: ContinuousBernoulli, p: ContinuousBernoulli) -> Array:
    """All data dimensions in a row, [..., B, D]."""
    own, other = flat_events(q.event_ndims, q.logits, p.logits)
    return mean_of(own) * (own - other) - log_normaliser(own) + log_normaliser(other)
