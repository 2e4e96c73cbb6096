"""From encoder features [B, F] to a posterior over codes.

A latent says what prior its codes have unless another is asked for: `default_prior`. One that
declares `can_pad` has codes in which further dimensions, without weights and switched off, change
nothing.
"""

from typing import ClassVar

import flax.linen as nn
import jax
from jax import Array

from ae_jax.core.ranges import Positive
from ae_jax.distributions import DiagonalGaussian, PointMass, UnitPointMass
from ae_jax.nn.scales import log_scale_of


class GaussianLatent(nn.Module):
    """Mean and log standard deviation, each an affine map of the features.

    `batch_norm` normalises either over the batch, without a scale: of each dimension the means then
    have variance 1 over the batch, so that none falls back to its prior (Srivastava & Sutton 2017,
    Sec. 3.4). `batch_norm_epsilon` is added to its variances.
    """

    dim: int
    batch_norm: bool = False
    batch_norm_epsilon: Positive = 1e-5
    default_prior: ClassVar[str] = "standard_normal"

    @property
    def can_pad(self) -> bool:
        return not self.batch_norm  # its statistics would have to be padded too

    @nn.compact
    def __call__(self, features: Array) -> DiagonalGaussian:
        loc = self._map("loc", features)
        return DiagonalGaussian(loc, log_scale_of(self._map("log_variance", features)))

    def _map(self, name: str, features: Array) -> Array:
        values = nn.Dense(self.dim, use_bias=not self.batch_norm, name=name)(features)
        if not self.batch_norm:
            return values
        epsilon = self.batch_norm_epsilon
        return nn.BatchNorm(use_scale=False, epsilon=epsilon, name=f"norm_{name}")(values)


class DeterministicLatent(nn.Module):
    """A code without noise, an affine map of the features."""

    dim: int
    can_pad: ClassVar[bool] = True
    default_prior: ClassVar[str] = "none"

    @nn.compact
    def __call__(self, features: Array) -> PointMass:
        return PointMass(nn.Dense(self.dim, name="code")(features))


class SigmoidLatent(nn.Module):
    """A deterministic code between 0 and 1."""

    dim: int
    can_pad: ClassVar[bool] = True
    default_prior: ClassVar[str] = "none"

    @nn.compact
    def __call__(self, features: Array) -> UnitPointMass:
        return UnitPointMass(jax.nn.sigmoid(nn.Dense(self.dim, name="code")(features)))


class ReluLatent(nn.Module):
    """A deterministic code of rectified units: what is inactive is 0 exactly."""

    dim: int
    can_pad: ClassVar[bool] = True
    default_prior: ClassVar[str] = "none"

    @nn.compact
    def __call__(self, features: Array) -> PointMass:
        return PointMass(jax.nn.relu(nn.Dense(self.dim, name="code")(features)))
