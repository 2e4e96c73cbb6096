"""The KL in parts: they add up, and are those of float64 NumPy over the real examples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

from ae_jax.core.errors import UserError
from ae_jax.distributions import DiagonalGaussian, NoPrior, PointMass, StandardNormal
from ae_jax.objectives import BetaTcvae, Elbo, draw
from tests import per_class
from tests.bound import as_batch, bound
from tests.linear_gaussian import LinearGaussian

KNOWN = LinearGaussian.example()
PARAMS = KNOWN.wrong_params(0)
KEY = jax.random.key(0)
MASK = np.array([1, 1, 0, 1, 1, 1, 0, 1], np.float32)
BATCH = as_batch(KNOWN.sample(8), mask=jnp.asarray(MASK))
PARTS = ("mutual_information", "total_correlation", "dimension_kl")
NUM_EXAMPLES = 500


@per_class.jit
def _terms(objective, step=0):
    return objective(bound(KNOWN.model, PARAMS), BATCH, KEY, step)


def test_the_parts_add_up_to_the_kl_and_have_their_weights():
    terms = _terms(BetaTcvae(beta=4.0, alpha=0.5, gamma=2.0).bind(NUM_EXAMPLES))
    parts = [terms.metrics[name] for name in PARTS]
    np.testing.assert_allclose(sum(parts), terms.metrics["kl"], rtol=1e-4, atol=1e-4)
    cost = 0.5 * parts[0] + 4 * parts[1] + 2 * parts[2]
    np.testing.assert_allclose(terms.loss, cost - terms.metrics["reconstruction"], rtol=1e-4)


@pytest.mark.slow
def test_with_weights_of_one_it_is_the_elbo_and_a_warm_up_holds_back_the_total_correlation():
    objective = BetaTcvae(beta=1.0, parameter_prior="normal").bind(NUM_EXAMPLES)
    elbo = Elbo(kl_form="monte_carlo", parameter_prior="normal").bind(NUM_EXAMPLES)
    np.testing.assert_allclose(_terms(objective).loss, _terms(elbo).loss, rtol=1e-4)
    early = _terms(objective.replace(beta=4.0, beta_warmup=8.0), step=2)
    np.testing.assert_allclose(early.loss, _terms(objective).loss, rtol=1e-4)
    np.testing.assert_array_equal(early.metrics["elbo"], _terms(elbo).metrics["elbo"])


@pytest.mark.slow
def test_the_aggregate_posterior_is_that_of_the_real_examples():
    """Eq. 3 of Chen et al. 2018 with a loop over examples."""
    metrics = _terms(BetaTcvae().bind(NUM_EXAMPLES)).metrics
    draws = draw(bound(KNOWN.model, PARAMS), BATCH, KEY, 1)
    z = np.asarray(draws.z[0], np.float64)
    loc = np.asarray(draws.posterior.loc, np.float64)[MASK == 1]
    scale = np.exp(np.asarray(draws.posterior.log_scale, np.float64))[MASK == 1]
    count = np.log(NUM_EXAMPLES * MASK.sum())
    for i in np.flatnonzero(MASK):
        density = stats.norm(loc, scale).logpdf(z[i])  # [M, Z]
        joint = logsumexp(density.sum(axis=1)) - count
        product = (logsumexp(density, axis=0) - count).sum()
        total = metrics["total_correlation"][i]
        np.testing.assert_allclose(total, joint - product, rtol=1e-4, atol=1e-4)
        prior = stats.norm.logpdf(z[i]).sum()
        np.testing.assert_allclose(metrics["dimension_kl"][i], product - prior, rtol=1e-4)


@pytest.mark.slow
def test_the_whole_batch_is_the_same_on_any_devices():
    objective = BetaTcvae().bind(NUM_EXAMPLES)
    parts = jax.tree.map(lambda leaf: leaf.reshape(4, 2, *leaf.shape[1:]), BATCH)

    def on_device(batch):
        return objective(bound(KNOWN.model, PARAMS), batch, KEY, 0, axis_name="devices")

    found = jax.jit(jax.vmap(on_device, axis_name="devices"))(parts)
    expected = _terms(objective)
    for name in ("total_correlation", "mutual_information"):
        got = found.metrics[name].reshape(8)[MASK == 1]
        np.testing.assert_allclose(got, expected.metrics[name][MASK == 1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("posterior", "prior"),
    [
        (PointMass(jnp.zeros((1, 2))), StandardNormal(2)),
        (DiagonalGaussian(jnp.zeros((1, 2)), jnp.zeros((1, 2))), NoPrior(2)),
    ],
)
def test_codes_that_do_not_factorise_are_refused(posterior, prior):
    with pytest.raises(UserError, match="objective beta_tcvae needs codes of independent dim"):
        BetaTcvae().check(posterior, prior)
