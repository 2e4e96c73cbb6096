"""The ELBO against the exact evidence of a linear Gaussian model, and each of its options."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from jaxtyping import jaxtyped
from scipy import stats

from ae_jax.core.errors import UserError
from ae_jax.distributions import StandardNormal, kl_per_dim
from ae_jax.models import Examples, build_autoencoder
from ae_jax.objectives import Draws, Elbo, batch_mean, draw
from ae_jax.train.config import ModelConfig
from tests import per_class
from tests.bound import as_batch, bound, encoded, initial, reconstructed
from tests.linear_gaussian import LinearGaussian

KNOWN = LinearGaussian.example()
KEY = jax.random.key(0)


@per_class.jit(static_argnames="model")
def _terms(objective, params, batch, step=0, model=KNOWN.model):
    return objective(bound(model, params), batch, KEY, step)


@partial(jax.jit, static_argnames="num_samples")
def _draws(params, batch, num_samples, first=0):
    return draw(bound(KNOWN.model, params), batch, KEY, num_samples, first)


X = KNOWN.sample(6)
BATCH = as_batch(X)
EVIDENCE = KNOWN.log_evidence(X)


def test_every_sample_of_the_true_posterior_weighs_the_evidence():
    """log p(x,z) - log p(z|x) = log p(x) whatever z is, so one draw has no variance."""
    weights = _draws(KNOWN.exact_params, BATCH, 3).log_weights()
    np.testing.assert_allclose(weights, np.broadcast_to(EVIDENCE, (3, 6)), atol=3e-5)
    terms = _terms(Elbo(kl_form="monte_carlo"), KNOWN.exact_params, BATCH)
    np.testing.assert_allclose(terms.metrics["elbo"], EVIDENCE, atol=3e-5)


def test_draws_have_the_shapes_that_their_class_says():
    draws = _draws(KNOWN.exact_params, BATCH, 3)
    with jaxtyped("context"):  # a letter is one size for all of them
        for name in ("z", "log_likelihood", "log_prior", "log_posterior"):
            assert isinstance(getattr(draws, name), Draws.__annotations__[name])
        assert not isinstance(draws.z[:, :5], Draws.__annotations__["z"])


def _elbo_with_error(params, samples=4000):
    """The bound from many samples, and its standard error, [B] each."""
    draws = _draws(params, BATCH, samples)
    error = np.asarray(draws.log_likelihood).std(axis=0) / np.sqrt(samples)
    elbo = _terms(Elbo(num_samples=samples), params, BATCH).metrics["elbo"]
    return np.asarray(elbo, np.float64), error


def test_elbo_with_the_true_posterior_is_the_evidence():
    elbo, error = _elbo_with_error(KNOWN.exact_params)
    assert (np.abs(elbo - EVIDENCE) < 4 * error).all()


@pytest.mark.parametrize("seed", range(3))
def test_elbo_misses_the_evidence_by_the_divergence_from_the_true_posterior(seed):
    params = KNOWN.wrong_params(seed)
    q = encoded(KNOWN.model, params, X)
    mean, variance = np.asarray(q.loc, np.float64), np.exp(2 * np.asarray(q.log_scale, np.float64))
    true_mean, true_variance = KNOWN.posterior_mean(X), KNOWN.posterior_variance
    gap = 0.5 * (
        np.log(true_variance / variance) + (variance + (mean - true_mean) ** 2) / true_variance - 1
    ).sum(axis=1)
    elbo, error = _elbo_with_error(params)
    assert (np.abs(elbo + gap - EVIDENCE) < 4 * error).all()
    assert (elbo < EVIDENCE).all()


def test_both_forms_of_the_kl_agree_over_many_samples():
    params = KNOWN.wrong_params(0)
    analytic = _terms(Elbo(num_samples=4000), params, BATCH).metrics
    sampled = _terms(Elbo(num_samples=4000, kl_form="monte_carlo"), params, BATCH).metrics
    draws = _draws(params, BATCH, 4000)
    spread = np.asarray(draws.log_posterior - draws.log_prior).std(axis=0)
    error = np.abs(analytic["kl"] - sampled["kl"])
    assert (error < 4 * spread / np.sqrt(4000)).all()
    assert (error > 0).all(), "one of them ought to be an estimate"


@pytest.mark.parametrize("kl_form", ["analytic", "monte_carlo"])
def test_several_samples_are_averaged(kl_form):
    params = KNOWN.wrong_params(1)
    many = _terms(Elbo(num_samples=3, kl_form=kl_form), params, BATCH).metrics
    draws = [_draws(params, BATCH, 1, k) for k in range(3)]
    np.testing.assert_allclose(
        many["reconstruction"], np.mean([d.log_likelihood[0] for d in draws], axis=0), rtol=1e-5
    )
    if kl_form == "monte_carlo":
        np.testing.assert_allclose(
            many["elbo"], np.mean([d.log_weights()[0] for d in draws], axis=0), rtol=1e-5
        )


@pytest.mark.parametrize("kl_form", ["analytic", "monte_carlo"])
def test_beta_weighs_the_loss_and_not_the_report(kl_form):
    params = KNOWN.wrong_params(0)
    plain = _terms(Elbo(kl_form=kl_form), params, BATCH)
    np.testing.assert_allclose(plain.loss, -plain.metrics["elbo"], rtol=1e-6)
    np.testing.assert_allclose(
        plain.metrics["elbo"], plain.metrics["reconstruction"] - plain.metrics["kl"], rtol=1e-5
    )
    weighted = _terms(Elbo(kl_form=kl_form, beta=4.0), params, BATCH)
    np.testing.assert_allclose(
        weighted.loss, 4 * plain.metrics["kl"] - plain.metrics["reconstruction"], rtol=1e-5
    )
    for name, value in plain.metrics.items():
        np.testing.assert_array_equal(weighted.metrics[name], value)


@pytest.mark.parametrize(
    ("step", "beta"), [(0, 0.0), (25, 1.0), (50, 2.0), (100, 4.0), (1000, 4.0)]
)
def test_warm_up_is_linear_and_then_constant(step, beta):
    objective = Elbo(beta=4.0, beta_warmup=100)
    assert float(objective.beta_at(jnp.asarray(step))) == pytest.approx(beta)
    params = KNOWN.wrong_params(0)
    terms = _terms(objective, params, BATCH, step)
    np.testing.assert_allclose(
        terms.loss, beta * terms.metrics["kl"] - terms.metrics["reconstruction"], rtol=1e-5
    )
    assert float(Elbo(beta=4.0).beta_at(jnp.asarray(step))) == 4.0


def _kl_per_dim(params, x=X):
    model, batch = bound(KNOWN.model, params), as_batch(x)
    return np.asarray(kl_per_dim(model.encode(batch), model.prior(batch)))


def _mean_charge(params, objective):
    terms = _terms(objective, params, BATCH)
    return (terms.loss + terms.metrics["reconstruction"]).mean()


def test_free_bits_charge_what_exceeds_them_on_average():
    params = KNOWN.wrong_params(0)
    means = _kl_per_dim(params).mean(axis=0)
    between = float(means.mean())
    for free in [0.0, between, 2 * float(means.max())]:
        charge = _mean_charge(params, Elbo(free_bits=free))
        assert float(charge) == pytest.approx(np.maximum(free, means).sum(), rel=1e-5)
    np.testing.assert_array_equal(
        _terms(Elbo(free_bits=between), params, BATCH).metrics["elbo"],
        _terms(Elbo(), params, BATCH).metrics["elbo"],
    )


def test_without_free_bits_every_dimension_pays_what_it_costs_even_less_than_nothing():
    """A KL of 0 that rounding makes negative: the loss is the bound's negative all the same."""
    by_dim = jnp.asarray([[-1e-7, 0.5, 0.0], [-2e-7, -0.25, 0.0]])  # means < 0, > 0 and 0
    charged = Elbo().charged_kl(by_dim, jnp.ones(2), None, None)
    np.testing.assert_array_equal(charged, by_dim.sum(axis=-1))
    gradient = jax.grad(lambda kl: Elbo().charged_kl(kl, jnp.ones(2), None, None).sum())(by_dim)
    np.testing.assert_array_equal(gradient, 1.0)
    # With any free bits at all, a dimension without information is free.
    free = jax.grad(lambda kl: Elbo(free_bits=1e-3).charged_kl(kl, jnp.ones(2), None, None).sum())
    np.testing.assert_array_equal(free(by_dim), [[0.0, 1.0, 0.0]] * 2)


