"""Topic models and what is measured of them, against NumPy, scikit-learn and gensim's rule."""

import itertools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import sparse
from scipy.special import log_softmax, logsumexp, softmax

from ae_jax.core.errors import UserError
from ae_jax.data import Split
from ae_jax.data.batches import DeviceSplit
from ae_jax.data.passes import EvaluationData
from ae_jax.data.preprocess import PREPROCESSING, Statistics
from ae_jax.eval import EVALUATORS, DocumentCompletion, TopicQuality
from ae_jax.eval.perplexity import seen_words
from ae_jax.eval.topics import diversity, matched, npmi, top_words, topic_coherence
from ae_jax.models import BoundModel, Examples, build_autoencoder
from ae_jax.nn.forward import Forward, passing
from ae_jax.train.config import ModelConfig
from tests.bound import as_batch

KEY = jax.random.key(3)
VOCABULARY, TOPICS = 12, 3
RNG = np.random.default_rng(0)
X = (RNG.poisson(0.7, (70, VOCABULARY)) * (RNG.random((70, VOCABULARY)) < 0.5)).astype(np.uint8)
X[:, 11] = X[:, 10] = 0
X[3, 11] = X[4, 10] = 2  # two rare words that never meet
WEIGHTS = RNG.normal(size=(TOPICS, VOCABULARY))


def plain_npmi(counts, topic, unmet):
    """The mean over pairs of words, document by document."""
    documents, values = len(counts), []
    for a, b in itertools.combinations(topic, 2):
        p_a = sum(row[a] > 0 for row in counts) / documents
        p_b = sum(row[b] > 0 for row in counts) / documents
        p_ab = sum(row[a] > 0 and row[b] > 0 for row in counts) / documents
        if unmet == "smoothed":
            values.append(math.log((p_ab + 1e-12) / (p_a * p_b)) / -math.log(p_ab + 1e-12))
        elif p_ab == 0:
            values.append(unmet)
        else:
            values.append(math.log(p_ab / (p_a * p_b)) / -math.log(p_ab))
    return np.mean(values)


@pytest.mark.parametrize("unmet", [-1.0, 0.0, "smoothed"])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_coherence_is_that_of_a_plain_loop(unmet, form):
    found = topic_coherence(WEIGHTS, form(X), 8, unmet)
    expected = [plain_npmi(X, np.argsort(-row)[:8], unmet) for row in WEIGHTS]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_smoothed_coherence_is_gensims():
    """`CoherenceModel(coherence="c_npmi")` of gensim 4.4.0, each document one window: recorded by
    tests/gensim_coherence.py on these counts."""
    top = [[0, 1, 2, 3], [4, 5, 10, 11], [6, 7, 8, 9]]
    weights = np.zeros((3, VOCABULARY))
    for topic, words in enumerate(top):
        weights[topic, words] = [4, 3, 2, 1]
    np.testing.assert_allclose(topic_coherence(weights, X, 4, "smoothed"), GENSIM, rtol=1e-9)


GENSIM = (-0.05740729266290024, -0.47654401558055426, -0.03371074293526851)


def test_npmi_at_its_extremes():
    """Always together 1, never -1 or as the rule has it, independent 0; words that are nowhere."""
    both, one, other = (
        np.array([4, 0, 2, 8, 0]),
        np.array([4, 4, 4, 8, 0]),
        np.array([4, 3, 4, 8, 5]),
    )
    np.testing.assert_allclose(npmi(both, one, other, 8), [1, -1, 0, 1, -1], atol=1e-12)
    np.testing.assert_allclose(npmi(both, one, other, 8, 0.0), [1, 0, 0, 1, 0], atol=1e-12)
    smoothed = npmi(both, one, other, 8, "smoothed")
    assert smoothed[1] == pytest.approx(math.log(1e-12 / (0.5 * 0.375)) / -math.log(1e-12))
    assert smoothed[4] == 0


def test_diversity_at_its_extremes():
    apart, alike = np.kron(np.eye(4), np.ones((1, 3))), np.tile(np.arange(12.0), (4, 1))
    assert diversity(apart, 3) == 1 and diversity(alike, 3) == 0.25
    assert top_words(np.array([[1.0, 3.0, 3.0]]), 2).tolist() == [[1, 2]]
    with pytest.raises(UserError, match="13 words of a topic, and the vocabulary has 12"):
        diversity(WEIGHTS, 13)


def test_topics_are_matched_whatever_their_order():
    known = softmax(WEIGHTS, axis=1)
    found = np.concatenate([softmax(RNG.normal(size=(2, VOCABULARY)), axis=1), known[[2, 0, 1]]])
    places, cosines = matched(found, known)
    assert places.tolist() == [3, 4, 2]
    np.testing.assert_allclose(cosines, 1)


PRODLDA = {
    "decoder": "softmax",
    "head": "multinomial",
    "options": (("decoder.dropout", 0.4), ("head.batch_norm", True), ("latent.batch_norm", True)),
}
NVLDA = {"decoder": "softmax", "head": "topic_mixture", "options": (("decoder.dropout", 0.4),)}
NVDM = {"decoder": "mlp", "decoder_hidden": (), "head": "multinomial"}


