"""KL divergences in closed form against Monte Carlo, and against each other."""

import jax.numpy as jnp
import numpy as np
import pytest
from families import BATCH, CASES, normals, on_device

from ae_jax.core.errors import UserError
from ae_jax.distributions import (
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    DiagonalGaussian,
    LogisticNormal,
    OneHot,
    Poisson,
    StandardNormal,
    closed_form,
    has_kl_per_dim,
    kl,
    kl_per_dim,
)
from ae_jax.distributions.full_gaussian import FullGaussian, as_full
from ae_jax.numerics.noise import example_keys, stream_key
from tests import per_class

DRAWS = 4000
ERRORS = 3.0
KEYS = example_keys(stream_key(0, "evaluation"), jnp.arange(BATCH))


def _diagonal(seed, rows=BATCH):
    parameters = normals(seed, rows, 3, scale=0.7), normals(seed + 1, rows, 3, scale=0.3)
    return DiagonalGaussian(*on_device(*parameters))


def _full(seed, rows=BATCH):
    raw = normals(seed, rows, 3, 3, scale=0.4)
    tril = np.tril(raw, -1) + np.exp(raw) * np.eye(3)
    return FullGaussian(*on_device(normals(seed + 1, rows, 3, scale=0.7), tril))


def _logits(seed, *shape):
    return on_device(normals(seed, *shape))[0]


PAIRS = {
    "bernoulli": (Bernoulli(_logits(0, BATCH, 5)), Bernoulli(_logits(1, BATCH, 5))),
    "bernoulli_images": (
        Bernoulli(_logits(0, BATCH, 2, 2, 1), 3),
        Bernoulli(_logits(1, BATCH, 2, 2, 1), 3),
    ),
    "categorical": (
        Categorical(_logits(2, BATCH, 2, 3, 6), 2),
        Categorical(_logits(3, BATCH, 2, 3, 6), 2),
    ),
    "continuous_bernoulli": (
        ContinuousBernoulli(_logits(4, BATCH, 5)),
        ContinuousBernoulli(_logits(5, BATCH, 5)),
    ),
    "diagonal_to_full": (_diagonal(6), _full(8)),
    "full_to_diagonal": (_full(10), _diagonal(12)),
    "full_to_full": (_full(14), _full(16)),
    "full_to_shared": (_full(14), _full(16, rows=1)),
    "full_to_standard": (_full(18), StandardNormal(3)),
    "logistic_normal": (
        LogisticNormal(_logits(20, BATCH, 3), _logits(21, BATCH, 3) * 0.3),
        LogisticNormal(_logits(22, 1, 3), _logits(23, 1, 3) * 0.3),
    ),
    "one_hot": (OneHot(_logits(24, BATCH, 5)), OneHot(_logits(25, 1, 5))),
    "poisson": (Poisson(_logits(26, BATCH, 3)), Poisson(_logits(27, BATCH, 3))),
    "standard_to_full": (StandardNormal(3), _full(28)),
}


@per_class.jit
def _exact_and_log_ratios(q, p):
    values, log_q = q.sample_and_log_prob(KEYS, DRAWS)
    return kl(q, p), log_q - p.log_prob(values)


@pytest.mark.slow_cases(
    "diagonal_to_full",
    "full_to_shared",
    "full_to_standard",
    "logistic_normal",
    "standard_to_full",
    "poisson",
)
@pytest.mark.parametrize("name", PAIRS)
def test_it_is_the_mean_of_the_log_ratio(name):
    q, p = PAIRS[name]
    exact, ratios = _exact_and_log_ratios(q, p)
    assert exact.shape == (BATCH,)
    ratios = np.asarray(ratios, np.float64)
    errors = (ratios.mean(axis=0) - np.asarray(exact)) / (ratios.std(axis=0) / np.sqrt(DRAWS))
    assert np.abs(errors).max() < ERRORS


@pytest.mark.parametrize("name", [name for name, (q, p) in PAIRS.items() if type(q) is type(p)])
def test_it_is_zero_for_equals(name):
    q, _ = PAIRS[name]
    np.testing.assert_allclose(kl(q, q), 0.0, atol=3e-6)


