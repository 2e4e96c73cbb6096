"""Shapes and sizes of the networks, and how their weights start, against formulas."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from ae_jax.models import Examples, build_autoencoder, parameter_counts
from ae_jax.nn import ACTIVATIONS
from ae_jax.nn.convolutions import doubled, halved
from ae_jax.nn.decoders import ConvDecoder, MLPDecoder
from ae_jax.nn.encoders import ConvEncoder, MLPEncoder
from ae_jax.nn.gated import GatedDecoder, GatedEncoder
from ae_jax.nn.initialisers import FITTING, fitting, initialise
from ae_jax.numerics.softplus import binary_log_likelihood, softplus
from ae_jax.train.config import ModelConfig, RunConfig
from ae_jax.train.prepare import prepare_run
from tests.bound import as_batch, decoded, initial


def _shapes(module, *inputs):
    """Output and parameter shapes, without computing anything."""
    out, variables = jax.eval_shape(
        lambda *xs: module.init_with_output(jax.random.key(0), *xs), *map(jnp.zeros, inputs)
    )
    return out.shape, jax.tree.map(lambda leaf: leaf.shape, variables.get("params", {}))


@pytest.mark.parametrize("hidden", [(), (7,), (7, 5), (7, 5, 4)])
@pytest.mark.parametrize("shape", [(6,), (4, 3, 2)])
def test_mlp_shapes(hidden, shape):
    out, params = _shapes(MLPEncoder(hidden, jnp.tanh), (2, *shape))
    assert out == (2, (math.prod(shape), *hidden)[-1])
    widths = (math.prod(shape), *hidden)
    assert [params[f"dense_{i}"]["kernel"] for i in range(len(hidden))] == list(
        zip(widths, widths[1:], strict=False)
    )
    out, _ = _shapes(MLPDecoder(hidden, jnp.tanh, shape), (2, 3))
    assert out == (2, (3, *hidden)[-1])


@pytest.mark.parametrize("size", [(28, 28), (28, 20), (9, 13), (8, 8), (1, 1)])
@pytest.mark.parametrize("hidden", [(4,), (4, 6), (4, 6, 8)])
def test_conv_shapes(size, hidden):
    out, _ = _shapes(ConvEncoder(hidden, jnp.tanh), (2, *size, 3))
    rows, columns = size
    for _ in hidden:
        rows, columns = math.ceil(rows / 2), math.ceil(columns / 2)
    assert out == (2, rows * columns * hidden[-1])
    out, _ = _shapes(ConvDecoder(hidden[::-1], jnp.tanh, (*size, 3)), (2, 5))
    assert out == (2, *size, hidden[0])


def test_conv_layers_are_the_convolutions_of_their_definition():
    """A layer of stride 2 sums a 3x3 window around every second pixel; border padding is zero."""
    x = np.random.default_rng(0).normal(size=(1, 5, 5, 1)).astype(np.float32)
    kernel = np.random.default_rng(1).normal(size=(3, 3, 1, 1)).astype(np.float32)
    params = {"conv_0": {"kernel": kernel, "bias": np.full(1, 0.5, np.float32)}}
    out = ConvEncoder((1,), jnp.tanh).apply({"params": params}, x)
    padded = np.pad(x[0, :, :, 0], 1)
    windows = [padded[i : i + 3, j : j + 3] for i in (0, 2, 4) for j in (0, 2, 4)]
    expected = np.tanh([np.sum(window * kernel[:, :, 0, 0]) + 0.5 for window in windows])
    np.testing.assert_allclose(out[0], expected, rtol=1e-5)


LAYOUT = ("NHWC", "HWIO", "NHWC")


def conv_of_lax(x, kernel):
    return jax.lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=LAYOUT)


def transposed_of_lax(x, kernel):
    return jax.lax.conv_transpose(x, kernel, (2, 2), "SAME", dimension_numbers=LAYOUT)


@pytest.mark.slow_cases("T-shape0", "*-shape1", "*-shape2")
@pytest.mark.parametrize("shape", [(2, 4, 7, 3), (1, 1, 1, 1), (2, 5, 2, 4)])
@pytest.mark.parametrize(
    ("ours", "theirs"), [(halved, conv_of_lax), (doubled, transposed_of_lax)], ids=["conv", "T"]
)
def test_convolutions_by_products_are_those_of_lax_and_so_are_their_gradients(shape, ours, theirs):
    x = jax.random.normal(jax.random.key(0), shape)
    kernel = jax.random.normal(jax.random.key(1), (3, 3, shape[-1], 2))
    np.testing.assert_allclose(ours(x, kernel), theirs(x, kernel), atol=1e-5)
    weights = jax.random.normal(jax.random.key(2), theirs(x, kernel).shape)
    found, expected = (
        jax.grad(lambda x, k, f=function: (weights * f(x, k)).sum(), (0, 1))(x, kernel)
        for function in (ours, theirs)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), found, expected)


@pytest.mark.parametrize(
    ("shape", "hidden", "weights"),
    [((28, 28, 1), (100,), 157_200), ((100,), (10,), 2040)],
    ids=["784-100-2-100-784", "100-10-2-10-100"],
)
def test_weights_of_the_lectures_networks(shape, hidden, weights):
    config = ModelConfig(hidden=hidden, latent="deterministic", latent_dim=2, head="bernoulli")
    model = build_autoencoder(config, Examples(shape))
    params = jax.eval_shape(lambda: initial(model, jnp.zeros((1, *shape))))
    biases = 2 * hidden[0] + 2 + math.prod(shape)
    assert parameter_counts(params) == {
        "weights": weights,
        "other": biases,
        "total": weights + biases,
    }


@pytest.mark.slow
def test_decode_reshapes_the_samples_and_nothing_else():
    config = ModelConfig(hidden=(5,), latent_dim=2, head="gaussian_global")
    model = build_autoencoder(config, Examples((4, 3, 1)))
    params = initial(model, jnp.zeros((1, 4, 3, 1)))
    z = jax.random.normal(jax.random.key(1), (3, 2, 2))
    together = decoded(model, params, z)
    assert together.log_scale.shape == ()
    for k in range(3):
        alone = decoded(model, params, z[k])
        np.testing.assert_allclose(together.mean()[k], alone.mean(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("head", ["gaussian_fixed", "gaussian_global"])
@pytest.mark.parametrize("scale", [2e-3, 0.1, 1.0, 30.0])
def test_a_gaussian_starts_with_the_scale_asked_for(head, scale):
    config = ModelConfig(hidden=(), latent_dim=2, head=head, head_scale=scale)
    model = build_autoencoder(config, Examples((3,)))
    likelihood, _ = model.init_with_output(jax.random.key(0), as_batch(jnp.zeros((1, 3))))
    np.testing.assert_allclose(np.exp(likelihood.log_scale), scale, rtol=1e-5)


PARAMS = {
    "dense": {"kernel": jnp.zeros((300, 200)), "bias": jnp.ones(20_000)},
    "conv": {"kernel": jnp.zeros((3, 3, 64, 128)), "bias": jnp.ones(128)},
    "head": {"log_scale": jnp.asarray(0.25)},
}


def _assert_moments(values, variance):
    """Mean 0 and the given variance, each within 5 standard errors (4 bounds the kurtosis)."""
    values = np.asarray(values, np.float64).ravel()
    assert abs(values.mean()) < 5 * math.sqrt(variance / values.size)
    assert abs(values.var() / variance - 1) < 5 * math.sqrt(4 / values.size)


@pytest.mark.parametrize("scale", [0.01, 1.5])
def test_normal_draws_weights_and_biases_alike(scale):
    params = initialise(PARAMS, jax.random.key(0), "normal", scale)
    for leaf in [params["dense"]["kernel"], params["dense"]["bias"], params["conv"]["kernel"]]:
        _assert_moments(leaf, scale**2)


@pytest.mark.parametrize(
    ("scheme", "variance"),
    [
        ("glorot_normal", lambda fan_in, fan_out: 2 / (fan_in + fan_out)),
        ("glorot_uniform", lambda fan_in, fan_out: 2 / (fan_in + fan_out)),
        ("he_normal", lambda fan_in, fan_out: 2 / fan_in),
        ("he_uniform", lambda fan_in, fan_out: 2 / fan_in),
        ("lecun_normal", lambda fan_in, fan_out: 1 / fan_in),
    ],
)
def test_schemes_by_fan_have_the_variance_of_their_papers(scheme, variance):
    params = initialise(PARAMS, jax.random.key(0), scheme, 1.0)
    _assert_moments(params["dense"]["kernel"], variance(300, 200))
    _assert_moments(params["conv"]["kernel"], variance(9 * 64, 9 * 128))
    np.testing.assert_array_equal(params["dense"]["bias"], 0.0)
    if scheme.endswith("uniform"):
        bound = math.sqrt(3 * variance(300, 200))
        assert 0.999 * bound < float(jnp.abs(params["dense"]["kernel"]).max()) <= bound
    doubled = initialise(PARAMS, jax.random.key(0), scheme, 2.0)
    np.testing.assert_allclose(doubled["dense"]["kernel"], 2 * params["dense"]["kernel"], rtol=1e-6)


def test_every_activation_has_weights_that_fit_it():
    assert FITTING.keys() == set(ACTIVATIONS)


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh"])
def test_fitting_weights_pass_on_what_they_are_given(activation):
    """The spread of the units over examples, after eight layers of 300 units, beside the first."""
    scheme, scale = fitting(activation)
    params = {str(i): {"kernel": jnp.zeros((300, 300))} for i in range(8)}
    kept = {}
    for name, factor in (("fitting", scale), ("a quarter", scale / 4)):
        h = jax.random.normal(jax.random.key(1), (500, 300))
        spread = []
        for layer in initialise(params, jax.random.key(0), scheme, factor).values():
            h = ACTIVATIONS.get(activation)(h @ layer["kernel"])
            spread.append(float(h.std(axis=0).mean()))
        kept[name] = spread[-1] / spread[0]
    assert kept["fitting"] > 0.01 and kept["a quarter"] < 1e-3


@pytest.mark.parametrize(
    ("options", "scheme", "scale"),
    [
        ({"activation": "sigmoid", "init_scale": 0.5}, "glorot_uniform", 2.0),
        ({"activation": "relu"}, "he_uniform", 1.0),
        ({"activation": "tanh"}, "glorot_uniform", 1.0),
        ({"activation": "sigmoid", "init": "glorot_normal"}, "glorot_normal", 1.0),
    ],
)
def test_a_run_says_how_its_weights_started(options, scheme, scale, vector_set):
    config = RunConfig(model=ModelConfig(hidden=(4,), latent_dim=2, **options))
    settled = prepare_run(config, vector_set).config.model
    assert (settled.init, settled.init_scale) == (scheme, scale)


def test_orthogonal_kernels_have_orthonormal_columns():
    params = initialise(
        {"d": {"kernel": jnp.zeros((30, 20))}}, jax.random.key(0), "orthogonal", 1.0
    )
    kernel = np.asarray(params["d"]["kernel"])
    np.testing.assert_allclose(kernel.T @ kernel, np.eye(20), atol=1e-5)


def test_initialise_leaves_other_parameters_and_depends_on_the_key_alone():
    first = initialise(PARAMS, jax.random.key(0), "normal", 1.0)
    again = initialise(PARAMS, jax.random.key(0), "normal", 1.0)
    other = initialise(PARAMS, jax.random.key(1), "normal", 1.0)
    assert float(first["head"]["log_scale"]) == 0.25
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), first, again))
    assert not np.isin(first["conv"]["bias"], other["conv"]["bias"]).any()
    # Two leaves of one tree do not start alike.
    assert not np.isin(first["conv"]["bias"], first["dense"]["bias"][:128]).any()


def test_activations_are_those_of_their_names():
    x = np.array([-3.0, -0.5, 0.5, 3.0])
    sigmoid = 1 / (1 + np.exp(-x))
    inner = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
    expected = {
        "elu": np.where(x > 0, x, np.expm1(x)),
        "gelu": 0.5 * x * (1 + np.tanh(inner)),  # the approximation of Hendrycks & Gimpel 2016
        "leaky_relu": np.where(x > 0, x, 0.01 * x),
        "linear": x,
        "relu": np.maximum(x, 0),
        "sigmoid": sigmoid,
        "silu": x * sigmoid,
        "softplus": np.log1p(np.exp(x)),
        "tanh": np.tanh(x),
    }
    assert expected.keys() == set(ACTIVATIONS)
    for name, values in expected.items():
        actual = ACTIVATIONS.get(name)(jnp.asarray(x, jnp.float32))
        np.testing.assert_allclose(actual, values, rtol=2e-6, atol=1e-6, err_msg=name)


def test_softplus_is_exact_with_its_derivatives_where_logits_saturate():
    x = np.array([-200.0, -40.0, -1.0, 0.0, 1.0, 40.0, 200.0])
    sigmoid = expit(x)
    # The slope of the sigmoid is p (1 - p), and 1 - p has the precision of 1.
    derivatives = [(np.logaddexp(0, x), 1e-37), (sigmoid, 1e-37), (sigmoid * expit(-x), 1e-7)]
    function = softplus
    for expected, absolute in derivatives:
        values = jax.vmap(function)(jnp.asarray(x, jnp.float32))
        np.testing.assert_allclose(values, expected, rtol=1e-6, atol=absolute)
        function = jax.grad(function)
    assert jnp.isnan(softplus(jnp.nan)) and jnp.isposinf(softplus(jnp.inf))
    assert softplus(-jnp.inf) == 0


@jax.jit
@jax.vmap
def _derivatives(x, logits):
    """Value, slopes by both arguments, and all of the curvature, along ones as it is diagonal."""
    slope = partial(jax.grad(binary_log_likelihood, 1), x)
    curvature = jax.jvp(slope, (logits,), (jnp.ones_like(logits),))[1]
    value, slopes = jax.value_and_grad(binary_log_likelihood, (0, 1))(x, logits)
    return value, *slopes, curvature


@pytest.mark.parametrize("size", [7, 12, 784])
def test_binary_log_likelihood_is_exact_with_its_gradients_where_logits_saturate(size):
    rng = np.random.default_rng(size)
    logits = np.resize([-200.0, -40.0, -1.0, 0.0, 1.0, 40.0, 200.0], size)
    # What the logits say, mostly: then all that remains is exp(-|l|), far below the unit in which
    # a float knows 1.
    likely = (logits > 0).astype(float)
    x = np.float32([likely, rng.random(size), rng.integers(0, 2, size)])
    value, of_x, of_logits, curvature = _derivatives(x, np.tile(np.float32(logits), (3, 1)))
    given = x.astype(np.float64)
    # Each term apart: of a likely pixel, x l and the logarithm cancel.
    signed = np.where(logits > 0, (given - 1) * logits, given * logits)
    expected = signed.sum(axis=1) - np.log1p(np.exp(-np.abs(logits))).sum()
    # No subnormal numbers.
    np.testing.assert_allclose(value, expected, rtol=2e-6, atol=1e-37)
    np.testing.assert_allclose(of_x, np.tile(logits, (3, 1)), rtol=1e-6)
    np.testing.assert_allclose(of_logits, given - expit(logits), atol=1e-7)
    slopes = np.tile(-expit(logits) * expit(-logits), (3, 1))
    np.testing.assert_allclose(curvature, slopes, atol=1e-7)
    alone = binary_log_likelihood(jnp.ones(8), jnp.full(8, 30.0))
    np.testing.assert_allclose(alone, -8 * np.exp(-30.0), rtol=1e-6)
    assert jnp.isnan(binary_log_likelihood(jnp.ones(2), jnp.array([jnp.nan, 0.0])))


@pytest.mark.slow
def test_gated_layers_are_the_products_of_their_definition():
    x = np.random.default_rng(0).normal(size=(3, 2, 2, 1)).astype(np.float32)
    condition = np.ones((3, 1), np.float32)
    encoder = GatedEncoder((4, 2), jnp.tanh)
    params = encoder.init(jax.random.key(1), x, condition)["params"]

    def by_numpy(h):
        for i in range(2):
            maps = {
                name: h @ np.asarray(params[f"{name}_{i}"]["kernel"], np.float64)
                + np.asarray(params[f"{name}_{i}"]["bias"])
                for name in ("dense", "gate")
            }
            h = np.tanh(maps["dense"]) * expit(maps["gate"])
        return h

    found = encoder.apply({"params": params}, x, condition)
    expected = by_numpy(np.concatenate([x.reshape(3, -1), condition], axis=1))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    # Of a decoder the condition stands before the code, here in the places of the data.
    decoder = GatedDecoder((4, 2), jnp.tanh, (2, 2, 1))
    found = decoder.apply({"params": params}, condition, x.reshape(3, -1))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    linear = GatedEncoder((3,), lambda values: values)
    params = linear.init(jax.random.key(2), x)["params"]
    params = jax.tree.map(lambda leaf: jnp.full_like(leaf, 0.5), params)
    total = 0.5 * x.reshape(3, -1).sum(axis=1, keepdims=True) + 0.5
    np.testing.assert_allclose(
        linear.apply({"params": params}, x), np.tile(total * expit(total), 3), rtol=1e-5
    )
