"""The coherence of gensim beside ours, on the same counts: how the values in a test were made.

Command python -m tests.gensim_coherence      (in an environment that has gensim)

gensim counts windows over texts. Where no text is longer than its window, a text is one window, and
its `c_npmi` is the NPMI over documents with its rule for pairs that do not meet.
"""

import numpy as np

from ae_jax.eval.topics import topic_coherence
from tests.test_topics import VOCABULARY, X

TOPICS = ([0, 1, 2, 3], [4, 5, 10, 11], [6, 7, 8, 9])


def by_gensim(counts: np.ndarray, topics: tuple[list[int], ...]) -> list[float]:
    from gensim.corpora import Dictionary
    from gensim.models import CoherenceModel

    names = [f"word{index:02}" for index in range(counts.shape[1])]
    texts = [[names[word] for word in np.flatnonzero(row)] for row in counts]
    model = CoherenceModel(
        topics=[[names[word] for word in topic] for topic in topics],
        texts=texts,
        dictionary=Dictionary([names]),
        coherence="c_npmi",
        window_size=counts.shape[1] + 1,
        topn=len(topics[0]),
        processes=1,
    )
    return model.get_coherence_per_topic()


if __name__ == "__main__":
    weights = np.zeros((len(TOPICS), VOCABULARY))
    for topic, words in enumerate(TOPICS):
        weights[topic, words] = np.arange(len(words), 0, -1)
    print("gensim", by_gensim(X, TOPICS))
    print("ours  ", topic_coherence(weights, X, len(TOPICS[0]), "smoothed").tolist())
