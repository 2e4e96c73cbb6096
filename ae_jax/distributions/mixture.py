"""Mixtures of Gaussians over codes."""

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from ae_jax.distributions.base import Distribution, draw_each, only
from ae_jax.distributions.gaussian import normal_log_density


@struct.dataclass
class GaussianMixture(Distribution):
    """sum_m w_m N(loc_m, diag(scale_m)^2); `log_weights` [M], others [M, Z]."""

    log_weights: Array
    loc: Array
    log_scale: Array
    active: Array | None = None

    def log_prob(self, value: Array) -> Array:
        density = normal_log_density(value[..., None, :], self.loc, self.log_scale)
        each = only(self.active, density).sum(axis=-1)  # [..., M]
        return jax.nn.logsumexp(each + jnp.broadcast_to(self.log_weights, each.shape), axis=-1)

    def mean(self) -> Array:
        return jnp.exp(self.log_weights) @ self.loc

    def sample(self, keys: Array, num_samples: int, first: Array | int = 0) -> Array:
        def one(key: Array) -> Array:
            which, noise = jax.random.split(key)
            m = jax.random.categorical(which, self.log_weights)
            draw = jax.random.normal(noise, self.loc.shape[-1:])
            return self.loc[m] + jnp.exp(self.log_scale[m]) * draw

        return only(self.active, draw_each(one, keys, num_samples, first))

    def restricted(self, active: Array) -> "GaussianMixture":
        return self.replace(active=active)
