"""Stacks and the deep autoencoders they make: the same outputs, to the bit or to rounding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ae_jax.core.errors import UserError
from ae_jax.models import Examples, build_autoencoder
from ae_jax.models.layers import autoencoder_layers, rbm_layer, unroll
from ae_jax.models.rbm import RestrictedBoltzmannMachine
from ae_jax.nn.initialisers import initialise
from ae_jax.nn.tying import tie, untie
from ae_jax.train.config import ModelConfig
from tests.bound import decoded, encoded, initial, reconstructed

SIZES = (12, 8, 6, 3)
X = jnp.asarray(np.random.default_rng(0).random((5, 12)), jnp.float32)


def _drawn(model, shape, seed):
    params = jax.eval_shape(lambda: initial(model, jnp.zeros((1, *shape))))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), params)
    return initialise(zeros, jax.random.key(seed), "normal", 0.7)


def _autoencoder(sizes, latent, head, activation="sigmoid"):
    config = ModelConfig(
        hidden=sizes[1:-1],
        latent=latent,
        latent_dim=sizes[-1],
        head=head,
        activation=activation,
    )
    return build_autoencoder(config, Examples(sizes[:1]))


def _machines(visible):
    """Three RBMs of 12-8-6-3 units as in the sources: the code is linear, all between is binary."""
    kinds = [(visible, "bernoulli"), ("bernoulli", "bernoulli"), ("bernoulli", "gaussian")]
    models = [
        RestrictedBoltzmannMachine((SIZES[i],), SIZES[i + 1], *kind) for i, kind in enumerate(kinds)
    ]
    return [(m, _drawn(m, m.shape, seed)) for seed, m in enumerate(models)]


def _autoencoders(activation, last):
    """Three autoencoders of one layer each, each made to be trained on the codes before it."""
    inner = {"sigmoid": ("sigmoid", "bernoulli"), "linear": ("deterministic", "gaussian_fixed")}
    latent, head = inner[activation]
    latents = [latent, latent, last]
    models = [_autoencoder(SIZES[i : i + 2], latents[i], head, "tanh") for i in range(3)]
    return [(m, _drawn(m, SIZES[i : i + 1], i)) for i, m in enumerate(models)]


def _through(stack, x):
    """Codes by the encoders in turn, and reconstructions by the decoders in turn."""
    for model, params in stack:
        x = encoded(model, params, x).mean()
    code = x
    for model, params in reversed(stack):
        x = decoded(model, params, x).mean()
    return code, x


def _assert_same(deep, params, stack):
    code, reconstruction = _through(stack, X)
    posterior = encoded(deep, params, X)
    np.testing.assert_allclose(posterior.mean(), code, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(
        reconstructed(deep, params, X).mean(), reconstruction, rtol=1e-5, atol=1e-6
    )
    expected = jax.eval_shape(lambda: initial(deep, X))
    assert jax.tree.structure(params) == jax.tree.structure(expected)
    assert all(
        a.shape == b.shape
        for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(expected), strict=True)
    )


@pytest.mark.slow_cases("gaussian-gaussian_fixed-mean")
@pytest.mark.parametrize(
    ("visible", "head", "data"),
    [("bernoulli", "bernoulli", "logits"), ("gaussian", "gaussian_fixed", "mean")],
)
def test_unrolled_machines_are_the_deep_autoencoder(visible, head, data):
    stack = _machines(visible)
    params = unroll([rbm_layer(p) for _, p in stack], data=data)
    _assert_same(_autoencoder(SIZES, "deterministic", head), params, stack)


@pytest.mark.parametrize(
    ("activation", "last", "head", "data"),
    [
        ("sigmoid", "sigmoid", "bernoulli", "logits"),
        ("sigmoid", "deterministic", "bernoulli", "logits"),
        ("sigmoid", "top_k", "bernoulli", "logits"),
        ("linear", "deterministic", "gaussian_fixed", "mean"),
    ],
)
def test_unrolled_autoencoders_are_the_deep_one(activation, last, head, data):
    stack = _autoencoders(activation, last)
    params = unroll([layer for _, p in stack for layer in autoencoder_layers(p)], data=data)
    _assert_same(_autoencoder(SIZES, last, head, activation), params, stack)


def test_a_stack_of_one_is_the_model_itself():
    ((model, params), *_) = _autoencoders("sigmoid", "sigmoid")
    again = unroll(autoencoder_layers(params))
    assert jax.tree.structure(again) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, again, params)


@pytest.mark.parametrize("cut", [1, 2])
def test_a_deep_autoencoder_is_cut_and_put_together_again(cut):
    deep = _autoencoder(SIZES, "deterministic", "bernoulli")
    params = _drawn(deep, SIZES[:1], 3)
    layers = autoencoder_layers(params)
    assert [layer.sizes for layer in layers] == [(12, 8), (8, 6), (6, 3)]
    jax.tree.map(np.testing.assert_array_equal, unroll(layers), params)
    stack = [
        (_autoencoder(SIZES[: cut + 1], "sigmoid", "bernoulli"), unroll(layers[:cut])),
        (_autoencoder(SIZES[cut:], "deterministic", "bernoulli"), unroll(layers[cut:])),
    ]
    _assert_same(deep, params, stack)


def test_layers_of_a_tied_model_are_those_of_the_untied_one():
    deep = _autoencoder(SIZES, "deterministic", "bernoulli")
    params = tie(_drawn(deep, SIZES[:1], 3))
    jax.tree.map(
        np.testing.assert_array_equal,
        autoencoder_layers(params),
        autoencoder_layers(untie(params)),
    )


def test_unrolled_machines_are_tied_already():
    params = unroll([rbm_layer(p) for _, p in _machines("bernoulli")])
    jax.tree.map(np.testing.assert_array_equal, untie(tie(params)), params)


def test_further_maps_of_a_head_are_left_out():
    model = _autoencoder((12, 5), "gaussian", "gaussian")
    params = _drawn(model, (12,), 0)
    assert set(params["head"]) == {"mean", "log_scale"}
    (layer,) = autoencoder_layers(params)
    np.testing.assert_array_equal(layer.encoder["kernel"], params["latent"]["loc"]["kernel"])
    np.testing.assert_array_equal(layer.decoder["kernel"], params["head"]["mean"]["kernel"])


def test_layers_that_do_not_fit_are_refused():
    layers = [rbm_layer(p) for _, p in _machines("bernoulli")]
    with pytest.raises(UserError, match="layer 1 has 6 inputs where .* a code of 8"):
        unroll([layers[0], layers[2]])
    with pytest.raises(UserError, match="at least one layer"):
        unroll([])
    with pytest.raises(UserError, match="layer 0 goes 12-8 in and 6-8 back"):
        unroll([layers[0].replace(decoder=layers[1].decoder | {"kernel": jnp.zeros((6, 8))})])
    config = ModelConfig(hidden=(7, 5), decoder_hidden=(7,), latent_dim=3, head="bernoulli")
    params = _drawn(build_autoencoder(config, Examples((12,))), (12,), 0)
    with pytest.raises(UserError, match="there are 3 layers to the code and 2 back"):
        autoencoder_layers(params)
