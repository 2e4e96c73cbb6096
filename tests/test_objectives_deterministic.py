"""Objectives of deterministic autoencoders against NumPy, SciPy and closed forms."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, rel_entr

from ae_jax.core.errors import UserError
from ae_jax.data.corruption import CORRUPTIONS
from ae_jax.models import Autoencoder, Examples, build_autoencoder
from ae_jax.models.padding import in_use, padded
from ae_jax.nn import LATENTS
from ae_jax.nn.decoders import MLPDecoder
from ae_jax.nn.encoders import MLPEncoder
from ae_jax.nn.heads import FixedGaussianHead
from ae_jax.nn.latents import SigmoidLatent
from ae_jax.nn.priors import NonePrior
from ae_jax.nn.sparse_latents import TopKLatent
from ae_jax.numerics.noise import example_keys
from ae_jax.objectives import (
    Contractive,
    Denoising,
    MaskedReconstruction,
    Reconstruction,
    Sparse,
    SparseKL,
    SparseL1,
)
from ae_jax.objectives.sparse import bernoulli_kl
from ae_jax.train.config import ModelConfig
from tests import per_class
from tests.bound import as_batch, bound, decoded, encoded, initial, reconstructed

KEY = jax.random.key(5)
RNG = np.random.default_rng(0)
X = RNG.random((6, 4, 3, 1)).astype(np.float32)
D = 12


def _batch(x=X, mask=None):
    mask = np.ones(len(x)) if mask is None else mask
    return as_batch(x, id=100 + jnp.arange(len(x)), mask=jnp.asarray(mask, jnp.float32))


def _model(latent="deterministic", head="gaussian_fixed", dim=5, hidden=(7,), scale=0.5):
    config = ModelConfig(
        hidden=hidden,
        latent=latent,
        latent_dim=dim,
        head=head,
        head_scale=scale if head == "gaussian_fixed" else 1.0,
        activation="tanh",
    )
    return build_autoencoder(config, Examples((4, 3, 1)))


@partial(jax.jit, static_argnums=0)
def _random_params(model):
    params = initial(model, X)
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(KEY, len(leaves))
    drawn = [0.5 * jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, drawn)


@per_class.jit(static_argnums=1, static_argnames="axis_name")
def _call(objective, model, params, batch, key=KEY, **axis):
    return objective(bound(model, params), batch, key, jnp.zeros((), jnp.int32), **axis)


def _reconstruct(model, params, x=X):
    return np.asarray(reconstructed(model, params, x).mean(), np.float64)


def _codes(model, params, x=X):
    return np.asarray(encoded(model, params, x).mean(), np.float64)


@pytest.mark.slow_cases("gaussian", "gaussian_fixed")
@pytest.mark.parametrize("head", ["gaussian_fixed", "bernoulli", "gaussian"])
def test_reconstruction_is_the_log_density_of_scipy_under_any_head(head):
    model = _model(head=head)
    params = _random_params(model)
    terms = _call(Reconstruction(), model, params, _batch())
    likelihood = reconstructed(model, params, X)
    mean = np.asarray(likelihood.mean(), np.float64)
    if head == "bernoulli":
        expected = (X * np.log(mean) + (1 - X) * np.log1p(-mean)).sum(axis=(1, 2, 3))
    else:
        scale = np.exp(np.asarray(likelihood.log_scale, np.float64))
        expected = stats.norm.logpdf(X, mean, scale).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(terms.metrics["reconstruction"], expected, rtol=1e-5)
    np.testing.assert_allclose(terms.loss, -expected, rtol=1e-5)
    error = ((mean - X) ** 2).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(terms.metrics["squared_error"], error, rtol=1e-5)
    np.testing.assert_allclose(terms.metrics["squared_error_per_pixel"], error / D, rtol=1e-5)


@pytest.mark.slow
def test_a_fixed_gaussian_head_makes_the_gradient_that_of_squared_error():
    model = _model(scale=0.5)
    params = _random_params(model)

    def squared_error(params):
        return jnp.square(reconstructed(model, params, X).mean() - X).sum() / (2 * 0.5**2)

    expected = jax.grad(squared_error)(params)
    actual = jax.grad(lambda p: _call(Reconstruction(), model, p, _batch()).loss.sum())(params)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_reconstruction_of_a_random_code_is_that_of_its_sample():
    model = _model("gaussian")
    params = _random_params(model)
    loss = _call(Reconstruction(), model, params, _batch()).loss
    posterior = encoded(model, params, X)
    z = posterior.sample(example_keys(KEY, _batch()["id"]), 1)
    expected = decoded(model, params, z).log_prob(X)[0]
    np.testing.assert_allclose(loss, -expected, rtol=1e-5)


@pytest.mark.parametrize("corruption", list(CORRUPTIONS))
def test_denoising_sees_the_corrupted_and_is_held_to_the_clean(corruption):
    model, objective = _model(), Denoising(0.4, corruption)
    params = _random_params(model)
    terms = _call(objective, model, params, _batch())
    corruption_key, _ = jax.random.split(KEY)
    keys = example_keys(corruption_key, _batch()["id"])
    corrupted = CORRUPTIONS.get(corruption)(keys, jnp.asarray(X), 0.4)
    assert (np.asarray(corrupted) != X).any(axis=(1, 2, 3)).all()
    mean = _reconstruct(model, params, corrupted)
    expected = stats.norm.logpdf(X, mean, 0.5).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(terms.loss, -expected, rtol=1e-5)
    error = ((mean - X) ** 2).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(terms.metrics["squared_error"], error, rtol=1e-5)


@pytest.mark.parametrize("corruption", list(CORRUPTIONS))
def test_denoising_at_level_0_is_reconstruction(corruption):
    model = _model()
    params = _random_params(model)
    plain = _call(Reconstruction(), model, params, _batch())
    denoising = _call(Denoising(0.0, corruption), model, params, _batch())
    np.testing.assert_allclose(denoising.loss, plain.loss, rtol=1e-6)


def test_denoising_refuses_shares_above_one_and_unknown_corruptions():
    with pytest.raises(UserError, match="at most 1, not 1.5"):
        Denoising(1.5, "masking").bind(10)
    with pytest.raises(UserError, match="unknown corruption 'maskin': did you mean 'masking'"):
        Denoising(0.5, "maskin").bind(10)
    assert Denoising(1.5, "gaussian").bind(10).level == 1.5


MASK = np.array([1, 1, 0, 1, 0, 1], np.float32)


@pytest.mark.slow_cases("0.0")
@pytest.mark.parametrize("threshold", [0.0, 0.8])
def test_metrics_of_the_code_are_those_of_numpy(threshold):
    model = _model("relu", dim=40)
    params = _random_params(model)
    metrics = _call(Sparse(threshold), model, params, _batch(mask=MASK)).metrics
    z = _codes(model, params)
    active = np.abs(z) > threshold
    np.testing.assert_array_equal(metrics["l0"], active.sum(axis=1))
    dead = (~active[MASK == 1].any(axis=0)).sum()
    assert dead > (~active.any(axis=0)).sum(), "a masked example would bring units to life"
    np.testing.assert_array_equal(metrics["dead_units"], dead)
    np.testing.assert_allclose(metrics["mean_activation"], z.mean(axis=1), rtol=1e-5)


def test_sparse_without_a_penalty_is_reconstruction():
    model = _model("top_k")
    params = _random_params(model)
    plain, sparse = (_call(o, model, params, _batch()) for o in (Reconstruction(), Sparse()))
    np.testing.assert_allclose(sparse.loss, plain.loss, rtol=1e-6)
    np.testing.assert_array_equal(sparse.metrics["l0"], 1)


def test_l1_adds_the_weighted_sum_of_absolute_activations():
    model = _model()
    params = _random_params(model)
    terms = _call(SparseL1(weight=0.7), model, params, _batch())
    expected = 0.7 * np.abs(_codes(model, params)).sum(axis=1)
    np.testing.assert_allclose(terms.loss + terms.metrics["reconstruction"], expected, rtol=1e-4)


def _bernoulli_kl(rho, rates):
    return rel_entr(rho, rates) + rel_entr(1 - rho, 1 - rates)


def test_kl_adds_the_divergence_of_the_mean_activation_of_real_examples():
    model = _model("sigmoid")
    params = _random_params(model)
    terms = _call(SparseKL(weight=3.0, rho=0.1), model, params, _batch(mask=MASK))
    rates = _codes(model, params)[MASK == 1].mean(axis=0)
    expected = 3 * _bernoulli_kl(0.1, rates).sum()
    np.testing.assert_allclose(terms.loss + terms.metrics["reconstruction"], expected, rtol=1e-4)


def test_kl_is_0_at_its_target_and_finite_at_saturated_rates():
    rates = jnp.asarray([0.0, 1e-30, 0.05, 0.5, 1.0])
    values, gradient = jax.vmap(jax.value_and_grad(lambda r: bernoulli_kl(0.05, r)))(rates)
    assert float(values[2]) == pytest.approx(0.0, abs=1e-7)
    assert np.isfinite(values).all()
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(values[3], _bernoulli_kl(0.05, 0.5), rtol=1e-5)
    assert (values[jnp.array([0, 1, 3, 4])] > 0.1).all()


@pytest.mark.parametrize("latent", ["deterministic", "relu", "top_k", "gaussian"])
def test_kl_refuses_codes_that_are_no_rates(latent):
    model = _model(latent)
    params = _random_params(model)
    codes = encoded(model, params, X)
    with pytest.raises(UserError, match="choose model.latent=sigmoid"):
        SparseKL().check(codes, bound(model, params).prior(_batch()))


@pytest.mark.slow
@pytest.mark.parametrize("objective", [SparseKL(2.0, rho=0.2), Sparse(0.5)], ids=["kl", "sparse"])
def test_terms_and_gradients_over_parts_of_a_batch_are_those_of_the_whole(objective):
    """Eight parts of one mapped axis, some without real examples; the step's mean over devices."""
    x = RNG.random((16, 4, 3, 1)).astype(np.float32)
    mask = np.ones(16, np.float32)
    mask[[2, 4, 5, 9]] = 0
    batch, model = _batch(x, mask), _model("sigmoid")
    params = _random_params(model)

    def loss(params, batch, axis_name=None):
        terms = objective(bound(model, params), batch, KEY, 0, axis_name)
        count = batch["mask"].sum()
        if axis_name is not None:
            count = jax.lax.pmean(count, axis_name)
        value = (terms.loss * batch["mask"]).sum() / count
        return value if axis_name is None else jax.lax.pmean(value, axis_name), terms.metrics

    (expected, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(params, batch)

    def part(batch):
        (value, metrics), grads = jax.value_and_grad(loss, has_aux=True)(params, batch, "parts")
        return value, metrics, jax.lax.pmean(grads, "parts")

    parts = jax.tree.map(lambda a: a.reshape(8, 2, *a.shape[1:]), batch)
    values, part_metrics, grads = jax.jit(jax.vmap(part, axis_name="parts"))(parts)
    np.testing.assert_allclose(values, np.full(8, expected), rtol=1e-5)
    for name, value in metrics.items():
        np.testing.assert_allclose(part_metrics[name].ravel(), value, rtol=1e-5, err_msg=name)
    for mapped, whole in zip(jax.tree.leaves(grads), jax.tree.leaves(gradient), strict=True):
        np.testing.assert_allclose(mapped, np.broadcast_to(whole, mapped.shape), atol=2e-5)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_the_k_highest_units_are_kept_exactly_and_have_all_the_gradient(k):
    features = jnp.asarray(RNG.normal(size=(9, 4)), jnp.float32)
    latent = TopKLatent(5, k)
    variables = latent.init(KEY, features)
    code = np.asarray(latent.apply(variables, features).mean())
    dense = variables["params"]["code"]
    activations = np.asarray(features @ dense["kernel"] + dense["bias"][None])
    kept = np.argsort(-activations, axis=1)[:, :k]
    expected = np.zeros_like(activations)
    np.put_along_axis(expected, kept, np.take_along_axis(activations, kept, 1), 1)
    np.testing.assert_allclose(code, expected, rtol=1e-6)
    assert ((code != 0).sum(axis=1) == k).all()


def test_equal_activations_still_keep_k():
    latent = TopKLatent(6, 2)
    features = jnp.ones((3, 4))
    params = {"code": {"kernel": jnp.full((4, 6), 0.5), "bias": jnp.zeros(6)}}
    code = latent.apply({"params": params}, features).mean()
    np.testing.assert_array_equal((code != 0).sum(axis=1), 2)


@pytest.mark.parametrize("k", [0, 6])
def test_a_k_that_a_code_does_not_have_is_refused(k):
    with pytest.raises(UserError, match=f"code of 5 units cannot keep its {k} highest"):
        TopKLatent(5, k).init(KEY, jnp.ones((1, 2)))


def _one_sigmoid_layer(dim=5):
    """x -> sigmoid(x W + b) -> x: the encoder whose Jacobian is known."""
    return Autoencoder(
        encoder=MLPEncoder((), jnp.tanh),
        latent=SigmoidLatent(dim),
        prior_part=NonePrior(dim),
        decoder=MLPDecoder((), jnp.tanh, (4, 3, 1)),
        head=FixedGaussianHead((4, 3, 1), 1.0),
    )


def _norm_of_one_sigmoid_layer(params):
    """sum_j (h_j (1 - h_j))^2 sum_i W_ij^2 (Rifai et al. 2011, Sec. 5.1), [B]."""
    kernel = np.asarray(params["latent"]["code"]["kernel"], np.float64)
    bias = np.asarray(params["latent"]["code"]["bias"], np.float64)
    h = expit(X.reshape(len(X), -1) @ kernel + bias)
    return (h * (1 - h)) ** 2 @ (kernel**2).sum(axis=0)


def test_contractive_penalty_of_one_sigmoid_layer_is_its_closed_form():
    model = _one_sigmoid_layer()
    params = _random_params(model)
    terms = _call(Contractive(0.3), model, params, _batch())
    expected = _norm_of_one_sigmoid_layer(params)
    np.testing.assert_allclose(terms.metrics["squared_jacobian_norm"], expected, rtol=1e-4)
    np.testing.assert_allclose(
        terms.loss, 0.3 * expected - terms.metrics["reconstruction"], rtol=1e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize("latent", ["deterministic", "gaussian"])
def test_contractive_penalty_of_a_deep_encoder_is_that_of_its_whole_jacobian(latent):
    model = _model(latent, hidden=(7, 6))
    params = _random_params(model)

    def encode(x):
        return encoded(model, params, x[None]).mean()[0]

    jacobian = jax.jit(jax.vmap(jax.jacfwd(encode)))(X)  # [B, Z, ...]
    expected = np.square(np.asarray(jacobian, np.float64)).sum(axis=(1, 2, 3, 4))
    norm = _call(Contractive(), model, params, _batch()).metrics["squared_jacobian_norm"]
    np.testing.assert_allclose(norm, expected, rtol=1e-4)


@pytest.mark.slow
def test_contractive_gradient_is_that_of_the_closed_form():
    model = _one_sigmoid_layer()
    params = _random_params(model)

    def closed_form(params):
        kernel, bias = params["latent"]["code"]["kernel"], params["latent"]["code"]["bias"]
        h = jax.nn.sigmoid(X.reshape(len(X), -1) @ kernel + bias[None])
        norm = jnp.square(h * (1 - h)) @ jnp.square(kernel).sum(axis=0)
        reconstruction = reconstructed(model, params, X).log_prob(jnp.asarray(X))
        return (2.0 * norm - reconstruction).sum()

    actual = jax.grad(lambda p: _call(Contractive(2.0), model, p, _batch()).loss.sum())(params)
    for a, b in zip(
        jax.tree.leaves(actual), jax.tree.leaves(jax.grad(closed_form)(params)), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_probes_estimate_the_norm_without_bias():
    model = _one_sigmoid_layer()
    params = _random_params(model)
    exact = _norm_of_one_sigmoid_layer(params)
    keys = jax.random.split(KEY, 400)
    estimates = jax.jit(
        jax.vmap(
            lambda key: Contractive(num_probes=3)(bound(model, params), _batch(), key, 0).metrics[
                "squared_jacobian_norm"
            ]
        )
    )(keys)
    error = np.std(estimates, axis=0) / np.sqrt(len(keys))
    assert (np.abs(np.mean(estimates, axis=0) - exact) < 4 * error).all()
    assert (np.std(estimates, axis=0) > 1e-3 * exact).all(), "an estimate ought to vary"


def test_one_probe_of_a_code_of_one_unit_is_exact():
    model = _one_sigmoid_layer(1)
    params = _random_params(model)
    norm = _call(Contractive(num_probes=1), model, params, _batch()).metrics
    expected = _norm_of_one_sigmoid_layer(params)
    np.testing.assert_allclose(norm["squared_jacobian_norm"], expected, rtol=1e-4)


@pytest.mark.slow_cases(
    "objective0-deterministic", "objective1-*", "objective2-deterministic", "objective2-relu"
)
@pytest.mark.parametrize("latent", ["deterministic", "relu", "sigmoid"])
@pytest.mark.parametrize(
    "objective", [Reconstruction(), Denoising(0.4), MaskedReconstruction(0.4, withheld=0.2)]
)
def test_a_padded_code_gives_the_terms_and_gradients_of_the_smaller_one(objective, latent):
    assert objective.can_pad
    assert LATENTS.get(latent).can_pad
    small, large = _model(latent, dim=3), _model(latent, dim=5)
    params, like = _random_params(small), _random_params(large)

    def mean_loss(params, model, active):
        terms = objective(bound(model, params, active=active), _batch(), KEY, 0)
        return terms.loss.mean(), terms

    evaluate = jax.jit(jax.grad(mean_loss, has_aux=True), static_argnums=1)
    gradient, terms = evaluate(params, small, None)
    wide_gradient, wide_terms = evaluate(padded(params, like), large, in_use(5, 3))
    chex.assert_trees_all_close(wide_terms, terms, rtol=1e-5)
    expected = padded(gradient, like)
    chex.assert_trees_all_close(wide_gradient, expected, rtol=1e-4, atol=1e-6)
