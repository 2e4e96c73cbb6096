"""From encoder features [B, F] to a posterior over codes."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from ae_jax.latents import DiagonalGaussian, PointMass

# Far outside what training visits, and inside what float32 can exponentiate and square.
MAX_ABS_LOG_SCALE = 15.0


class GaussianLatent(nn.Module):
    """Mean and log standard deviation, each an affine map of the features."""

    dim: int

    @nn.compact
    def __call__(self, features: Array) -> DiagonalGaussian:
        loc = nn.Dense(self.dim, name="loc")(features)
        # The paper's encoder predicts log sigma^2; the halving keeps its step sizes comparable.
        log_scale = 0.5 * nn.Dense(self.dim, name="log_variance")(features)
        return DiagonalGaussian(loc, jnp.clip(log_scale, -MAX_ABS_LOG_SCALE, MAX_ABS_LOG_SCALE))


class DeterministicLatent(nn.Module):
    """A code without noise, an affine map of the features."""

    dim: int

    @nn.compact
    def __call__(self, features: Array) -> PointMass:
        return PointMass(nn.Dense(self.dim, name="code")(features))