@pytest.mark.parametrize("scale", [1.0, 1.001])
def test_the_loss_is_exactly_minus_the_bound_where_the_code_is_almost_the_prior(scale):
    """Posteriors at N(0, 1), to the rounding of float32."""
    params = KNOWN.params(
        np.zeros_like(KNOWN.weights), np.full(2, 1e-5), np.full(2, 2 * np.log(scale))
    )
    rounded = _kl_per_dim(params).mean(axis=0)
    assert rounded.max() < 2e-6
    terms = _terms(Elbo(), params, BATCH)
    np.testing.assert_array_equal(terms.loss, -terms.metrics["elbo"])


def test_dimensions_within_their_free_bits_feel_no_kl():
    params = KNOWN.wrong_params(0)
    means = _kl_per_dim(params).mean(axis=0)
    gradients = [
        jax.grad(_mean_charge)(params, Elbo(free_bits=free))["latent"]
        for free in (0.0, float(means.mean()))
    ]
    paid = means > means.mean()
    assert paid.tolist() in ([True, False], [False, True])
    for layer in ("loc", "log_variance"):
        for leaf in ("kernel", "bias"):
            plain, free = (np.asarray(g[layer][leaf]) for g in gradients)
            np.testing.assert_allclose(free[..., paid], plain[..., paid], rtol=1e-5)
            np.testing.assert_array_equal(free[..., ~paid], 0.0)
            assert np.abs(plain[..., ~paid]).max() > 1e-3


