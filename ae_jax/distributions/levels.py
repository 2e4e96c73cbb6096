"""Values that are whole-number levels 0, ..., L - 1, such as the grey levels of 8 bits."""

import jax.numpy as jnp
from jax import Array

from ae_jax.distributions.base import Support


def level_support(levels: int) -> Support:
    """Whole numbers from 0 to levels - 1."""
    return Support(f"whole numbers from 0 to {levels - 1}", 0.0, levels - 1.0, integer=True)


def inside_or(value: Array, support: Support, stand_in: float) -> tuple[Array, Array]:
    """Which values are in the support, and the values with a stand-in for those that are not.

    What is computed of a stand-in has a finite gradient, and is then thrown away.
    """
    inside = support.contains(value)
    return inside, jnp.where(inside, value, stand_in)
