"""Perplexity of held-out documents: exp of the negative log likelihood of a word.

A bound on it from the ELBO, and document completion: half of the words of a document are seen, the
others are predicted. Both are of words one after another: the number of orders in which they
can stand does not count.
"""

import dataclasses
import math
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from jax import Array
from pydantic import Field

from ae_jax.core.errors import UserError
from ae_jax.core.fields import Checked
from ae_jax.core.ranges import Count
from ae_jax.data.passes import EvaluationData
from ae_jax.distributions import Multinomial
from ae_jax.models import Batch, BoundModel, draw
from ae_jax.numerics.noise import example_keys
from ae_jax.objectives.bound import kl_of

_HALVES = 0x5EED  # the seed of what is seen of each document, the same for every model


def perplexity_bound(
    module: Any, variables: Any, data: EvaluationData, key: Array
) -> dict[str, float]:
    """exp(-sum of the ELBO / number of words), one sample a document: an upper bound on the
    perplexity, over all documents of the split. Raises UserError for a head that is no multinomial,
    and for codes that have no density.
    """
    sums = data.sums(_bound_and_words, module, variables, key)
    return {"perplexity_bound": _perplexity(sums["elbo"], sums["words"])}


def _bound_and_words(model: BoundModel, batch: Batch, key: Array) -> dict[str, Array]:
    draws = draw(model, batch, key, 1)
    if draws.posterior.is_deterministic or draws.prior.is_deterministic:
        raise UserError(
            "the perplexity has a bound where codes are random and have a prior; of this model the "
            "code is deterministic (document_completion needs no bound)"
        )
    log_words = _of_words(draws.likelihood).log_prob(batch["x"]).mean(axis=0)
    return {"elbo": log_words - kl_of(draws), "words": batch["x"].sum(axis=-1)}


@dataclasses.dataclass(frozen=True)
class DocumentCompletion(Checked):
    """Perplexity of the words of a document that the encoder has not seen.

    share         how likely each different word of a document is seen, with all its occurrences;
                  which are, follows from the example's id alone
    num_samples   codes drawn from q(z|seen words)

    A word is predicted by the mean of p(word|z) over the codes, each by itself: what LDA does with
    its mean shares of topics. Returns `completion_perplexity`, over all unseen words of the split.
    """

    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    num_samples: Count = 20

    def __call__(
        self, module: Any, variables: Any, data: EvaluationData, key: Array
    ) -> dict[str, float]:
        """Raises UserError for a head that is no multinomial."""
        sums = data.sums(self.values_of, module, variables, key)
        return {"completion_perplexity": _perplexity(sums["log_prob"], sums["words"])}

    def values_of(self, model: BoundModel, batch: Batch, key: Array) -> dict[str, Array]:
        """{log_prob: nats of all unseen words, words: how many, each [B]} of a batch."""
        seen = seen_words(batch["x"], batch["id"], self.share)
        shown = {**batch, "x": seen}
        posterior, keys = model.encode(shown), example_keys(key, batch["id"])

        def add(total: Array, place: Array) -> tuple[Array, None]:
            z = posterior.sample(keys, 1, place)
            return total + _of_words(model.decode(z, shown)).mean()[0], None

        total, _ = jax.lax.scan(add, jnp.zeros(seen.shape), jnp.arange(self.num_samples))
        unseen = batch["x"] - seen
        tiny = jnp.finfo(total.dtype).tiny
        log_prob = unseen * jnp.log(jnp.maximum(total / self.num_samples, tiny))
        return {"log_prob": log_prob.sum(axis=-1), "words": unseen.sum(axis=-1)}


def seen_words(counts: Array, ids: Array, share: float = 0.5) -> Array:
    """Counts of documents [B, V] where a word is seen, and 0 where it is not: float32."""
    keys = example_keys(jax.random.key(_HALVES), ids)
    seen = jax.vmap(lambda key: jax.random.bernoulli(key, share, counts.shape[1:]))(keys)
    return jnp.where(seen, counts.astype(jnp.float32), 0.0)


def _of_words(likelihood: Any) -> Multinomial:
    """The likelihood of the words one after another. Raises UserError for any but a multinomial."""
    if not isinstance(likelihood, Multinomial):
        raise UserError(
            f"the perplexity is that of words under a multinomial, and p(x|z) is "
            f"{type(likelihood).__name__}: choose model.head=multinomial or topic_mixture"
        )
    return dataclasses.replace(likelihood, with_coefficient=False, totals=None)


def _perplexity(log_prob: Any, words: Any) -> float:
    if not words > 0:
        raise UserError("the perplexity of documents without a word is not defined")
    return math.exp(-float(log_prob) / float(words))
