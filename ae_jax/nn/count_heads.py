"""Heads for counts: how many times something happened, or a word stood in a text."""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from ae_jax.core.errors import UserError
from ae_jax.distributions import COUNTS, Multinomial, NegativeBinomial, Poisson, Support
from ae_jax.nn.heads import MAX_LOG_SCALE, Head


class PoissonHead(Head):
    """Independent counts whose variance is their mean, from the logarithm of the mean."""

    support: ClassVar[Support] = COUNTS

    @nn.compact
    def __call__(self, features: Array) -> Poisson:
        log_rate = jnp.minimum(self.project(features, "log_rate"), MAX_LOG_SCALE)
        return Poisson(log_rate, len(self.shape))


class NegativeBinomialHead(Head):
    """Independent counts with a mean and a dispersion, both predicted for each dimension."""

    support: ClassVar[Support] = COUNTS

    @nn.compact
    def __call__(self, features: Array) -> NegativeBinomial:
        log_mean = _within(self.project(features, "log_mean"))
        log_dispersion = _within(self.project(features, "log_dispersion"))
        return NegativeBinomial(log_mean, log_dispersion, len(self.shape))


class MultinomialHead(Head):
    """Counts of the words of a text, given their total, from one logit a word.

    with_coefficient   whether log_prob counts the orders in which the words can stand: it is then
                       that of the counts, and else that of the words one after another, of which
                       the perplexity is made and which topic models report
    """

    with_coefficient: bool = False
    support: ClassVar[Support] = COUNTS

    @nn.compact
    def __call__(self, features: Array) -> Multinomial:
        if len(self.shape) != 1:
            raise UserError(
                f"head 'multinomial' is for vectors of counts; the examples have shape {self.shape}"
            )
        logits = self.project(features, "logits")
        return Multinomial(logits, with_coefficient=self.with_coefficient)


def _within(log_value: Array) -> Array:
    """Inside what float32 can exponentiate and square."""
    return jnp.clip(log_value, -MAX_LOG_SCALE, MAX_LOG_SCALE)
