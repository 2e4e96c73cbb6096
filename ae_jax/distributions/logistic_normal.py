"""Normal distributions carried onto the simplex, and a Dirichlet as one of them."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from ae_jax.distributions.base import Distribution, Support
from ae_jax.distributions.divergence import closed_form, kl_per_dim
from ae_jax.distributions.gaussian import DiagonalGaussian


@dataclasses.dataclass(frozen=True)
class SimplexSupport(Support):
    """Vectors, along the last axis, of positive values that add up to 1 (to 1e-4)."""

    def contains(self, values: Array) -> Array:
        """The same for all values of a vector: bool of the shape of `values`."""
        whole = jnp.abs(jnp.sum(values, axis=-1, keepdims=True) - 1.0) <= 1e-4
        positive = jnp.all(values > 0.0, axis=-1, keepdims=True)
        return jnp.broadcast_to(whole & positive, values.shape)


SIMPLEX = SimplexSupport("positive vectors that add up to 1", 0.0, 1.0)


@struct.dataclass
class LogisticNormal(Distribution):
    """softmax([z, 0]) of z ~ N(loc, diag(exp(log_scale))^2): points of the simplex of Z vertices
    (Aitchison & Shen 1980).

    `loc` and `log_scale` are [B, Z - 1], or [1, Z - 1] for all. Densities are with respect to the
    first Z - 1 coordinates.
    """

    loc: Array
    log_scale: Array
    support: ClassVar[Support] = SIMPLEX

    @property
    def gaussian(self) -> DiagonalGaussian:
        """The distribution of z."""
        return DiagonalGaussian(self.loc, self.log_scale)

    def log_prob(self, value: Array) -> Array:
        """[..., B, Z] -> [..., B], nats; -inf outside the simplex and on its faces."""
        inside = jnp.all(self.support.contains(value), axis=-1)
        log_x = jnp.log(jnp.where(inside[..., None], value, 1.0))
        z = log_x[..., :-1] - log_x[..., -1:]
        return jnp.where(inside, self._density(z, log_x), -jnp.inf)

    def mean(self) -> Array:
        """The centre softmax([loc, 0]), [B, Z]. It is not the expectation.

        That has no closed form. The centre is the mean of compositions (Aitchison 1986, Ch. 4): its
        log ratios are the expected ones. Where the scales are small the two agree.
        """
        return jnp.exp(_log_softmax(self.loc))

    def sample(self, keys: Array, num_samples: int, first: Array | int = 0) -> Array:
        """Reparameterised draws, [K, B, Z]; no share is less than the smallest of its numbers."""
        return _shares(_log_softmax(self.gaussian.sample(keys, num_samples, first)))

    def sample_and_log_prob(
        self, keys: Array, num_samples: int, first: Array | int = 0
    ) -> tuple[Array, Array]:
        # From z itself: shares that are too small for a float32 have a density all the same, and
        # are raised to its smallest number, where other densities are finite too.
        z = self.gaussian.sample(keys, num_samples, first)
        log_x = _log_softmax(z)
        return _shares(log_x), self._density(z, log_x)

    def _density(self, z: Array, log_x: Array) -> Array:
        # The Jacobian of x[:-1] by z has the determinant prod x.
        return self.gaussian.log_prob(z) - jnp.sum(log_x, axis=-1)


def _shares(log_x: Array) -> Array:
    return jnp.maximum(jnp.exp(log_x), jnp.finfo(log_x.dtype).tiny)


def _log_softmax(z: Array) -> Array:
    """log softmax([z, 0]), [..., Z - 1] -> [..., Z]."""
    last = jnp.zeros_like(z[..., :1])
    return jax.nn.log_softmax(jnp.concatenate([z, last], axis=-1), axis=-1)


@closed_form(LogisticNormal, LogisticNormal, by_dimension=True)
def _of_logistic_normals(q: LogisticNormal, p: LogisticNormal) -> Array:
    """That of the two normal distributions, [B, Z - 1]: both are carried by one map."""
    return kl_per_dim(q.gaussian, p.gaussian)


def dirichlet_laplace(concentration: Array) -> DiagonalGaussian:
    """The normal z, [1, K], of which softmax(z) is most like a Dirichlet of such concentration [K].

    Laplace's approximation in the softmax basis, where the density has its mode inside (MacKay
    1998), of which the diagonal of the covariance is kept (Srivastava & Sutton 2017, Sec. 3.2):

        loc_k = log a_k - mean(log a),   var_k = (1 - 2 / K) / a_k + mean(1 / a) / K
    """
    size = concentration.shape[-1]
    log_a, inverse = jnp.log(concentration), 1.0 / concentration
    variance = (1.0 - 2.0 / size) * inverse + jnp.mean(inverse) / size
    return DiagonalGaussian((log_a - jnp.mean(log_a))[None], 0.5 * jnp.log(variance)[None])