def model_of(**parts):
    config = ModelConfig(hidden=(6,), latent_dim=TOPICS, **({"prior": "dirichlet"} | parts))
    module = build_autoencoder(config, Examples((VOCABULARY,)))
    with passing(Forward()):
        shapes = jax.eval_shape(module.init, jax.random.key(0), as_batch(X.astype(np.float32)))
    rng = np.random.default_rng(1)
    variables = jax.tree.map(lambda s: rng.normal(0, 0.5, s.shape).astype(np.float32), shapes)
    if "batch_stats" in variables:  # variances
        variables["batch_stats"] = jax.tree.map(np.abs, variables["batch_stats"])
    return module, variables


def likelihood_logits(parts, z):
    module, variables = model_of(**parts)
    found = BoundModel(module, variables).decode(jnp.asarray(z)[None], as_batch(X[: len(z)]))
    return np.asarray(found.logits[0]), variables["params"]["head"], variables


Z = np.random.default_rng(5).normal(size=(4, TOPICS)).astype(np.float32)


def test_prodlda_mixes_topics_in_the_logits():
    logits, head, variables = likelihood_logits(PRODLDA, Z)
    statistics = variables["batch_stats"]["head"]["norm"]
    plain = softmax(Z, axis=1) @ head["logits"]["kernel"]
    scaled = (plain - statistics["mean"]) / np.sqrt(statistics["var"] + 1e-5)
    np.testing.assert_allclose(logits, scaled + head["norm"]["bias"], rtol=1e-4, atol=1e-5)
    assert set(head["logits"]) == {"kernel"} and set(head["norm"]) == {"bias"}
    latent = variables["params"]["latent"]
    assert all(set(latent[f"norm_{name}"]) == {"bias"} for name in ("loc", "log_variance"))


@pytest.mark.parametrize("standardised", [True, False])
def test_nvlda_mixes_topics_as_distributions(standardised):
    options = (*NVLDA["options"], ("head.standardised", standardised))
    logits, head, _ = likelihood_logits(NVLDA | {"options": options}, Z)
    weights = head["kernel"]
    if standardised:
        spread = np.sqrt(weights.var(axis=0) + 1e-3)
        weights = (weights - weights.mean(axis=0)) / spread + head["bias"]
    expected = softmax(Z, axis=1) @ softmax(weights, axis=1)
    np.testing.assert_allclose(softmax(logits, axis=1), expected, rtol=1e-4)


def test_nvdm_is_a_softmax_of_the_code():
    logits, head, _ = likelihood_logits(NVDM, Z)
    expected = Z @ head["logits"]["kernel"] + head["logits"]["bias"]
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("parts", [PRODLDA, NVLDA, NVDM], ids=["prodlda", "nvlda", "nvdm"])
def test_topics_rank_words_as_the_decoder_does(parts):
    """Of a mixture the topics are its corners; of logits they are the weights."""
    module, variables = model_of(**parts)
    topics = np.asarray(BoundModel(module, variables).call("topics", {}))
    assert topics.shape == (TOPICS, VOCABULARY)
    corners, head, _ = likelihood_logits(parts, 60 * np.eye(TOPICS, dtype=np.float32))
    if parts is NVLDA:
        np.testing.assert_allclose(topics, log_softmax(corners, axis=1), rtol=1e-3, atol=1e-4)
    else:
        np.testing.assert_array_equal(topics, head["logits"]["kernel"])


def test_dropout_after_the_last_layer_only():
    """Mean and variance over many draws: of the first layer's units none is dropped."""
    x = jnp.ones((400, 1))

    def features(after):
        options = (("encoder.dropout", 0.5), ("encoder.dropout_after", after))
        config = ModelConfig(hidden=(1, 1), activation="linear", options=options, head="gaussian")
        module = build_autoencoder(config, Examples((1,)))
        params = {f"dense_{i}": {"kernel": np.ones((1, 1)), "bias": np.zeros(1)} for i in (0, 1)}
        batch = as_batch(x)
        train = BoundModel(
            Encoded(module.encoder), {"params": {"encoder": params}}, key=KEY, train=True
        )
        return np.asarray(train.call("features", batch, batch["x"]))

    assert set(np.unique(features("last"))) == {0.0, 2.0}
    assert set(np.unique(features("each"))) == {0.0, 4.0}
    assert (features("last") == 0).mean() == pytest.approx(0.5, abs=0.1)
    assert (features("each") == 0).mean() == pytest.approx(0.75, abs=0.1)


class Encoded(nn.Module):
    """An encoder alone."""

    encoder: nn.Module

    def features(self, x):
        return self.encoder(x)


def data_of(x=X, batch_size=32):
    split = DeviceSplit.put(Split(x, first_id=7))
    return EvaluationData(split, Statistics(None), PREPROCESSING.get("identity"), batch_size)


