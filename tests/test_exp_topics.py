"""Topics that documents were drawn from, found again; numbers against NumPy and scikit-learn."""

import jax
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.special import softmax

import ae_jax
from ae_jax.data import load
from ae_jax.data.sources.topics import known_topics
from experiments import topic_corpora, topic_models, topics
from tests.smoke_runs import check_pictures, run_smoke

NAME = "synthetic_topics"


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("topics")
    return workdir, run_smoke(topics.main, workdir)


def rows_of(results):
    return {row["model"]: row for row in results["tables"][f"{NAME}, 10 topics"]}


def prodlda(workdir):
    return ae_jax.load(workdir / NAME / "prodlda" / "seed=0")


@pytest.mark.slow
def test_known_topics_are_found_again(smoke):
    """Each matched one to one: the cosine of the worst is above 0.9."""
    workdir, results = smoke
    model = jax.tree.map(np.asarray, prodlda(workdir).variables)
    params, statistics = model["params"]["head"], model["batch_stats"]["head"]["norm"]
    logits = (params["logits"]["kernel"] - statistics["mean"]) / np.sqrt(statistics["var"] + 1e-3)
    found = softmax(logits + params["norm"]["bias"], axis=1)
    known = known_topics()
    lengths = np.outer(np.linalg.norm(known, axis=1), np.linalg.norm(found, axis=1))
    cosines = known @ found.T / lengths
    matched = cosines[linear_sum_assignment(-cosines)]
    row = rows_of(results)["ProdLDA"]
    assert row["least cosine"] == pytest.approx(matched.min(), abs=1e-3)
    assert row["mean cosine"] == pytest.approx(matched.mean(), abs=1e-3)
    assert matched.min() > 0.9
    assert [claim["holds"] for claim in results["claims"]] == [True]


@pytest.mark.slow
def test_words_and_coherence_are_those_of_the_weights(smoke):
    """Of the most coherent topic: its words by hand, and its NPMI over documents in a loop."""
    workdir, results = smoke
    best = results["tables"][f"{NAME}: topics of ProdLDA"][0]
    dataset = load(NAME, protocol="full")
    kernel = np.asarray(prodlda(workdir).params["head"]["logits"]["kernel"])[best["topic"]]
    words = np.argsort(-kernel)[:10]
    assert best["words"].split() == [dataset.facts.feature_names[word] for word in words]
    present = (dataset.splits["train"].x[:, words] > 0).astype(float)
    p = present.T @ present / len(present)
    scores = [
        np.log(p[i, j] / (p[i, i] * p[j, j])) / -np.log(p[i, j]) if p[i, j] else -1.0
        for i in range(10)
        for j in range(i)
    ]
    assert best["NPMI"] == pytest.approx(np.mean(scores), abs=6e-4)


@pytest.mark.slow
def test_lda_is_kept_and_is_scikit_learns(smoke):
    workdir, results = smoke
    dataset, folder = load(NAME, protocol="full"), workdir / NAME / "lda"
    written = (folder / "seed=0.npz").stat().st_mtime_ns
    passes = topic_corpora.DRAWN.passes
    found = topic_models.of_lda(dataset, 10, passes, 0, folder)
    assert (folder / "seed=0.npz").stat().st_mtime_ns == written
    np.testing.assert_allclose(found.distributions.sum(axis=1), 1)
    row = rows_of(results)["LDA"]
    assert row["NPMI"] == pytest.approx(found.scores["NPMI"], abs=6e-4)
    assert row["completion"] == pytest.approx(found.scores["completion"], abs=0.6)
    # Fewer words to choose from than the vocabulary, more than it takes to know the topics.
    true = dataset.splits["test"].factors @ known_topics()
    entropy = np.exp(-(true * np.log(np.maximum(true, 1e-12))).sum(axis=1).mean())
    assert entropy < found.scores["completion"] < dataset.shape[0]


@pytest.mark.slow
def test_another_question_is_answered_anew(smoke, tmp_path):
    """What was kept of other settings is not taken for an answer."""
    dataset = load(NAME, protocol="full")
    kept = (smoke[0] / NAME / "lda" / "seed=0.npz").read_bytes()
    (tmp_path / "seed=0.npz").write_bytes(kept)
    few = topic_models.of_lda(dataset, 3, 1, 0, tmp_path)
    assert few.weights.shape == (3, dataset.shape[0])


def test_reuters_stands_in_where_the_file_is_not(monkeypatch, tmp_path):
    monkeypatch.delenv("AE_JAX_DATA", raising=False)
    assert topic_corpora.at_hand(topics.PRESETS["quick"]) == [topic_corpora.REUTERS]
    assert [c.dataset for c in topic_corpora.at_hand(topics.PRESETS["standard"])] == [
        "reuters",
        NAME,
    ]
    monkeypatch.setenv("AE_JAX_DATA", str(tmp_path))
    (tmp_path / "20news_prodlda.npz").touch()
    assert topic_corpora.at_hand(topics.PRESETS["quick"]) == [topic_corpora.NEWSGROUPS]


def test_claims_follow_from_the_rows():
    npmi = {"ProdLDA": 0.3, "LDA": 0.2, "NVLDA": 0.15, "NVDM": 0.1}
    rows = [{"model": m, "NPMI": value, "diversity": 0.5} for m, value in npmi.items()]
    assert [c.holds for c in topics.claims_of(topic_corpora.NEWSGROUPS, rows)] == [True, True]
    rows[0]["NPMI"], rows[1]["NPMI"] = 0.28, 0.1499
    assert [c.holds for c in topics.claims_of(topic_corpora.NEWSGROUPS, rows)] == [False, False]
    assert topics.claims_of(topic_corpora.REUTERS, rows) == []


@pytest.mark.slow
def test_figures(smoke):
    check_pictures(smoke[0], {f"{kind}_{NAME}" for kind in ("coherence", "words", "documents")})
