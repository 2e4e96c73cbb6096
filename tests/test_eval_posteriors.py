"""What codes of a whole set are like, against NumPy in float64."""

import dataclasses

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
from ae_jax.eval import EVALUATORS, ActiveUnits, EvaluationData
from ae_jax.eval.posteriors import variance_of_means
from ae_jax.models import Examples, build_autoencoder
from ae_jax.train.config import ModelConfig
from tests.bound import encoded, initial
from tests.linear_gaussian import LinearGaussian

KNOWN = LinearGaussian.example()
MODEL = KNOWN.model
X = KNOWN.sample(300)
KEY = jax.random.key(4)


def _data(x=X, labels=None):
    split = DeviceSplit.put(Split(x, labels, first_id=0))
    return EvaluationData(split, Statistics(None), PREPROCESSING.get("identity"), 64)


def _linear(gain, log_variance, bias=0.0):
    """q(z|x) = N(x gain + bias, exp(log_variance))."""
    params = KNOWN.params(gain, np.full(2, bias), np.full(2, log_variance))
    return {"params": params}


def test_a_unit_is_active_by_the_variance_of_its_posterior_mean():
    """Means that are one value of x times a number, about a far origin: variances are known."""
    gain = np.zeros((5, 2))
    spread = X[:, 0].astype(np.float64).std()
    gain[0] = np.array([0.11, 0.09]) / spread  # variances of 0.0121 and 0.0081
    variables = _linear(gain, 0.0, bias=50.0)
    found = variance_of_means(MODEL, variables, _data(), KEY)
    np.testing.assert_allclose(found, [0.0121, 0.0081], rtol=1e-3)
    result = EVALUATORS.get("active_units")(MODEL, variables, _data(), KEY)
    assert result == pytest.approx({"active_units": 1, "variance_of_means": 0.0101}, rel=1e-3)
    for threshold, count in ((0.005, 2), (0.02, 0)):
        found = ActiveUnits(threshold)(MODEL, variables, _data(), KEY)
        assert found["active_units"] == count


def test_the_kl_of_each_dimension_is_that_of_numpy():
    variables = {"params": KNOWN.wrong_params(1)}
    posterior = encoded(MODEL, variables["params"], X)
    loc, log_scale = (np.asarray(p, np.float64) for p in (posterior.loc, posterior.log_scale))
    each = (0.5 * (loc**2 + np.exp(2 * log_scale) - 1) - log_scale).mean(axis=0)
    found = EVALUATORS.get("kl_by_dimension")(MODEL, variables, _data(), KEY)
    assert found == pytest.approx({"kl_0": each[0], "kl_1": each[1]}, rel=1e-5)
    bound = EVALUATORS.get("bound")(MODEL, variables, _data(), KEY)
    assert sum(found.values()) == pytest.approx(bound["kl"], rel=1e-5)


def _aggregate(variables, data=None):
    return EVALUATORS.get("aggregate_posterior")(MODEL, variables, data or _data(), KEY)


def test_the_aggregate_of_collapsed_posteriors_is_the_prior():
    found = _aggregate(_linear(np.zeros((5, 2)), 0.0))
    assert found == pytest.approx(dict.fromkeys(found, 0.0), abs=1e-6)


def test_codes_that_tell_examples_apart_tell_all_there_is():
    found = _aggregate(_linear(np.eye(5, 2), -25.0))
    assert found["mutual_information"] == pytest.approx(np.log(len(X)), abs=1e-4)


def test_the_aggregate_is_that_of_numpy_at_the_same_codes():
    variables = {"params": KNOWN.wrong_params(2)}
    posterior = encoded(MODEL, variables["params"], X)
    loc, scale = np.asarray(posterior.loc), np.exp(np.asarray(posterior.log_scale))
    found = _aggregate(variables)
    # Other codes of the same posteriors: within the errors of both.
    rng = np.random.default_rng(99)
    z = loc + scale * rng.normal(size=loc.shape)
    own = stats.norm.logpdf(z[:, None], loc[None], scale[None]).sum(axis=2)  # [codes, examples]
    aggregate = logsumexp(own, axis=1) - np.log(len(X))
    excess = aggregate - stats.norm.logpdf(z).sum(axis=1)
    told = np.diag(own) - aggregate
    for name, values in (("aggregate_kl", excess), ("mutual_information", told)):
        error = stats.sem(values)
        assert found[f"{name}_se"] == pytest.approx(error, rel=0.3)
        assert abs(found[name] - values.mean()) < 4 * np.hypot(error, found[f"{name}_se"]), name


def test_both_parts_are_the_mean_kl():
    """Hoffman & Johnson 2016: KL(q(z)||p(z)) + I = E KL(q(z|x)||p(z)), within the errors."""
    variables = {"params": KNOWN.wrong_params(1)}
    found = _aggregate(variables)
    mean_kl = EVALUATORS.get("bound")(MODEL, variables, _data(), KEY)["kl"]
    error = np.hypot(found["aggregate_kl_se"], found["mutual_information_se"])
    assert found["aggregate_kl"] + found["mutual_information"] == pytest.approx(
        mean_kl, abs=5 * error
    )


@pytest.mark.parametrize("name", ["kl_by_dimension", "aggregate_posterior"])
def test_deterministic_codes_are_refused(name):
    config = ModelConfig(hidden=(), latent="deterministic", latent_dim=2, head="gaussian")
    model = build_autoencoder(config, Examples((5,)))
    variables = {"params": initial(model, X[:10])}
    with pytest.raises(UserError, match="needs a model with a random code"):
        EVALUATORS.get(name)(model, variables, _data(X[:10]), KEY)


def _conditional(into, prior):
    config = ModelConfig(
        hidden=(), latent_dim=2, head="gaussian", prior=prior, condition="label", into=into
    )
    model = build_autoencoder(config, Examples((5,), classes=2))
    labels = (X[:20, 0] > 0).astype(np.int32)
    data = dataclasses.replace(_data(X[:20], labels), batch_size=20)
    batch = {"x": jnp.asarray(X[:20]), "id": jnp.arange(20), "mask": jnp.ones(20)}
    batch["y"] = jnp.asarray(labels)
    return model, {"params": model.init(jax.random.key(0), batch)["params"]}, data


@pytest.mark.slow
def test_a_prior_for_each_example_is_refused():
    model, variables, data = _conditional(("prior",), "network")
    with pytest.raises(UserError, match="prior depends on the condition of each example"):
        EVALUATORS.get("aggregate_posterior")(model, variables, data, KEY)


@pytest.mark.slow
def test_a_condition_of_the_encoder_alone_is_none_of_the_prior():
    model, variables, data = _conditional(("encoder",), "auto")
    found = EVALUATORS.get("aggregate_posterior")(model, variables, data, KEY)
    assert found["aggregate_kl"] > 0
