"""The maximum mean discrepancy against float64 NumPy, and the two objectives that take it."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ae_jax.core.errors import UserError
from ae_jax.distributions import NoPrior, PointMass
from ae_jax.numerics.noise import example_keys
from ae_jax.objectives import Elbo, InfoVae, WaeMmd, draw
from ae_jax.objectives.discrepancy import KERNELS, squared_mmd
from tests import per_class
from tests.bound import as_batch, bound
from tests.linear_gaussian import LinearGaussian

RNG = np.random.default_rng(0)
Z, PRIOR = RNG.normal(0.5, 1.4, (12, 3)), RNG.normal(size=(12, 3))
MASK = np.array([1, 1, 1, 0, 1, 1, 1, 1, 0, 1, 1, 0], np.float32)
EXPECTED = 6.0
KEY = jax.random.key(0)

BY_HAND = {
    "gaussian": lambda d: np.exp(-d / EXPECTED),
    "imq": lambda d: sum(s * EXPECTED / (s * EXPECTED + d) for s in (0.1, 0.2, 0.5, 1, 2, 5, 10)),
}


def _unbiased(z, prior, kernel):
    """Gretton et al. 2012, Eq. 3, by loops."""
    n = len(z)

    def k(a, b):
        return kernel(((a - b) ** 2).sum())

    pairs = [(i, j) for i in range(n) for j in range(n)]
    within = sum(k(z[i], z[j]) + k(prior[i], prior[j]) for i, j in pairs if i != j)
    return within / (n * (n - 1)) - 2 * sum(k(z[i], prior[j]) for i, j in pairs) / n**2


@partial(jax.jit, static_argnames="name")
def _parts(name, z=Z, mask=MASK):
    return squared_mmd(
        jnp.asarray(z, jnp.float32),
        jnp.asarray(PRIOR, jnp.float32),
        jnp.asarray(mask),
        lambda squared: KERNELS.get(name)(squared, EXPECTED),
    )


@pytest.mark.parametrize("name", list(KERNELS))
def test_the_mean_of_the_parts_is_the_unbiased_estimate(name):
    real = MASK == 1
    expected = _unbiased(Z[real], PRIOR[real], BY_HAND[name])
    found = np.asarray(_parts(name))
    np.testing.assert_allclose(found[real].mean(), expected, rtol=1e-4, atol=1e-6)
    far = np.where(MASK[:, None] == 1, Z, 1e3)
    np.testing.assert_allclose(np.asarray(_parts(name, far))[real], found[real], rtol=1e-4)


def test_values_and_gradients_are_of_the_whole_batch_on_any_devices():
    def by_device(z):
        def on_device(z, prior, mask):
            kernel = KERNELS.get("imq")
            parts = squared_mmd(z, prior, mask, lambda d: kernel(d, EXPECTED), "devices")
            return parts, jax.lax.psum((parts * mask).sum(), "devices")

        split = [jnp.asarray(a, jnp.float32).reshape(4, 3, *a.shape[1:]) for a in (z, PRIOR, MASK)]
        parts, total = jax.vmap(on_device, axis_name="devices")(*split)
        return total.mean(), parts.reshape(12)

    z = jnp.asarray(Z, jnp.float32)
    (_, parts), gradient = jax.jit(jax.value_and_grad(by_device, has_aux=True))(z)
    real = MASK == 1
    np.testing.assert_allclose(parts[real], _parts("imq")[real], rtol=1e-4, atol=1e-6)
    expected = jax.jit(jax.grad(lambda z: (_parts("imq", z) * MASK).sum()))(z)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)


def test_one_real_example_has_no_discrepancy_within():
    assert np.isfinite(_parts("imq", mask=np.eye(12, dtype=np.float32)[0])).all()


KNOWN = LinearGaussian.example()
MODEL = bound(KNOWN.model, KNOWN.wrong_params(0))
BATCH = as_batch(KNOWN.sample(10))


@per_class.jit
def _terms(objective, key=KEY, step=0):
    return objective(MODEL, BATCH, key, step)


@pytest.mark.slow_cases("imq")
@pytest.mark.parametrize("kernel", list(KERNELS))
def test_the_loss_of_a_wasserstein_autoencoder_by_hand(kernel):
    """The draws of the prior belong to the examples."""
    terms = _terms(WaeMmd(weight=4.0, kernel=kernel, bandwidth=1.5))
    draw_key, prior_key = jax.random.split(KEY)
    z = np.asarray(draw(MODEL, BATCH, draw_key, 1).z[0], np.float64)
    prior = MODEL.prior(BATCH).sample(example_keys(prior_key, BATCH["id"]), 1)[0]
    expected = 2 * 2 * 1.5**2  # of the squared distance of two draws of the prior

    def by_hand(d):
        return BY_HAND[kernel](d * EXPECTED / expected)

    mmd = _unbiased(z, np.asarray(prior, np.float64), by_hand)
    np.testing.assert_allclose(terms.metrics["squared_mmd"].mean(), mmd, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        terms.loss, 4 * terms.metrics["squared_mmd"] - terms.metrics["reconstruction"], rtol=1e-5
    )


@pytest.mark.slow
def test_info_vae_lies_between_the_elbo_and_the_mmd_vae():
    elbo = _terms(Elbo(parameter_prior="normal").bind(50), jax.random.split(KEY)[0])
    plain = InfoVae(alpha=0.0, scaling=1.0, parameter_prior="normal").bind(50)
    np.testing.assert_allclose(_terms(plain).loss, elbo.loss, rtol=1e-5)
    both = _terms(InfoVae(alpha=0.25, scaling=3.0, beta=2.0, beta_warmup=4), step=2)
    metrics = both.metrics
    expected = 0.75 * metrics["kl"] + 2.25 * metrics["squared_mmd"] - metrics["reconstruction"]
    np.testing.assert_allclose(both.loss, expected, rtol=1e-5)
    np.testing.assert_allclose(metrics["elbo"], elbo.metrics["elbo"], rtol=1e-5)


@pytest.mark.parametrize(("alpha", "scaling"), [(1.5, 3.0), (0.0, 0.5), (-2.0, 2.0)])
def test_weights_below_zero_are_refused(alpha, scaling):
    with pytest.raises(UserError, match=r"objective.alpha=.* a weight below 0: alpha is at most 1"):
        InfoVae(alpha=alpha, scaling=scaling).bind(10)


@pytest.mark.parametrize("objective", [WaeMmd, InfoVae])
def test_what_cannot_be_matched_is_refused(objective):
    with pytest.raises(UserError, match="needs a prior that codes are drawn towards: choose model"):
        objective().check(PointMass(jnp.zeros((1, 2))), NoPrior(2))
    with pytest.raises(UserError, match="unknown kernel 'rbf': valid: gaussian, imq"):
        objective(kernel="rbf").bind(10)
