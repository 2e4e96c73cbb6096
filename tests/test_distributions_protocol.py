"""What every family of distributions must do, against scipy, its definition and its own samples."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import BATCH, CASES

from ae_jax.distributions import check_distribution
from ae_jax.numerics.noise import example_keys, stream_key
from tests import per_class

DRAWS = 2000
# Standard errors that the largest of a few dozen errors may reach, for one fixed key.
ERRORS = 4.5


def _keys(ids=range(BATCH), seed=1):
    return example_keys(stream_key(seed, "evaluation"), jnp.asarray(list(ids)))


@per_class.jit
def _draw(distribution, keys, first=0):
    return distribution.sample_and_log_prob(keys, DRAWS, first)


@functools.cache
def draws_of(name):
    """Samples [K, ..., B, event...] and their log densities [K, ..., B]."""
    values, log_prob = _draw(CASES[name].distribution, _keys())
    return np.asarray(values), np.asarray(log_prob)


@pytest.mark.slow_cases("mixture_of_each", "multinomial", "poisson", "beta", "negative_binomial")
@pytest.mark.parametrize("name", CASES)
def test_it_keeps_the_protocol(name):
    distribution, (values, log_prob) = CASES[name].distribution, draws_of(name)
    check_distribution(distribution, "the test")
    assert values.shape[0] == log_prob.shape[0] == DRAWS
    assert log_prob.shape[-1] == BATCH
    assert values.dtype == log_prob.dtype == np.float32
    assert np.isfinite(log_prob).all()
    assert bool(distribution.support.contains(values).all())


@pytest.mark.slow_cases("beta", "multinomial", "negative_binomial")
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.log_prob])
def test_log_prob_is_that_of_scipy_or_the_definition(name):
    case, (values, log_prob) = CASES[name], draws_of(name)
    expected = case.log_prob(values[:50].astype(np.float64))
    np.testing.assert_allclose(log_prob[:50], expected, rtol=2e-5, atol=2e-5)
    again = case.distribution.log_prob(jnp.asarray(values[:50]))
    np.testing.assert_allclose(again, expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", [n for n, case in CASES.items() if case.mean is not None])
def test_samples_have_the_mean_and_the_variance(name):
    case = CASES[name]
    np.testing.assert_allclose(case.distribution.mean(), case.mean, rtol=2e-5, atol=2e-5)
    deviations = draws_of(name)[0].astype(np.float64) - case.mean
    first = deviations.mean(axis=0) / np.sqrt(np.maximum(case.variance, 1e-12) / DRAWS)
    squares = deviations**2
    second = squares.mean(axis=0) - case.variance
    second /= np.maximum(squares.std(axis=0), 1e-12) / np.sqrt(DRAWS)
    assert np.abs(first).max() < ERRORS
    assert np.abs(second).max() < ERRORS


@pytest.mark.slow_cases(
    "gaussian",
    "mixture",
    "mixture_of_each",
    "planar_flow",
    "planar_flow_shared",
    "multinomial",
    "poisson",
    "beta",
    "negative_binomial",
)
@pytest.mark.parametrize("name", CASES)
def test_a_sample_depends_on_its_key_and_its_number_only(name):
    distribution, (values, log_prob) = CASES[name].distribution, draws_of(name)
    # Samples 1500, 1501, ... of a later part are those that the first one has there.
    later, _ = _draw(distribution, _keys(), 1500)
    np.testing.assert_allclose(later[:500], values[1500:], rtol=1e-6, atol=1e-6)
    # In other places, among other neighbours; and the last with a key that is not its own.
    order, axis = jnp.asarray([3, 0, 2, 3]), log_prob.ndim - 1
    moved = jax.tree.map(lambda parameter: _examples(parameter, order), distribution)
    there, _ = _draw(moved, _keys([3, 0, 2, 9]))
    same, other = np.split(np.asarray(there), [3], axis)
    np.testing.assert_allclose(same, np.take(values, order[:3], axis), rtol=1e-6, atol=1e-6)
    assert not np.array_equal(other, np.take(values, order[3:], axis))


def _examples(parameter, order):
    """Those of `order`; what all examples share stays."""
    if BATCH not in parameter.shape:
        return parameter
    return jnp.take(parameter, order, axis=parameter.shape.index(BATCH))
