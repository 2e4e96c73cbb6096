"""Tables and figures of the experiment `topics`."""

from collections.abc import Mapping, Sequence

import numpy as np

from ae_jax.api import Fitted
from ae_jax.data import DataSet
from ae_jax.data.sources.topics import known_topics
from ae_jax.eval.topics import matched, top_words, topic_coherence
from ae_jax.lab import Rows, Shown
from ae_jax.report import topics as figures
from experiments.topic_models import Topics

RULE = "NPMI over training documents, −1 for pairs that never meet"
DIGITS = {
    "NPMI": 3, "± ": 3, "diversity": 3, " ±": 3, "NPMI, unmet 0": 3, "bound": 0, "completion": 0,
    "mean cosine": 3, "least cosine": 3,
}  # fmt: skip
WORDS, MAPPED_TOPICS, MAPPED_WORDS, NAMED, DOCUMENTS = 10, 12, 4, 10, 1500


def score_rows(found: Mapping[str, Sequence[Topics]], dataset: DataSet) -> Rows:
    """One row a model: means over seeds, and standard errors of coherence and diversity."""
    rows = []
    for name, fits in found.items():
        if not fits:
            continue
        scores = {key: np.array([fit.scores[key] for fit in fits]) for key in fits[0].scores}
        row = {"model": name}
        for key, values in scores.items():
            row[key] = float(values.mean())
            if key in ERROR_COLUMNS and len(values) > 1:
                row[ERROR_COLUMNS[key]] = float(values.std(ddof=1) / np.sqrt(len(values)))
        if dataset.name == "synthetic_topics" and fits[0].distributions is not None:
            cosines = np.array([matched(fit.distributions, known_topics())[1] for fit in fits])
            row |= {"mean cosine": float(cosines.mean()), "least cosine": float(cosines.min())}
        rows.append(row)
    return rows


ERROR_COLUMNS = {"NPMI": "± ", "diversity": " ±"}


def topic_rows(topics: Topics, dataset: DataSet) -> Rows:
    """One row a topic, the most coherent first: its coherence and its words."""
    words, coherences = words_of(topics, dataset, WORDS), coherences_of(topics, dataset)
    order = np.argsort(-coherences, kind="stable")
    return [
        {"topic": int(k), "NPMI": round(float(coherences[k]), 3), "words": " ".join(words[k])}
        for k in order
    ]


def words_of(topics: Topics, dataset: DataSet, count: int) -> list[list[str]]:
    """The first words of each topic."""
    vocabulary = dataset.facts.feature_names
    return [[vocabulary[w] for w in row] for row in top_words(topics.weights, count)]


def coherences_of(topics: Topics, dataset: DataSet) -> np.ndarray:
    return topic_coherence(topics.weights, dataset.splits["train"].x)


def pictures(
    found: Mapping[str, Sequence[Topics]], model: Fitted, dataset: DataSet
) -> dict[str, Shown]:
    """Coherence against diversity of all models; words and documents of ProdLDA's first seed."""
    points = {
        name: tuple(np.array([fit.scores[key] for fit in fits]) for key in ("diversity", "NPMI"))
        for name, fits in found.items()
        if fits
    }
    topics = found["ProdLDA"][0]
    return {
        f"coherence_{dataset.name}": Shown(
            figures.coherence_against_diversity(points, RULE),
            f"Coherence against diversity, {dataset.name}",
            "One point a seed. Coherence alone is had by topics that are all alike.",
        ),
        f"words_{dataset.name}": Shown(
            heat_map(topics, dataset),
            f"Words of ProdLDA's most coherent topics, {dataset.name}",
            "The share of each word in a text that is all of one topic.",
        ),
        f"documents_{dataset.name}": Shown(
            document_plane(topics, model, dataset),
            f"Test documents in the plane, {dataset.name}",
            "t-SNE of the roots of ProdLDA's shares of topics, coloured by the largest share.",
        ),
    }


def heat_map(topics: Topics, dataset: DataSet):
    """The first words of the most coherent topics (columns) in each of them (rows)."""
    order = np.argsort(-coherences_of(topics, dataset), kind="stable")[:MAPPED_TOPICS]
    first = top_words(topics.weights[order], MAPPED_WORDS)
    columns = list(dict.fromkeys(first.ravel().tolist()))
    vocabulary = dataset.facts.feature_names
    return figures.word_heat_map(
        topics.distributions[np.ix_(order, columns)],
        [vocabulary[w] for w in columns],
        [f"topic {k}" for k in order],
        "share of words",
    )


def document_plane(topics: Topics, model: Fitted, dataset: DataSet):
    """t-SNE of test documents; the topics that are the largest of most are named."""
    from sklearn.manifold import TSNE

    test = dataset.splits["test"].x
    # From all over the split: neighbours may be of one group.
    chosen = np.linspace(0, len(test) - 1, min(DOCUMENTS, len(test))).round().astype(int)
    codes = model.encode(test[chosen])
    shares = np.exp(codes - codes.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    largest = shares.argmax(axis=1)
    perplexity = min(30.0, (len(shares) - 1) / 3)
    # Roots: distances of shares as distributions (Hellinger).
    places = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(np.sqrt(shares))
    often = np.argsort(-np.bincount(largest, minlength=shares.shape[1]), kind="stable")[:NAMED]
    words = words_of(topics, dataset, 3)
    names = {int(k): ", ".join(words[k]) for k in often}
    return figures.documents_by_topic(places, largest, names, "t-SNE")
