"""Normal codes carried through maps with a known Jacobian determinant.

What such a distribution draws comes with its density. The mean of one has no closed form; `mean` is
the image of the mean of its base, and says so.
"""

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from ae_jax.core.errors import UserError
from ae_jax.distributions.base import Distribution
from ae_jax.distributions.gaussian import DiagonalGaussian
from ae_jax.numerics.softplus import softplus

# 1 + u.w of a planar map stays above this: the determinant's logarithm stays finite.
MIN_STRETCH = 1e-3
# Below this square of its length, w gives no direction in which u could be corrected.
MIN_SQUARE = 1e-12
# One coupling map stretches by no more than e to this power.
MAX_LOG_STRETCH = 2.0


@struct.dataclass
class Flow(Distribution):
    """Base of flows. A subclass defines `forward`: base codes [K, B, Z] -> codes and log det."""

    base: DiagonalGaussian

    def forward(self, z: Array) -> tuple[Array, Array]:
        raise NotImplementedError(f"{type(self).__name__} does not define forward")

    def mean(self) -> Array:
        """The image of the base's mean, [B, Z]. It is not the expectation, which is not known."""
        return self.forward(self.base.mean()[None])[0][0]

    def sample(self, keys: Array, num_samples: int, first: Array | int = 0) -> Array:
        """Reparameterised draws, [K, B, Z]."""
        return self.forward(self.base.sample(keys, num_samples, first))[0]

    def sample_and_log_prob(
        self, keys: Array, num_samples: int, first: Array | int = 0
    ) -> tuple[Array, Array]:
        z = self.base.sample(keys, num_samples, first)
        value, log_det = self.forward(z)
        return value, self.base.log_prob(z) - log_det


@struct.dataclass
class PlanarFlow(Flow):
    """T maps z + u tanh(w.z + b) of a normal code (Rezende & Mohamed 2015, Eq. 10).

    `u`, `w` are [B, T, Z] and `b` [B, T]; or [T, Z] and [T], for all examples. u is corrected along
    w so that each map is invertible (App. A.1).
    """

    u: Array
    w: Array
    b: Array

    def forward(self, z: Array) -> tuple[Array, Array]:
        def step(carry: tuple[Array, Array], maps: tuple) -> tuple[tuple[Array, Array], None]:
            z, total = carry
            u, w, b, slope = maps  # [B, Z] and [B], or 1 for B
            squashed = jnp.tanh(jnp.sum(w[None] * z, axis=-1) + b[None])
            flat = jnp.square(squashed)
            # 1 + (1 - tanh^2) u.w, as a sum of what is positive
            log_det = jnp.log(flat + (1.0 - flat) * slope[None])
            return (z + u[None] * squashed[..., None], total + log_det), None

        start = z, jnp.zeros(z.shape[:-1], z.dtype)
        return jax.lax.scan(step, start, self._maps())[0]

    def log_prob(self, value: Array) -> Array:
        raise UserError(
            "a planar flow has no closed inverse: it knows the density of what it draws itself, "
            "by sample_and_log_prob, and of nothing else"
        )

    def _maps(self) -> tuple[Array, ...]:
        """u as corrected, w, b and 1 + u.w, all with the T maps first."""
        dot, square = jnp.sum(self.u * self.w, axis=-1), jnp.sum(jnp.square(self.w), axis=-1)
        has_direction = square > MIN_SQUARE
        slope = jnp.where(has_direction, MIN_STRETCH + softplus(dot), 1.0 + dot)
        missing = (slope - 1.0 - dot) / jnp.where(has_direction, square, 1.0)
        u = self.u + missing[..., None] * self.w
        return _maps_first(2, u, self.w) + _maps_first(1, self.b, slope)


@struct.dataclass
class CouplingFlow(Flow):
    """T affine coupling maps of a normal code (Dinh et al. 2017, Eq. 7-8).

    Each keeps every other dimension and scales and shifts the rest by a network of what it keeps,
    with W hidden units: tanh(z H + h) O + o. `hidden_kernel` H is [T, Z, W], `out_kernel` O
    [T, W, 2 Z], `out_bias` o [T, 2 Z]. `hidden_bias` h is [T, W], or an example's own, [B, T, W].
    """

    hidden_kernel: Array
    hidden_bias: Array
    out_kernel: Array
    out_bias: Array

    def forward(self, z: Array) -> tuple[Array, Array]:
        def step(carry: tuple[Array, Array], maps: tuple) -> tuple[tuple[Array, Array], None]:
            z, total = carry
            log_stretch, shift = _coupling(z, *maps)
            return (z * jnp.exp(log_stretch) + shift, total + jnp.sum(log_stretch, -1)), None

        return jax.lax.scan(step, (z, jnp.zeros(z.shape[:-1], z.dtype)), self._maps())[0]

    def inverse(self, value: Array) -> tuple[Array, Array]:
        """Codes [K, B, Z] -> base codes, and the log determinant of the map forward, [K, B]."""

        def step(carry: tuple[Array, Array], maps: tuple) -> tuple[tuple[Array, Array], None]:
            z, total = carry
            log_stretch, shift = _coupling(z, *maps)
            return ((z - shift) * jnp.exp(-log_stretch), total + jnp.sum(log_stretch, -1)), None

        start = value, jnp.zeros(value.shape[:-1], value.dtype)
        return jax.lax.scan(step, start, self._maps(), reverse=True)[0]

    def log_prob(self, value: Array) -> Array:
        """[..., B, Z] -> [..., B], nats, by the inverse."""
        z, log_det = self.inverse(value.reshape(-1, *value.shape[-2:]))
        return (self.base.log_prob(z) - log_det).reshape(value.shape[:-1])

    def _maps(self) -> tuple[Array, ...]:
        length, dim = self.hidden_kernel.shape[:2]
        keeps = (jnp.arange(dim)[None] + jnp.arange(length)[:, None]) % 2 == 0  # [T, Z]
        biases = _maps_first(2, self.hidden_bias)
        return keeps, self.hidden_kernel, *biases, self.out_kernel, self.out_bias


def _coupling(
    z: Array, keeps: Array, hidden_kernel: Array, hidden_bias: Array, out_kernel: Array, out: Array
) -> tuple[Array, Array]:
    """Log factors and shifts of codes [K, B, Z], 0 where they are kept."""
    keeps = keeps[None, None]
    hidden = jnp.tanh(jnp.where(keeps, z, 0.0) @ hidden_kernel + hidden_bias[None])
    raw, shift = jnp.split(hidden @ out_kernel + out[None, None], 2, axis=-1)
    log_stretch = MAX_LOG_STRETCH * jnp.tanh(raw / MAX_LOG_STRETCH)
    return jnp.where(keeps, 0.0, log_stretch), jnp.where(keeps, 0.0, shift)


def _maps_first(ndims: int, *parameters: Array) -> tuple[Array, ...]:
    """[B, T, ...] -> [T, B, ...], and [T, ...] -> [T, 1, ...], `ndims` axes from T on."""
    return tuple(p[:, None] if p.ndim == ndims else jnp.moveaxis(p, 1, 0) for p in parameters)
