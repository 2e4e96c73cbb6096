"""What k-means and the mixture of spherical Gaussians share: centres, and one-hot codes."""

import functools
import math
from typing import Self

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from ae_jax.codecs.base import Codec
from ae_jax.codecs.compiled import compiled_method
from ae_jax.codecs.frame import Frame
from ae_jax.codecs.rows import dot
from ae_jax.distributions import OneHot

one_hot = functools.partial(jax.nn.one_hot, dtype=jnp.float32)

# The spread that float32 tells apart, as a share of the whole: none is less.
_RESOLUTION = 2.0**-20


@struct.dataclass
class Clusters(Codec):
    """Centres, and the mixture sum_k weights_k N(x; centre_k, variance I) about them.

    relative   centres less the origin, [Z, D]: of them float32 has all digits
    origin     a point near the mean of the data, [D]
    weights    how likely each cluster is, [Z]
    variance   of each dimension about the centres
    """

    relative: Array
    origin: Array
    weights: Array
    variance: Array

    @classmethod
    def zeros(cls, latent_dim: int, data_dim: int) -> Self:
        zeros = jnp.zeros
        return cls(zeros((latent_dim, data_dim)), zeros(data_dim), zeros(latent_dim), zeros(()))

    @property
    def centres(self) -> Array:
        """[Z, D]."""
        return self.relative + self.origin[None]

    @property
    def atoms(self) -> Array:
        return self.centres

    @property
    def log_noise_scale(self) -> Array:
        """log of the standard deviation about the centres, []."""
        return 0.5 * jnp.log(self.variance)

    @property
    def prior(self) -> OneHot:
        """p(z) over one-hot z: how likely each cluster is."""
        return OneHot(jnp.log(self.weights)[None])

    def residuals(self, x: Array, z: Array) -> Array:
        """x - decode(z), [B, D], for codes that sum to 1."""
        return (x - self.origin[None]) - dot(z, self.relative)

    def distances(self, x: Array) -> Array:
        """|x - centre_k|^2, [B, D] -> [B, Z]."""
        return distances_about_nearest(x - self.origin[None], self.relative)

    def posterior(self, x: Array) -> OneHot:
        """p(z|x) over one-hot z in the mixture."""
        return OneHot(self._joint(x))

    @compiled_method
    def log_prob(self, x: Array) -> Array:
        """log density of the mixture, nats, [B, D] -> [B]."""
        return jax.nn.logsumexp(self._joint(x), axis=-1)

    def _joint(self, x: Array) -> Array:
        """log p(k, x), [B, Z]."""
        return log_joint(self.distances(x), self.weights, self.variance, x.shape[1])


def log_joint(distances: Array, weights: Array, variance: Array, dim: int) -> Array:
    """log p(k, x) from squared distances, [B, Z] -> [B, Z]."""
    constant = 0.5 * dim * (math.log(2 * math.pi) + jnp.log(variance))
    return jnp.log(weights)[None] - 0.5 * distances / variance - constant


def least_variance(frame: Frame) -> float:
    """What a variance in a frame is at least, so that densities are finite: what float32 resolves.

    That is a share of the spread, or of the values where the data have none.
    """
    size = float(jnp.abs(frame.origin).max()) / frame.unit
    return max(_RESOLUTION, size * 2.0**-24) ** 2


def nearest(x: Array, centres: Array) -> tuple[Array, Array]:
    """Index of the nearest centre and half the squared distance less |x|^2 / 2, [B] each."""
    scores = 0.5 * jnp.square(centres).sum(axis=1)[None] - dot(x, centres.T)
    return scores.argmin(axis=1).astype(jnp.int32), scores.min(axis=1)


def distances_about_nearest(x: Array, centres: Array) -> Array:
    """|x_b - c_k|^2, [B, D] and [K, D] -> [B, K], exact where clusters are small and far apart.

    A product for all x and c would round by a share of |x| |c|; about the nearest centre a it is
    x - a that is rounded, and |x - c|^2 = |x - a|^2 - 2 (x - a)(c - a) + |c - a|^2.
    """
    labels, _ = nearest(x, centres)
    off = x - centres[labels]
    between = jax.lax.map(lambda centre: jnp.square(centres - centre[None]).sum(axis=1), centres)
    cross = dot(off, centres.T)
    cross = cross - jnp.take_along_axis(cross, labels[:, None], axis=1)
    distances = jnp.square(off).sum(axis=1)[:, None] - 2 * cross + between[labels]
    return jnp.maximum(distances, 0.0)
