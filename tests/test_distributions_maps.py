"""Normal codes that are carried elsewhere: flows and the simplex, against their Jacobians."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import BATCH, CASES, normals, on_device
from scipy import special

from ae_jax.core.errors import UserError
from ae_jax.distributions import (
    CouplingFlow,
    DiagonalGaussian,
    LogisticNormal,
    OneHot,
    dirichlet_laplace,
)
from ae_jax.numerics.noise import example_keys
from tests import per_class

KEYS = example_keys(jax.random.key(0), jnp.arange(BATCH))
FLOWS = [name for name in CASES if "flow" in name]


@per_class.jit
def _jacobians(flow, z):
    """Of each code [K, B, Z] by its own base code, [K, B, Z, Z], and what the flow says of them."""

    def of_noise(shift):  # [Z], added to all codes at once: each depends on its own only
        return flow.forward(z + shift[None, None])[0]

    value, log_det = flow.forward(z)
    return value, log_det, jax.jacfwd(of_noise)(jnp.zeros(z.shape[-1]))


@pytest.mark.parametrize("name", FLOWS)
def test_log_determinants_are_those_of_the_jacobian(name):
    flow = CASES[name].distribution
    z = jnp.asarray(normals(0, 20, BATCH, 3, scale=2), jnp.float32)
    value, log_det, jacobian = _jacobians(flow, z)
    assert value.shape == z.shape
    sign, expected = np.linalg.slogdet(np.asarray(jacobian, np.float64))
    assert (sign == 1.0).all()  # invertible everywhere
    np.testing.assert_allclose(log_det, expected, atol=2e-4)


@pytest.mark.slow_cases("planar_flow", "coupling_flow_shared", "coupling_flow")
@pytest.mark.parametrize("name", FLOWS)
def test_samples_are_images_of_the_bases_samples(name):
    flow = CASES[name].distribution
    z = flow.base.sample(KEYS, 5)
    expected, log_det = flow.forward(z)
    values, log_prob = flow.sample_and_log_prob(KEYS, 5)
    np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(flow.sample(KEYS, 5), expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(log_prob, flow.base.log_prob(z) - log_det, rtol=1e-5, atol=1e-5)
    centre, _ = flow.forward(flow.base.mean()[None])
    np.testing.assert_allclose(flow.mean(), centre[0], rtol=1e-6)


@pytest.mark.parametrize("name", [name for name in FLOWS if "coupling" in name])
def test_coupling_flows_are_inverted_exactly(name):
    flow = CASES[name].distribution
    values, log_prob = flow.sample_and_log_prob(KEYS, 5)
    z, _ = flow.inverse(values)
    np.testing.assert_allclose(z, flow.base.sample(KEYS, 5), atol=2e-4)
    np.testing.assert_allclose(flow.log_prob(values), log_prob, atol=5e-4)
    np.testing.assert_allclose(flow.log_prob(values[0]), log_prob[0], atol=5e-4)  # [B, Z]


def test_planar_flows_have_a_density_of_what_they_draw_only():
    with pytest.raises(UserError, match="by sample_and_log_prob"):
        CASES["planar_flow"].distribution.log_prob(jnp.zeros((1, BATCH, 3)))


@pytest.mark.slow
def test_a_coupling_flow_without_weights_is_its_base():
    base = CASES["coupling_flow"].distribution.base
    maps = jnp.ones((2, 3, 4)), jnp.ones((2, 4)), jnp.zeros((2, 4, 6)), jnp.zeros((2, 6))
    values, log_prob = CouplingFlow(base, *maps).sample_and_log_prob(KEYS, 3)
    np.testing.assert_array_equal(values, base.sample(KEYS, 3))
    np.testing.assert_allclose(log_prob, base.log_prob(values), rtol=1e-6)


# The simplex


def test_logistic_normal_integrates_to_one_over_the_triangle():
    q = LogisticNormal(*on_device(normals(1, 1, 2), normals(2, 1, 2, scale=0.2)))
    points, weights = np.polynomial.legendre.leggauss(200)
    u, v = np.meshgrid((points + 1) / 2, (points + 1) / 2)
    x = np.stack([u, v * (1 - u), (1 - v) * (1 - u)], axis=-1)  # [200, 200, 3]
    area = np.outer(weights, weights) / 4 * (1 - u)
    density = np.exp(np.asarray(q.log_prob(jnp.asarray(x.reshape(-1, 1, 3), jnp.float32))))
    assert density.reshape(200, 200).ravel() @ area.ravel() == pytest.approx(1.0, abs=1e-4)


def test_logistic_normal_centre_has_the_expected_log_ratios():
    q = CASES["logistic_normal"].distribution
    centre = np.asarray(q.mean(), np.float64)
    np.testing.assert_allclose(centre.sum(axis=-1), 1.0, atol=1e-6)
    np.testing.assert_allclose(np.log(centre[:, :-1] / centre[:, -1:]), q.loc, atol=1e-5)
    narrow = q.replace(log_scale=jnp.full_like(q.log_scale, -6.0))
    draws = narrow.sample(KEYS, 100)
    np.testing.assert_allclose(draws.mean(axis=0), narrow.mean(), atol=1e-3)


def test_logistic_normal_scores_draws_too_near_a_face_for_float32():
    q = LogisticNormal(jnp.full((BATCH, 2), -150.0), jnp.zeros((BATCH, 2)))
    values, log_prob = q.sample_and_log_prob(KEYS, 3)
    assert (np.asarray(values[..., 0]) == np.finfo(np.float32).tiny).all()
    assert np.isfinite(log_prob).all() and np.isfinite(q.log_prob(values)).all()


@pytest.mark.parametrize("concentration", [[0.02] * 5, [0.5, 1.0, 7.0], [3.0, 4.0]])
def test_dirichlet_laplace_is_the_curvature_at_the_mode(concentration):
    """In the softmax basis log p(h) = sum_k a_k log softmax(h)_k: its mode and inverse Hessian."""
    a = np.asarray(concentration)
    q = dirichlet_laplace(jnp.asarray(a, jnp.float32))
    np.testing.assert_allclose(special.softmax(np.asarray(q.loc[0])), a / a.sum(), rtol=1e-5)
    assert float(q.loc.sum()) == pytest.approx(0.0, abs=1e-5)
    p = a / a.sum()
    hessian = a.sum() * (np.diag(p) - np.outer(p, p))  # of -log p at the mode
    variance = np.diagonal(np.linalg.pinv(hessian))  # along all directions but that of h + constant
    np.testing.assert_allclose(np.exp(2 * np.asarray(q.log_scale[0])), variance, rtol=1e-5)


def test_dirichlet_laplace_of_equal_concentrations():
    """Srivastava & Sutton 2017 start from a = 0.02 for each of 50 topics: 1 / a (1 - 1 / K)."""
    q = dirichlet_laplace(jnp.full((50,), 0.02))
    assert isinstance(q, DiagonalGaussian)
    np.testing.assert_allclose(q.loc, 0.0, atol=1e-6)
    np.testing.assert_allclose(jnp.exp(2 * q.log_scale), 49.0, rtol=1e-5)


@pytest.mark.slow
def test_one_hot_sums_to_one_over_its_values():
    q = OneHot(*on_device(normals(3, BATCH, 6, scale=5)))
    every = jnp.broadcast_to(jnp.eye(6)[:, None], (6, BATCH, 6))
    np.testing.assert_allclose(jnp.exp(q.log_prob(every)).sum(axis=0), 1.0, rtol=1e-6)
    np.testing.assert_allclose(jnp.exp(q.log_prob(every)).T, q.mean(), rtol=1e-5)
    pairs = jnp.asarray(list(itertools.product([0.0, 1.0], repeat=2)))[:, None]
    two = OneHot(jnp.zeros((1, 2))).log_prob(pairs)[:, 0]
    np.testing.assert_allclose(two, [-np.inf, -np.log(2), -np.log(2), -np.inf], rtol=1e-6)
