"""What topics are like: do their words belong together, and do they differ from each other.

A topic is a row of weights over the words of a vocabulary, [K, V], and its words are those of the
largest weights. Coherence alone is no measure of a model: fifty times the same topic has it. It is
never given without diversity.
"""

import dataclasses
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int, Real
from pydantic import Field

from ae_jax.core.errors import UserError
from ae_jax.core.fields import Checked
from ae_jax.core.ranges import Count
from ae_jax.data.passes import EvaluationData
from ae_jax.distributions import COUNTS
from ae_jax.models import Batch, BoundModel

Unmet = Annotated[float, Field(ge=-1, le=1)] | Literal["smoothed"]
_SMOOTHING = 1e-12  # gensim's


@dataclasses.dataclass(frozen=True)
class TopicQuality(Checked):
    """Coherence of topics by NPMI over documents, and their diversity.

    words             so many of each topic are compared, all pairs of them
    unmet             what a pair scores that is in no document together: -1, the limit, by default;
                      0, as if it were independent; or "smoothed", for 1e-12 added to the share of
                      documents that hold both, as gensim does, which gives about -0.6
    diversity_words   so many of each topic are counted for the diversity

    The documents are those of the evaluated split, and a word is in one or not. Returns
    `topic_coherence`, the mean of all topics, and `topic_diversity`, the share of different words
    among the first of all topics (Dieng et al. 2020). The rule decides the number: with other rules
    for pairs that do not meet, or windows over texts in place of documents, it is another one.
    """

    words: Count = 10
    unmet: Unmet = -1.0
    diversity_words: Count = 25

    def __call__(
        self, module: Any, variables: Any, data: EvaluationData, key: Array
    ) -> dict[str, float]:
        """Raises UserError for data that are no counts, and for a model without topics."""
        weights = topics_of(module, variables)
        return {
            "topic_coherence": float(self.by_topic(module, variables, data, key).mean()),
            "topic_diversity": diversity(weights, self.diversity_words),
        }

    def by_topic(self, module: Any, variables: Any, data: EvaluationData, key: Array) -> np.ndarray:
        """The coherence of each topic, [K]."""
        top = top_words(topics_of(module, variables), self.words)
        sums = data.sums(_meetings, module, variables, key, jnp.asarray(top))
        if sums["no_counts"] > 0:
            raise UserError("topics are of counts of words, and the data are no counts")
        return coherence(sums["together"], len(data.split), self.unmet)


def _meetings(model: BoundModel, batch: Batch, key: Array, top: Array) -> dict[str, Array]:
    """Which of the words [K, T] of each topic are in a document together, [B, K, T, T]."""
    x = batch["x"]
    present = (x[:, top] > 0).astype(jnp.float32)
    return {
        "together": present[..., :, None] * present[..., None, :],
        "no_counts": 1.0 - jnp.all(COUNTS.contains(x), axis=-1),
    }


def topics_of(module: Any, variables: Any) -> Float[np.ndarray, "K V"]:
    """The weights of words in the topics of a model, [K, V]. Raises UserError where it has none.

    A model has topics if it has a method `topics() -> [K, V]`.
    """
    return np.asarray(BoundModel(module, variables).call("topics", {}))


def top_words(weights: Real[np.ndarray, "K V"], count: int) -> Int[np.ndarray, "K {count}"]:
    """The columns of the largest weights of each row, [K, V] -> [K, count], the largest first.

    Ties go to the first column. Raises UserError for more words than there are.
    """
    if count > weights.shape[1]:
        raise UserError(f"{count} words of a topic, and the vocabulary has {weights.shape[1]}")
    return np.argsort(-weights, axis=1, kind="stable")[:, :count]


def diversity(weights: Real[np.ndarray, "K V"], count: int = 25) -> float:
    """The share of different words among the first `count` of all topics [K, V], from 1/K to 1."""
    top = top_words(weights, count)
    return len(np.unique(top)) / top.size


def topic_coherence(
    weights: Real[np.ndarray, "K V"], counts: Any, words: int = 10, unmet: float | str = -1.0
) -> Float[np.ndarray, " K"]:
    """The coherence of each topic [K, V] over documents [N, V], dense or of scipy: [K]."""
    top = top_words(weights, words)
    together = []
    for topic in top:
        part = counts[:, topic]
        present = np.asarray((part.toarray() if hasattr(part, "toarray") else part) > 0, np.float64)
        together.append(present.T @ present)
    return coherence(np.stack(together), counts.shape[0], unmet)


def coherence(
    together: Real[np.ndarray, "K T T"], documents: int, unmet: float | str = -1.0
) -> Float[np.ndarray, " K"]:
    """The mean NPMI of all pairs of the words of each topic, [K].

    `together` [K, T, T] are documents of `documents` that hold both words, of one word on the
    diagonal. Raises UserError for a single word.
    """
    words = together.shape[-1]
    if words < 2:
        raise UserError("the coherence of a topic needs two words of it or more")
    together = np.asarray(together, np.float64)
    first, second = np.triu_indices(words, 1)
    alone = np.diagonal(together, axis1=-2, axis2=-1)
    pairs = npmi(together[:, first, second], alone[:, first], alone[:, second], documents, unmet)
    return pairs.mean(axis=-1)


def npmi(
    both: Real[np.ndarray, "*pairs"],
    first: Real[np.ndarray, "*pairs"],
    second: Real[np.ndarray, "*pairs"],
    documents: int,
    unmet: float | str = -1.0,
) -> Float[np.ndarray, "*pairs"]:
    """Normalised pointwise mutual information of two words, log(p12 / (p1 p2)) / -log p12, in
    [-1, 1], from the numbers of documents that hold both, the first, and the second (Bouma 2009).

    -1 for words that are never in one document together and 1 for words that always are, by their
    limits; `unmet` replaces the former.
    """
    p12, p1, p2 = (np.asarray(count, np.float64) / documents for count in (both, first, second))
    if unmet == "smoothed":
        known = (p1 > 0) & (p2 > 0)
        ratio = (p12 + _SMOOTHING) / np.where(known, p1 * p2, 1.0)
        # Of a word that no document holds gensim says nothing, which is 0.
        return np.where(known, np.log(ratio) / -np.log(p12 + _SMOOTHING), 0.0)
    meets, always = p12 > 0, p12 >= 1.0
    inside = meets & ~always
    p12, product = np.where(inside, p12, 0.5), np.where(inside, p1 * p2, 0.25)
    value = np.log(p12 / product) / -np.log(p12)
    return np.where(inside, value, np.where(always, 1.0, unmet))


def matched(
    topics: Real[np.ndarray, "M V"], known: Real[np.ndarray, "K V"]
) -> tuple[Int[np.ndarray, " K"], Float[np.ndarray, " K"]]:
    """For each known topic [K, V] the found one [M >= K, V] that belongs to it, and their cosine.

    Both [K]; the assignment of the largest sum of cosines (the Hungarian method). Rows are
    distributions over words, so that cosines are between 0 and 1.
    """
    from scipy.optimize import linear_sum_assignment

    def unit(rows: np.ndarray) -> np.ndarray:
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    cosines = unit(known) @ unit(topics).T
    rows, columns = linear_sum_assignment(-cosines)
    return columns, cosines[rows, columns]


def shares(weights: Real[np.ndarray, "K V"]) -> Float[np.ndarray, "K V"]:
    """Topics as distributions over words: softmax of their weights, [K, V]."""
    return np.asarray(jax.nn.softmax(jnp.asarray(weights), axis=-1))
