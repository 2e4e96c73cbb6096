"""Levels as the bins of a logistic distribution: neighbouring levels are alike."""

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from ae_jax.distributions.base import Distribution, Support, flat_events, noise_for
from ae_jax.distributions.levels import inside_or, level_support
from ae_jax.numerics.softplus import softplus


@struct.dataclass
class DiscretisedLogistic(Distribution):
    """A logistic variable rounded to the nearest of the levels 0, ..., L - 1 (Kingma et al. 2016,
    Sec. 5.2; Salimans et al. 2017, Sec. 2.1).

    `loc` [..., B, D...] and `exp(log_scale)` are in levels: the bin of level k is [k - 1/2,
    k + 1/2], and the first and the last take the tails. Values are the levels themselves, whole
    numbers, and not these divided by L - 1.
    """

    loc: Array
    log_scale: Array
    levels: int = struct.field(pytree_node=False, default=256)
    event_ndims: int = struct.field(pytree_node=False, default=1)

    @property
    def support(self) -> Support:  # type: ignore[override]  # that of a class is of no instance
        return level_support(self.levels)

    def log_prob(self, value: Array) -> Array:
        """sum_d log p_d(x_d), nats, [..., B]; -inf for what is no level."""
        # With a, b the standardised edges of the bin, s(a) - s(b) = s(a) s(-b) (1 - exp(b - a)),
        # s the sigmoid. No two numbers close to each other are subtracted, and all three
        # logarithms are finite and have finite gradients, however far out the level is.
        x, loc, log_scale = flat_events(self.event_ndims, value, self.loc, self.log_scale)
        inside, x = inside_or(x, self.support, 0.0)
        precision = jnp.exp(-log_scale)
        above = -softplus(-(x + 0.5 - loc) * precision)  # log s(a)
        below = -softplus((x - 0.5 - loc) * precision)  # log s(-b)
        width = jnp.log(-jnp.expm1(-precision))
        is_first, is_last = x == 0.0, x == self.levels - 1.0
        terms = jnp.where(is_last, 0.0, above) + jnp.where(is_first, 0.0, below)
        terms = terms + jnp.where(is_first | is_last, 0.0, width)
        return jnp.sum(jnp.where(inside, terms, -jnp.inf), axis=-1)

    def mean(self) -> Array:
        """Expected levels, [..., B, D...]: the sum over k >= 1 of the probability of k or more."""
        loc, log_scale = jnp.broadcast_arrays(self.loc, self.log_scale)
        edges = jnp.arange(self.levels - 1, dtype=loc.dtype) + 0.5
        distance = loc[..., None] - edges.reshape(*[1] * loc.ndim, -1)
        return jnp.sum(jax.nn.sigmoid(distance * jnp.exp(-log_scale)[..., None]), axis=-1)

    def sample(self, keys: Array, num_samples: int, first: Array | int = 0) -> Array:
        """Levels as floats, [K, ..., B, D...]."""
        loc, log_scale = jnp.broadcast_arrays(self.loc, self.log_scale)
        noise = noise_for(
            jax.random.logistic, keys, num_samples, first, loc.shape, self.event_ndims
        )
        values = loc[None] + jnp.exp(log_scale)[None] * noise
        return jnp.clip(jnp.round(values), 0.0, self.levels - 1.0)
