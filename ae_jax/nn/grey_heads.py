"""Heads for grey levels that give them a density, or a probability for each level."""

import math
from typing import Annotated, Any, ClassVar, cast

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from pydantic import Field

from ae_jax.distributions import (
    OPEN_UNIT_INTERVAL,
    UNIT_INTERVAL,
    Beta,
    Categorical,
    ContinuousBernoulli,
    DiscretisedLogistic,
    Support,
    level_support,
)
from ae_jax.nn.heads import Head
from ae_jax.nn.scales import MAX_LOG_SCALE, bounded
from ae_jax.numerics.softplus import softplus

Levels = Annotated[int, Field(ge=2)]
# A logistic distribution narrower than this, in levels, has all of its mass in one of them.
MIN_LEVEL_SCALE = 1e-2


class LevelsSupport:
    """The support of a head with a field `levels`; asked of the class, that of its default."""

    def __get__(self, head: Any, owner: Any) -> Support:
        return level_support((owner if head is None else head).levels)


class CategoricalHead(Head):
    """A free probability for each of `levels` levels: values are whole numbers from 0 on."""

    levels: Levels = 256
    support: ClassVar[Support] = cast(Support, LevelsSupport())

    @nn.compact
    def __call__(self, features: Array) -> Categorical:
        is_spatial = features.ndim > 2
        values = self.shape[-1] if is_spatial else math.prod(self.shape)
        logits = nn.Dense(values * self.levels, name="logits")(features)
        shape = (features.shape[0], *self.shape, self.levels)
        return Categorical(logits.reshape(shape), len(self.shape))


class DiscretisedLogisticHead(Head):
    """A logistic distribution over `levels` levels, whole numbers from 0 on, a pixel.

    The mean is predicted in units of half the range, about its middle, as in Salimans et al. 2017;
    so is the scale, which starts at `scale` of these.
    """

    levels: Levels = 256
    support: ClassVar[Support] = cast(Support, LevelsSupport())
    has_scale: ClassVar[bool] = True

    @nn.compact
    def __call__(self, features: Array) -> DiscretisedLogistic:
        half = (self.levels - 1) / 2
        loc = half * (1.0 + self.project(features, "mean"))
        raw = self.project(features, "log_scale") + math.log(self.scale * half)
        log_scale = jnp.logaddexp(jnp.minimum(raw, MAX_LOG_SCALE), math.log(MIN_LEVEL_SCALE))
        return DiscretisedLogistic(loc, log_scale, self.levels, len(self.shape))


class BetaHead(Head):
    """Grey levels strictly between 0 and 1, from the logit of the mean and a log precision.

    Where both maps give 0, it is uniform.
    """

    support: ClassVar[Support] = OPEN_UNIT_INTERVAL

    @nn.compact
    def __call__(self, features: Array) -> Beta:
        logits = self.project(features, "logits")
        log_precision = self.project(features, "log_precision") + math.log(2.0)
        log_alpha = bounded(log_precision - softplus(-logits))
        log_beta = bounded(log_precision - softplus(logits))
        return Beta(log_alpha, log_beta, len(self.shape))


class ContinuousBernoulliHead(Head):
    """Grey levels from 0 to 1: the cross-entropy with the normaliser that makes it a density."""

    support: ClassVar[Support] = UNIT_INTERVAL

    @nn.compact
    def __call__(self, features: Array) -> ContinuousBernoulli:
        return ContinuousBernoulli(self.project(features, "logits"), len(self.shape))
