"""Distributions of codes and of data, as pytrees: one file a family."""

from ae_jax.distributions.latents import DiagonalGaussian, PointMass, StandardNormal, UnitPointMass
from ae_jax.distributions.likelihoods import (
    REAL_LINE,
    UNIT_INTERVAL,
    Bernoulli,
    Gaussian,
    Support,
    normal_log_density,
)

__all__ = [
    "REAL_LINE",
    "UNIT_INTERVAL",
    "Bernoulli",
    "DiagonalGaussian",
    "Gaussian",
    "PointMass",
    "StandardNormal",
    "Support",
    "UnitPointMass",
    "normal_log_density",
]
