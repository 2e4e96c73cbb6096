"""Tied weights: the same function as an untied model whose decoder holds the transposes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ae_jax.core.errors import UserError
from ae_jax.models import Examples, build_autoencoder, parameter_counts
from ae_jax.nn.initialisers import initialise
from ae_jax.nn.tying import tie, untie
from ae_jax.objectives import Elbo, Reconstruction, draw
from ae_jax.train.config import ModelConfig
from tests.bound import as_batch, bound, initial, reconstructed

KEY = jax.random.key(0)
SHAPE = (4, 3, 1)
X = jnp.asarray(np.random.default_rng(0).random((6, *SHAPE)), jnp.float32)
BATCH = as_batch(X)
LATENTS = ["deterministic", "gaussian", "relu", "sigmoid", "top_k"]
HEADS = ["bernoulli", "gaussian", "gaussian_fixed", "gaussian_global", "gaussian_sigmoid"]


def _models(latent="deterministic", head="bernoulli", hidden=(7, 5), **more):
    config = ModelConfig(hidden=hidden, latent=latent, latent_dim=3, head=head, **more)
    model = build_autoencoder(config, Examples(SHAPE))
    return model.clone(tied=True), model


def _params(model):
    return initialise(initial(model, X), KEY, "normal", 0.4)


@pytest.mark.slow
@pytest.mark.parametrize("latent", LATENTS)
@pytest.mark.parametrize("hidden", [(), (7,), (7, 5)])
def test_a_tied_model_is_the_untied_one_with_transposed_kernels(latent, hidden):
    tied, untied = _models(latent, hidden=hidden)
    params = _params(tied)
    full = untie(params)
    assert jax.tree.structure(full) == jax.tree.structure(_params(untied))
    code = "loc" if latent == "gaussian" else "code"
    last = full["encoder"]["dense_0"] if hidden else full["latent"][code]
    np.testing.assert_array_equal(full["head"]["logits"]["kernel"], last["kernel"].T)
    a, b = (draw(bound(m, p), BATCH, KEY, 2) for m, p in ((tied, params), (untied, full)))
    np.testing.assert_array_equal(a.z, b.z)
    np.testing.assert_allclose(a.log_likelihood, b.log_likelihood, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("head", HEADS)
def test_any_dense_head_can_be_tied(head):
    tied, untied = _models(head=head)
    params = _params(tied)
    likelihood, other = (
        reconstructed(m, p, X) for m, p in ((tied, params), (untied, untie(params)))
    )
    for a, b in zip(jax.tree.leaves(likelihood), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    np.testing.assert_array_equal(
        tie(untie(params))["encoder"]["dense_0"]["kernel"], params["encoder"]["dense_0"]["kernel"]
    )


def test_a_linear_tied_model_is_w_and_its_transpose():
    tied, _ = _models(head="gaussian_fixed", hidden=())
    params = _params(tied)
    code = jax.tree.map(np.asarray, params["latent"]["code"])
    flat, bias = np.asarray(X).reshape(6, -1), np.asarray(params["head"]["mean"]["bias"])
    expected = (flat @ code["kernel"] + code["bias"]) @ code["kernel"].T + bias
    mean = np.asarray(reconstructed(tied, params, X).mean()).reshape(6, -1)
    np.testing.assert_allclose(mean, expected, rtol=1e-5, atol=1e-6)


def test_the_gradient_of_a_shared_kernel_is_the_sum_over_both_uses():
    tied, untied = _models()
    params = _params(tied)

    def loss(model):
        return lambda p: Reconstruction()(bound(model, p), BATCH, KEY, 0).loss.mean()

    gradient = jax.jit(jax.grad(loss(tied)))(params)
    parts = jax.jit(jax.grad(loss(untied)))(untie(params))
    pairs = [
        (("encoder", "dense_0"), ("head", "logits")),
        (("encoder", "dense_1"), ("decoder", "dense_1")),
        (("latent", "code"), ("decoder", "dense_0")),
    ]
    for (a, b), (c, d) in pairs:
        expected = parts[a][b]["kernel"] + parts[c][d]["kernel"].T
        np.testing.assert_allclose(gradient[a][b]["kernel"], expected, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(
            gradient[a][b]["bias"], parts[a][b]["bias"], rtol=1e-4, atol=1e-6
        )
        np.testing.assert_allclose(
            gradient[c][d]["bias"], parts[c][d]["bias"], rtol=1e-4, atol=1e-6
        )


def test_shared_weights_are_counted_once():
    """784-100-2-100-784 has 157,200 weights, tied half as many."""
    config = ModelConfig(hidden=(100,), latent="deterministic", latent_dim=2, head="bernoulli")
    model = build_autoencoder(config, Examples((28, 28, 1))).clone(tied=True)
    params = jax.eval_shape(lambda: initial(model, jnp.zeros((1, 28, 28, 1))))
    assert parameter_counts(params) == {"weights": 78_600, "other": 986, "total": 79_586}


@pytest.mark.slow
def test_a_tied_model_trains_and_stays_tied():
    tied, untied = _models("gaussian", head="gaussian_global")
    state = _params(tied)
    optimiser = optax.adam(0.01)

    @jax.jit
    def train(params):
        def body(carry, step):
            params, memory = carry
            key = jax.random.fold_in(KEY, step)
            loss, gradient = jax.value_and_grad(
                lambda p: Elbo()(bound(tied, p), BATCH, key, step).loss.mean()
            )(params)
            updates, memory = optimiser.update(gradient, memory)
            return (optax.apply_updates(params, updates), memory), loss

        return jax.lax.scan(body, (params, optimiser.init(params)), jnp.arange(60))

    (after, _), losses = train(state)
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 1
    assert jax.tree.structure(after) == jax.tree.structure(state)
    mean = reconstructed(tied, after, X).mean()
    np.testing.assert_allclose(mean, reconstructed(untied, untie(after), X).mean(), rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"decoder_hidden": (7,)}, "it has 2 layers for 3 of the encoder"),
        ({"decoder_hidden": (5, 8)}, "decoder dense_1 has 8 outputs where encoder dense_1 has 7"),
        ({"decoder_hidden": (7, 5)}, "decoder dense_1 has 5 outputs where encoder dense_1 has 7"),
        ({"encoder": "conv", "decoder": "conv"}, "needs dense layers, and the decoder has conv_0"),
        ({"encoder": "conv"}, "needs dense layers, and the encoder has conv_0, conv_1"),
    ],
)
def test_parts_that_do_not_mirror_each_other_are_refused(options, sentence):
    tied, _ = _models(**options)
    with pytest.raises(UserError, match=sentence):
        jax.eval_shape(tied.init, KEY, BATCH)
