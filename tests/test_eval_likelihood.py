"""Estimates of log p(x) against the exact evidence of a linear Gaussian model."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from ae_jax.core.errors import UserError
from ae_jax.data import Split
from ae_jax.data.batches import DeviceSplit
from ae_jax.data.preprocess import PREPROCESSING, Statistics
from ae_jax.eval import (
    AnnealedLikelihood,
    EvaluationData,
    ImportanceSampledLikelihood,
    PosteriorFitLikelihood,
)
from ae_jax.eval.annealing import schedule
from ae_jax.eval.posterior_fit import fit_gaussian
from ae_jax.models import Examples, build_autoencoder
from ae_jax.models.hmc import Path, transition
from ae_jax.numerics.noise import example_keys
from ae_jax.train.config import ModelConfig
from tests.bound import initial
from tests.compile_counts import compilations
from tests.linear_gaussian import LinearGaussian

KNOWN = LinearGaussian.example()
MODEL = KNOWN.model
WRONG, EXACT = {"params": KNOWN.wrong_params(0)}, {"params": KNOWN.exact_params}
X = KNOWN.sample(40)
KEY = jax.random.key(3)
EVIDENCE = KNOWN.log_evidence(X)


def _data(x=X, batch_size=1000):
    split = DeviceSplit.put(Split(x, first_id=7))
    return EvaluationData(split, Statistics(None), PREPROCESSING.get("identity"), batch_size)


def _rows(evaluator, variables, model=MODEL):
    return _data().rows(evaluator.values_of, model, variables, KEY)


@pytest.mark.slow
def test_the_standard_error_is_that_of_the_mean_over_examples():
    evaluator = ImportanceSampledLikelihood(20)
    rows = _rows(evaluator, WRONG)["log_likelihood"]
    found = evaluator(MODEL, WRONG, _data(), KEY)
    assert found["log_likelihood"] == pytest.approx(rows.mean(), rel=1e-6)
    assert found["log_likelihood_se"] == pytest.approx(stats.sem(rows), rel=1e-5)
    one = evaluator(MODEL, WRONG, _data(X[:1]), KEY)
    assert "log_likelihood_se" not in one  # of one value there is none


@pytest.mark.slow
def test_repetitions_are_parts_of_one_long_row_of_samples():
    """Each is an estimate with the samples after those of the one before."""
    rows = []
    for first in (0, 6, 12):
        given = () if first == 0 else (first,)
        found = _data().rows(ImportanceSampledLikelihood(6).values_of, MODEL, WRONG, KEY, *given)
        rows.append(found["log_likelihood"])
    found = ImportanceSampledLikelihood(6, repetitions=3)(MODEL, WRONG, _data(), KEY)
    rows = np.array(rows, np.float64)
    assert found["log_likelihood"] == pytest.approx(rows.mean(), rel=1e-6)
    assert found["log_likelihood_se"] == pytest.approx(stats.sem(rows.mean(axis=0)), rel=1e-5)
    expected = stats.sem(rows.mean(axis=1))
    assert found["log_likelihood_repetition_se"] == pytest.approx(expected, rel=1e-3)


def test_the_error_of_repetitions_covers_the_evidence():
    found = ImportanceSampledLikelihood(400, 100, repetitions=4)(MODEL, WIDE, _data(), KEY)
    error = found["log_likelihood_repetition_se"]
    assert 0 < error < 0.02
    assert abs(found["log_likelihood"] - EVIDENCE.mean()) < 5 * error


def _wide():
    """Variances e times those of the true posterior: weights are bounded."""
    params = jax.tree.map(lambda leaf: leaf, KNOWN.exact_params)
    params["latent"]["log_variance"]["bias"] = params["latent"]["log_variance"]["bias"] + 1.0
    return {"params": params}


WIDE = _wide()


@pytest.mark.slow
@pytest.mark.parametrize("temperatures", [1, 8])
def test_annealing_from_the_true_posterior_is_exact_at_any_temperatures(temperatures):
    """log p(x, z) - log q(z|x) is then log p(x) wherever the chains are."""
    evaluator = AnnealedLikelihood(2, temperatures, burn_in=3, start="posterior")
    rows = _rows(evaluator, EXACT)["ais_log_likelihood"]
    np.testing.assert_allclose(rows, EVIDENCE, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("start", ["prior", "posterior"])
def test_annealing_finds_the_evidence_whatever_the_encoder(start):
    evaluator = AnnealedLikelihood(128, 100, start=start)
    found = evaluator(MODEL, WRONG, _data(), KEY)
    assert found["ais_log_likelihood"] == pytest.approx(EVIDENCE.mean(), abs=0.03)
    assert found["ais_log_likelihood_se"] == pytest.approx(stats.sem(EVIDENCE), rel=0.05)
    assert 0.4 < found["ais_acceptance"] < 0.9
    # As many draws of this encoder are far off.
    plain = ImportanceSampledLikelihood(32)(MODEL, WRONG, _data(), KEY)
    assert plain["log_likelihood"] < EVIDENCE.mean() - 0.3


@pytest.mark.slow
def test_mean_weights_of_annealing_are_unbiased_in_few_temperatures():
    """E[w] = p(x) also where chains are far from their targets: over many, within errors."""
    x = X[:3]
    evaluator = AnnealedLikelihood(4000, 3, leapfrog_steps=2, burn_in=5)
    found = _data(x).rows(evaluator.values_of, MODEL, WRONG, KEY)["ais_log_likelihood"]
    np.testing.assert_allclose(found, KNOWN.log_evidence(x), atol=0.1)


def test_the_schedule_is_the_sigmoid_of_the_paper():
    betas = np.asarray(schedule(10), np.float64)
    raw = 1 / (1 + np.exp(-4 * np.linspace(-1, 1, 11)))
    np.testing.assert_allclose(betas, (raw - raw[0]) / (raw[-1] - raw[0]), atol=1e-6)
    assert betas[0] == 0.0 and betas[-1] == 1.0


@pytest.mark.slow
def test_transitions_leave_a_correlated_normal_as_it_is():
    """Many chains that start in the target stay in it: moments within their errors."""
    covariance = np.array([[1.0, 0.8], [0.8, 2.0]])
    precision = jnp.asarray(np.linalg.inv(covariance), jnp.float32)
    chains = 4000
    noise = np.random.default_rng(0).normal(size=(chains, 1, 2))
    start = jnp.asarray(noise @ np.linalg.cholesky(covariance).T + 3.0, jnp.float32)

    def density(z):
        return -0.5 * jnp.einsum("cbi,ij,cbj->cb", z - 3.0, precision, z - 3.0)

    @jax.jit
    def run(z):
        path = Path(lambda z: jnp.zeros(z.shape[:-1]), density)

        def move(place, index):
            keys = example_keys(jax.random.key(index), jnp.zeros(1, jnp.int32))
            place, accepted = transition(path, place, 1.0, jnp.full(1, 0.9), keys, 3)
            return place, accepted.mean()

        place, accepted = jax.lax.scan(move, path.at(z), jnp.arange(20))
        return place.z[:, 0], accepted.mean()

    z, accepted = run(start)
    z = np.asarray(z, np.float64)
    assert 0.5 < accepted < 0.99  # a wrong test of acceptance would show
    assert (z != np.asarray(start[:, 0])).any(axis=1).mean() > 0.95
    np.testing.assert_allclose(z.mean(axis=0), 3.0, atol=5 * math.sqrt(2 / chains))
    np.testing.assert_allclose(np.cov(z.T), covariance, atol=5 * 2 * math.sqrt(2 / chains))


@pytest.mark.slow_cases("wrong")
@pytest.mark.parametrize("variables", [WRONG, EXACT], ids=["wrong", "exact"])
def test_draws_of_the_posterior_give_the_evidence(variables):
    found = PosteriorFitLikelihood(8, 60)(MODEL, variables, _data(), KEY)
    assert found["hmc_log_likelihood"] == pytest.approx(EVIDENCE.mean(), abs=0.02)
    assert found["hmc_log_likelihood_se"] == pytest.approx(stats.sem(EVIDENCE), rel=0.05)
    assert 0.4 < found["hmc_acceptance"] < 0.9


@pytest.mark.slow
def test_the_fitted_density_is_that_of_scipy():
    rng = np.random.default_rng(1)
    drawn = rng.normal(size=(200, 3, 2)) @ np.array([[1.0, 0.3], [0.0, 0.5]]) + 1.5
    z = rng.normal(size=(4, 3, 2)).astype(np.float32)
    found = fit_gaussian(jnp.asarray(drawn, jnp.float32))(jnp.asarray(z))
    for b in range(3):
        normal = stats.multivariate_normal(drawn[:, b].mean(axis=0), np.cov(drawn[:, b].T))
        np.testing.assert_allclose(found[:, b], normal.logpdf(z[:, b]), rtol=1e-3, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "evaluator", [AnnealedLikelihood(2, 5, 2, 2), PosteriorFitLikelihood(2, 5, 5)]
)
def test_one_program_for_all_batches_and_other_parameters(evaluator):
    evaluator = dataclasses.replace(evaluator, step_size=0.123)  # that no other test compiled
    with compilations() as counts:
        for variables in (WRONG, EXACT):
            evaluator(MODEL, variables, _data(batch_size=16), KEY)
    assert counts["jit(_batches)"] == 1


ESTIMATORS = [ImportanceSampledLikelihood(2), AnnealedLikelihood(2, 2), PosteriorFitLikelihood(2)]


@pytest.mark.parametrize("evaluator", ESTIMATORS)
def test_a_deterministic_code_has_no_likelihood(evaluator):
    config = ModelConfig(hidden=(), latent="deterministic", latent_dim=2, head="gaussian")
    model = build_autoencoder(config, Examples((5,)))
    variables = {"params": initial(model, X)}
    with pytest.raises(UserError, match="needs a model with a random code"):
        evaluator(model, variables, _data(), KEY)


@pytest.mark.parametrize("evaluator", ESTIMATORS[1:])
@pytest.mark.parametrize("latent", ["one_hot", "logistic_normal"])
def test_codes_that_have_no_gradient_are_refused(evaluator, latent):
    model = build_autoencoder(
        ModelConfig(hidden=(), latent=latent, latent_dim=3, head="gaussian"), Examples((5,))
    )
    variables = {"params": initial(model, X)}
    with pytest.raises(UserError, match="needs codes of real numbers, not .*log_likelihood takes"):
        evaluator(model, variables, _data(), KEY)


def test_a_large_code_is_not_fitted():
    config = ModelConfig(hidden=(), latent_dim=11, head="gaussian")
    model = build_autoencoder(config, Examples((5,)))
    variables = {"params": initial(model, X)}
    with pytest.raises(UserError, match="at most 10 dimensions, not 11"):
        PosteriorFitLikelihood(2, 2, 2)(model, variables, _data(), KEY)


@pytest.mark.slow
@pytest.mark.parametrize("prior", ["mixture", "network"])
def test_learned_priors_and_conditions_count(prior):
    """With a code of one dimension, against quadrature over it."""
    network = prior == "network"
    config = ModelConfig(
        hidden=(),
        latent_dim=1,
        head="gaussian_fixed",
        prior=prior,
        condition="label" if network else "none",
        **({"into": ("decoder", "prior")} if network else {}),
    )
    model = build_autoencoder(config, Examples((5,), classes=3 if network else None))
    labels = np.arange(6, dtype=np.int32) % 3
    x = X[:6]
    split = DeviceSplit.put(Split(x, labels if network else None, first_id=0))
    data = dataclasses.replace(_data(), split=split)
    batch = {"x": jnp.asarray(x), "id": jnp.arange(6), "mask": jnp.ones(6)}
    batch |= {"y": jnp.asarray(labels)} if network else {}
    shapes = jax.eval_shape(model.init, jax.random.key(0), batch)["params"]
    rng = np.random.default_rng(5)
    params = jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(0, 0.6, leaf.shape), jnp.float32), shapes
    )
    # A posterior that is wide enough for importance sampling, of whatever x.
    params["latent"] = jax.tree.map(jnp.zeros_like, params["latent"])
    params["latent"]["log_variance"]["bias"] += 2.0
    variables = {"params": params}
    exact = _by_quadrature(model, variables, batch)
    for evaluator, name in (
        (ImportanceSampledLikelihood(4000, 500), "log_likelihood"),
        (AnnealedLikelihood(100, 150), "ais_log_likelihood"),
        (PosteriorFitLikelihood(16, 60), "hmc_log_likelihood"),
    ):
        rows = data.rows(evaluator.values_of, model, variables, KEY)[name]
        np.testing.assert_allclose(rows, exact, atol=0.15, err_msg=name)


def _by_quadrature(model, variables, batch):
    """log p(x|c) as a sum over a grid of codes, [B]."""
    grid = np.linspace(-12, 12, 4001, dtype=np.float32)
    z = jnp.broadcast_to(jnp.asarray(grid)[:, None, None], (len(grid), len(batch["x"]), 1))
    prior = model.apply(variables, batch, method="prior").log_prob(z)
    likelihood = model.apply(variables, z, batch, method="decode").log_prob(batch["x"])
    joint = np.asarray(prior + likelihood, np.float64)
    top = joint.max(axis=0)
    return top + np.log(np.exp(joint - top).sum(axis=0) * (grid[1] - grid[0]))
