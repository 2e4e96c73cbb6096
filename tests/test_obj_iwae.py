"""Bounds of several samples: against the evidence, the ELBO, and gradients by quadrature."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ae_jax.core.errors import UserError
from ae_jax.distributions import NoPrior, PointMass, StandardNormal
from ae_jax.objectives import Elbo, Iwae
from ae_jax.objectives.iwae import with_scaled_gradient
from tests import one_dimension as one
from tests import per_class
from tests.bound import as_batch, bound
from tests.linear_gaussian import LinearGaussian

KNOWN = LinearGaussian.example()
MODEL = KNOWN.model
X = KNOWN.sample(6)
BATCH = as_batch(X)
KEY = jax.random.key(0)
GRADIENTS = ("plain", "dreg", "stl")


@per_class.jit
def _terms(objective, params, step=0):
    return objective(bound(MODEL, params), BATCH, KEY, step)


@pytest.mark.parametrize(
    ("options", "step"),
    [({}, 0), ({"beta": 3.0, "beta_warmup": 10.0, "parameter_prior": "normal"}, 5)],
)
def test_one_sample_is_the_elbo_by_monte_carlo_exactly(options, step):
    params = KNOWN.wrong_params(0)
    ours = _terms(Iwae(num_samples=1, **options).bind(50), params, step)
    elbo = _terms(Elbo(kl_form="monte_carlo", **options).bind(50), params, step)
    np.testing.assert_array_equal(ours.loss, elbo.loss)
    np.testing.assert_allclose(ours.metrics["iwae"], elbo.metrics["elbo"], rtol=1e-6)
    for name in ("elbo", "reconstruction", "kl"):
        np.testing.assert_array_equal(ours.metrics[name], elbo.metrics[name])
    np.testing.assert_allclose(ours.metrics["effective_samples"], 1.0, rtol=1e-5)


def test_every_draw_of_the_true_posterior_gives_the_evidence():
    metrics = _terms(Iwae(num_samples=4), KNOWN.exact_params).metrics
    np.testing.assert_allclose(metrics["iwae"], KNOWN.log_evidence(X), atol=3e-5)
    np.testing.assert_allclose(metrics["effective_samples"], 4.0, rtol=1e-4)


def test_more_samples_tighten_the_bound():
    """Means over many examples, for the bound is one in expectation."""
    params, x = KNOWN.wrong_params(0), KNOWN.sample(500)

    @jax.jit
    def mean(objective):
        return objective(bound(MODEL, params), as_batch(x), KEY, 0).metrics["iwae"].mean()

    means = [mean(Iwae(num_samples=k)) for k in (1, 10, 100)]
    assert means[0] < means[1] < means[2] < KNOWN.log_evidence(x).mean()


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_all_estimators_have_the_same_values(gradient):
    """Beta is in the loss and not in the report."""
    params = KNOWN.wrong_params(1)
    terms = _terms(Iwae(beta=2.0, gradient=gradient), params)
    plain = _terms(Iwae(), params)
    np.testing.assert_allclose(terms.loss, _terms(Iwae(beta=2.0), params).loss, rtol=1e-6)
    for name, value in plain.metrics.items():
        np.testing.assert_allclose(terms.metrics[name], value, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_at_the_true_posterior_only_the_plain_estimator_moves_the_encoder(gradient):
    grads = jax.grad(lambda p: _terms(Iwae(num_samples=3, gradient=gradient), p).loss.mean())(
        KNOWN.exact_params
    )
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(grads["latent"]))
    if gradient == "plain":
        assert largest > 0.05
    else:
        assert largest < 1e-5
    assert jnp.abs(grads["head"]["mean"]["kernel"]).max() > 0.05


def test_a_scaled_gradient_leaves_the_value():
    z, factor = jnp.asarray([[1.0, -2.0], [0.3, 4.0]]), jnp.asarray([0.25, 3.0])
    np.testing.assert_array_equal(with_scaled_gradient(z, factor), z)
    grads = jax.grad(lambda z, f: (with_scaled_gradient(z, f) ** 2).sum(), (0, 1))(z, factor)
    np.testing.assert_allclose(grads[0], 2 * z * factor[:, None])
    np.testing.assert_array_equal(grads[1], 0.0)


SMALL, SMALL_PARAMS, SMALL_X = one.model(), one.params(), np.array([0.9, -0.4])
COUNT = 20_000


@partial(jax.jit, static_argnames=("objective",))
def _gradients(params, objective):
    """The gradient of the loss of one x under the noise of each of many ids, [COUNT, ...]."""

    def loss(params, number):
        batch = {"x": jnp.asarray(SMALL_X, jnp.float32)[None], "id": number[None]}
        batch["mask"] = jnp.ones(1)
        return objective(bound(SMALL, params), batch, KEY, 0).loss[0]

    return jax.vmap(jax.grad(loss), (None, 0))(params, jnp.arange(COUNT))


@pytest.fixture(scope="module")
def gradients_of():
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), SMALL_PARAMS)
    known = {}

    def of(**options):
        name = tuple(options.items())
        if name not in known:
            known[name] = jax.tree.map(np.asarray, _gradients(params, Iwae(**options)))
        return known[name]

    return of


@pytest.mark.slow_cases("plain-1")
@pytest.mark.parametrize(
    ("gradient", "samples"), [("plain", 2), ("dreg", 2), ("stl", 1), ("plain", 1)]
)
def test_gradients_are_those_of_the_exact_bound_on_average(gradient, samples, gradients_of):
    expected = one.gradient(lambda theta: -one.bound(theta, SMALL_X, samples), SMALL_PARAMS)
    found = gradients_of(gradient=gradient, num_samples=samples)

    def check(drawn, exact):
        error = drawn.std(axis=0) / np.sqrt(COUNT)
        assert (np.abs(drawn.mean(axis=0) - exact) < 4.5 * error + 1e-5).all()
        assert (error < 0.1 * np.abs(exact).max() + 0.02).all(), "too noisy to tell"

    jax.tree.map(check, found, expected)


def test_sticking_the_landing_is_biased_with_several_samples(gradients_of):
    """What its docstring says, so that nobody takes it for the gradient of the bound."""
    expected = one.gradient(lambda theta: -one.bound(theta, SMALL_X, 2), SMALL_PARAMS)
    drawn = gradients_of(gradient="stl", num_samples=2)["latent"]["log_variance"]["bias"]
    exact = expected["latent"]["log_variance"]["bias"]
    assert np.abs(drawn.mean(axis=0) - exact) > 8 * drawn.std(axis=0) / np.sqrt(COUNT)


def test_doubly_reparameterised_gradients_of_the_encoder_are_less_noisy(gradients_of):
    def noise(gradient):
        found = gradients_of(gradient=gradient, num_samples=2)["latent"]
        return sum(float(leaf.var(axis=0).sum()) for leaf in jax.tree.leaves(found))

    assert noise("dreg") < 0.7 * noise("plain")


def test_codes_without_a_density_are_refused():
    with pytest.raises(UserError, match="objective iwae needs a random code and a prior over it"):
        Iwae().check(PointMass(jnp.zeros((1, 2))), NoPrior(2))
    with pytest.raises(UserError, match="needs a random code"):
        Iwae().check(PointMass(jnp.zeros((1, 2))), StandardNormal(2))