@pytest.mark.parametrize("name", [name for name, pair in PAIRS.items() if has_kl_per_dim(*pair)])
def test_dimensions_add_up(name):
    q, p = PAIRS[name]
    of_each = np.asarray(kl_per_dim(q, p))
    assert of_each.ndim == 2
    assert of_each.min() >= 0.0
    np.testing.assert_allclose(of_each.sum(axis=-1), kl(q, p), rtol=1e-6)


@pytest.mark.parametrize("name", ["full_to_standard", "full_to_full", "categorical", "one_hot"])
def test_what_is_no_sum_over_dimensions_is_refused_as_one(name):
    with pytest.raises(UserError, match="not known dimension by dimension"):
        kl_per_dim(*PAIRS[name])


def test_full_covariances_agree_with_diagonal_ones():
    q, p = _diagonal(30), _diagonal(32)
    expected = kl(q, p)
    for left, right in [(as_full(q), as_full(p)), (as_full(q), p), (q, as_full(p))]:
        np.testing.assert_allclose(kl(left, right), expected, rtol=1e-5)
    standard = StandardNormal(3)
    np.testing.assert_allclose(kl(as_full(q), standard), kl(q, standard), rtol=1e-5)


@pytest.mark.slow
def test_dimensions_switched_off_add_nothing():
    q, diagonal, full = _full(34), _diagonal(8), _full(10)
    active = jnp.asarray([True, True, False])
    off, small = q.restricted(active), _first_two(q)
    pairs = [
        (StandardNormal(3), StandardNormal(2)),
        (diagonal, DiagonalGaussian(diagonal.loc[:, :2], diagonal.log_scale[:, :2])),
        (full, _first_two(full)),
    ]
    for p, smaller in pairs:
        np.testing.assert_allclose(kl(off, p.restricted(active)), kl(small, smaller), rtol=1e-5)
    values = off.sample(KEYS, 3)
    np.testing.assert_array_equal(values[..., 2], 0.0)
    np.testing.assert_array_equal(off.mean()[..., 2], 0.0)
    np.testing.assert_allclose(off.log_prob(values), small.log_prob(values[..., :2]), rtol=1e-5)


def _first_two(q):
    return FullGaussian(q.loc[:, :2], q.scale_tril[:, :2, :2])


@pytest.mark.slow
def test_a_mixture_with_dimensions_switched_off_is_the_smaller_one():
    active = jnp.asarray([True, False])
    for name in ("mixture", "mixture_of_each"):
        mixture = CASES[name].distribution
        part = mixture.restricted(active)
        small = mixture.replace(loc=mixture.loc[..., :1], log_scale=mixture.log_scale[..., :1])
        values = part.sample(KEYS, 5)
        np.testing.assert_array_equal(values[..., 1], 0.0)
        np.testing.assert_allclose(
            part.log_prob(values), small.log_prob(values[..., :1]), rtol=1e-5
        )


@pytest.mark.parametrize("name", ["mixture", "planar_flow", "coupling_flow"])
def test_pairs_without_a_closed_form_name_the_way_out(name):
    with pytest.raises(UserError, match="objective.kl_form=monte_carlo"):
        kl(CASES[name].distribution, StandardNormal(3))


def test_sizes_must_agree():
    with pytest.raises(UserError, match="3 dimensions to a prior of 2"):
        kl(_full(0), StandardNormal(2))
    with pytest.raises(UserError, match="5 dimensions to a prior of 4"):
        kl(OneHot(_logits(0, BATCH, 5)), OneHot(_logits(0, 1, 4)))


def test_a_family_of_ones_own_registers_its_divergence():
    class Own(DiagonalGaussian):
        pass

    q = Own(*on_device(np.zeros((2, 3)), np.zeros((2, 3))))
    np.testing.assert_array_equal(kl(q, StandardNormal(3)), 0.0)  # as its ancestor
    closed_form(Own, StandardNormal, by_dimension=True)(lambda q, p: jnp.ones_like(q.loc))
    np.testing.assert_array_equal(kl(q, StandardNormal(3)), 3.0)