@pytest.mark.slow
def test_masked_examples_do_not_decide_what_is_free():
    params = KNOWN.wrong_params(0)
    objective = Elbo(free_bits=float(_kl_per_dim(params).mean(axis=0).mean()))
    expected = _terms(objective, params, BATCH).loss
    far = 50 * jnp.eye(5)[:3]
    assert _kl_per_dim(params, far).mean(axis=0).min() > 6 * objective.free_bits
    filled = {
        "x": jnp.concatenate([BATCH["x"], far]),
        "id": jnp.arange(9),
        "mask": jnp.asarray([1.0] * 6 + [0.0] * 3),
    }
    np.testing.assert_allclose(_terms(objective, params, filled).loss[:6], expected, rtol=1e-5)


def test_batch_mean_is_that_of_the_real_examples_on_one_device_and_over_an_axis():
    values = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    mask = np.array([1, 1, 1, 0, 1, 0, 0, 0], np.float32)
    expected = values[mask == 1].mean(axis=0)
    np.testing.assert_allclose(
        batch_mean(jnp.asarray(values), jnp.asarray(mask)), expected, rtol=1e-6
    )
    parts = jax.vmap(lambda v, m: batch_mean(v, m, "devices"), axis_name="devices")(
        jnp.asarray(values).reshape(2, 4, 3), jnp.asarray(mask).reshape(2, 4)
    )
    np.testing.assert_allclose(parts, np.broadcast_to(expected, (2, 3)), rtol=1e-5)


def test_parameter_prior_adds_minus_its_log_density_an_example():
    params = KNOWN.wrong_params(0)
    plain = _terms(Elbo(), params, BATCH)
    mapped = _terms(Elbo(parameter_prior="normal").bind(500), params, BATCH)
    theta = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])
    constant = theta.size * stats.norm.logpdf(0.0)
    penalty = (constant - stats.norm.logpdf(theta).sum()) / 500
    np.testing.assert_allclose(mapped.loss - plain.loss, penalty, rtol=1e-3)
    np.testing.assert_array_equal(mapped.metrics["elbo"], plain.metrics["elbo"])


@pytest.mark.slow
def test_gradient_of_the_parameter_prior_is_a_weight_decay_of_one_over_n():
    params = KNOWN.wrong_params(0)

    def mean_loss(params, objective):
        return _terms(objective, params, BATCH).loss.mean()

    plain = jax.grad(mean_loss)(params, Elbo())
    mapped = jax.grad(mean_loss)(params, Elbo(parameter_prior="normal").bind(10))
    for theta, a, b in zip(*map(jax.tree.leaves, (params, plain, mapped)), strict=True):
        np.testing.assert_allclose(b - a, theta / 10, atol=2e-6 * max(1, float(jnp.abs(a).max())))


@pytest.mark.parametrize("kl_form", ["analytic", "monte_carlo"])
def test_a_deterministic_code_leaves_the_reconstruction(kl_form):
    config = ModelConfig(hidden=(), latent="deterministic", head="gaussian")
    model = build_autoencoder(config, Examples((5,)))
    params = initial(model, X)
    terms = _terms(Elbo(kl_form=kl_form), params, BATCH, model=model)
    expected = reconstructed(model, params, X).log_prob(BATCH["x"])
    np.testing.assert_allclose(terms.metrics["elbo"], expected, rtol=1e-5)
    np.testing.assert_allclose(terms.loss, -expected, rtol=1e-5)
    np.testing.assert_array_equal(terms.metrics["kl"], 0.0)


@pytest.mark.slow_cases("monte_carlo")
@pytest.mark.parametrize(
    ("objective", "head"),
    [
        (
            Elbo(num_samples=2, beta=2.0, parameter_prior="normal", num_examples=50.0),
            "gaussian_sigmoid",
        ),
        (Elbo(kl_form="monte_carlo"), "bernoulli"),
    ],
    ids=["analytic", "monte_carlo"],
)
def test_gradients_are_those_of_finite_differences(objective, head):
    model = build_autoencoder(ModelConfig(hidden=(4,), latent_dim=2, head=head), Examples((5,)))
    with jax.enable_x64(True):
        x = np.random.default_rng(0).random((3, 5))
        params = initial(model, x)
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params)
        batch = as_batch(x)

        def mean_loss(params):
            return _terms(objective, params, batch, model=model).loss.mean()

        check_grads(mean_loss, (params,), order=1, modes=["rev"], atol=1e-7, rtol=1e-7)


def test_free_bits_without_a_kl_by_dimension_are_refused():
    sentence = "objective.free_bits=0.5 needs objective.kl_form=analytic, not monte_carlo"
    codes = encoded(KNOWN.model, KNOWN.exact_params, X), StandardNormal(2)
    with pytest.raises(UserError, match=sentence):
        Elbo(free_bits=0.5, kl_form="monte_carlo").check(*codes)
    Elbo(free_bits=0.5).check(*codes)
    Elbo(kl_form="monte_carlo").check(*codes)


def test_the_number_of_examples_is_that_of_the_training_set():
    with pytest.raises(UserError, match="num_examples=3 is not for you to set"):
        Elbo(num_examples=3.0).bind(10)
    assert Elbo(free_bits=0.5).bind(10) == Elbo(free_bits=0.5, num_examples=10.0)
