"""How far logarithms go that networks predict: what float32 can exponentiate and square."""

import jax.numpy as jnp
from jax import Array

# Far outside what training visits.
MAX_LOG_SCALE = 15.0


def bounded(log_value: Array) -> Array:
    """The logarithm of a scale, a rate or a precision, within +-MAX_LOG_SCALE."""
    return jnp.clip(log_value, -MAX_LOG_SCALE, MAX_LOG_SCALE)


def log_scale_of(log_variance: Array) -> Array:
    """log sigma of a predicted log sigma^2, bounded.

    Kingma & Welling's encoder (App. C.2) predicts log sigma^2; the halving keeps its step sizes.
    """
    return bounded(0.5 * log_variance)
