"""Documents drawn from latent Dirichlet allocation, so that the topics are known.

Blei, Ng & Jordan 2003: each topic is a distribution over words, drawn from a Dirichlet; a document
draws the proportions of its topics from another, its length, and each word from one topic.
"""

import dataclasses
from pathlib import Path

import numpy as np

from ae_jax.data.base import Facts, Split
from ae_jax.data.protocols import Stored, hold_out_rows
from ae_jax.data.sources.cache import Log

SOURCES = ("prepared files", "drawn by the library, with known topics")


@dataclasses.dataclass(frozen=True)
class TopicSettings:
    """The sizes of a corpus and the concentrations of its two Dirichlet distributions."""

    documents: int = 3000
    words: int = 500
    topics: int = 10
    mean_length: float = 100.0  # words of a document, Poisson
    proportions: float = 0.1  # so that few topics share a document
    distinctness: float = 0.05  # so that few words make a topic
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Corpus:
    """`counts` [N, V] of words, `topics` [K, V] and `proportions` [N, K]; rows of both sum to 1."""

    counts: np.ndarray
    topics: np.ndarray
    proportions: np.ndarray


def draw_corpus(settings: TopicSettings = TopicSettings()) -> Corpus:
    """Documents by the generative model, the same at every call and on every machine."""
    s = settings
    rng = np.random.RandomState(s.seed)  # its streams are frozen for good
    topics = rng.dirichlet(np.full(s.words, s.distinctness), s.topics)
    proportions = rng.dirichlet(np.full(s.topics, s.proportions), s.documents)
    lengths = np.maximum(1, rng.poisson(s.mean_length, s.documents))
    mixed = proportions @ topics
    mixed /= mixed.sum(axis=1, keepdims=True)
    counts = [rng.multinomial(n, p) for n, p in zip(lengths, mixed, strict=True)]
    return Corpus(np.array(counts), topics, proportions)


def known_topics() -> np.ndarray:
    """The topics [10, 500] of the data set `synthetic_topics`, to match found ones against."""
    return draw_corpus().topics


def synthetic_topics(work: Path, log: Log) -> Stored:
    """3,000 documents of about 100 words over 500 words and 10 topics, counts, uint8.

    `factors` [N, 10] float32 are the proportions of the topics; the topics themselves are
    `known_topics()`. Tenths are held out.
    """
    corpus = draw_corpus()
    vocabulary = tuple(f"word{index:03}" for index in range(corpus.counts.shape[1]))
    names = tuple(f"topic{index}" for index in range(len(corpus.topics)))
    facts = Facts(
        kind="counts",
        feature_names=vocabulary,
        factor_names=names,
        origin=f"ae_jax.data.sources.topics.draw_corpus, {TopicSettings()}",
    )
    examples = Split(corpus.counts.astype(np.uint8), factors=corpus.proportions.astype(np.float32))
    return hold_out_rows(examples, None, "synthetic_topics", facts=facts)
