"""Two layers of codes: densities against scipy, and a linear Gaussian ladder whose evidence is
known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from ae_jax.core.errors import UserError
from ae_jax.models import MODELS, Examples, ModelConfig
from ae_jax.numerics.noise import example_keys
from ae_jax.objectives import Elbo, Iwae
from tests import per_class
from tests.bound import as_batch, bound, initial

KEY = jax.random.key(0)
RNG = np.random.default_rng(3)
# x = W z1 + b + S e, z1 = A z2 + a + T e, z2 = e. Columns of W are orthogonal and A leads each z2
# to one z1, so that both posteriors have independent dimensions.
W = np.linalg.qr(RNG.normal(size=(5, 3)))[0] * [1.2, 0.8, 1.5]
A = np.array([[0.9, 0.0], [0.0, -0.6], [0.0, 0.0]])
B, SHIFT, S, T = RNG.normal(size=5), np.array([0.3, -0.5, 0.1]), 0.7, 0.5


def _model(**options):
    config = ModelConfig(
        name="ladder",
        hidden=(),
        latent="ladder",
        latent_dim=5,
        head="gaussian_fixed",
        head_scale=S,
        options=tuple(
            {"latent.top": 2, "latent.hidden": (), "prior.hidden": (), **options}.items()
        ),
    )
    return MODELS.get("ladder")(config, Examples((5,)))


MODEL = _model()


def _affine(kernel, bias):
    return {"kernel": np.asarray(kernel), "bias": np.asarray(bias)}


def _gaussian(kernel, bias, variance):
    log_variance = _affine(np.zeros_like(kernel), np.log(variance))
    return {"loc": _affine(kernel, bias), "log_variance": log_variance}


def _exact_params():
    """Parameters of `MODEL` whose q is the true posterior."""
    prior1 = (A**2).sum(axis=1) + T**2  # variances of z1, whose covariance is diagonal
    variance1 = 1 / (1 / prior1 + (W**2).sum(axis=0) / S**2)
    gain1 = W / S**2 * variance1  # [5, 3]
    variance2 = 1 / (1 + (A**2).sum(axis=0) / T**2)
    gain2 = A / T**2 * variance2  # [3, 2]
    tree = {
        "latent": {
            "lower": _gaussian(gain1, SHIFT * variance1 / prior1 - B @ gain1, variance1),
            "between": {"code": _gaussian(gain2, -SHIFT @ gain2, variance2)},
        },
        "prior_part": {"between": {"code": _gaussian(A.T, SHIFT, np.full(3, T**2))}},
        "head": {"mean": _affine(W.T, B)},
    }
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), tree)


PARAMS = _exact_params()


@per_class.jit
def _metrics(objective, params, x):
    return objective(bound(MODEL, params), as_batch(x), KEY, 0).metrics


COVARIANCE = W @ (A @ A.T + T**2 * np.eye(3)) @ W.T + S**2 * np.eye(5)
EVIDENCE = stats.multivariate_normal(W @ SHIFT + B, COVARIANCE)
X = EVIDENCE.rvs(6, random_state=0).astype(np.float32)


def test_the_parameters_are_those_of_the_model():
    shapes = jax.tree.map(jnp.shape, jax.eval_shape(lambda: initial(MODEL, X)))
    assert shapes == jax.tree.map(jnp.shape, PARAMS)


@pytest.mark.parametrize("objective", [Elbo(kl_form="monte_carlo"), Iwae(num_samples=3)])
def test_with_the_true_posterior_every_draw_gives_the_evidence(objective):
    found = _metrics(objective, PARAMS, X)[objective.headline]
    np.testing.assert_allclose(found, EVIDENCE.logpdf(X), rtol=1e-5, atol=1e-4)


@pytest.mark.slow
def test_with_another_posterior_the_bound_is_below_and_more_samples_help():
    latent = jax.tree.map(lambda leaf: leaf + 0.3, PARAMS["latent"])
    params, x = PARAMS | {"latent": latent}, EVIDENCE.rvs(500, random_state=1)
    seen = x.astype(np.float32)
    bounds = [_metrics(Iwae(num_samples=k), params, seen)["iwae"].mean() for k in (1, 50)]
    assert bounds[0] < bounds[1] < EVIDENCE.logpdf(x).mean() + 0.01


@pytest.mark.slow
def test_densities_are_those_of_both_blocks_and_draws_follow_them():
    model, batch = bound(MODEL, PARAMS), as_batch(X)
    prior = model.prior(batch)
    keys = example_keys(KEY, jnp.arange(3000))
    z, log_prob = prior.sample_and_log_prob(keys, 2)
    np.testing.assert_array_equal(prior.sample(keys, 2), z)
    np.testing.assert_allclose(prior.sample(keys[7:8], 1, first=1)[0, 0], z[1, 7], rtol=1e-5)
    joint = np.block([[A @ A.T + T**2 * np.eye(3), A], [A.T, np.eye(2)]])
    known = stats.multivariate_normal(np.concatenate([SHIFT, np.zeros(2)]), joint)
    np.testing.assert_allclose(log_prob, known.logpdf(z), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(prior.log_prob(z), log_prob, rtol=1e-5, atol=1e-5)
    rows = np.asarray(z).reshape(-1, 5)
    np.testing.assert_allclose(np.cov(rows.T), joint, atol=5 * np.sqrt(2 / 6000))
    np.testing.assert_allclose(rows.mean(axis=0), known.mean, atol=5 / np.sqrt(6000))
    np.testing.assert_allclose(prior.mean()[0], known.mean, atol=1e-6)
    posterior = model.encode(batch)
    drawn, log_q = posterior.sample_and_log_prob(example_keys(KEY, batch["id"]), 4)
    np.testing.assert_allclose(posterior.log_prob(drawn), log_q, rtol=1e-4, atol=1e-4)
    assert posterior.mean().shape == (6, 5)


def test_the_decoder_sees_the_lower_code_alone():
    model, batch = bound(MODEL, PARAMS), as_batch(X)
    z = jnp.asarray(RNG.normal(size=(2, 6, 5)), jnp.float32)
    means = model.decode(z, batch).mean()
    np.testing.assert_array_equal(means, model.decode(z.at[..., 3:].add(1.0), batch).mean())
    np.testing.assert_allclose(means, np.asarray(z[..., :3]) @ W.T + B, rtol=1e-4, atol=1e-4)


def test_sizes_and_parts_that_make_no_ladder_are_refused():
    with pytest.raises(UserError, match="its code of 5 cannot have 5 at the top"):
        _model(**{"latent.top": 5})
    with pytest.raises(UserError, match="model.prior.top is that of the latent, 2"):
        _model(**{"prior.top": 3})
    for option, value in (("latent", "gaussian"), ("prior", "mixture")):
        config = ModelConfig(**({"name": "ladder", "latent": "ladder"} | {option: value}))
        with pytest.raises(
            UserError, match=f"name=ladder needs model.{option}=ladder, not {value}"
        ):
            MODELS.get("ladder")(config, Examples((5,)))
    with pytest.raises(UserError, match="no closed form of the KL of Chain to Chain"):
        model = bound(MODEL, PARAMS)
        Elbo().check(model.encode(as_batch(X)), model.prior(as_batch(X)))
