"""Distributions of codes and of data, as pytrees: one file a family, one protocol (`base`).

Likelihoods with a field `event_ndims` are of independent values: `replace(event_ndims=0).log_prob`
is the density of each, as missing values need it. A Multinomial has none: its counts share a total.
"""

from ae_jax.distributions.base import (
    BINARY,
    COUNTS,
    REAL_LINE,
    UNIT_INTERVAL,
    Distribution,
    Support,
    check_distribution,
    draw_each,
    known_from,
    noise_for,
)
from ae_jax.distributions.bernoulli import Bernoulli
from ae_jax.distributions.beta import OPEN_UNIT_INTERVAL, Beta
from ae_jax.distributions.categorical import Categorical
from ae_jax.distributions.continuous_bernoulli import ContinuousBernoulli
from ae_jax.distributions.discretised_logistic import DiscretisedLogistic
from ae_jax.distributions.divergence import closed_form, has_kl, has_kl_per_dim, kl, kl_per_dim
from ae_jax.distributions.flow import CouplingFlow, PlanarFlow
from ae_jax.distributions.full_gaussian import FullGaussian
from ae_jax.distributions.gaussian import (
    DiagonalGaussian,
    Gaussian,
    StandardNormal,
    normal_log_density,
)
from ae_jax.distributions.levels import level_support
from ae_jax.distributions.logistic_normal import SIMPLEX, LogisticNormal, dirichlet_laplace
from ae_jax.distributions.mixture import GaussianMixture
from ae_jax.distributions.multinomial import Multinomial
from ae_jax.distributions.negative_binomial import NegativeBinomial
from ae_jax.distributions.one_hot import ONE_HOT, OneHot
from ae_jax.distributions.point import ChosenPointMass, NoPrior, PointMass, UnitPointMass
from ae_jax.distributions.poisson import Poisson

__all__ = [
    "BINARY",
    "Bernoulli",
    "Beta",
    "COUNTS",
    "Categorical",
    "ChosenPointMass",
    "ContinuousBernoulli",
    "CouplingFlow",
    "DiagonalGaussian",
    "DiscretisedLogistic",
    "Distribution",
    "FullGaussian",
    "Gaussian",
    "GaussianMixture",
    "LogisticNormal",
    "Multinomial",
    "NegativeBinomial",
    "NoPrior",
    "ONE_HOT",
    "OPEN_UNIT_INTERVAL",
    "OneHot",
    "PlanarFlow",
    "PointMass",
    "Poisson",
    "REAL_LINE",
    "SIMPLEX",
    "StandardNormal",
    "Support",
    "UNIT_INTERVAL",
    "UnitPointMass",
    "check_distribution",
    "known_from",
    "closed_form",
    "dirichlet_laplace",
    "draw_each",
    "has_kl",
    "has_kl_per_dim",
    "kl",
    "kl_per_dim",
    "level_support",
    "noise_for",
    "normal_log_density",
]
