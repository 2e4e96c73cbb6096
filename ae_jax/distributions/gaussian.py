"""Normal distributions: of codes, with parameters for each dimension, and of data."""

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from ae_jax.distributions.base import (
    REAL_LINE,
    Distribution,
    Support,
    draw_each,
    flat_events,
    noise_for,
    only,
)


@struct.dataclass
class StandardNormal(Distribution):
    """N(0, I) over codes of `dim` dimensions, the same for every example."""

    dim: int = struct.field(pytree_node=False)
    active: Array | None = None

    def log_prob(self, value: Array) -> Array:
        """[..., Z] -> [...], nats."""
        return jnp.sum(only(self.active, normal_log_density(value, 0.0, 0.0)), axis=-1)

    def mean(self) -> Array:
        """[Z]."""
        return jnp.zeros(self.dim)

    def stddev(self) -> Array:
        """[Z]."""
        return only(self.active, jnp.ones(self.dim))

    def sample(self, keys: Array, num_samples: int, first: Array | int = 0) -> Array:
        """[K, B, Z]."""
        noise = draw_each(lambda key: jax.random.normal(key, (self.dim,)), keys, num_samples, first)
        return only(self.active, noise)

    def restricted(self, active: Array) -> "StandardNormal":
        return dataclasses.replace(self, active=active)

    def as_diagonal(self) -> "DiagonalGaussian":
        """The same with its parameters written out, [1, Z]."""
        zeros = jnp.zeros((1, self.dim))
        return DiagonalGaussian(zeros, zeros, self.active)


@struct.dataclass
class DiagonalGaussian(Distribution):
    """N(loc, diag(exp(log_scale))^2) over codes; both parameters [B, Z], or [1, Z] for all."""

    loc: Array
    log_scale: Array
    active: Array | None = None

    def mean(self) -> Array:
        return self.loc

    def stddev(self) -> Array:
        """exp(log_scale), [B, Z]."""
        return only(self.active, jnp.exp(self.log_scale))

    def sample(self, keys: Array, num_samples: int, first: Array | int = 0) -> Array:
        """Reparameterised draws loc + scale * noise, [K, B, Z] (Kingma & Welling 2014, Eq. 10)."""
        noise = self.noise(keys, num_samples, first)
        return only(self.active, self.loc[None] + jnp.exp(self.log_scale)[None] * noise)

    def noise(self, keys: Array, num_samples: int, first: Array | int = 0) -> Array:
        """Standard normal noise [K, B, Z], addressed by each example's key and the sample."""
        dim, dtype = self.loc.shape[-1], self.loc.dtype
        return draw_each(
            lambda key: jax.random.normal(key, (dim,), dtype), keys, num_samples, first
        )

    def log_prob(self, value: Array) -> Array:
        """[..., B, Z] -> [..., B], nats."""
        density = normal_log_density(value, self.loc, self.log_scale)
        return jnp.sum(only(self.active, density), axis=-1)

    def restricted(self, active: Array) -> "DiagonalGaussian":
        # At the standard normal's mean and scale: the divergence of these dimensions is 0.
        return DiagonalGaussian(only(active, self.loc), only(active, self.log_scale), active)


@struct.dataclass
class Gaussian(Distribution):
    """Independent normal values of data; `loc` [..., B, D...], `log_scale` broadcasts to it.

    One scale for all values, or for all examples, is a `log_scale` of fewer axes.
    """

    loc: Array
    log_scale: Array
    event_ndims: int = struct.field(pytree_node=False, default=1)
    support: ClassVar[Support] = REAL_LINE

    def log_prob(self, value: Array) -> Array:
        """sum_d log N(x_d; loc_d, scale_d^2), nats, [..., B]."""
        x, mean, log_scale = flat_events(self.event_ndims, value, self.loc, self.log_scale)
        return jnp.sum(normal_log_density(x, mean, log_scale), axis=-1)

    def mean(self) -> Array:
        """Means, [..., B, D...]."""
        return self.loc

    def sample(self, keys: Array, num_samples: int, first: Array | int = 0) -> Array:
        """Draws with the noise of the model, [K, ..., B, D...]."""
        noise = noise_for(
            jax.random.normal, keys, num_samples, first, self.loc.shape, self.event_ndims
        )
        loc, log_scale = jnp.broadcast_arrays(self.loc, self.log_scale)
        return loc[None] + jnp.exp(log_scale)[None] * noise


def normal_log_density(x: Array, mean: Array | float, log_scale: Array | float) -> Array:
    """log N(x; mean, exp(log_scale)^2), elementwise, nats."""
    x, mean, log_scale = jnp.broadcast_arrays(x, mean, log_scale)
    standardised = (x - mean) * jnp.exp(-log_scale)
    return -0.5 * jnp.square(standardised) - log_scale - 0.5 * math.log(2 * math.pi)
