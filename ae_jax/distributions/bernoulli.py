"""Binary values, and grey levels taken for the probabilities of binary ones."""

from typing import ClassVar

import jax
from flax import struct
from jax import Array

from ae_jax.distributions.base import UNIT_INTERVAL, Distribution, Support, flat_events, noise_for
from ae_jax.distributions.divergence import closed_form
from ae_jax.numerics.softplus import binary_log_likelihood, softplus


@struct.dataclass
class Bernoulli(Distribution):
    """Independent Bernoulli values with the given logits, [..., B, D...].

    Targets between 0 and 1 are allowed, as in Kingma & Welling 2014 on grey digits: log_prob is
    then the negative cross-entropy, which bounds no density of grey values. Numbers for grey and
    for binary targets must not be compared.
    """

    logits: Array
    event_ndims: int = struct.field(pytree_node=False, default=1)
    support: ClassVar[Support] = UNIT_INTERVAL

    def log_prob(self, value: Array) -> Array:
        """sum_d x_d log p_d + (1 - x_d) log(1 - p_d), nats, [..., B]."""
        # p is never formed, so this is exact and has finite gradients for large |l|.
        return binary_log_likelihood(*flat_events(self.event_ndims, value, self.logits))

    def mean(self) -> Array:
        """Probabilities, [..., B, D...]."""
        return jax.nn.sigmoid(self.logits)

    def sample(self, keys: Array, num_samples: int, first: Array | int = 0) -> Array:
        """Binary values as floats, [K, ..., B, D...]."""
        uniform = noise_for(
            jax.random.uniform, keys, num_samples, first, self.logits.shape, self.event_ndims
        )
        return (uniform < self.mean()[None]).astype(self.logits.dtype)


@closed_form(Bernoulli, Bernoulli, by_dimension=True)
def _of_bernoullis(q: Bernoulli, p: Bernoulli) -> Array:
    """All data dimensions in a row, [..., B, D]."""
    own, other = flat_events(q.event_ndims, q.logits, p.logits)
    return jax.nn.sigmoid(own) * (own - other) - softplus(own) + softplus(other)
