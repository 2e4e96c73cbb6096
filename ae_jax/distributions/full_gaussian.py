"""Normal codes with a covariance between their dimensions."""

import math

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from ae_jax.distributions.base import Distribution, draw_each, only
from ae_jax.distributions.divergence import check_dims, closed_form
from ae_jax.distributions.gaussian import DiagonalGaussian, StandardNormal


@struct.dataclass
class FullGaussian(Distribution):
    """N(loc, L L^T) over codes: `loc` [B, Z], `scale_tril` L [B, Z, Z], or 1 for B for all.

    L is lower triangular with a positive diagonal; what lies above the diagonal is not looked at.
    """

    loc: Array
    scale_tril: Array
    active: Array | None = None

    def mean(self) -> Array:
        return self.loc

    def stddev(self) -> Array:
        """Roots of the diagonal of L L^T, [B, Z]."""
        variances = jnp.square(jnp.tril(self.scale_tril)).sum(axis=-1)
        return only(self.active, jnp.sqrt(variances))

    def sample(self, keys: Array, num_samples: int, first: Array | int = 0) -> Array:
        """Reparameterised draws loc + L noise, [K, B, Z]."""
        dim, dtype = self.loc.shape[-1], self.loc.dtype
        noise = draw_each(
            lambda key: jax.random.normal(key, (dim,), dtype), keys, num_samples, first
        )
        moved = jnp.tril(self.scale_tril)[None] @ noise[..., None]
        return only(self.active, self.loc[None] + moved[..., 0])

    def log_prob(self, value: Array) -> Array:
        """[..., B, Z] -> [..., B], nats."""
        value, loc = jnp.broadcast_arrays(value, self.loc)
        difference = only(self.active, value - loc)
        batch, dim = value.shape[-2:]
        columns = jnp.moveaxis(difference.reshape(-1, batch, dim), 0, -1)  # [B, Z, K]
        squares = jnp.sum(jnp.square(solved(self.scale_tril, columns)), axis=1).T  # [K, B]
        density = -0.5 * squares - self.half_log_det()[None] - self._constant()
        return density.reshape(value.shape[:-1])

    def half_log_det(self) -> Array:
        """log det L, [B]."""
        return jnp.sum(only(self.active, log_diagonal(self.scale_tril)), axis=-1)

    def restricted(self, active: Array) -> "FullGaussian":
        """L becomes the identity where dimensions are switched off: their noise moves no other.

        Where they are the last ones, what remains is the marginal distribution of the others.
        """
        both = active[:, None] & active[None, :]
        identity = jnp.eye(active.shape[0], dtype=self.scale_tril.dtype)
        scale_tril = jnp.where(both[None], self.scale_tril, identity[None])
        return FullGaussian(only(active, self.loc), scale_tril, active)

    def _constant(self) -> Array | float:
        dims = self.loc.shape[-1] if self.active is None else jnp.sum(self.active)
        return dims * (0.5 * math.log(2 * math.pi))


def as_full(q: DiagonalGaussian) -> FullGaussian:
    """The same distribution with its covariance written out."""
    scale = jnp.exp(q.log_scale)
    return FullGaussian(q.loc, scale[..., None] * jnp.eye(scale.shape[-1])[None], q.active)


def log_diagonal(tril: Array) -> Array:
    """[B, Z, Z] -> [B, Z]."""
    return jnp.log(jnp.diagonal(tril, axis1=-2, axis2=-1))


def solved(tril: Array, columns: Array) -> Array:
    """L^-1 columns: [B, Z, Z] or [1, Z, Z], and [B, Z, K] or [1, Z, K], -> [B, Z, K]."""
    batch = max(tril.shape[0], columns.shape[0])
    tril = jnp.broadcast_to(tril, (batch, *tril.shape[1:]))
    columns = jnp.broadcast_to(columns, (batch, *columns.shape[1:]))
    return jax.lax.linalg.triangular_solve(tril, columns, left_side=True, lower=True)


@closed_form(FullGaussian, StandardNormal)
def _to_standard_normal(q: FullGaussian, p: StandardNormal) -> Array:
    check_dims(q.loc.shape[-1], p.dim)
    return _to_diagonal(q, p.as_diagonal())


@closed_form(FullGaussian, DiagonalGaussian)
def _to_diagonal(q: FullGaussian, p: DiagonalGaussian) -> Array:
    check_dims(q.loc.shape[-1], p.loc.shape[-1])
    variance = jnp.sum(jnp.square(jnp.tril(q.scale_tril)), axis=-1)  # [B, Z]
    precision = jnp.exp(-2 * p.log_scale)
    log_ratio = p.log_scale - log_diagonal(q.scale_tril)
    moved = variance + jnp.square(q.loc - p.loc)
    return jnp.sum(only(q.active, 0.5 * (moved * precision - 1.0) + log_ratio), axis=-1)


@closed_form(FullGaussian, FullGaussian)
def _of_full_gaussians(q: FullGaussian, p: FullGaussian) -> Array:
    check_dims(q.loc.shape[-1], p.loc.shape[-1])
    if q.active is not None:
        p = p.restricted(q.active)
    columns = jnp.concatenate(
        [
            jnp.broadcast_to(jnp.tril(q.scale_tril), _wide(q, p)),
            jnp.broadcast_to((q.loc - p.loc)[..., None], (*_wide(q, p)[:2], 1)),
        ],
        axis=-1,
    )
    squares = jnp.sum(jnp.square(solved(p.scale_tril, columns)), axis=(-2, -1))
    log_ratio = jnp.sum(log_diagonal(p.scale_tril) - log_diagonal(q.scale_tril), axis=-1)
    return 0.5 * (squares - q.loc.shape[-1]) + log_ratio


@closed_form(DiagonalGaussian, FullGaussian)
def _of_diagonal(q: DiagonalGaussian, p: FullGaussian) -> Array:
    return _of_full_gaussians(as_full(q), p)


@closed_form(StandardNormal, FullGaussian)
def _of_standard_normal(q: StandardNormal, p: FullGaussian) -> Array:
    return _of_full_gaussians(as_full(q.as_diagonal()), p)


def _wide(q: FullGaussian, p: FullGaussian) -> tuple[int, ...]:
    batch = max(q.loc.shape[0], q.scale_tril.shape[0], p.loc.shape[0], p.scale_tril.shape[0])
    return (batch, *q.scale_tril.shape[1:])
