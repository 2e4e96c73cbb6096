"""The corpora of topic models, and those that this machine has."""

import dataclasses

from ae_jax.data.sources.corpora import has_newsgroups_file
from experiments.topic_models import Kind


@dataclasses.dataclass(frozen=True)
class Corpus:
    """One data set: how many topics, which networks, and how often LDA goes through it.

    fallback   another corpus, where this one is not at hand
    """

    dataset: str
    topics: int
    kinds: tuple[Kind, ...]
    passes: int
    batch_size: int = 200
    fallback: "Corpus | None" = None


@dataclasses.dataclass(frozen=True)
class Preset:
    corpora: tuple[Corpus, ...]
    seeds: int


AUTHORS = 0.6  # the share that the authors' code drops
DRAWN = Corpus(
    "synthetic_topics",
    10,
    (Kind("ProdLDA", 80, 0.2), Kind("NVLDA", 60, 0.2), Kind("NVDM", 20)),
    passes=5,
)
REUTERS = Corpus(
    "reuters",
    20,
    (Kind("ProdLDA", 800, AUTHORS), Kind("NVLDA", 800, 0.2), Kind("NVDM", 100)),
    passes=100,
    batch_size=100,
)
NEWSGROUPS = Corpus(
    "20newsgroups",
    50,
    (Kind("ProdLDA", 120, AUTHORS), Kind("NVLDA", 40, 0.2), Kind("NVDM", 20)),
    passes=10,
    fallback=REUTERS,
)


def at_hand(preset: Preset) -> list[Corpus]:
    """The corpora of a preset, or what stands for one that this machine has not."""
    chosen = [
        corpus.fallback
        if corpus.dataset == "20newsgroups" and corpus.fallback and not has_newsgroups_file()
        else corpus
        for corpus in preset.corpora
    ]
    return list(dict.fromkeys(chosen))
