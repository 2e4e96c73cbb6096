"""Levels, counts and grey levels: sums, integrals, and digits kept where terms are large."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import CASES, logistic_levels
from scipy import special, stats

from ae_jax.core.errors import UserError
from ae_jax.distributions import (
    Beta,
    Categorical,
    ContinuousBernoulli,
    DiagonalGaussian,
    DiscretisedLogistic,
    FullGaussian,
    Multinomial,
    NegativeBinomial,
    PointMass,
    Poisson,
    StandardNormal,
)
from ae_jax.numerics.noise import example_keys


def _every(*ranges):
    """All combinations, as float32 columns [N, 1] and as the float64 values that these hold."""
    columns = np.asarray(list(itertools.product(*ranges)), np.float32).T
    return [jnp.asarray(c)[:, None] for c in columns], columns.astype(np.float64)


def test_standard_deviations_are_those_of_the_covariance():
    tril = np.tril(np.random.default_rng(0).normal(size=(2, 3, 3))) + 2 * np.eye(3)
    spread = np.sqrt(np.einsum("bij,bij->bi", tril, tril))
    full = FullGaussian(jnp.zeros((2, 3)), jnp.asarray(tril, jnp.float32))
    np.testing.assert_allclose(full.stddev(), spread, rtol=1e-6)
    diagonal = DiagonalGaussian(jnp.zeros((2, 3)), jnp.log(jnp.asarray(spread, jnp.float32)))
    np.testing.assert_allclose(diagonal.stddev(), spread, rtol=1e-6)
    some = diagonal.restricted(jnp.array([True, False, True]))
    np.testing.assert_allclose(some.stddev(), spread * [1, 0, 1], rtol=1e-6)
    np.testing.assert_array_equal(StandardNormal(3).stddev(), [1, 1, 1])
    np.testing.assert_array_equal(PointMass(jnp.ones((2, 3))).stddev(), np.zeros((2, 3)))
    with pytest.raises(UserError, match="Beta has no standard deviation in closed form"):
        Beta(jnp.ones((1, 2)), jnp.ones((1, 2))).stddev()


def test_discretised_logistic_sums_to_one_and_is_the_difference_of_its_edges():
    (loc, log_scale), exact = _every(
        [-1000.0, -3.0, 0.5, 100.2, 255.0, 300.0], [-15.0, -2.0, 1.0, 4.0, 15.0]
    )
    likelihood = DiscretisedLogistic(loc[None], log_scale[None])  # [1, 30, 1]
    levels = jnp.broadcast_to(jnp.arange(256.0)[:, None, None], (256, 30, 1))
    p = np.exp(np.asarray(likelihood.log_prob(levels), np.float64)).T  # [30, 256]
    np.testing.assert_allclose(p.sum(axis=-1), 1.0, atol=1e-5)
    expected = logistic_levels(*exact, 256)
    np.testing.assert_allclose(p, expected, atol=2e-6)
    np.testing.assert_allclose(likelihood.mean()[0, :, 0], expected @ np.arange(256.0), atol=0.01)


@pytest.mark.slow
def test_discretised_logistic_far_out_falls_by_the_distance():
    """log p(k) = -(k - 1/2 - loc) / s + log(1 - exp(-1 / s)) where that is far below the mode."""
    likelihood = DiscretisedLogistic(jnp.full((1, 1), -900.0), jnp.zeros((1, 1)))

    def log_prob(loc):
        return likelihood.replace(loc=loc).log_prob(jnp.full((1, 1), 100.0))[0]

    value, gradient = jax.value_and_grad(log_prob)(likelihood.loc)
    assert float(value) == pytest.approx(-999.5 + np.log(-np.expm1(-1.0)), rel=1e-6)
    assert float(gradient[0, 0]) == pytest.approx(1.0, rel=1e-6)


def test_levels_of_8_bits():
    zeros = jnp.zeros((2, 3))
    assert DiscretisedLogistic(zeros, zeros).support.high == 255.0
    supports = (
        Categorical(jnp.zeros((2, 3, 256))).support,
        DiscretisedLogistic(zeros, zeros).support,
    )
    assert supports[0] == supports[1]


def _counts_near_and_far(*more):
    """Counts, log means by ratios to these, and further parameters."""
    counts = [0.0, 1.0, 9.0, 1e3, 1e5, 3e6]
    _, (count, ratio, *rest) = _every(counts, [0.5, 0.999, 1.0, 1.01, 3.0], *more)
    log_mean = np.log(np.maximum(count, 1.0) * ratio).astype(np.float32)
    # A rounding of the mean's logarithm moves the density by (count - mean) times as much.
    rounding = 2e-6 * np.abs(count - np.exp(log_mean.astype(np.float64)))
    return count, log_mean.astype(np.float64), rounding, *rest


def _columns(*values):
    return [jnp.asarray(v, jnp.float32)[:, None] for v in values]


@pytest.mark.slow
def test_poisson_keeps_its_digits_at_large_counts():
    count, log_rate, rounding = _counts_near_and_far()
    x, log_rate_column = _columns(count, log_rate)
    expected = stats.poisson.logpmf(count, np.exp(log_rate))
    error = np.abs(np.asarray(Poisson(log_rate_column).log_prob(x)) - expected)
    assert (error <= 2e-5 + 5e-6 * np.abs(expected) + rounding).all()


@pytest.mark.slow
def test_negative_binomial_keeps_its_digits_at_large_counts():
    count, log_mean, rounding, log_dispersion = _counts_near_and_far([-15.0, -8.0, -1.0, 3.0, 10.0])
    x, *parameters = _columns(count, log_mean, log_dispersion)
    shape = np.exp(-log_dispersion)
    expected = stats.nbinom.logpmf(count, shape, shape / (shape + np.exp(log_mean)))
    error = np.abs(np.asarray(NegativeBinomial(*parameters).log_prob(x)) - expected)
    assert (error <= 1e-4 + 5e-6 * np.abs(expected) + rounding).all()


@pytest.mark.slow
def test_negative_binomial_keeps_its_digits_far_from_its_mean():
    """Where the shape is small beside the count: all of the logarithm cancels but what it says."""
    count, mean = (10.0 ** np.linspace(low, 7, 40) for low in (0, -3))
    count, mean, shape = np.meshgrid(np.floor(count), mean, 10.0 ** np.linspace(-3, 3, 13))
    count, log_mean, log_dispersion = (
        np.float32(each.ravel()) for each in (count, np.log(mean), -np.log(shape))
    )
    shape = np.exp(-log_dispersion.astype(np.float64))
    of_count = shape / (shape + np.exp(log_mean.astype(np.float64)))
    expected = stats.nbinom.logpmf(count.astype(np.float64), shape, of_count)
    x, *parameters = _columns(count, log_mean, log_dispersion)
    error = np.abs(np.asarray(NegativeBinomial(*parameters).log_prob(x)) - expected)
    known = np.isfinite(expected)
    assert known.mean() > 0.9
    assert (error <= 5e-3 + 2e-5 * np.abs(expected))[known].all()


@pytest.mark.slow
def test_negative_binomial_of_little_dispersion_is_nearly_poisson():
    """log p = log Poisson + dispersion ((x - mean)^2 - x) / 2, to first order."""
    x, log_rate, dispersion = np.arange(40.0), 2.5, np.exp(-10.0)
    expected = stats.poisson.logpmf(x, np.exp(log_rate))
    expected += dispersion * ((x - np.exp(log_rate)) ** 2 - x) / 2
    thin = NegativeBinomial(jnp.full((40, 1), log_rate), jnp.asarray(-10.0))
    np.testing.assert_allclose(thin.log_prob(*_columns(x)), expected, atol=5e-5)


@pytest.mark.slow
def test_multinomial_with_and_without_its_coefficient():
    case = CASES["multinomial"].distribution
    p = special.softmax(np.asarray(case.logits, np.float64), axis=-1)
    x = np.random.default_rng(0).multinomial(5000, p[2], size=4).astype(np.float32)
    words = case.replace(with_coefficient=False).log_prob(jnp.asarray(x))
    np.testing.assert_allclose(words, np.sum(x * np.log(p), axis=-1), rtol=1e-6)
    coefficient = case.log_prob(jnp.asarray(x)) - words
    expected = special.gammaln(x.sum(-1) + 1.0) - special.gammaln(x + 1.0).sum(-1)
    np.testing.assert_allclose(coefficient, expected, rtol=1e-5)


def test_multinomial_draws_need_totals():
    words = CASES["multinomial"].distribution.replace(totals=None)
    with pytest.raises(UserError, match="without their totals"):
        words.sample(example_keys(jax.random.key(0), jnp.arange(4)), 1)
    np.testing.assert_allclose(words.mean().sum(-1), 1.0, rtol=1e-6)


@pytest.mark.slow
def test_multinomial_of_a_large_vocabulary():
    """Bags of 20 documents of 2,000 kinds of words have their totals, and the words' shares."""
    totals = jnp.arange(20.0) * 70
    logits = jnp.asarray(np.random.default_rng(0).normal(0, 2, (20, 2000)), jnp.float32)
    keys = example_keys(jax.random.key(0), jnp.arange(20))
    bags = np.asarray(Multinomial(logits, totals).sample(keys, 1)[0], np.float64)
    np.testing.assert_array_equal(bags.sum(axis=-1), totals)
    expected = np.asarray(Multinomial(logits, totals).mean(), np.float64)
    likely = expected > 5
    z = (bags - expected)[likely] / np.sqrt(expected[likely])
    assert np.abs(z).max() < 4.5
    assert z.mean() == pytest.approx(0.0, abs=4 / np.sqrt(likely.sum()))


