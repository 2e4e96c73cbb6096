"""Codes in two blocks, of which one is drawn given the other."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from ae_jax.distributions.base import Distribution

SECOND = 0x5EC0  # folded into an example's key for the noise of the second block


@struct.dataclass
class Chain(Distribution):
    """p(a) p(b|a) over codes [..., B, Z] that hold a and b after one another.

    first       p(a), a distribution over codes of `first_size` dimensions
    params      those of the network
    network     a module that maps a [..., A] to p(b|a), a diagonal Gaussian [..., Z - A]
    reverse     whether b comes before a in the code
    """

    first: Any
    params: Any
    network: Any = struct.field(pytree_node=False)
    first_size: int = struct.field(pytree_node=False)
    reverse: bool = struct.field(pytree_node=False, default=False)

    def log_prob(self, value: Array) -> Array:
        """log p(a) + log p(b|a), [..., B, Z] -> [..., B], nats."""
        a, b = self.blocks(value)
        return self.first.log_prob(a) + self.second(a).log_prob(b)

    def mean(self) -> Array:
        """The mean of a, and that of b given it: where the code is looked at, [B, Z].

        With a network that is not linear, b has another mean over all a.
        """
        a = jnp.atleast_2d(self.first.mean())
        return self._code(a, self.second(a).mean())

    def sample(self, keys: Array, num_samples: int, first: Array | int = 0) -> Array:
        """[K, B, Z]."""
        return self.sample_and_log_prob(keys, num_samples, first)[0]

    def sample_and_log_prob(
        self, keys: Array, num_samples: int, first: Array | int = 0
    ) -> tuple[Array, Array]:
        a, log_a = self.first.sample_and_log_prob(keys, num_samples, first)
        second = self.second(a)
        keys = jax.vmap(jax.random.fold_in, (0, None))(keys, SECOND)
        b = second.loc + jnp.exp(second.log_scale) * second.noise(keys, num_samples, first)
        return self._code(a, b), log_a + second.log_prob(b)

    def second(self, a: Array) -> Any:
        """p(b|a) for a [..., B, A]."""
        return self.network.apply({"params": self.params}, a)

    def blocks(self, code: Array) -> tuple[Array, Array]:
        """a and b of codes [..., Z]."""
        if self.reverse:
            place = code.shape[-1] - self.first_size
            return code[..., place:], code[..., :place]
        return code[..., : self.first_size], code[..., self.first_size :]

    def _code(self, a: Array, b: Array) -> Array:
        return jnp.concatenate([b, a] if self.reverse else [a, b], axis=-1)
