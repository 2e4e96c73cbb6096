"""Codes that are chosen: thresholds against finite differences, the highest against NumPy."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from ae_jax.api import configure
from ae_jax.core.errors import UserError
from ae_jax.models import MODELS, BoundModel, Examples, ModelConfig
from ae_jax.nn.sparse_latents import highest_of_batch, jump_relu
from ae_jax.train.loop import train
from ae_jax.train.prepare import prepare_run
from ae_jax.train.program import AXIS, data_mesh
from tests.bound import as_batch

RNG = np.random.default_rng(0)
ACTIVATIONS = RNG.normal(size=(200, 3)).astype(np.float32)
THETA, WIDTH = np.array([[0.2, 0.5, 1.0]]), 0.3


def ramp(theta):
    """The step of activations above thresholds, smoothed, in float64."""
    return np.clip((ACTIVATIONS - theta) / WIDTH + 0.5, 0.0, 1.0)


def test_a_jump_relu_keeps_what_is_above_its_threshold():
    code = jax.jit(jump_relu)(ACTIVATIONS, THETA.astype(np.float32), WIDTH)
    is_open = ACTIVATIONS > THETA
    np.testing.assert_array_equal(code.mean(), np.where(is_open, ACTIVATIONS, 0))
    np.testing.assert_array_equal(code.gates, is_open)
    np.testing.assert_array_equal(code.candidates, np.maximum(ACTIVATIONS, 0))


@pytest.mark.slow_cases("gates")
@pytest.mark.parametrize("part", ["gates", "loc"])
def test_its_pseudo_derivative_is_that_of_the_smoothed_step(part):
    """Eq. 11 and 12 of Rajamanoharan et al. 2024, by finite differences: of theta0 * step(theta)
    for the code, whose units jump by theta."""
    weight = RNG.normal(size=ACTIVATIONS.shape)
    factor = THETA if part == "loc" else 1.0

    def smoothed(theta):
        return (weight * factor * ramp(theta)).sum(axis=0)

    step = 1e-6
    differences = (smoothed(THETA + step) - smoothed(THETA - step)) / (2 * step)

    def total(theta):
        return (weight * getattr(jump_relu(jnp.asarray(ACTIVATIONS), theta, WIDTH), part)).sum()

    found = jax.grad(total)(jnp.asarray(THETA, jnp.float32))[0]
    assert np.abs(differences).min() > 0.1
    np.testing.assert_allclose(found, differences, rtol=1e-4, atol=1e-4)
    inside = np.abs((ACTIVATIONS - THETA) / WIDTH) < 0.5
    np.testing.assert_allclose(found, -(weight * factor * inside).sum(axis=0) / WIDTH, rtol=1e-4)


def test_activations_have_the_gradient_of_what_is_kept():
    theta = jnp.asarray(THETA, jnp.float32)

    def total(activations):
        code = jump_relu(activations, theta, WIDTH)
        return code.loc.sum() + 100 * code.gates.sum()

    np.testing.assert_array_equal(jax.grad(total)(jnp.asarray(ACTIVATIONS)), ACTIVATIONS > THETA)


def by_numpy(values, mask, k):
    """The k * (real examples) highest of the real rows; of equal ones the first."""
    real = np.flatnonzero(mask)
    flat = values[real].ravel()
    best = np.argsort(-flat, kind="stable")[: k * len(real)]
    kept = np.zeros(flat.shape, bool)
    kept[best] = True
    among = np.zeros(values.shape, bool)
    among[real] = kept.reshape(len(real), -1)
    above = flat[best][flat[best] > 0]
    return among, above.min() if len(above) else np.inf


MASKS = {"full": np.ones(16), "uneven": (np.arange(16) % 3 > 0) * (np.arange(16) < 11)}


@pytest.mark.parametrize("mask", list(MASKS))
def test_the_highest_of_a_batch_are_numpys_on_one_device_and_on_eight(mask):
    mask = MASKS[mask].astype(np.float32)
    values = np.maximum(np.round(RNG.normal(size=(16, 5)), 1), 0).astype(np.float32)  # with ties
    expected = by_numpy(values, mask, k=2)
    assert len({*expected[0][mask > 0].sum(axis=1)}) > 1  # some have more than others
    alone = jax.jit(highest_of_batch, static_argnums=2)(values, mask, 2)
    rows = PartitionSpec(AXIS)
    spread = jax.shard_map(
        partial(highest_of_batch, k=2, axis_name=AXIS),
        mesh=data_mesh(),
        in_specs=(rows, rows),
        out_specs=(rows, PartitionSpec()),
        check_vma=False,
    )
    for kept, lowest in (alone, jax.jit(spread)(values, mask)):
        np.testing.assert_array_equal(kept, expected[0])
        assert float(lowest) == expected[1]


def test_none_above_0_is_no_threshold():
    _, lowest = highest_of_batch(jnp.zeros((4, 3)), jnp.ones(4), 1)
    assert float(lowest) == np.inf


@pytest.mark.slow
def test_the_threshold_is_the_mean_of_the_lowest_kept_and_decides_in_looks():
    """By the recurrence of its docstring: the plain mean of two batches, then half of the next."""
    config = ModelConfig(
        hidden=(),
        latent="batch_top_k",
        latent_k=2,
        latent_dim=6,
        head="gaussian_fixed",
        options=(("latent.momentum", 0.5),),
    )
    module = MODELS.get(config.name)(config, Examples((4,)))
    batches = RNG.normal(size=(4, 8, 4)).astype(np.float32)
    variables = module.init(jax.random.key(0), as_batch(batches[0]))
    dense = variables["params"]["latent"]["code"]
    threshold = 0.0
    for n, x in enumerate(batches, start=1):
        model = BoundModel(module, variables, train=True)
        code = np.asarray(model.encode(as_batch(x)).mean())
        variables = {**variables, **model.collections}
        activations = np.maximum(x @ np.asarray(dense["kernel"]) + np.asarray(dense["bias"]), 0)
        kept, lowest = by_numpy(activations, np.ones(8), 2)
        np.testing.assert_allclose(code, np.where(kept, activations, 0), rtol=1e-5)
        threshold += max(1 / n, 0.5) * (lowest - threshold)
        found = model.collections["sparse_codes"]["latent"]["threshold"]
        np.testing.assert_allclose(found, threshold, rtol=1e-5)
    looked = BoundModel(module, variables).encode(as_batch(x)).mean()
    np.testing.assert_allclose(looked, np.where(activations > threshold, activations, 0), rtol=1e-5)


OPTIONS = {
    "objective__name": "reconstruction",
    "model__head": "gaussian_fixed",
    "model__latent": "batch_top_k",
    "hidden": [],
    "latent_dim": 5,
    "latent_k": 2,
    "optim__name": "sgd",
    "optim__learning_rate": 0.05,
    "batch_size": 24,
    "epochs": 1,
}


@pytest.fixture(scope="module")
def of_one_device(vector_set):
    return train(prepare_run(configure(None, OPTIONS), vector_set)).state


@pytest.mark.slow
@pytest.mark.parametrize(
    "mode", ["shard_map", *(pytest.param(m, marks=pytest.mark.slow) for m in ("sharded", "pmap"))]
)
def test_a_run_on_eight_devices_chooses_among_all_of_a_batch(mode, of_one_device, vector_set):
    config = configure(None, OPTIONS | {"train__parallel": mode})
    state = train(prepare_run(config, vector_set)).state
    chex.assert_trees_all_close(
        jax.device_get(state), jax.device_get(of_one_device), rtol=2e-5, atol=2e-6
    )
    assert float(state.collections["sparse_codes"]["latent"]["threshold"]) > 0


@pytest.mark.parametrize("latent", ["top_k", "batch_top_k"])
def test_more_than_there_are_cannot_be_kept(latent, vector_set):
    config = configure(None, OPTIONS | {"latent_k": 6, "model__latent": latent})
    with pytest.raises(UserError, match="a code of 5 units cannot keep its 6 highest"):
        prepare_run(config, vector_set)