# From both ends of the series about 0, from its middle, and from far out.
NEAR_LOGITS = (0.0, 1e-5, 1e-4, 9e-4, 1.1e-3, 0.05, 0.2, 0.49, 0.51, 0.6, 3.0, 20.0, 200.0)


@pytest.mark.slow
def test_continuous_bernoulli_integrates_to_one():
    points, weights = np.polynomial.legendre.leggauss(400)
    x, weights = ((points + 1) / 2).astype(np.float32), weights / 2
    logits = np.asarray([*NEAR_LOGITS, *(-logit for logit in NEAR_LOGITS)], np.float32)
    likelihood = ContinuousBernoulli(jnp.asarray(logits)[:, None])
    every = jnp.broadcast_to(jnp.asarray(x)[:, None, None], (400, len(logits), 1))
    density = np.exp(np.asarray(likelihood.log_prob(every), np.float64))  # [400, N]
    np.testing.assert_allclose(weights @ density, 1.0, atol=2e-5)

    # The exact density, of which the error of float32 is no part, gives the mean.
    exact = np.exp(np.outer(x, logits.astype(np.float64)))
    mean = (weights * x) @ exact / (weights @ exact)
    np.testing.assert_allclose(likelihood.mean()[:, 0], mean, atol=1e-6)
    # The derivative of the normaliser is the mean: the score is x - mean.
    score = jax.grad(lambda own: own.log_prob(every[100]).sum())(likelihood).logits
    np.testing.assert_allclose(score[:, 0], x[100] - mean, atol=1e-6)


@pytest.mark.slow
def test_beta_keeps_its_digits_at_large_concentrations():
    _, (log_alpha, place) = _every([-2.0, 0.0, 5.0, 9.0, 12.0], range(5))
    mean = special.expit(-np.ones_like(log_alpha))
    places = np.stack([mean, 1.01 * mean, 0.6 * mean, 0 * mean + 0.01, 0 * mean + 0.999])
    x = np.take_along_axis(places, place.astype(int)[None], axis=0)[0].astype(np.float32)
    likelihood = Beta(*_columns(log_alpha, log_alpha + 1))
    alpha, beta = np.exp(log_alpha), np.exp(log_alpha + 1)
    expected = stats.beta.logpdf(x.astype(np.float64), alpha, beta)
    error = np.abs(np.asarray(likelihood.log_prob(*_columns(x))) - expected)
    # Two terms of the size (alpha + beta) |x - mean| are each rounded.
    rounding = 2e-7 * (alpha + beta) * np.abs(x - mean)
    assert (error <= 3e-5 + 5e-6 * np.abs(expected) + rounding).all()
