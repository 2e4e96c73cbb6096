"""Evaluators against numpy and the exact evidence of a linear Gaussian model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

from ae_jax.core.errors import UserError
from ae_jax.data import Split
from ae_jax.data.batches import DeviceSplit
from ae_jax.data.preprocess import PREPROCESSING, Statistics
from ae_jax.eval import EVALUATORS, EvaluationData, ImportanceSampledLikelihood, PeakSignalToNoise
from ae_jax.models import Examples, build_autoencoder
from ae_jax.numerics.noise import example_keys
from ae_jax.objectives import draw
from ae_jax.train.config import ModelConfig
from tests.bound import as_batch, bound, encoded, initial
from tests.linear_gaussian import LinearGaussian

KNOWN = LinearGaussian.example()
MODEL = KNOWN.model
WRONG = {"params": KNOWN.wrong_params(0)}
X = KNOWN.sample(70)
KEY = jax.random.key(11)
FIRST_ID = 30


def _data(batch_size, x=X):
    labels = (x[:, 0] > np.median(x[:, 0])).astype(np.int32)
    split = DeviceSplit.put(Split(x, labels, first_id=FIRST_ID))
    factors = np.digitize(x[:, :2], [-1, 0, 1])
    identity = PREPROCESSING.get("identity")
    return EvaluationData(split, Statistics(None), identity, batch_size, factors)


def _posterior(variables):
    posterior = encoded(MODEL, variables["params"], X)
    return np.asarray(posterior.loc, np.float64), np.asarray(posterior.log_scale, np.float64)


# Long chains, whose steps make of a difference in rounding a larger one; few examples will do.
OF_CHAINS = ("ais", "hmc_likelihood")


# Words have a model of their own: see tests/test_topics.py.
OF_COUNTS = ("document_completion", "perplexity_bound", "topics")


@pytest.mark.slow_cases(
    "code_use",
    "explained_variance",
    "loss_recovered",
    "active_units",
    "bound",
    "completion",
    "disentanglement",
    "log_likelihood",
    "plane_quadrature",
    "aggregate_posterior",
    "ais",
    "hmc_likelihood",
)
@pytest.mark.parametrize("name", [name for name in EVALUATORS if name not in OF_COUNTS])
def test_results_do_not_depend_on_the_batch_size(name):
    x, rel = (X[:9], 1e-4) if name in OF_CHAINS else (X, 1e-5)
    evaluator = PeakSignalToNoise(peak=10.0) if name == "psnr" else EVALUATORS.get(name)
    results = [evaluator(MODEL, WRONG, _data(size, x), KEY) for size in (7, 64, 1000)]
    assert all(isinstance(value, float) for value in results[0].values())
    for other in results[1:]:
        assert other == pytest.approx(results[0], rel=rel)


def test_lower_bound_is_that_of_numpy():
    loc, log_scale = _posterior(WRONG)
    _, values_key = jax.random.split(KEY)  # the first is the preprocessing's
    keys = example_keys(values_key, FIRST_ID + jnp.arange(len(X)))
    noise = encoded(MODEL, WRONG["params"], X).noise(keys, 1)[0]
    z = loc + np.exp(log_scale) * np.asarray(noise)
    mean = z @ KNOWN.weights.T + KNOWN.bias
    reconstruction = stats.norm.logpdf(X, mean, KNOWN.scale).sum(axis=1).mean()
    kl = (0.5 * (loc**2 + np.exp(2 * log_scale) - 1) - log_scale).sum(axis=1).mean()
    result = EVALUATORS.get("bound")(MODEL, WRONG, _data(64), KEY)
    expected = {"elbo": reconstruction - kl, "reconstruction": reconstruction, "kl": kl}
    assert result == pytest.approx(expected, rel=1e-5)


def test_squared_error_is_that_of_numpy():
    loc, _ = _posterior(WRONG)
    error = ((X - (loc @ KNOWN.weights.T + KNOWN.bias)) ** 2).sum(axis=1).mean()
    result = EVALUATORS.get("squared_error")(MODEL, WRONG, _data(64), KEY)
    expected = {"squared_error_per_example": error, "squared_error_per_dimension": error / 5}
    assert result == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_squared_error_is_taken_after_preprocessing():
    """Constant grey images of a decoder that answers 1/2 everywhere: (1/2 - level)^2 a pixel."""
    model = build_autoencoder(ModelConfig(hidden=(3,), head="bernoulli"), Examples((2, 3, 1)))
    params = jax.tree.map(jnp.zeros_like, initial(model, jnp.zeros((1, 2, 3, 1))))
    images = np.full((10, 2, 3, 1), 51, np.uint8)  # a level of 0.2
    split = DeviceSplit.put(Split(images, first_id=0))
    data = EvaluationData(split, Statistics(255.0), PREPROCESSING.get("grey"), 4)
    result = EVALUATORS.get("squared_error")(model, {"params": params}, data, KEY)
    expected = {"squared_error_per_example": 0.54, "squared_error_per_dimension": 0.09}
    assert result == pytest.approx(expected, rel=1e-5)


BATCH = as_batch(X[:6])


def _estimates(num_samples, part):
    evaluator = ImportanceSampledLikelihood(num_samples, part)

    @jax.jit
    def values_of(variables, key):
        return evaluator.values_of(bound(MODEL, variables["params"]), BATCH, key)

    values = values_of(WRONG, KEY)
    return np.asarray(values["log_likelihood"], np.float64)


def _log_weights(count):
    return np.asarray(
        draw(bound(MODEL, WRONG["params"]), BATCH, KEY, count).log_weights(), np.float64
    )


@pytest.mark.slow_cases("23-7", "1-10", "23-1")
@pytest.mark.parametrize(("num_samples", "part"), [(1, 10), (23, 1), (23, 7), (23, 10), (23, 23)])
def test_likelihood_counts_exactly_the_samples_asked_for(num_samples, part):
    weights = _log_weights(30)

    def by_numpy(count):
        return logsumexp(weights[:count], axis=0) - np.log(count)

    estimates = _estimates(num_samples, part)
    np.testing.assert_allclose(estimates, by_numpy(num_samples), rtol=1e-5)
    # One more, or the last part in full, would show.
    for other in (num_samples + 1, 30):
        assert np.abs(by_numpy(other) - by_numpy(num_samples)).max() > 1e-3


@pytest.mark.slow_cases("5-10-1", "64-7-9", "64-10-6")
@pytest.mark.parametrize(
    ("batch_size", "part", "rows"),
    [(64, 10, 6), (64, 7, 9), (5, 10, 1), (64, 1, 64), (1000, 5, 70)],
)
def test_likelihood_decodes_no_more_codes_at_once_than_a_batch_holds(
    batch_size, part, rows, monkeypatch
):
    """`part` samples of batch_size // part examples, of which there are 70; never none."""
    seen, original = [], ImportanceSampledLikelihood.values_of

    def values_of(self, model, batch, key):
        seen.append(batch["mask"].shape)
        return original(self, model, batch, key)

    monkeypatch.setattr(ImportanceSampledLikelihood, "values_of", values_of)
    result = ImportanceSampledLikelihood(12, part)(MODEL, WRONG, _data(batch_size), KEY)
    assert set(seen) == {(rows,)}
    whole = ImportanceSampledLikelihood(12, 12)(MODEL, WRONG, _data(1000), KEY)
    assert result == pytest.approx(whole, rel=1e-6)