@pytest.mark.parametrize("batch_size", [7, 70])
def test_the_evaluator_of_topics_is_its_functions(batch_size):
    module, variables = model_of(**NVDM)
    weights = variables["params"]["head"]["logits"]["kernel"]
    found = TopicQuality(words=5, diversity_words=4)(module, variables, data_of(X, batch_size), KEY)
    assert found["topic_coherence"] == pytest.approx(topic_coherence(weights, X, 5).mean())
    assert found["topic_diversity"] == diversity(weights, 4)


def test_topics_are_refused_where_they_mean_nothing():
    quality = TopicQuality(words=3, diversity_words=3)
    deep = model_of(**NVDM | {"decoder_hidden": (5,)})
    poisson = model_of(**NVDM | {"head": "poisson"})
    for module, variables in (deep, poisson):
        with pytest.raises(UserError, match="this model has no topics"):
            quality(module, variables, data_of(), KEY)
    with pytest.raises(UserError, match="the data are no counts"):
        quality(*model_of(**NVDM), data_of(X + np.float32(0.5)), KEY)
    with pytest.raises(UserError, match="needs two words"):
        topic_coherence(WEIGHTS, X, 1)
    with pytest.raises(UserError, match=r"decoder_hidden=\[4\] is for a decoder with layers"):
        model_of(decoder="softmax", decoder_hidden=(4,), head="multinomial")


def affine(x, layer):
    return x @ layer["kernel"] + layer["bias"]


def loc_of(params, x):
    """The means of q(z|x)."""
    return affine(np.tanh(affine(x, params["encoder"]["dense_0"])), params["latent"]["loc"])


def test_perplexity_bound_is_that_of_its_parts():
    """One code a document from a posterior of almost no width: the ELBO in NumPy."""
    module, variables = model_of(**NVDM | {"prior": "auto"})
    params = variables["params"]
    params["latent"]["log_variance"] = jax.tree.map(np.zeros_like, params["latent"]["log_variance"])
    params["latent"]["log_variance"]["bias"] += np.float32(-20)
    found = EVALUATORS.get("perplexity_bound")(module, variables, data_of(), KEY)
    loc = loc_of(params, X)
    kl = 0.5 * (loc**2 + math.exp(-20) - 1 + 20).sum(axis=1)
    logits = affine(loc, params["head"]["logits"])
    elbo = (X * (logits - logsumexp(logits, axis=1, keepdims=True))).sum(axis=1) - kl
    expected = math.exp(-elbo.sum() / X.sum())
    assert found["perplexity_bound"] == pytest.approx(expected, rel=1e-3)
    counted = model_of(**NVDM | {"prior": "auto", "options": (("head.with_coefficient", True),)})
    again = EVALUATORS.get("perplexity_bound")(counted[0], variables, data_of(), KEY)
    assert again == pytest.approx(found)


@pytest.mark.parametrize("batch_size", [9, 70])
def test_unseen_words_are_predicted_by_the_mean_over_codes(batch_size):
    module, variables = model_of(**NVDM | {"prior": "auto"})
    params = variables["params"]
    params["latent"]["log_variance"] = jax.tree.map(np.zeros_like, params["latent"]["log_variance"])
    params["latent"]["log_variance"]["bias"] += np.float32(-25)
    seen = np.asarray(seen_words(jnp.asarray(X), 7 + jnp.arange(len(X))))
    assert set(np.unique(seen[X > 0] / X[X > 0])) == {0.0, 1.0}
    assert (seen > 0).sum() / (X > 0).sum() == pytest.approx(0.5, abs=0.08)
    h = np.tanh(
        seen @ params["encoder"]["dense_0"]["kernel"] + params["encoder"]["dense_0"]["bias"]
    )
    loc = h @ params["latent"]["loc"]["kernel"] + params["latent"]["loc"]["bias"]
    logits = loc @ params["head"]["logits"]["kernel"] + params["head"]["logits"]["bias"]
    log_p = log_softmax(logits, axis=1)
    expected = math.exp(-((X - seen) * log_p).sum() / (X - seen).sum())
    found = DocumentCompletion(num_samples=2)(module, variables, data_of(X, batch_size), KEY)
    assert found["completion_perplexity"] == pytest.approx(expected, rel=1e-3)


def test_uniform_words_have_the_perplexity_of_the_vocabulary():
    module, variables = model_of(**NVDM | {"prior": "auto"})
    head = variables["params"]["head"]
    variables["params"]["head"] = jax.tree.map(np.zeros_like, head)
    found = DocumentCompletion()(module, variables, data_of(), KEY)
    assert found["completion_perplexity"] == pytest.approx(VOCABULARY, rel=1e-5)


@pytest.mark.slow
def test_perplexity_is_of_words():
    for name in ("perplexity_bound", "document_completion"):
        with pytest.raises(UserError, match=r"p\(x\|z\) is Poisson: choose model.head=multinomial"):
            EVALUATORS.get(name)(*model_of(**NVDM | {"head": "poisson"}), data_of(), KEY)
        with pytest.raises(UserError, match="without a word"):
            EVALUATORS.get(name)(*model_of(**NVDM), data_of(0 * X), KEY)
