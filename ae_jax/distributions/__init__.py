"""Distributions of codes and of data, as pytrees: one file a family, one protocol (`base`)."""

from ae_jax.distributions.base import (
    BINARY,
    COUNTS,
    REAL_LINE,
    UNIT_INTERVAL,
    Distribution,
    Support,
    check_distribution,
    draw_each,
    noise_for,
)
from ae_jax.distributions.bernoulli import Bernoulli
from ae_jax.distributions.divergence import closed_form, has_kl, has_kl_per_dim, kl, kl_per_dim
from ae_jax.distributions.gaussian import (
    DiagonalGaussian,
    Gaussian,
    StandardNormal,
    normal_log_density,
)
from ae_jax.distributions.point import NoPrior, PointMass, UnitPointMass

__all__ = [
    "BINARY",
    "COUNTS",
    "REAL_LINE",
    "UNIT_INTERVAL",
    "Bernoulli",
    "DiagonalGaussian",
    "Distribution",
    "Gaussian",
    "NoPrior",
    "PointMass",
    "StandardNormal",
    "Support",
    "UnitPointMass",
    "check_distribution",
    "closed_form",
    "draw_each",
    "has_kl",
    "has_kl_per_dim",
    "kl",
    "kl_per_dim",
    "noise_for",
    "normal_log_density",
]