def test_one_sample_weighs_what_the_monte_carlo_elbo_says():
    np.testing.assert_allclose(_estimates(1, 1), _log_weights(1)[0], rtol=1e-5)


@pytest.mark.slow
def test_likelihood_with_the_true_posterior_is_the_evidence():
    data = _data(64)
    exact = KNOWN.log_evidence(X).mean()
    for num_samples in (1, 13):
        evaluator = ImportanceSampledLikelihood(num_samples, part=5)
        result = evaluator(MODEL, {"params": KNOWN.exact_params}, data, KEY)
        assert result["log_likelihood"] == pytest.approx(exact, abs=3e-5)


@pytest.mark.slow
def test_the_bound_rises_with_the_samples_towards_the_evidence():
    """With variances e times those of the true posterior, weights are bounded."""
    params = KNOWN.exact_params
    wide = jax.tree.map(lambda leaf: leaf, params)
    wide["latent"]["log_variance"]["bias"] = params["latent"]["log_variance"]["bias"] + 1.0
    estimates = [
        ImportanceSampledLikelihood(count, part=100)(MODEL, {"params": wide}, _data(70), KEY)
        for count in (1, 10, 100, 3000)
    ]
    bounds = [estimate["log_likelihood"] for estimate in estimates]
    exact = KNOWN.log_evidence(X).mean()
    assert bounds == sorted(bounds)
    # KL(N(0, e) || N(0, 1)) = (e - 2) / 2 a dimension is what one sample loses on average.
    assert bounds[0] == pytest.approx(exact - (np.e - 2), abs=0.5)
    assert bounds[-1] == pytest.approx(exact, abs=0.02)


def test_a_deterministic_code_has_no_likelihood():
    config = ModelConfig(hidden=(), latent="deterministic", latent_dim=2, head="gaussian")
    model = build_autoencoder(config, Examples((5,)))
    variables = {"params": initial(model, X)}
    with pytest.raises(UserError, match="needs a model with a random code"):
        EVALUATORS.get("log_likelihood")(model, variables, _data(64), KEY)


@pytest.mark.slow
def test_a_large_weight_does_not_overflow():
    """Weights of exp(-1e5) still have a finite logarithm of their mean."""
    far = {**BATCH, "x": BATCH["x"] + 300.0}
    evaluator = ImportanceSampledLikelihood(5, 2)
    model = bound(MODEL, WRONG["params"])
    values = evaluator.values_of(model, far, KEY)["log_likelihood"]
    weights = draw(model, far, KEY, 5).log_weights()
    assert float(weights.max()) < -1e4
    expected = logsumexp(np.asarray(weights, np.float64), axis=0) - np.log(5)
    np.testing.assert_allclose(values, expected, rtol=1e-5)
