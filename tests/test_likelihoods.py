"""Densities against scipy and their own definition; values and gradients at extreme parameters."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import xlogy

from ae_jax.distributions import Bernoulli, Gaussian
from ae_jax.nn import HEADS
from ae_jax.numerics.noise import example_keys

# Shapes of the data and of leading samples: vectors, images; no samples, and K = 3 of them.
EVENTS = [(5,), (3, 2, 2)]
LEADING = [(), (3,)]


def _logits(leading, event):
    return np.random.default_rng(0).normal(0, 3, (*leading, 4, *event)).astype(np.float32)


def _keys(count):
    return example_keys(jax.random.key(0), jnp.arange(count))


def _sum(values, event):
    return values.sum(axis=tuple(range(-len(event), 0)))


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("leading", LEADING)
def test_bernoulli_log_prob_of_binary_data_is_scipys(event, leading):
    logits = _logits(leading, event)
    x = np.random.default_rng(1).integers(0, 2, (4, *event))
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    expected = _sum(stats.bernoulli.logpmf(np.broadcast_to(x, p.shape), p), event)
    actual = Bernoulli(jnp.asarray(logits), len(event)).log_prob(x.astype(np.float32))
    assert actual.shape == (*leading, 4)
    np.testing.assert_allclose(actual, expected, rtol=2e-6)


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("leading", LEADING)
def test_bernoulli_log_prob_of_grey_data_is_the_negative_cross_entropy(event, leading):
    logits = _logits(leading, event)
    x = np.random.default_rng(2).random((4, *event))
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    expected = _sum(xlogy(x, p) + xlogy(1 - x, 1 - p), event)
    actual = Bernoulli(jnp.asarray(logits), len(event)).log_prob(x.astype(np.float32))
    np.testing.assert_allclose(actual, expected, rtol=2e-6)


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("leading", LEADING)
@pytest.mark.parametrize("shared_scale", [False, True])
def test_gaussian_log_prob_is_scipys(event, leading, shared_scale):
    rng = np.random.default_rng(3)
    mean = rng.normal(size=(*leading, 4, *event)).astype(np.float32)
    log_scale = rng.normal(size=() if shared_scale else mean.shape).astype(np.float32)
    x = rng.normal(size=(4, *event)).astype(np.float32)
    scale = np.exp(log_scale.astype(np.float64))
    expected = _sum(stats.norm.logpdf(x, mean.astype(np.float64), scale), event)
    actual = Gaussian(jnp.asarray(mean), jnp.asarray(log_scale), len(event)).log_prob(x)
    assert actual.shape == (*leading, 4)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_bernoulli_sums_to_one_over_all_binary_vectors():
    logits = jnp.asarray(_logits((), (4,))[:1])  # [1, 4]
    every = jnp.asarray(list(itertools.product([0.0, 1.0], repeat=4)))  # [16, 4]
    total = jnp.exp(Bernoulli(jnp.broadcast_to(logits, (16, 4))).log_prob(every)).sum()
    assert float(total) == pytest.approx(1.0, abs=1e-6)


def test_gaussian_integrates_to_one():
    grid = np.linspace(-12, 12, 4001, dtype=np.float32)[:, None]  # [N, 1], over 9 deviations
    likelihood = Gaussian(jnp.full((4001, 1), 0.7), jnp.full((4001, 1), math.log(1.3)))
    density = np.exp(np.asarray(likelihood.log_prob(grid), np.float64))
    assert np.trapezoid(density, grid[:, 0]) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("target", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("logit", [-200.0, -88.0, -20.0, 0.0, 20.0, 88.0, 200.0])
def test_bernoulli_is_exact_at_saturated_logits(logit, target):
    def log_prob(value):
        return Bernoulli(value.reshape(1, 1)).log_prob(jnp.full((1, 1), target))[0]

    value, gradient = jax.value_and_grad(log_prob)(jnp.asarray(logit))
    # x l - log(1 + e^l), and x - sigmoid(l), in float64; to the rounding of x l in float32
    rounding = 1e-7 * (1 + abs(logit))
    assert float(value) == pytest.approx(target * logit - np.logaddexp(0, logit), abs=rounding)
    assert float(gradient) == pytest.approx(target - 1 / (1 + math.exp(-logit)), abs=1e-6)


@pytest.mark.slow_cases(
    "-200.0-event0-bernoulli", "-200.0-event0-beta", "200.0-event1-beta", "-200.0-event1-beta"
)
@pytest.mark.parametrize("name", [n for n, head in HEADS.items() if not head.support.integer])
@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("raw", [-200.0, 200.0])
def test_heads_stay_finite_at_extreme_features(name, event, raw):
    head = HEADS.get(name)(event)
    features = jnp.ones((2, 1))
    params = head.init(jax.random.key(0), features)["params"]
    # Every dense map, and every free parameter, puts out exactly `raw`.
    params = jax.tree.map(lambda leaf: jnp.full_like(leaf, raw / 2 if leaf.ndim else raw), params)
    x = jnp.full((2, *event), 0.3)

    def log_prob(params, features):
        return head.apply({"params": params}, features).log_prob(x).sum()

    value, gradients = jax.jit(jax.value_and_grad(log_prob, argnums=(0, 1)))(params, features)
    assert np.isfinite(value)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def _z_scores(draws, mean, variance):
    """Errors of the sample mean and variance about the true mean, in standard errors."""
    count = len(draws)
    deviations = np.asarray(draws, np.float64) - mean
    first = deviations.mean(axis=0) / np.sqrt(variance / count)
    squares = deviations**2
    second = (squares.mean(axis=0) - variance) / (squares.std(axis=0) / np.sqrt(count))
    return first, second


def test_bernoulli_mean_and_samples():
    logits = jnp.asarray(_logits((), (5,)))
    likelihood = Bernoulli(logits)
    p = 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
    np.testing.assert_allclose(likelihood.mean(), p, rtol=1e-5)
    draws = jax.jit(likelihood.sample, static_argnums=1)(_keys(4), 4000)
    assert draws.dtype == logits.dtype
    assert set(np.unique(draws)) == {0.0, 1.0}
    first, _ = _z_scores(draws, p, p * (1 - p))
    assert np.abs(first).max() < 4


def test_gaussian_mean_and_samples():
    rng = np.random.default_rng(5)
    mean = rng.normal(size=(4, 2, 3, 1)).astype(np.float32)
    log_scale = rng.normal(size=mean.shape).astype(np.float32)
    likelihood = Gaussian(jnp.asarray(mean), jnp.asarray(log_scale), 3)
    np.testing.assert_array_equal(likelihood.mean(), mean)
    draws = jax.jit(likelihood.sample, static_argnums=1)(_keys(4), 4000)
    first, second = _z_scores(draws, mean, np.exp(2.0 * log_scale))
    assert np.abs(first).max() < 4
    assert np.abs(second).max() < 4


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("bernoulli", 0.0, 1.0),
        ("gaussian", -math.inf, math.inf),
        ("gaussian_fixed", -math.inf, math.inf),
        ("gaussian_global", -math.inf, math.inf),
        ("gaussian_sigmoid", 0.0, 1.0),
    ],
)
def test_heads_declare_the_values_they_accept(name, low, high):
    support = HEADS.get(name).support
    assert (support.low, support.high) == (low, high)
