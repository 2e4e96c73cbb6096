"""The KL penalty on a mean over the whole batch, on one device and on eight, with plain SGD."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ae_jax.api import configure
from ae_jax.data.batches import Order
from ae_jax.objectives import SparseKL
from ae_jax.train.prepare import prepare_run

MODES = ("sharded", "shard_map", "pmap")


@pytest.fixture(scope="module")
def update_of(image_set):
    """The state after three steps of plain SGD in a mode of execution, on uneven masks."""

    def update(mode):
        options = {"batch_size": 16, "hidden": [12], "latent_dim": 6, "train__parallel": mode}
        options |= {"model__latent": "sigmoid", "optim__name": "sgd", "optim__learning_rate": 0.05}
        config = dataclasses.replace(configure(None, options), objective=SparseKL(5.0, rho=0.1))
        setup = prepare_run(config, image_set)
        index = np.random.default_rng(5).permutation(200)[:48].reshape(3, 16)
        masks = np.ones((3, 16), np.float32)
        masks[1, [2, 5, 8, 10, 11]] = 0
        masks[2, :13] = 0
        order = Order(jnp.asarray(index, jnp.int32), jnp.asarray(masks))
        return jax.device_get(
            setup.execution.epoch(
                setup.initial_state(),
                order,
                setup.splits["train"],
                setup.numbers,
                architecture=setup.architecture,
            )
        )

    return update, update("jit")


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_the_kl_penalty_updates_alike_on_one_device_and_on_eight(mode, update_of):
    update, expected = update_of
    assert jax.device_count() == 8
    state, report = update(mode)
    chex.assert_trees_all_close(state, expected[0], rtol=2e-5, atol=2e-6)
    chex.assert_trees_all_close(report.totals, expected[1].totals, rtol=2e-5, atol=1e-5)
