"""The mixture of spherical Gaussians against EM in float64, scikit-learn's density and k-means."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp
from sklearn.datasets import load_digits
from sklearn.mixture import GaussianMixture

from ae_jax.codecs import KMeans, SphericalMixture, as_rows
from ae_jax.codecs.clusters import least_variance
from ae_jax.codecs.frame import centred
from ae_jax.codecs.spherical_mixture import _start
from ae_jax.core.errors import UserError

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    return load_digits().data.astype(np.float32)[:400] / 16


@pytest.fixture(scope="module")
def fit(digits):
    return SphericalMixture(6, max_iterations=40, tolerance=0.0).fit(digits, KEY)


def expectation_maximisation(x, centres, variance, steps):
    """EM in float64 from given centres, a variance and equal weights: Bishop 2006, Sec. 9.3.2."""
    x, (count, dim) = np.asarray(x, np.float64), x.shape
    weights, history = np.full(len(centres), 1 / len(centres)), []
    for _ in range(steps):
        distances = np.square(x[:, None] - centres[None]).sum(axis=2)
        joint = np.log(weights) - 0.5 * distances / variance
        joint -= 0.5 * dim * np.log(2 * np.pi * variance)
        log_prob = logsumexp(joint, axis=1)
        shares = np.exp(joint - log_prob[:, None])
        history.append(-log_prob.mean())
        weights = shares.mean(axis=0)
        centres = shares.T @ x / shares.sum(axis=0)[:, None]
        distances = np.square(x[:, None] - centres[None]).sum(axis=2)
        variance = (shares * distances).sum() / (count * dim)
    return centres, weights, variance, history


@pytest.mark.slow
def test_every_step_is_that_of_float64(digits, fit):
    spec = SphericalMixture(6)
    rows, frame = centred(as_rows(digits))
    start = _start(spec, rows, *spec._first(rows, KEY), least_variance(frame))
    centres, weights, variance, history = expectation_maximisation(
        digits,
        np.asarray(start.centres, np.float64) * frame.unit + np.asarray(frame.origin),
        float(start.variance) * frame.unit**2,
        fit.iterations,
    )
    np.testing.assert_allclose(fit.history, history, rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(fit.codec.centres, centres, atol=2e-3)
    np.testing.assert_allclose(fit.codec.weights, weights, atol=2e-3)
    assert float(fit.codec.variance) == pytest.approx(variance, rel=1e-3)
    assert np.all(np.diff(fit.history) <= 1e-4)


@pytest.mark.slow
def test_density_and_responsibilities_are_scikit_learns(digits, fit):
    codec = fit.codec
    oracle = GaussianMixture(6, covariance_type="spherical")
    oracle.means_ = np.asarray(codec.centres, np.float64)
    oracle.weights_ = np.asarray(codec.weights, np.float64)
    oracle.covariances_ = np.full(6, float(codec.variance))
    oracle.precisions_cholesky_ = oracle.covariances_**-0.5
    np.testing.assert_allclose(codec.log_prob(digits), oracle.score_samples(digits), atol=5e-3)
    responsibilities = oracle.predict_proba(digits)
    np.testing.assert_allclose(codec.encode(digits), responsibilities, atol=1e-3)
    np.testing.assert_allclose(codec.posterior(digits).mean(), codec.encode(digits), atol=1e-5)


@pytest.mark.slow
def test_the_fit_is_about_as_likely_as_scikit_learns_with_a_variance_each():
    """Groups of one spread: variances of their own gain nothing but a few parameters."""
    rng = np.random.default_rng(0)
    centres = 5 * rng.normal(size=(4, 3))
    x = (centres[rng.integers(0, 4, 500)] + rng.normal(size=(500, 3))).astype(np.float32)
    found = SphericalMixture(4).fit(x, KEY)
    oracle = GaussianMixture(4, covariance_type="spherical", n_init=3, random_state=0).fit(x)
    assert found.converged
    assert -found.history[-1] == pytest.approx(oracle.score(x), abs=0.02)
    assert float(found.codec.variance) == pytest.approx(1.0, rel=0.1)


@pytest.mark.slow
def test_k_means_is_the_limit_as_the_variance_goes_to_0(digits):
    hard = KMeans(5, tolerance=0.0).fit(digits, KEY).codec
    gaps = []
    for variance in (3e-2, 1e-3, 1e-5):
        soft = SphericalMixture(5, variance=variance, tolerance=0.0, max_iterations=100)
        codec = soft.fit(digits, KEY).codec
        assert float(codec.variance) == pytest.approx(variance)
        gaps.append(float(jnp.abs(codec.centres - hard.centres).max()))
    assert gaps[0] > gaps[-1] and gaps[-1] < 1e-4
    np.testing.assert_allclose(codec.encode(digits), hard.encode(digits), atol=1e-3)
    np.testing.assert_allclose(codec.weights, hard.weights, atol=1e-4)


@pytest.mark.slow
def test_where_k_means_ends_a_small_variance_stays(digits):
    hard = KMeans(5, tolerance=0.0).fit(digits, KEY).codec
    soft = SphericalMixture(5, variance=1e-4, start="kmeans", tolerance=0.0).fit(digits, KEY)
    np.testing.assert_allclose(soft.codec.centres, hard.centres, atol=1e-5)
    np.testing.assert_allclose(soft.codec.weights, hard.weights, atol=1e-5)
    assert soft.iterations <= 5


@pytest.mark.slow
def test_a_fit_from_k_means_is_as_likely_as_one_from_seeds(digits, fit):
    other = SphericalMixture(6, start="kmeans", max_iterations=40, tolerance=0.0).fit(digits, KEY)
    assert np.all(np.diff(other.history) <= 1e-4)
    assert other.history[-1] < fit.history[0]
    assert other.history[-1] == pytest.approx(fit.history[-1], abs=1.0)


@pytest.mark.slow
def test_samples_of_the_prior_come_as_often_as_the_weights_say(fit):
    drawn = fit.codec.prior.sample(KEY[None], 4000)[:, 0]
    np.testing.assert_allclose(drawn.mean(axis=0), fit.codec.weights, atol=0.03)


@pytest.mark.slow
def test_repeated_examples_bound_the_likelihood():
    """As many centres as different examples: the variance ends at what float32 resolves."""
    x = np.repeat(np.eye(3, 4, dtype=np.float32), 10, axis=0)
    fit = SphericalMixture(5).fit(x, KEY)
    assert np.isfinite(fit.history).all() and float(fit.codec.variance) > 0
    np.testing.assert_allclose(fit.codec.decode(fit.codec.encode(x)), x, atol=1e-4)


def test_what_cannot_be_fitted_is_said(digits):
    with pytest.raises(UserError, match="latent_dim=401"):
        SphericalMixture(401).fit(digits, KEY)
    with pytest.raises(UserError, match="variance"):
        SphericalMixture(2, variance=-1.0).fit(digits, KEY)
    with pytest.raises(UserError, match="start"):
        SphericalMixture(2, start="random").fit(digits, KEY)
