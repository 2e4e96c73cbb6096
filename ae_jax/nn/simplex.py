"""Codes that are one of Z, or shares of Z: posteriors and the priors that belong to them."""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from ae_jax.core.errors import UserError
from ae_jax.core.ranges import Positive
from ae_jax.distributions import DiagonalGaussian, LogisticNormal, OneHot, dirichlet_laplace
from ae_jax.nn.scales import log_scale_of


class OneHotLatent(nn.Module):
    """One of `dim`: the cluster of an example, as a one-hot code.

    Its samples are not reparameterised: no gradient of the reconstruction reaches the encoder
    through them.
    """

    dim: int
    default_prior: ClassVar[str] = "one_hot"

    @nn.compact
    def __call__(self, features: Array) -> OneHot:
        return OneHot(nn.Dense(self.dim, name="logits")(features))


class LogisticNormalLatent(nn.Module):
    """Shares of `dim` that add up to 1, as of topics in a text: softmax([z, 0]) of a Gaussian z."""

    dim: int
    default_prior: ClassVar[str] = "logistic_normal"

    @nn.compact
    def __call__(self, features: Array) -> LogisticNormal:
        free = _free(self.dim)
        loc = nn.Dense(free, name="loc")(features)
        return LogisticNormal(loc, log_scale_of(nn.Dense(free, name="log_variance")(features)))


class OneHotPrior(nn.Module):
    """Weights of `dim` clusters, equal at the start; they stay so unless `learned`."""

    dim: int
    learned: bool = True

    @nn.compact
    def __call__(self) -> OneHot:
        logits = jnp.zeros((1, self.dim))
        if self.learned:
            logits = logits + self.param("logits", nn.initializers.zeros, (1, self.dim))
        return OneHot(logits)


class LogisticNormalPrior(nn.Module):
    """softmax([z, 0]) of z ~ N(0, scale^2): shares of `dim`, about equal ones."""

    dim: int
    scale: Positive = 1.0

    def __call__(self) -> LogisticNormal:
        loc = jnp.zeros((1, _free(self.dim)))
        return LogisticNormal(loc, jnp.log(jnp.full_like(loc, self.scale)))


class DirichletPrior(nn.Module):
    """For Gaussian codes whose softmax are shares: a Dirichlet of equal concentrations, by its
    Laplace approximation (Srivastava & Sutton 2017, Sec. 3.2)."""

    dim: int
    concentration: Positive = 1.0

    def __call__(self) -> DiagonalGaussian:
        _free(self.dim)
        return dirichlet_laplace(jnp.full((self.dim,), float(self.concentration)))


def _free(dim: int) -> int:
    """Of so many shares, how many are free. Raises UserError for a single one, which is 1."""
    if dim < 2:
        raise UserError("shares that add up to 1 need model.latent_dim=2 or more")
    return dim - 1
