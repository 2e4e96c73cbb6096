"""Metrics of reconstructions and codes against NumPy and scikit-learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import r2_score
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ae_jax.core.errors import UserError
from ae_jax.data import Split
from ae_jax.data.batches import DeviceSplit
from ae_jax.data.corruption import CORRUPTIONS
from ae_jax.data.preprocess import PREPROCESSING, Statistics
from ae_jax.eval import EVALUATORS, CodeUse, EvaluationData, LinearProbe, PeakSignalToNoise
from ae_jax.eval.codes import probe_accuracy
from ae_jax.eval.reconstruction import psnr
from ae_jax.models import Examples, build_autoencoder
from ae_jax.numerics.noise import example_keys
from ae_jax.train.config import ModelConfig
from tests.bound import initial

KEY = jax.random.key(2)
RNG = np.random.default_rng(0)
FIRST_ID = 20
COUNT = 90
LABELS = RNG.integers(0, 3, COUNT).astype(np.int32)
# Three groups that overlap, far from the origin compared with their spread.
X = (RNG.normal(size=(COUNT, 8)) + 1.2 * RNG.normal(size=(3, 8))[LABELS] + 40).astype(np.float32)
SIZES = (7, 64, 1000)


def _data(batch_size=64, x=X, y=LABELS):
    split = DeviceSplit.put(Split(x, y, first_id=FIRST_ID))
    return EvaluationData(split, Statistics(None), PREPROCESSING.get("identity"), batch_size)


def _pca_model(dim, latent="deterministic"):
    """PCA as an autoencoder: its encoder and decoder, set by hand."""
    pca = PCA(dim).fit(X.astype(np.float64))
    config = ModelConfig(hidden=(), latent=latent, latent_dim=dim, head="gaussian_fixed")
    params = {
        "latent": {
            "code": {"kernel": pca.components_.T, "bias": -pca.mean_ @ pca.components_.T},
        },
        "head": {"mean": {"kernel": pca.components_, "bias": pca.mean_}},
    }
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
    return build_autoencoder(config, Examples((8,))), {"params": params}, pca


@pytest.mark.parametrize("batch_size", SIZES)
@pytest.mark.parametrize("dim", [1, 3])
def test_explained_variance_is_that_of_scikit_learn(dim, batch_size):
    model, variables, pca = _pca_model(dim)
    result = EVALUATORS.get("explained_variance")(model, variables, _data(batch_size), KEY)
    reconstruction = pca.inverse_transform(pca.transform(X.astype(np.float64)))
    by_r2 = r2_score(X, reconstruction, multioutput="variance_weighted")
    assert result == {"explained_variance": pytest.approx(by_r2, abs=1e-5)}
    assert by_r2 == pytest.approx(pca.explained_variance_ratio_.sum(), abs=1e-5)


def test_explained_variance_of_the_mean_is_0_and_of_worse_below_it():
    model, variables, pca = _pca_model(2)
    head = variables["params"]["head"]
    head["mean"] = {"kernel": jnp.zeros((2, 8)), "bias": jnp.asarray(X.mean(axis=0))}
    evaluate = EVALUATORS.get("explained_variance")
    assert evaluate(model, variables, _data(), KEY)["explained_variance"] == pytest.approx(
        0, abs=1e-4
    )
    head["mean"]["bias"] = head["mean"]["bias"] + 5.0
    assert evaluate(model, variables, _data(), KEY)["explained_variance"] < -1


@pytest.mark.parametrize("batch_size", SIZES)
@pytest.mark.parametrize("peak", [20.0, 255.0])
def test_psnr_is_the_mean_of_that_of_each_example(peak, batch_size):
    model, variables, pca = _pca_model(2)
    error = ((pca.inverse_transform(pca.transform(X.astype(np.float64))) - X) ** 2).mean(axis=1)
    expected = (10 * np.log10(peak**2 / error)).mean()
    result = PeakSignalToNoise(peak)(model, variables, _data(batch_size), KEY)
    assert result == {"psnr": pytest.approx(expected, abs=1e-3)}


def test_psnr_of_known_errors():
    x = jnp.zeros((3, 4, 4, 1))
    other = x + jnp.asarray([0.1, 1.0, 0.0])[:, None, None, None]
    values = psnr(x, other)
    np.testing.assert_allclose(values[:2], [20.0, 0.0], atol=1e-4)
    assert np.isposinf(values[2])


@pytest.mark.parametrize("corruption", list(CORRUPTIONS))
def test_psnr_of_denoising_compares_with_the_clean(corruption):
    model, variables, pca = _pca_model(2)
    evaluator = PeakSignalToNoise(peak=20.0, corruption=corruption, level=0.4)
    result = evaluator(model, variables, _data(7), KEY)
    _, values_key = jax.random.split(KEY)  # the first is the preprocessing's
    keys = example_keys(values_key, FIRST_ID + jnp.arange(COUNT))
    noisy = np.asarray(CORRUPTIONS.get(corruption)(keys, jnp.asarray(X), 0.4), np.float64)
    error = ((pca.inverse_transform(pca.transform(noisy)) - X) ** 2).mean(axis=1)
    expected = (10 * np.log10(400 / error)).mean()
    assert result == {"psnr_denoised": pytest.approx(expected, abs=1e-3)}
    clean = PeakSignalToNoise(peak=20.0)(model, variables, _data(), KEY)
    assert result["psnr_denoised"] < clean["psnr"]


def _relu_model():
    """A code of 12 rectified units, of which one never works and one always does."""
    rng = np.random.default_rng(3)
    kernel = rng.normal(0, 0.3, (8, 12))
    bias = -X.mean(axis=0) @ kernel - 1.0
    kernel[:, 4], bias[4] = 0, -1
    kernel[:, 9], bias[9] = 0, 2
    config = ModelConfig(hidden=(), latent="relu", latent_dim=12, head="gaussian_fixed")
    model = build_autoencoder(config, Examples((8,)))
    params = jax.tree.map(jnp.zeros_like, initial(model, X))
    params["latent"]["code"] = {
        "kernel": jnp.asarray(kernel, jnp.float32),
        "bias": jnp.asarray(bias, jnp.float32),
    }
    return model, {"params": params}, np.maximum(X @ kernel + bias, 0)


@pytest.mark.slow_cases("0.0-64")
@pytest.mark.parametrize("batch_size", SIZES)
@pytest.mark.parametrize("threshold", [0.0, 1.5])
def test_use_of_the_code_is_that_of_numpy(threshold, batch_size):
    model, variables, code = _relu_model()
    active = code > threshold
    result = CodeUse(threshold)(model, variables, _data(batch_size), KEY)
    assert result["l0"] == pytest.approx(active.sum(axis=1).mean(), rel=1e-6)
    assert result["dead_units"] == (~active.any(axis=0)).sum()
    assert 1 <= result["dead_units"] < 12
    assert result["mean_activation"] == pytest.approx(code.mean(), rel=1e-4)


def test_use_of_a_code_at_its_extremes():
    model, variables, _ = _pca_model(3)
    use = CodeUse()(model, variables, _data(), KEY)
    assert (use["l0"], use["dead_units"]) == (3.0, 0.0)
    nothing = jax.tree.map(jnp.zeros_like, variables)
    assert CodeUse()(model, nothing, _data(), KEY) == {
        "l0": 0.0,
        "dead_units": 3.0,
        "mean_activation": 0.0,
    }


@pytest.mark.parametrize("batch_size", SIZES)
def test_linear_probe_is_cross_validation_of_scikit_learn(batch_size):
    model, variables, pca = _pca_model(3)
    codes = pca.transform(X.astype(np.float64))
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    scores = cross_val_score(pipeline, codes, LABELS, cv=StratifiedKFold(5))
    result = EVALUATORS.get("linear_probe")(model, variables, _data(batch_size), KEY)
    assert result == {"linear_probe_accuracy": pytest.approx(scores.mean(), abs=1e-12)}
    assert 0.5 < scores.mean() < 1


def test_linear_probe_fits_on_other_examples_where_they_are_given():
    model, variables, pca = _pca_model(3)
    train, test = _data(7, X[:60], LABELS[:60]), _data(7, X[60:], LABELS[60:])
    codes = pca.transform(X.astype(np.float64))
    scaler = StandardScaler().fit(codes[:60])
    classifier = LogisticRegression(max_iter=2000).fit(scaler.transform(codes[:60]), LABELS[:60])
    expected = classifier.score(scaler.transform(codes[60:]), LABELS[60:])
    result = LinearProbe(train=train)(model, variables, test, KEY)
    assert result == {"linear_probe_accuracy": pytest.approx(expected, abs=1e-12)}


def test_linear_probe_at_its_extremes():
    """Codes that are the labels, and codes that say nothing."""
    labels = np.arange(60) % 3
    assert probe_accuracy((np.eye(3)[labels], labels), (np.eye(3)[labels], labels)) == 1.0
    constant = np.ones((60, 2))
    assert probe_accuracy((constant, labels), (constant, labels)) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (None, "needs labels, and the data has none"),
        (np.zeros(COUNT, np.int32), "at least two kinds of labels"),
        (np.arange(COUNT, dtype=np.int32) // 4, "in 5 folds needs .* one has 2"),
    ],
)
def test_linear_probe_refuses_labels_that_it_cannot_use(labels, sentence):
    model, variables, _ = _pca_model(2)
    with pytest.raises(UserError, match=sentence):
        LinearProbe()(model, variables, _data(y=labels), KEY)


@pytest.mark.parametrize("batch_size", SIZES)
def test_rows_and_sums_are_those_of_every_example_once(batch_size):
    def values(model, batch, key):
        return {"x": batch["x"], "id": batch["id"]}

    data = _data(batch_size)
    rows = data.rows(values, None, {"params": {}}, KEY)
    np.testing.assert_array_equal(rows["x"], X)
    np.testing.assert_array_equal(rows["id"], FIRST_ID + np.arange(COUNT))
    np.testing.assert_allclose(
        data.sums(values, None, {"params": {}}, KEY)["x"], X.sum(axis=0), rtol=1e-6
    )
