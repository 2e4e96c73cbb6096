"""One-hot codes: which of Z clusters, or components of a mixture, an example is of."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from ae_jax.distributions.base import Distribution, Support
from ae_jax.distributions.divergence import check_dims, closed_form
from ae_jax.distributions.drawing import draw_categories


@dataclasses.dataclass(frozen=True)
class OneHotSupport(Support):
    """Vectors, along the last axis, of one 1 and else 0."""

    def contains(self, values: Array) -> Array:
        """The same for all values of a vector: bool of the shape of `values`."""
        ones = values == 1.0
        single = jnp.sum(ones, axis=-1, keepdims=True) == 1
        return single & jnp.all(ones | (values == 0.0), axis=-1, keepdims=True) & (values == values)


ONE_HOT = OneHotSupport("one-hot vectors", 0.0, 1.0, integer=True)


@struct.dataclass
class OneHot(Distribution):
    """One of Z, as a one-hot vector; `logits` [B, Z], or [1, Z] for all.

    Samples are whole, so that no gradient passes from them to the logits: what trains these is the
    divergence, the mean in place of samples, or a score-function estimator.
    """

    logits: Array
    support: ClassVar[Support] = ONE_HOT

    def log_prob(self, value: Array) -> Array:
        """[..., B, Z] -> [..., B], nats; -inf for what is not one-hot."""
        value, log_p = jnp.broadcast_arrays(value, self.log_probabilities())
        hot = value == 1.0
        inside = jnp.all(self.support.contains(value), axis=-1)
        return jnp.where(inside, jnp.sum(jnp.where(hot, log_p, 0.0), axis=-1), -jnp.inf)

    def log_probabilities(self) -> Array:
        """log p of each of the Z, [B, Z]."""
        return jax.nn.log_softmax(self.logits, axis=-1)

    def mean(self) -> Array:
        """Probabilities, [B, Z]: in a mixture, the responsibilities."""
        return jax.nn.softmax(self.logits, axis=-1)

    def sample(self, keys: Array, num_samples: int, first: Array | int = 0) -> Array:
        """One-hot vectors as floats, [K, B, Z]."""
        index = draw_categories(self.logits, keys, num_samples, first)
        return jax.nn.one_hot(index, self.logits.shape[-1], dtype=self.logits.dtype)


@closed_form(OneHot, OneHot)
def _of_one_hots(q: OneHot, p: OneHot) -> Array:
    check_dims(q.logits.shape[-1], p.logits.shape[-1])
    log_q, log_p = q.log_probabilities(), p.log_probabilities()
    # What q never is adds nothing, where p never is it too.
    seen = log_q > -jnp.inf
    gaps = jnp.where(seen, log_q, 0.0) - jnp.where(seen, log_p, 0.0)
    return jnp.sum(jnp.exp(log_q) * gaps, axis=-1)
