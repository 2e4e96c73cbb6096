"""Values and gradients far out, supports as tests of values, and densities of single values."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import CASES

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
from tests import per_class

LOGITS = (-200.0, 0.0, 200.0)
LOG_SCALES = (-15.0, 0.0, 15.0)


@per_class.jit
def _log_prob(distribution, value):
    return distribution.log_prob(value)


@per_class.jit
def _gradient(distribution, value):
    """Of the sum of the log densities, by each parameter."""
    return jax.grad(lambda own: own.log_prob(value).sum())(distribution)


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


def _are_finite(*trees):
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(trees))


@pytest.mark.slow_cases("beta", "coupling_flow", "negative_binomial")
@pytest.mark.parametrize("name", EXTREMES)
def test_densities_are_finite_at_extreme_parameters(name):
    distribution, values = EXTREMES[name]
    shape = jax.eval_shape(lambda: distribution.mean()).shape
    every = jnp.stack([jnp.full(shape, value) for value in values])
    assert _are_finite(_log_prob(distribution, every), _gradient(distribution, every))


def test_one_hot_densities_are_finite_at_extreme_logits():
    logits = _pairs(LOGITS, 3)
    values = jnp.broadcast_to(jnp.eye(3)[:, None], (3, *logits.shape))
    assert _are_finite(_log_prob(OneHot(logits), values), _gradient(OneHot(logits), values))


@per_class.jit
def _draw_of_flow(flow):
    keys = example_keys(jax.random.key(0), jnp.arange(1))

    def total(own):
        values, log_prob = own.sample_and_log_prob(keys, 3)
        return values.sum() + log_prob.sum()

    return jax.value_and_grad(total)(flow)


def test_planar_flows_are_finite_at_extreme_maps():
    for u, w in itertools.product([-200.0, -1e-3, 1e-30, 0.0, 200.0], repeat=2):
        maps = jnp.full((3, 2), u), jnp.full((3, 2), w), jnp.full((3,), 200.0)
        assert _are_finite(_draw_of_flow(PlanarFlow(_BASE, *maps))), (u, w)


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


@pytest.mark.slow_cases("beta", "categorical")
@pytest.mark.parametrize("name", OUTSIDE)
def test_values_outside_have_no_density_and_no_gradient(name):
    distribution = CASES[name].distribution
    value = jnp.full(distribution.mean().shape, OUTSIDE[name])
    np.testing.assert_array_equal(_log_prob(distribution, value), -np.inf)
    assert _are_finite(_gradient(distribution, value))


INDEPENDENT = [n for n, case in CASES.items() if hasattr(case.distribution, "event_ndims")]


@pytest.mark.parametrize("name", INDEPENDENT)
def test_without_an_event_the_density_of_each_value_is_left(name):
    distribution = CASES[name].distribution
    shape = CASES[name].mean.shape
    value = jnp.full(shape, 0.25 if name in ("beta", "continuous_bernoulli") else 1.0)
    of_each = _log_prob(distribution.replace(event_ndims=0), value)
    assert of_each.shape == shape
    axes = tuple(range(-distribution.event_ndims, 0))
    np.testing.assert_allclose(of_each.sum(axes), _log_prob(distribution, value), rtol=1e-5)


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
