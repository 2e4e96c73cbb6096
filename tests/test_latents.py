"""Posteriors and priors against scipy, numerical integrals and their own samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from ae_jax.core.errors import UserError
from ae_jax.distributions import (
    DiagonalGaussian,
    NoPrior,
    PointMass,
    StandardNormal,
    kl,
    kl_per_dim,
)
from ae_jax.numerics.noise import example_keys

BATCH, DIM = 4, 3
PRIOR = StandardNormal(DIM)


def _keys(ids=range(BATCH), seed=0):
    return example_keys(jax.random.key(seed), jnp.asarray(list(ids)))


_sample = jax.jit(DiagonalGaussian.sample, static_argnums=2)
_noise = jax.jit(DiagonalGaussian.noise, static_argnums=2)


@pytest.fixture(scope="module")
def loc():
    return np.random.default_rng(0).normal(0, 2, (BATCH, DIM)).astype(np.float32)


@pytest.fixture(scope="module")
def log_scale():
    return np.random.default_rng(1).normal(0, 1, (BATCH, DIM)).astype(np.float32)


@pytest.fixture(scope="module")
def posterior(loc, log_scale):
    return DiagonalGaussian(jnp.asarray(loc), jnp.asarray(log_scale))


def _kl_by_quadrature(loc, scale):
    q, p = stats.norm(loc, scale), stats.norm()

    def integrand(z):
        return q.pdf(z) * (q.logpdf(z) - p.logpdf(z))

    return integrate.quad(integrand, loc - 12 * scale, loc + 12 * scale, epsabs=1e-10)[0]


@pytest.mark.slow
def test_kl_of_each_dimension_is_the_integral_of_its_definition(posterior, loc, log_scale):
    expected = np.vectorize(_kl_by_quadrature)(
        loc.astype(np.float64), np.exp(log_scale.astype(np.float64))
    )
    np.testing.assert_allclose(kl_per_dim(posterior, PRIOR), expected, rtol=2e-5)
    np.testing.assert_allclose(kl(posterior, PRIOR), expected.sum(axis=1), rtol=2e-5)


@pytest.mark.slow
def test_kl_is_the_mean_of_the_log_ratio_over_samples(posterior):
    z = _sample(posterior, _keys(), 20_000)
    ratios = np.asarray(posterior.log_prob(z) - PRIOR.log_prob(z), np.float64)
    standard_error = ratios.std(axis=0) / np.sqrt(len(ratios))
    errors = (ratios.mean(axis=0) - np.asarray(kl(posterior, PRIOR))) / standard_error
    assert np.abs(errors).max() < 4


def test_kl_of_the_prior_is_zero():
    zeros = jnp.zeros((BATCH, DIM))
    np.testing.assert_array_equal(kl(DiagonalGaussian(zeros, zeros), PRIOR), 0.0)


def test_log_prob_is_scipys(posterior, loc, log_scale):
    z = np.random.default_rng(2).normal(0, 3, (5, BATCH, DIM)).astype(np.float32)
    scale = np.exp(log_scale.astype(np.float64))
    expected = stats.norm.logpdf(z, loc.astype(np.float64), scale).sum(axis=-1)
    np.testing.assert_allclose(posterior.log_prob(jnp.asarray(z)), expected, rtol=1e-5)


@pytest.mark.slow
def test_standard_normal_log_prob_and_samples():
    z = np.random.default_rng(3).normal(0, 3, (5, BATCH, DIM)).astype(np.float32)
    expected = stats.norm.logpdf(z.astype(np.float64)).sum(axis=-1)
    np.testing.assert_allclose(PRIOR.log_prob(jnp.asarray(z)), expected, rtol=1e-5)
    draws = np.asarray(PRIOR.sample(_keys([0]), 3000))
    assert draws.shape == (3000, 1, DIM)
    draws = draws[:, 0]
    assert stats.kstest(draws.ravel(), "norm").pvalue > 0.01
    assert np.abs(np.corrcoef(draws.T) - np.eye(DIM)).max() < 4 / np.sqrt(3000)


def test_samples_are_normal_and_independent(posterior, loc, log_scale):
    z = np.asarray(_sample(posterior, _keys(), 5000))
    assert z.shape == (5000, BATCH, DIM)
    standardised = ((z - loc) / np.exp(log_scale)).reshape(5000, -1)
    for column in standardised.T:
        assert stats.kstest(column, "norm").pvalue > 0.001
    # Neither dimensions nor examples nor neighbouring samples go together.
    correlations = np.corrcoef(np.hstack([standardised[1:], standardised[:-1]]).T)
    assert np.abs(correlations - np.eye(len(correlations))).max() < 5 / np.sqrt(5000)


def test_samples_drawn_in_parts_are_those_drawn_at_once(posterior):
    at_once = _sample(posterior, _keys(), 7)
    parts = [_sample(posterior, _keys(), count, first) for first, count in [(0, 3), (3, 1), (4, 3)]]
    np.testing.assert_allclose(jnp.concatenate(parts), at_once, rtol=1e-6)


def test_noise_belongs_to_the_example_wherever_it_stands(posterior):
    noise = np.asarray(_noise(posterior, _keys(), 6))
    order = [2, 0, 3, 1]
    np.testing.assert_array_equal(_noise(posterior, _keys(order), 6), noise[:, order])
    part = DiagonalGaussian(posterior.loc[:2], posterior.log_scale[:2])
    np.testing.assert_array_equal(_noise(part, _keys([3, 1]), 6), noise[:, [3, 1]])
    assert len(np.unique(noise)) == noise.size
    assert not np.isin(noise, _noise(posterior, _keys(seed=1), 6)).any()


def test_gradients_of_samples(posterior):
    """z = loc + exp(log_scale) * noise: dz/dloc = 1 and dz/dlog_scale = z - loc."""
    noise = _noise(posterior, _keys(), 5)

    def total(posterior):
        return _sample(posterior, _keys(), 5).sum()

    gradient = jax.grad(total)(posterior)
    np.testing.assert_allclose(gradient.loc, 5.0)
    expected = jnp.exp(posterior.log_scale) * noise.sum(axis=0)
    np.testing.assert_allclose(gradient.log_scale, expected, rtol=1e-5)


def test_point_mass_is_its_code_without_a_divergence(loc):
    code = PointMass(jnp.asarray(loc))
    assert code.is_deterministic
    z = code.sample(_keys(), 5)
    np.testing.assert_array_equal(z, np.broadcast_to(loc, (5, BATCH, DIM)))
    np.testing.assert_array_equal(code.mean(), loc)
    np.testing.assert_array_equal(kl(code, NoPrior(DIM)), np.zeros(BATCH))
    np.testing.assert_array_equal(kl_per_dim(code, NoPrior(DIM)), np.zeros((BATCH, DIM)))
    with pytest.raises(
        UserError, match="KL of a deterministic code .PointMass. to StandardNormal is infinite"
    ):
        kl(code, PRIOR)
    np.testing.assert_array_equal(code.log_prob(z), np.zeros((5, BATCH)))
    elsewhere = z.at[1, 2, 0].add(1.0)
    expected = np.zeros((5, BATCH))
    expected[1, 2] = -np.inf
    np.testing.assert_array_equal(code.log_prob(elsewhere), expected)
