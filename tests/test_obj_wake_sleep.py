"""Wake-sleep and its reweighted relative: gradients against exact expectations, and groups."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ae_jax.core.errors import UserError
from ae_jax.distributions import NoPrior, PointMass
from ae_jax.objectives import ReweightedWakeSleep, WakeSleep
from ae_jax.objectives.wake_sleep import dream
from ae_jax.train.step import gradients
from tests import one_dimension as one
from tests.bound import as_batch, bound
from tests.linear_gaussian import LinearGaussian

KEY = jax.random.key(0)
MODEL, THETA, X = one.model(), one.params(1), np.array([0.7, -0.2])
COUNT = 20_000


@partial(jax.jit, static_argnames=("objective",))
def _gradients(params, objective):
    """The gradients that a step takes for one x, under the noise of each of many ids."""

    def of(number):
        batch = {"x": jnp.asarray(X, jnp.float32)[None], "id": number[None], "mask": jnp.ones(1)}

        def losses(params):
            terms = objective(bound(MODEL, params), batch, KEY, 0)
            return {name: loss[0] for name, loss in terms.losses().items()}, None

        return gradients(losses, params, objective.groups)[1]

    return jax.vmap(of)(jnp.arange(COUNT))


def _assert_on_average(drawn, exact):
    def check(drawn, exact):
        drawn = np.asarray(drawn)
        error = drawn.std(axis=0) / np.sqrt(COUNT)
        assert (np.abs(drawn.mean(axis=0) - exact) < 4.5 * error + 1e-5).all()

    assert drawn.keys() == exact.keys()
    jax.tree.map(check, drawn, exact)


def _wake_loss(theta):
    """-E_q[log p(x, z)] with q as it is at THETA."""
    z, weights = one.nodes(THETA, X, 1)
    return -weights @ one.log_joint(theta, X, z[:, 0])


def _sleep_loss(theta):
    """-E_p[log q(z|x)] of dreams of the model at THETA: z and two values of x, each Gaussian."""
    noise = np.stack(np.meshgrid(*[one.NODES] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    weights = np.einsum("i,j,k->ijk", *[one.WEIGHTS] * 3).ravel()
    mean = THETA["head"]["mean"]
    x = noise[:, :1] * mean["kernel"] + mean["bias"] + one.SCALE * noise[:, 1:]
    latent = theta["latent"]
    loc = (x @ latent["loc"]["kernel"] + latent["loc"]["bias"])[:, 0]
    log_variance = (x @ latent["log_variance"]["kernel"] + latent["log_variance"]["bias"])[:, 0]
    return -weights @ one.log_normal(noise[:, 0], loc, np.exp(log_variance))


def _reweighted_loss(theta):
    """-E_q[sum_k s_k log q(z_k|x)] with samples and their shares as they are at THETA."""
    z, weights = one.nodes(THETA, X, 2)
    shares = np.exp(one.log_weights(THETA, X, z))
    shares /= shares.sum(axis=1, keepdims=True)
    return -weights @ (shares * one.log_normal(z, *one.posterior(theta, X))).sum(axis=1)


def _generative_loss(theta):
    """-E_q[log 1/2 sum_k w_k] with samples and the density of q as they are at THETA."""
    z, weights = one.nodes(THETA, X, 2)
    log_w = one.log_joint(theta, X, z) - one.log_normal(z, *one.posterior(THETA, X))
    return -weights @ np.log(np.exp(log_w).mean(axis=1))


PARAMS = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), THETA)


def test_wake_and_sleep_are_the_gradients_of_exact_expectations():
    """And each loss moves its own parameters only: the other's would show."""
    expected = {
        "head": one.gradient(_wake_loss, THETA)["head"],
        "latent": one.gradient(_sleep_loss, THETA)["latent"],
    }
    _assert_on_average(_gradients(PARAMS, WakeSleep()), expected)


@pytest.mark.slow
def test_the_prior_of_the_parameters_is_a_weight_decay_in_the_phase_that_trains_them():
    batch = as_batch(X[None].astype(np.float32))

    def gradients_of(objective):
        def losses(params):
            terms = objective(bound(MODEL, params), batch, KEY, 0)
            return {name: loss[0] for name, loss in terms.losses().items()}, terms.metrics

        return gradients(losses, PARAMS, objective.groups)

    _, plain, metrics = gradients_of(WakeSleep())
    losses, mapped, of_mapped = gradients_of(WakeSleep(parameter_prior="normal").bind(10))
    jax.tree.map(
        lambda a, b, theta: np.testing.assert_allclose(b - a, theta / 10, atol=1e-5),
        plain,
        mapped,
        PARAMS,
    )
    assert of_mapped.keys() == metrics.keys()
    for name, part in (("wake", "head"), ("sleep", "latent")):
        np.testing.assert_array_equal(of_mapped[f"{name}_loss"], metrics[f"{name}_loss"])
        squares = sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(THETA[part]))
        cost = losses[name] - metrics[f"{name}_loss"][0]
        np.testing.assert_allclose(cost, squares / 20, atol=1e-5)


@pytest.mark.slow_cases("both")
@pytest.mark.parametrize("recognition", ["wake", "both"])
def test_reweighted_phases_are_the_gradients_of_exact_expectations(recognition):
    latent = one.gradient(_reweighted_loss, THETA)["latent"]
    if recognition == "both":
        sleep = one.gradient(_sleep_loss, THETA)["latent"]
        latent = jax.tree.map(lambda a, b: 0.5 * (a + b), latent, sleep)
    expected = {"head": one.gradient(_generative_loss, THETA)["head"], "latent": latent}
    objective = ReweightedWakeSleep(num_samples=2, recognition=recognition)
    _assert_on_average(_gradients(PARAMS, objective), expected)


def test_at_the_true_posterior_the_bound_is_the_evidence():
    known = LinearGaussian.example()
    x = known.sample(5)
    objective = ReweightedWakeSleep()
    terms = jax.jit(lambda params: objective(bound(known.model, params), as_batch(x), KEY, 0))(
        known.exact_params
    )
    np.testing.assert_allclose(terms.metrics["iwae"], known.log_evidence(x), atol=3e-5)
    np.testing.assert_allclose(terms.loss["generative"], -known.log_evidence(x), atol=3e-5)


@pytest.mark.slow
def test_dreams_are_of_the_model_one_an_example():
    known = LinearGaussian.example()

    @jax.jit
    def dreams(batch):
        return dream(bound(known.model, known.exact_params), batch, KEY)

    z, x = dreams(as_batch(np.zeros((4000, 5), np.float32)))
    assert z.shape == (4000, 2) and x.shape == (4000, 5)
    covariance = known.weights @ known.weights.T + known.scale**2 * np.eye(5)
    error = np.abs(np.cov(np.asarray(x).T) - covariance)
    assert error.max() < 5 * covariance.max() * np.sqrt(2 / 4000)
    np.testing.assert_allclose(np.cov(np.asarray(z).T), np.eye(2), atol=0.1)
    some = {**as_batch(np.zeros((2, 5), np.float32)), "id": jnp.asarray([3, 1700])}
    np.testing.assert_allclose(dreams(some)[1], x[jnp.asarray([3, 1700])], rtol=1e-5)


@pytest.mark.parametrize("objective", [WakeSleep(), ReweightedWakeSleep()])
def test_codes_without_a_density_are_refused(objective):
    with pytest.raises(UserError, match="wake_sleep needs a random code"):
        objective.check(PointMass(jnp.zeros((1, 2))), NoPrior(2))
