"""Heads: decoder features [N, ..., F] -> a likelihood over data of a given shape.

A head maps the last axis of the features: an MLP's [N, F] to all D values at once, an image
decoder's [N, H, W, F] to the C channels of each pixel.
"""

import math
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from ae_jax.core.errors import UserError
from ae_jax.distributions import REAL_LINE, UNIT_INTERVAL, Bernoulli, Gaussian, Support
from ae_jax.nn.scales import MAX_LOG_SCALE

# Scales stay above this, so that pixels which never vary cannot send the density to infinity,
# and below exp(MAX_LOG_SCALE), so that squares stay finite in float32.
MIN_SCALE = 1e-3


class Head(nn.Module):
    """What heads share: the shape of one example and the dense map onto it.

    `scale` is the standard deviation of a fixed Gaussian, or where a learned one starts; it belongs
    to heads that declare `has_scale`.
    """

    shape: tuple[int, ...]
    scale: float = 1.0
    support: ClassVar[Support] = REAL_LINE
    has_scale: ClassVar[bool] = False

    def project(self, features: Array, name: str) -> Array:
        """Features [N, ..., F] -> one value for each data dimension, [N, *shape]."""
        is_spatial = features.ndim > 2
        outputs = self.shape[-1] if is_spatial else math.prod(self.shape)
        values = nn.Dense(outputs, name=name)(features)
        return values.reshape(features.shape[0], *self.shape)


class BernoulliHead(Head):
    """Bernoulli pixels from logits."""

    support: ClassVar[Support] = UNIT_INTERVAL

    @nn.compact
    def __call__(self, features: Array) -> Bernoulli:
        return Bernoulli(self.project(features, "logits"), len(self.shape))


class FixedGaussianHead(Head):
    """Gaussian with the fixed standard deviation `scale`: squared error, up to constants."""

    has_scale: ClassVar[bool] = True

    @nn.compact
    def __call__(self, features: Array) -> Gaussian:
        log_scale = jnp.log(jnp.asarray(self.scale, features.dtype))
        return Gaussian(self.project(features, "mean"), log_scale, len(self.shape))


class GlobalGaussianHead(Head):
    """Gaussian with one learned standard deviation for all dimensions, starting at `scale`."""

    has_scale: ClassVar[bool] = True

    def check_start(self) -> None:
        """Raises UserError for a scale that cannot be started from; what was trained opens."""
        if self.scale <= MIN_SCALE:
            raise UserError(
                f"model.head_scale={self.scale:g} is no start of a scale that stays above "
                f"{MIN_SCALE:g}"
            )

    @nn.compact
    def __call__(self, features: Array) -> Gaussian:
        # What `bounded_log_scale` adds is taken off first, so that the scale starts as asked for.
        start = nn.initializers.constant(math.log(max(self.scale - MIN_SCALE, MIN_SCALE * 1e-3)))
        raw = self.param("log_scale", start, (), features.dtype)
        return Gaussian(self.project(features, "mean"), bounded_log_scale(raw), len(self.shape))


class GaussianHead(Head):
    """Gaussian whose mean and standard deviation are both predicted, for each dimension."""

    @nn.compact
    def __call__(self, features: Array) -> Gaussian:
        log_scale = bounded_log_scale(self.project(features, "log_scale"))
        return Gaussian(self.limit_mean(self.project(features, "mean")), log_scale, len(self.shape))

    def limit_mean(self, mean: Array) -> Array:
        return mean


class SigmoidGaussianHead(GaussianHead):
    """As `GaussianHead`, the mean limited to (0, 1) (Kingma & Welling 2014, Sec. 5, Frey Face)."""

    support: ClassVar[Support] = UNIT_INTERVAL

    def limit_mean(self, mean: Array) -> Array:
        return jax.nn.sigmoid(mean)


def bounded_log_scale(raw: Array) -> Array:
    """log(exp(raw) + MIN_SCALE), raw limited above: finite, and smooth where fits end up."""
    return jnp.logaddexp(jnp.minimum(raw, MAX_LOG_SCALE), math.log(MIN_SCALE))
