"""Pixels as categories: a free probability for each level."""

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from ae_jax.distributions.base import Distribution, Support, noise_for
from ae_jax.distributions.divergence import closed_form
from ae_jax.distributions.levels import inside_or, level_support


@struct.dataclass
class Categorical(Distribution):
    """Independent levels 0, ..., L - 1 with the given logits, [..., B, D..., L].

    A value is the number of its level, as a float; `event_ndims` counts the data dimensions, not
    the axis of levels.
    """

    logits: Array
    event_ndims: int = struct.field(pytree_node=False, default=1)

    @property
    def support(self) -> Support:  # type: ignore[override]  # that of a class is of no instance
        return level_support(self.logits.shape[-1])

    def log_prob(self, value: Array) -> Array:
        """sum_d log p_d(x_d), nats, [..., B]; -inf for what is no level."""
        shape = jnp.broadcast_shapes(value.shape, self.logits.shape[:-1])
        log_p = jnp.broadcast_to(self.log_probabilities(), (*shape, self.logits.shape[-1]))
        inside, x = inside_or(jnp.broadcast_to(value, shape), self.support, 0.0)
        index = x.astype(jnp.int32)[..., None]
        chosen = jnp.take_along_axis(log_p, index, axis=-1, mode="clip")[..., 0]
        return self._summed(jnp.where(inside, chosen, -jnp.inf))

    def log_probabilities(self) -> Array:
        """log p of every level, [..., B, D..., L]."""
        return jax.nn.log_softmax(self.logits, axis=-1)

    def mean(self) -> Array:
        """Expected levels, [..., B, D...]."""
        levels = jnp.arange(self.logits.shape[-1], dtype=self.logits.dtype)
        weights = jax.nn.softmax(self.logits, axis=-1)
        return jnp.sum(weights * levels.reshape(*[1] * (weights.ndim - 1), -1), axis=-1)

    def sample(self, keys: Array, num_samples: int, first: Array | int = 0) -> Array:
        """Levels as floats, [K, ..., B, D...]."""
        # By the inverse of the distribution function: one random number a value, where Gumbel
        # noise would be one a level. Probabilities come out to 1e-7, as with any float32 noise.
        shape = self.logits.shape[:-1]
        uniform = noise_for(jax.random.uniform, keys, num_samples, first, shape, self.event_ndims)
        below = jnp.cumsum(jax.nn.softmax(self.logits, axis=-1), axis=-1)
        reached = uniform * below[None, ..., -1]  # of the sum as it was rounded
        level = jnp.sum(below[None] <= reached[..., None], axis=-1)
        return level.astype(self.logits.dtype)

    def _summed(self, terms: Array) -> Array:
        return jnp.sum(terms, axis=tuple(range(-self.event_ndims, 0)))


@closed_form(Categorical, Categorical)
def _of_categoricals(q: Categorical, p: Categorical) -> Array:
    log_q, log_p = q.log_probabilities(), p.log_probabilities()
    return q._summed(jnp.sum(jnp.exp(log_q) * (log_q - log_p), axis=-1))
