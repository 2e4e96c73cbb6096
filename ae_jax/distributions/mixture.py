"""Mixtures of normal distributions over codes."""

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from ae_jax.distributions.base import Distribution, draw_each, only
from ae_jax.distributions.drawing import draw_categories
from ae_jax.distributions.gaussian import normal_log_density


@struct.dataclass
class GaussianMixture(Distribution):
    """sum_m w_m N(loc_m, diag(exp(log_scale_m))^2) over codes.

    Shared by all examples, `log_weights` [M] and `loc`, `log_scale` [M, Z]; or an example's own,
    [B, M] and [B, M, Z]. Weights need not be normalised. The gradient of a sample reaches the
    component that it is of, and not the weights.
    """

    log_weights: Array
    loc: Array
    log_scale: Array
    active: Array | None = None

    def log_prob(self, value: Array) -> Array:
        """[..., B, Z] -> [..., B], nats."""
        densities = normal_log_density(value[..., None, :], self.loc, self.log_scale)
        of_each = jnp.sum(only(self.active, densities), axis=-1)  # [..., B, M]
        of_each, log_weights = jnp.broadcast_arrays(of_each, self._normalised())
        return jax.nn.logsumexp(of_each + log_weights, axis=-1)

    def mean(self) -> Array:
        """[Z], or [B, Z]."""
        return jnp.sum(jnp.exp(self._normalised())[..., None] * self.loc, axis=-2)

    def sample(self, keys: Array, num_samples: int, first: Array | int = 0) -> Array:
        """[K, B, Z]: a component by its weight, then a draw of it."""
        dim, dtype = self.loc.shape[-1], self.loc.dtype
        of_component, of_noise = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
        component = draw_categories(self._normalised(), of_component, num_samples, first)  # [K, B]
        noise = draw_each(
            lambda key: jax.random.normal(key, (dim,), dtype), of_noise, num_samples, first
        )
        loc, log_scale = self._of(component, self.loc), self._of(component, self.log_scale)
        return only(self.active, loc + jnp.exp(log_scale) * noise)

    def restricted(self, active: Array) -> "GaussianMixture":
        return GaussianMixture(
            self.log_weights, only(active, self.loc), only(active, self.log_scale), active
        )

    def _normalised(self) -> Array:
        return jax.nn.log_softmax(self.log_weights, axis=-1)

    def _of(self, component: Array, parameter: Array) -> Array:
        """Components [K, B] of a parameter [M, Z] or [B, M, Z]: [K, B, Z]."""
        if parameter.ndim == 2:
            return parameter[component]
        return jax.vmap(lambda own, index: own[index], (0, 1), 1)(parameter, component)
