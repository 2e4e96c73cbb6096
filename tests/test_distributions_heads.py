"""Heads and latents of the further families: shapes, options, starts, and what is far out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ae_jax.core.errors import UserError
from ae_jax.distributions import StandardNormal, check_distribution, kl, kl_per_dim
from ae_jax.nn import HEADS, LATENTS
from ae_jax.nn.simplex import DirichletPrior, LogisticNormalPrior, OneHotPrior
from ae_jax.numerics.noise import example_keys

# A value that the head gives a density, by name.
VALUES = {
    "beta": 0.3,
    "categorical": 3.0,
    "continuous_bernoulli": 0.3,
    "discretised_logistic": 3.0,
    "multinomial": 2.0,
    "negative_binomial": 3.0,
    "poisson": 3.0,
}
ROWS = 4
KEYS = example_keys(jax.random.key(0), jnp.arange(ROWS))


def _shapes(name):
    return [(5,)] if name == "multinomial" else [(5,), (3, 2, 2)]


CASES = [(name, shape) for name in VALUES for shape in _shapes(name)]


def _applied(module, features):
    params = module.init(jax.random.key(0), features)["params"]
    return module.apply({"params": params}, features), params


@pytest.mark.slow_cases("beta-shape0", "categorical-shape2", "categorical-shape3", "beta-shape1")
@pytest.mark.parametrize(("name", "shape"), CASES)
def test_heads_give_a_likelihood_of_the_data(name, shape):
    """At its start, and where every map puts out 200 or -200: finite, in value and gradient."""
    head = HEADS.get(name)(shape)
    features = jnp.ones((ROWS, 1)) if len(shape) == 1 else jnp.ones((ROWS, *shape[:-1], 1))
    params = head.init(jax.random.key(0), features)["params"]
    values = jnp.full((3, ROWS, *shape), VALUES[name])

    @jax.jit
    def look(params, features):
        def score(params, features):
            likelihood = head.apply({"params": params}, features)
            log_prob = likelihood.log_prob(values)
            return log_prob.sum(), (likelihood, likelihood.mean(), log_prob)

        return jax.value_and_grad(score, argnums=(0, 1), has_aux=True)(params, features)

    for raw in (None, -200.0, 200.0):
        if raw is not None:
            params = jax.tree.map(lambda leaf, raw=raw: jnp.full_like(leaf, raw / 2), params)
        (value, (likelihood, mean, log_prob)), gradients = look(params, features)
        assert np.isfinite(value)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))
        assert mean.shape == (ROWS, *shape)
        assert log_prob.shape == (3, ROWS)
    check_distribution(likelihood, name)
    assert likelihood.support == HEADS.get(name).support
    assert bool(likelihood.support.contains(values).all())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["categorical", "discretised_logistic"])
def test_levels_are_an_option(name):
    head = HEADS.get(name)((5,), levels=4)
    likelihood, _ = _applied(head, jnp.ones((2, 3)))
    assert head.support.high == likelihood.support.high == 3.0
    assert HEADS.get(name).support.high == 255.0
    every = jnp.stack([jnp.full((2, 5), float(level)) for level in range(4)])
    of_each = likelihood.replace(event_ndims=0).log_prob(every)
    np.testing.assert_allclose(jnp.exp(of_each).sum(axis=0), 1.0, rtol=1e-5)


@pytest.mark.slow
def test_heads_start_where_their_docstrings_say():
    features = jnp.zeros((2, 3))
    beta, _ = _applied(HEADS.get("beta")((5,)), features)
    np.testing.assert_allclose(beta.log_prob(jnp.full((2, 5), 0.2)), 0.0, atol=1e-5)
    logistic, _ = _applied(HEADS.get("discretised_logistic")((5,), scale=0.1), features)
    np.testing.assert_allclose(logistic.loc, 127.5)
    np.testing.assert_allclose(jnp.exp(logistic.log_scale), 12.76, rtol=1e-4)


@pytest.mark.slow
def test_bags_of_words_are_vectors_with_or_without_the_coefficient():
    x = jnp.asarray([[1.0, 2.0, 0.0]])
    plain, _ = _applied(HEADS.get("multinomial")((3,)), jnp.zeros((1, 2)))
    assert float(plain.log_prob(x)[0]) == pytest.approx(3 * np.log(1 / 3), rel=1e-6)
    full, _ = _applied(HEADS.get("multinomial")((3,), with_coefficient=True), jnp.zeros((1, 2)))
    assert float(full.log_prob(x)[0]) == pytest.approx(np.log(3) + 3 * np.log(1 / 3), rel=1e-5)
    with pytest.raises(UserError, match="vectors of counts"):
        _applied(HEADS.get("multinomial")((3, 2, 1)), jnp.zeros((1, 2)))


LATENT_CASES = {
    "coupling_flow": {"length": 3, "width": 5},
    "full_gaussian": {},
    "logistic_normal": {},
    "one_hot": {},
    "planar_flow": {"length": 3},
}


@pytest.mark.slow_cases("full_gaussian", "logistic_normal", "coupling_flow", "planar_flow")
@pytest.mark.parametrize("name", LATENT_CASES)
def test_latents_give_codes_of_the_dimension(name):
    """At their start, and where every map puts out 200 or -200: finite, in value and gradient."""
    latent = LATENTS.get(name)(3, **LATENT_CASES[name])
    features = jnp.asarray(np.random.default_rng(0).normal(size=(ROWS, 6)), jnp.float32)
    params = latent.init(jax.random.key(0), features)["params"]

    @jax.jit
    def look(params, features):
        def score(params, features):
            posterior = latent.apply({"params": params}, features)
            z, log_prob = posterior.sample_and_log_prob(KEYS, 2)
            return log_prob.sum() + posterior.mean().sum(), z

        return jax.value_and_grad(score, argnums=(0, 1), has_aux=True)(params, features)

    for raw in (None, -200.0, 200.0):
        if raw is not None:
            params = jax.tree.map(lambda leaf, raw=raw: jnp.full_like(leaf, raw / 6), params)
            features = jnp.ones_like(features)
        (value, z), gradients = look(params, features)
        assert z.shape == (2, ROWS, 3)
        assert np.isfinite(value)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


@pytest.mark.slow
def test_coupling_flows_start_as_their_base():
    features = jnp.ones((ROWS, 6))
    flow, params = _applied(LATENTS.get("coupling_flow")(3), features)
    np.testing.assert_array_equal(flow.mean(), flow.base.mean())
    assert params["coupling_in"].shape == (4, 3, 64)


def test_full_covariances_start_near_the_diagonal_ones():
    posterior, _ = _applied(LATENTS.get("full_gaussian")(3), jnp.zeros((ROWS, 6)))
    np.testing.assert_allclose(kl(posterior, StandardNormal(3)), 0.0, atol=1e-6)


@pytest.mark.slow
def test_priors_belong_to_the_codes_they_are_of():
    one_hot, _ = _applied(LATENTS.get("one_hot")(3), jnp.ones((ROWS, 6)))
    prior = OneHotPrior(3)
    assert kl(one_hot, prior.apply(prior.init(jax.random.key(0)))).shape == (ROWS,)
    shares, _ = _applied(LATENTS.get("logistic_normal")(3), jnp.ones((ROWS, 6)))
    assert kl_per_dim(shares, LogisticNormalPrior(3).apply({})).shape == (ROWS, 2)
    gaussian, _ = _applied(LATENTS.get("gaussian")(3), jnp.ones((ROWS, 6)))
    assert kl_per_dim(gaussian, DirichletPrior(3, 0.02).apply({})).shape == (ROWS, 3)
    with pytest.raises(UserError, match="no closed form"):
        kl(one_hot, StandardNormal(3))
    with pytest.raises(UserError, match="latent_dim=2 or more"):
        LATENTS.get("logistic_normal")(1).init(jax.random.key(0), jnp.ones((ROWS, 6)))
