"""Values and gradients far out, supports as tests of values, and densities of single values."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import CASES, logistic_levels
from scipy import integrate, special, stats

from ae_jax.core.errors import UserError
from ae_jax.distributions import (
    ONE_HOT,
    OPEN_UNIT_INTERVAL,
    SIMPLEX,
    Beta,
    Categorical,
    ContinuousBernoulli,
    CouplingFlow,
    DiagonalGaussian,
    DiscretisedLogistic,
    FullGaussian,
    Gaussian,
    GaussianMixture,
    LogisticNormal,
    Multinomial,
    NegativeBinomial,
    OneHot,
    PlanarFlow,
    Poisson,
    level_support,
)
from ae_jax.numerics.noise import example_keys

LOGITS = (-200.0, 0.0, 200.0)
LOG_SCALES = (-15.0, 0.0, 15.0)


def _every(*ranges):
    """All combinations of parameters, as columns [N, 1]."""
    return tuple(jnp.asarray(c)[:, None] for c in zip(*itertools.product(*ranges), strict=True))


def _pairs(values, count):
    return jnp.asarray(list(itertools.product(values, repeat=count)))


def _full(log_scales):
    scale = jnp.exp(_pairs(log_scales, 2))  # [N, 2]
    tril = scale[..., None] * jnp.asarray([[[1.0, 0.0], [-20.0, 1.0]]])
    return FullGaussian(jnp.full((len(scale), 2), 200.0), tril)


_ZEROS = jnp.zeros((1, 2))
_BASE = DiagonalGaussian(_ZEROS + 20.0, _ZEROS + 15.0)
EXTREMES = {
    "beta": (Beta(*_every(LOG_SCALES, LOG_SCALES)), (1e-30, 0.5, 1 - 6e-8)),
    "categorical": (Categorical(_pairs(LOGITS, 3)[:, None]), (0.0, 2.0)),
    "continuous_bernoulli": (
        ContinuousBernoulli(jnp.asarray([*LOGITS, -1e-7, 1e-4, 2e-3, 0.5])[:, None]),
        (0.0, 0.3, 1.0),
    ),
    "discretised_logistic": (
        DiscretisedLogistic(*_every((-200.0, 100.0, 400.0), LOG_SCALES)),
        (0.0, 100.0, 255.0),
    ),
    "gaussian": (Gaussian(*_every(LOGITS, LOG_SCALES)), (-200.0, 0.0)),
    "full_gaussian": (_full(LOG_SCALES), (-200.0, 0.0)),
    "logistic_normal": (LogisticNormal(*_every(LOGITS, LOG_SCALES)), (0.5,)),
    "mixture": (
        GaussianMixture(
            _pairs(LOGITS, 2), jnp.full((9, 2, 1), 200.0), _pairs(LOG_SCALES, 2)[..., None]
        ),
        (-200.0, 0.0),
    ),
    "multinomial": (Multinomial(_pairs(LOGITS, 3)), (0.0, 1.0, 1e5)),
    "negative_binomial": (NegativeBinomial(*_every(LOG_SCALES, LOG_SCALES)), (0.0, 1.0, 1e5)),
    "poisson": (Poisson(jnp.asarray([-200.0, *LOG_SCALES])[:, None]), (0.0, 1.0, 1e5)),
    "coupling_flow": (
        CouplingFlow(
            _BASE,
            jnp.full((2, 2, 3), 200.0),
            jnp.full((2, 3), -200.0),
            jnp.full((2, 3, 4), 200.0),
            jnp.full((2, 4), 200.0),
        ),
        (-200.0, 0.0),
    ),
}


def _assert_finite(function, parameters):
    value, gradient = jax.jit(jax.value_and_grad(function))(parameters)
    assert np.isfinite(value)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("name", EXTREMES)
def test_densities_are_finite_at_extreme_parameters(name):
    distribution, values = EXTREMES[name]
    shape = distribution.mean().shape
    every = jnp.stack([jnp.full(shape, value) for value in values])
    assert np.isfinite(distribution.log_prob(every)).all()
    _assert_finite(lambda own: own.log_prob(every).sum(), distribution)


def test_one_hot_densities_are_finite_at_extreme_logits():
    logits = _pairs(LOGITS, 3)
    values = jnp.broadcast_to(jnp.eye(3)[:, None], (3, *logits.shape))
    _assert_finite(lambda own: own.log_prob(values).sum(), OneHot(logits))


@pytest.mark.parametrize("size", [1e-30, 1e-3, 1.0, 200.0])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_planar_flows_are_finite_at_extreme_maps(size, sign):
    maps = jnp.full((3, 2), size), jnp.full((3, 2), sign * 200.0), jnp.full((3,), 200.0)
    for u, w in [maps[:2], maps[1::-1]]:
        flow = PlanarFlow(_BASE, u, w, maps[2])
        keys = example_keys(jax.random.key(0), jnp.arange(1))

        def total(own, keys=keys):
            values, log_prob = own.sample_and_log_prob(keys, 3)
            return values.sum() + log_prob.sum()

        _assert_finite(total, flow)


# Values inside and outside of a support, one test a row.
LEVELS = level_support(4)
SUPPORTS = [
    (LEVELS, [0.0, 3.0, 1.5, -1.0, 4.0, np.nan], [1, 1, 0, 0, 0, 0]),
    (Poisson.support, [0.0, 7.0, 0.5, -1.0, np.nan], [1, 1, 0, 0, 0]),
    (OPEN_UNIT_INTERVAL, [0.5, 1e-30, 0.0, 1.0, np.nan], [1, 1, 0, 0, 0]),
    (ContinuousBernoulli.support, [0.0, 0.5, 1.0, 1.1, np.nan], [1, 1, 1, 0, 0]),
    (ONE_HOT, [[0, 1, 0], [0, 0, 0], [1, 1, 0], [0.5, 0.5, 0], [2, -1, 0]], [1, 0, 0, 0, 0]),
    (SIMPLEX, [[0.2, 0.3, 0.5], [0.2, 0.3, 0.6], [0, 0.5, 0.5], [-1, 1, 1]], [1, 0, 0, 0]),
]


@pytest.mark.parametrize(("support", "values", "expected"), SUPPORTS)
def test_supports_are_tests_of_values(support, values, expected):
    values = jnp.asarray(values, jnp.float32)
    inside = support.contains(values)
    assert inside.shape == values.shape
    assert inside.dtype == bool
    rows = inside if values.ndim == 1 else inside[:, 0]
    np.testing.assert_array_equal(rows, np.asarray(expected, bool))
    if values.ndim == 2:
        np.testing.assert_array_equal(
            inside, np.asarray(expected, bool)[:, None] & (values == values)
        )


OUTSIDE = {
    "beta": 0.0,
    "categorical": 1.5,
    "continuous_bernoulli": -0.1,
    "discretised_logistic": 16.0,
    "logistic_normal": 0.9,
    "multinomial": -1.0,
    "negative_binomial": 0.5,
    "one_hot": 0.5,
    "poisson": -1.0,
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_values_outside_have_no_density_and_no_gradient(name):
    distribution = CASES[name].distribution
    value = jnp.full(distribution.mean().shape, OUTSIDE[name])
    np.testing.assert_array_equal(distribution.log_prob(value), -np.inf)
    gradient = jax.grad(lambda own: own.log_prob(value).sum())(distribution)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


INDEPENDENT = [n for n, case in CASES.items() if hasattr(case.distribution, "event_ndims")]


@pytest.mark.parametrize("name", INDEPENDENT)
def test_without_an_event_the_density_of_each_value_is_left(name):
    distribution = CASES[name].distribution
    shape = distribution.mean().shape
    value = jnp.full(shape, 0.25 if name in ("beta", "continuous_bernoulli") else 1.0)
    of_each = distribution.replace(event_ndims=0).log_prob(value)
    assert of_each.shape == shape
    axes = tuple(range(-distribution.event_ndims, 0))
    np.testing.assert_allclose(of_each.sum(axes), distribution.log_prob(value), rtol=1e-5)


def test_which_likelihoods_have_independent_values():
    assert set(INDEPENDENT) == {
        "bernoulli",
        "beta",
        "categorical",
        "continuous_bernoulli",
        "discretised_logistic",
        "gaussian",
        "gaussian_shared_scale",
        "negative_binomial",
        "poisson",
    }


# Levels


@pytest.mark.parametrize("loc", [-1000.0, -3.0, 0.5, 100.2, 255.0, 300.0])
@pytest.mark.parametrize("log_scale", [-15.0, -2.0, 1.0, 4.0, 15.0])
def test_discretised_logistic_sums_to_one_and_is_the_difference_of_its_edges(loc, log_scale):
    levels = jnp.arange(256.0)[:, None]
    likelihood = DiscretisedLogistic(jnp.full((256, 1), loc), jnp.full((256, 1), log_scale))
    p = np.exp(np.asarray(likelihood.log_prob(levels), np.float64))
    assert p.sum() == pytest.approx(1.0, abs=1e-5)
    expected = logistic_levels(np.asarray(loc), np.asarray(log_scale), 256)
    np.testing.assert_allclose(p, expected, atol=2e-6)
    assert float(likelihood.mean()[0, 0]) == pytest.approx(expected @ np.arange(256.0), abs=0.01)


def test_discretised_logistic_far_out_falls_by_the_distance():
    """log p(k) = -(k - 1/2 - loc) / s + log(1 - exp(-1 / s)) where that is far below the mode."""
    likelihood = DiscretisedLogistic(jnp.full((1, 1), -900.0), jnp.full((1, 1), 0.0))

    def log_prob(loc):
        return likelihood.replace(loc=loc).log_prob(jnp.full((1, 1), 100.0))[0]

    value, gradient = jax.value_and_grad(log_prob)(likelihood.loc)
    assert float(value) == pytest.approx(-999.5 + np.log(-np.expm1(-1.0)), rel=1e-6)
    assert float(gradient[0, 0]) == pytest.approx(1.0, rel=1e-6)


def test_levels_of_255_grey_values_are_the_default_of_8_bits():
    likelihood = DiscretisedLogistic(_ZEROS, _ZEROS)
    assert likelihood.support.high == 255.0
    assert Categorical(jnp.zeros((2, 3, 256))).support == likelihood.support


# Counts


@pytest.mark.parametrize("count", [0.0, 1.0, 9.0, 1e3, 1e5, 3e6])
@pytest.mark.parametrize("ratio", [0.5, 0.999, 1.0, 1.01, 3.0])
def test_poisson_keeps_its_digits_at_large_counts(count, ratio):
    log_rate = np.float32(np.log(max(count, 1.0) * ratio))
    expected = stats.poisson.logpmf(count, np.exp(np.float64(log_rate)))
    actual = Poisson(jnp.full((1, 1), log_rate)).log_prob(jnp.full((1, 1), count))
    # One rounding of the rate's logarithm moves the density by (count - rate) times as much.
    rounding = 2e-6 * abs(count - max(count, 1.0) * ratio)
    assert float(actual[0]) == pytest.approx(expected, rel=5e-6, abs=2e-5 + rounding)


@pytest.mark.parametrize("count", [0.0, 1.0, 9.0, 1e3, 1e5])
@pytest.mark.parametrize("ratio", [0.5, 0.999, 1.0, 1.01, 3.0])
@pytest.mark.parametrize("log_dispersion", [-15.0, -8.0, -1.0, 3.0, 10.0])
def test_negative_binomial_keeps_its_digits_at_large_counts(count, ratio, log_dispersion):
    log_mean = np.float32(np.log(max(count, 1.0) * ratio))
    expected = _nbinom(count, np.float64(log_mean), log_dispersion)
    likelihood = NegativeBinomial(jnp.full((1, 1), log_mean), jnp.full((1, 1), log_dispersion))
    actual = likelihood.log_prob(jnp.full((1, 1), count))
    rounding = 2e-6 * abs(count - max(count, 1.0) * ratio)
    assert float(actual[0]) == pytest.approx(expected, rel=5e-6, abs=1e-4 + rounding)


def _nbinom(x, log_mean, log_dispersion):
    """The definition with 50 digits: even float64 loses half of its own here."""
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workdps(50):
        mean, r = mpmath.exp(log_mean), mpmath.exp(-log_dispersion)
        p = r / (r + mean)
        log_gammas = mpmath.loggamma(x + r) - mpmath.loggamma(r) - mpmath.loggamma(x + 1)
        return float(log_gammas + r * mpmath.log(p) + x * mpmath.log1p(-p))


def test_negative_binomial_of_no_dispersion_is_poisson():
    x, log_rate = jnp.arange(40.0)[:, None], jnp.full((40, 1), 2.5)
    thin = NegativeBinomial(log_rate, jnp.asarray(-15.0)).log_prob(x)
    np.testing.assert_allclose(thin, Poisson(log_rate).log_prob(x), atol=1e-4)


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


# Grey levels


@pytest.mark.parametrize("logit", [-200.0, -3.0, -0.4, -1e-3, -1e-5, 0.0, 1e-4, 0.6, 20.0, 200.0])
def test_continuous_bernoulli_integrates_to_one(logit):
    points, weights = np.polynomial.legendre.leggauss(400)
    x = ((points + 1) / 2).astype(np.float32)[:, None]
    likelihood = ContinuousBernoulli(jnp.full((400, 1), logit))
    density = np.exp(np.asarray(likelihood.log_prob(x), np.float64))
    assert density @ weights / 2 == pytest.approx(1.0, abs=2e-5)
    mean = (density * x[:, 0]) @ weights / 2
    assert float(likelihood.mean()[0, 0]) == pytest.approx(mean, abs=2e-5)
    # The derivative of the normaliser is the mean: the score is x - mean.
    score = jax.grad(lambda own: own.log_prob(x).sum())(likelihood).logits
    np.testing.assert_allclose(score, x - likelihood.mean(), atol=1e-6)


@pytest.mark.parametrize("logit", np.linspace(-0.6, 0.6, 13))
def test_continuous_bernoulli_is_smooth_near_one_half(logit):
    exact = integrate.quad(lambda x: x * np.exp(x * logit), 0, 1)[0]
    exact /= integrate.quad(lambda x: np.exp(x * logit), 0, 1)[0]
    mean = ContinuousBernoulli(jnp.full((1, 1), logit)).mean()
    assert float(mean[0, 0]) == pytest.approx(exact, abs=3e-7)


@pytest.mark.parametrize("log_alpha", [-2.0, 0.0, 5.0, 9.0])
def test_beta_keeps_its_digits_at_large_concentrations(log_alpha):
    alpha, beta = np.exp(np.float64(log_alpha)), np.exp(log_alpha + 1)
    near = np.float32(alpha / (alpha + beta))
    x = np.asarray([near, near * np.float32(1.01), 0.01, 1 - 1e-4], np.float32)
    likelihood = Beta(jnp.full((4, 1), log_alpha), jnp.full((4, 1), log_alpha + 1))
    expected = stats.beta.logpdf(x.astype(np.float64), alpha, beta)
    np.testing.assert_allclose(likelihood.log_prob(x[:, None]), expected, rtol=5e-6, atol=2e-3)
