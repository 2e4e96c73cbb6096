"""Priors p(z) over codes: modules that give a distribution, with parameters or without.

A prior asks for what it needs by a keyword of its `__call__`: `condition` [B, ...], where the model
is conditioned, and `encode`, a function from data to q(z|x) for those that are made of posteriors.
One that declares `can_pad` has further dimensions that can be switched off (`restricted`).
"""

from collections.abc import Callable
from typing import Annotated, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from pydantic import Field

from ae_jax.core.errors import UserError
from ae_jax.core.ranges import Count, Positive
from ae_jax.distributions import DiagonalGaussian, NoPrior, StandardNormal
from ae_jax.distributions.mixture import GaussianMixture
from ae_jax.nn.forward import looking
from ae_jax.nn.scales import bounded, log_scale_of

Sizes = tuple[Count, ...]


class NonePrior(nn.Module):
    """No prior: for deterministic codes, which are what the encoder makes them."""

    dim: int
    can_pad: ClassVar[bool] = True

    def __call__(self) -> NoPrior:
        return NoPrior(self.dim)


class StandardNormalPrior(nn.Module):
    """N(0, I)."""

    dim: int
    can_pad: ClassVar[bool] = True

    def __call__(self) -> StandardNormal:
        return StandardNormal(self.dim)


class NormalPrior(nn.Module):
    """N(loc, scale^2) in each dimension; with `learned`, each has a mean and a scale of its own.

    loc, scale   where all dimensions start, or stay
    """

    dim: int
    loc: float = 0.0
    scale: Positive = 1.0
    learned: bool = True
    can_pad: ClassVar[bool] = True

    @nn.compact
    def __call__(self) -> DiagonalGaussian:
        loc = jnp.full((1, self.dim), float(self.loc))
        log_scale = jnp.log(jnp.full((1, self.dim), float(self.scale)))
        if self.learned:
            loc = loc + self.param("loc", nn.initializers.zeros, (1, self.dim))
            log_scale = log_scale + self.param("log_scale", nn.initializers.zeros, (1, self.dim))
        return DiagonalGaussian(loc, bounded(log_scale))


class NetworkPrior(nn.Module):
    """N(loc(c), scale(c)^2) given the condition c, by a network (Sohn et al. 2015, Sec. 4).

    hidden   sizes of its layers, with rectified units
    """

    dim: int
    hidden: Sizes = (500,)

    @nn.compact
    def __call__(self, condition: Array | None = None) -> DiagonalGaussian:
        if condition is None:
            raise UserError(
                "model.prior=network needs a condition: set model.condition, and model.into to "
                "parts of which prior is one"
            )
        h = condition.reshape(condition.shape[0], -1)
        for i, size in enumerate(self.hidden):
            h = jax.nn.relu(nn.Dense(size, name=f"dense_{i}")(h))
        loc = nn.Dense(self.dim, name="loc")(h)
        return DiagonalGaussian(loc, log_scale_of(nn.Dense(self.dim, name="log_variance")(h)))


class MixturePrior(nn.Module):
    """A mixture of `components` diagonal Gaussians with learned weights, means and scales.

    spread   standard deviation of the means at the start
    """

    dim: int
    components: Count = 10
    spread: Positive = 1.0
    can_pad: ClassVar[bool] = True

    @nn.compact
    def __call__(self) -> GaussianMixture:
        shape = (self.components, self.dim)
        logits = self.param("logits", nn.initializers.zeros, (self.components,))
        loc = self.param("loc", nn.initializers.normal(self.spread), shape)
        log_scale = self.param("log_scale", nn.initializers.zeros, shape)
        return GaussianMixture(
            jax.nn.log_softmax(logits),
            loc,
            bounded(log_scale),
        )


class VampPrior(nn.Module):
    """The mean of q(z|u) over `components` learned pseudo-inputs u (Tomczak & Welling 2018, Eq. 9).

    start, spread   mean and standard deviation of the values of u at the start
    unit            keeps them between 0 and 1, where the data are
    """

    dim: int
    shape: tuple[int, ...]
    components: Count = 500
    start: float = 0.5
    spread: Annotated[float, Field(ge=0)] = 0.05
    unit: bool = True
    can_pad: ClassVar[bool] = True

    def check_values(self, low: float, high: float) -> None:
        """Raises UserError for a model that sees values from `low` to `high`, where u has none."""
        if self.unit and (low < 0 or high > 1):
            raise UserError(
                "model.prior.unit=true keeps the pseudo-inputs between 0 and 1, and the model sees "
                f"values from {low:.3g} to {high:.3g}: set model.prior.unit=false, and "
                "model.prior.start and model.prior.spread to their mean and spread"
            )

    @nn.compact
    def __call__(self, encode: Callable[[Array], DiagonalGaussian]) -> GaussianMixture:
        def around(key: Array, shape: tuple[int, ...]) -> Array:
            return self.start + self.spread * jax.random.normal(key, shape)

        inputs = self.param("inputs", around, (self.components, *self.shape))
        with looking():
            posterior = encode(jnp.clip(inputs, 0.0, 1.0) if self.unit else inputs)
        if not isinstance(posterior, DiagonalGaussian):
            raise UserError("model.prior=vamp needs a code that is a diagonal Gaussian")
        weights = jnp.full((self.components,), -jnp.log(float(self.components)))
        return GaussianMixture(weights, posterior.loc, posterior.log_scale)
