"""What Stirling's formula leaves of the logarithm of the gamma function.

Densities of counts subtract logarithms of gamma functions that are far larger than the result.
With Stirling's formula taken out of each, the large parts cancel on paper (Loader 2000).
"""

import math

import jax
import jax.numpy as jnp
from jax import Array

HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)
_LARGE = 8.0  # from here on three terms of the series are exact in float32


def stirling_error(x: Array) -> Array:
    """log Gamma(x) - ((x - 1/2) log x - x + log(2 pi) / 2), elementwise, for x > 0."""
    small, large = jnp.minimum(x, _LARGE), jnp.maximum(x, _LARGE)
    direct = jax.lax.lgamma(small) - (small - 0.5) * jnp.log(small) + small - HALF_LOG_TWO_PI
    inverse = 1.0 / large
    square = jnp.square(inverse)
    series = inverse * (1 / 12 - square * (1 / 360 - square / 1260))
    return jnp.where(x < _LARGE, direct, series)
