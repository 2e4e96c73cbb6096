"""What is hidden, predicted from what is seen: patterns, objectives and estimators."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from ae_jax.core.errors import UserError
from ae_jax.data.missing import hidden_entries
from ae_jax.eval import ImportanceSampledLikelihood
from ae_jax.models import Examples, ModelConfig, build_autoencoder
from ae_jax.objectives import CompletionElbo, Elbo, MaskedReconstruction
from tests import per_class
from tests.bound import as_batch, bound, initial, reconstructed
from tests.linear_gaussian import LinearGaussian

SHAPE = (6, 4, 1)
X = jnp.asarray(np.random.default_rng(0).random((5, *SHAPE)), jnp.float32)
KEY = jax.random.key(3)
# Rows, then columns, of what is left of a 6 x 4 image.
LEFT = {
    0.25: [(slice(0, 3), slice(0, 4)), (slice(3, 6), slice(0, 2))],
    0.5: [(slice(0, 6), slice(0, 2))],
    0.75: [(slice(3, 6), slice(0, 2))],
}


def hidden_of(share: float) -> np.ndarray:
    """What the pattern of fixed quadrants hides of `SHAPE`, by hand."""
    hidden = np.ones(SHAPE, bool)
    for rows, columns in LEFT[share]:
        hidden[rows, columns] = False
    return hidden


@pytest.mark.slow_cases("0.25")
@pytest.mark.parametrize("share", LEFT)
def test_the_same_quadrants_are_hidden_of_every_image(share):
    found = hidden_entries(X, jnp.arange(5), "fixed_quadrants", share)
    np.testing.assert_array_equal(found, np.broadcast_to(hidden_of(share), X.shape))


def test_what_is_missing_anyway_is_not_hidden():
    found = hidden_entries(X.at[2, 0, 3].set(jnp.nan), jnp.arange(5), "fixed_quadrants", 0.5)
    expected = np.broadcast_to(hidden_of(0.5), X.shape).copy()
    expected[2, 0, 3] = False
    np.testing.assert_array_equal(found, expected)


def test_quadrants_are_those_of_images():
    with pytest.raises(UserError, match="quadrants are those of images"):
        hidden_entries(jnp.zeros((2, 5)), jnp.arange(2), "fixed_quadrants", 0.5)


@pytest.fixture(scope="module")
def network():
    """Two rectified layers from pixels to pixels: the second one is the code."""
    config = ModelConfig(
        hidden=(9,), decoder_hidden=(), activation="relu", latent="relu", latent_dim=7,
        head="bernoulli",
    )  # fmt: skip
    model = build_autoencoder(config, Examples(SHAPE))
    return model, initial(model, X)


@per_class.jit(static_argnums=(1,))
def _loss(objective, model, params, x):
    terms = objective(bound(model, params), as_batch(x), KEY, 0)
    return terms.loss, terms.metrics


@pytest.mark.slow
def test_hidden_entries_are_scored_and_never_seen(network):
    model, params = network
    objective = MaskedReconstruction(0.5, pattern="fixed_quadrants", scored="hidden", fill=-1.0)
    hidden = hidden_of(0.5)[None]
    mean = np.asarray(reconstructed(model, params, jnp.where(hidden, -1.0, X)).mean(), np.float64)
    terms = np.asarray(X) * np.log(mean) + (1 - np.asarray(X)) * np.log1p(-mean)
    expected = -(terms * hidden).sum(axis=(1, 2, 3))
    loss, metrics = _loss(objective, model, params, X)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    error = ((mean - np.asarray(X)) ** 2 * hidden).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(metrics["squared_error"], error, rtol=1e-5)
    np.testing.assert_allclose(metrics["squared_error_per_pixel"], error / hidden.sum(), rtol=1e-5)


@pytest.fixture(scope="module")
def images():
    """A linear Gaussian model of 2 x 2 images [N, 2, 2, 1], with examples of its own."""
    rng = np.random.default_rng(1)
    columns, _ = np.linalg.qr(rng.normal(size=(4, 2)))
    linear = LinearGaussian(columns * [1.5, 0.7], rng.normal(size=4), 0.6)
    config = ModelConfig(hidden=(), latent_dim=2, head="gaussian_fixed", head_scale=0.6)
    model = build_autoencoder(config, Examples((2, 2, 1)))
    return linear, model, jnp.asarray(linear.sample(64).reshape(-1, 2, 2, 1))


def log_hidden(linear: LinearGaussian, x: np.ndarray) -> np.ndarray:
    """log p of the right half of images, the others integrated out, nats, [N]."""
    kept = [1, 3]
    weights = linear.weights[kept]
    covariance = weights @ weights.T + linear.scale**2 * np.eye(2)
    values = np.asarray(x).reshape(len(x), -1)[:, kept]
    return stats.multivariate_normal(linear.bias[kept], covariance).logpdf(values)


@pytest.mark.slow
@pytest.mark.parametrize("proposal", ["posterior", "prior"])
def test_importance_samples_find_the_density_of_what_is_hidden(images, proposal):
    linear, model, x = images
    # Of a q that knows the whole example, which is narrower than the posterior given a part.
    ours = bound(model, linear.wrong_params(0))
    estimate = ImportanceSampledLikelihood(
        20_000, part=2000, proposal=proposal, pattern="fixed_quadrants", share=0.5
    )
    found = jax.jit(lambda x: estimate.values_of(ours, as_batch(x), KEY))(x)["log_likelihood"]
    np.testing.assert_allclose(found.mean(), log_hidden(linear, x).mean(), atol=0.05)


def test_samples_of_the_prior_find_the_evidence(images):
    linear, model, x = images
    estimate = ImportanceSampledLikelihood(20_000, part=2000, proposal="prior")
    ours = bound(model, linear.exact_params)
    found = jax.jit(lambda x: estimate.values_of(ours, as_batch(x), KEY))(x)["log_likelihood"]
    exact = linear.log_evidence(np.asarray(x).reshape(len(x), -1))
    np.testing.assert_allclose(found.mean(), exact.mean(), atol=0.05)


def test_the_bound_lacks_the_divergence_from_the_posterior_given_what_is_hidden(images):
    """log p(x_h) - bound = KL(q(z|x) || p(z|x_h)), in closed form."""
    linear, model, x = images
    params = linear.exact_params
    objective = CompletionElbo(share=0.5, pattern="fixed_quadrants", num_samples=4000)
    metrics = jax.jit(lambda x: objective(bound(model, params), as_batch(x), KEY, 0).metrics)(x)
    rows = np.asarray(x).reshape(len(x), -1)
    kept = [1, 3]
    weights = linear.weights[kept]
    precision = np.eye(2) + weights.T @ weights / linear.scale**2
    covariance = np.linalg.inv(precision)
    mean = (rows[:, kept] - linear.bias[kept]) @ weights / linear.scale**2 @ covariance
    variance = linear.posterior_variance
    difference = linear.posterior_mean(rows) - mean
    divergence = 0.5 * (
        np.trace(precision @ np.diag(variance))
        - 2
        + np.einsum("ni,ij,nj->n", difference, precision, difference)
        + np.linalg.slogdet(covariance)[1]
        - np.log(variance).sum()
    )
    expected = log_hidden(linear, x) - divergence
    np.testing.assert_allclose(metrics["elbo"].mean(), expected.mean(), atol=0.03)


@pytest.mark.slow
def test_all_that_is_hidden_is_the_whole_bound(images):
    _, model, x = images
    params = initial(model, x)
    every = CompletionElbo(share=0.99, pattern="fixed_quadrants", num_samples=2)
    whole = Elbo(num_samples=2)
    ours = [one(bound(model, params), as_batch(x), KEY, 0) for one in (every, whole)]
    np.testing.assert_allclose(ours[0].loss, ours[1].loss, rtol=1e-5)


def test_an_unknown_pattern_is_refused():
    with pytest.raises(UserError, match="quadrant"):
        CompletionElbo(pattern="quadrant").bind(10)
