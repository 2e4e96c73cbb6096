"""Heads for counts: how many times something happened, or a word stood in a text."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from ae_jax.core.errors import UserError
from ae_jax.core.ranges import Positive
from ae_jax.distributions import COUNTS, Multinomial, NegativeBinomial, Poisson, Support
from ae_jax.nn.heads import Head
from ae_jax.nn.scales import MAX_LOG_SCALE, bounded

_LEAST_SHARE = 1e-10  # of a word among those of a text; what the authors' code adds


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
        log_mean = bounded(self.project(features, "log_mean"))
        log_dispersion = bounded(self.project(features, "log_dispersion"))
        return NegativeBinomial(log_mean, log_dispersion, len(self.shape))


class MultinomialHead(Head):
    """Counts of the words of a text, given their total, from one logit a word.

    with_coefficient   whether log_prob counts the orders in which the words can stand: it is then
                       that of the counts, and else that of the words one after another, of which
                       the perplexity is made and which topic models report
    batch_norm         normalises the logits over the batch, without a scale; on shares of topics
                       this is ProdLDA, a product of experts (Srivastava & Sutton 2017)
    batch_norm_epsilon is added to its variances, which are small where words are rare
    """

    with_coefficient: bool = False
    batch_norm: bool = False
    batch_norm_epsilon: Positive = 1e-5
    support: ClassVar[Support] = COUNTS

    @nn.compact
    def __call__(self, features: Array) -> Multinomial:
        _check_vectors("multinomial", self.shape)
        if self.batch_norm:
            logits = nn.Dense(self.shape[0], use_bias=False, name="logits")(features)
            epsilon = self.batch_norm_epsilon
            logits = nn.BatchNorm(use_scale=False, epsilon=epsilon, name="norm")(logits)
        else:
            logits = self.project(features, "logits")
        return Multinomial(logits, with_coefficient=self.with_coefficient)

    def topics(self) -> Array:
        """What each feature adds to the logits of the words, [F, V]."""
        return self.variables["params"]["logits"]["kernel"]


class TopicMixtureHead(Head):
    """Counts of the words of a text, given their total, from its shares of topics, [N, F].

    Each topic is a distribution over words, and the text mixes them: LDA and, with an encoder,
    NVLDA (Srivastava & Sutton 2017). Features are shares, as of the decoder `softmax`; those that
    dropout has left are taken as all there are.

    with_coefficient   as of `MultinomialHead`
    standardised       of each word the weights are standardised over the topics before their
                       softmax, as in the authors' code, and one bias a word is added
    """

    with_coefficient: bool = False
    standardised: bool = True
    support: ClassVar[Support] = COUNTS

    @nn.compact
    def __call__(self, features: Array) -> Multinomial:
        _check_vectors("topic_mixture", self.shape)
        size = features.shape[-1], self.shape[0]
        self.param("kernel", nn.initializers.glorot_uniform(), size)
        if self.standardised:
            self.param("bias", nn.initializers.zeros, size[1:])
        shares = features @ jnp.exp(self.topics())
        # Log shares are logits; none so small that its logarithm or the gradient runs away.
        return Multinomial(
            jnp.log(jnp.maximum(shares, _LEAST_SHARE)), with_coefficient=self.with_coefficient
        )

    def topics(self) -> Array:
        """The logarithms of the topics' distributions over words, [F, V]."""
        own = self.variables["params"]
        weights = own["kernel"]
        if self.standardised:
            weights = jax.nn.standardize(weights, axis=0, epsilon=1e-3) + own["bias"][None]
        return jax.nn.log_softmax(weights, axis=-1)


def _check_vectors(name: str, shape: tuple[int, ...]) -> None:
    if len(shape) != 1:
        raise UserError(f"head {name!r} is for vectors of counts; the examples have shape {shape}")
