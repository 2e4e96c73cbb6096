"""The same update on one device and on eight, judged with plain SGD: Adam hides a wrong scale."""

import dataclasses
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compile_counts import compilations
from flax import struct
from jax.sharding import PartitionSpec

from ae_jax.api import configure
from ae_jax.core.errors import UserError
from ae_jax.data.batches import Order, take_batch
from ae_jax.distributions import kl_per_dim
from ae_jax.numerics.noise import stream_key
from ae_jax.objectives import OBJECTIVES as REGISTERED
from ae_jax.objectives import Elbo, Terms
from ae_jax.train.config import from_dict, override
from ae_jax.train.loop import train
from ae_jax.train.prepare import prepare_run
from ae_jax.train.program import AXIS, data_mesh, run_epoch
from ae_jax.train.rundir import RunDirectory
from ae_jax.train.step import NO_STEP, make_step
from tests.bound import bound

MODES = ("sharded", "shard_map", "pmap")
DEVICES, BATCH = 8, 16
RATE = 0.02
FREE_BITS = 0.28
# The names under which the epochs of the modes and the looks are compiled.
PROGRAMS = {"jit(run_epoch)", "jit(epoch)", "jit(_fun)", "jit(evaluate_split)"}
OPTIONS = {
    "hidden": [12],
    "latent_dim": 4,
    "model__init": "normal",
    "model__init_scale": 0.3,
    "optim__name": "sgd",
    "optim__learning_rate": RATE,
    "batch_size": BATCH,
}


@struct.dataclass
class FlaggedElbo(Elbo):
    """An ELBO whose loss is infinite for one example at one step; its gradient stays finite."""

    bad_step: int = -1
    bad_id: int = -1

    def __call__(self, model, batch, key, step, axis_name=None):
        terms = super().__call__(model, batch, key, step, axis_name)
        hit = (batch["id"] == self.bad_id) & (step == self.bad_step)
        return Terms(terms.loss + jnp.where(hit, jnp.inf, 0.0), terms.metrics)


OBJECTIVES = {
    "plain": FlaggedElbo(),
    "everything": FlaggedElbo(
        free_bits=FREE_BITS,
        num_samples=2,
        beta=1.5,
        parameter_prior="normal",
        bad_step=1,
        bad_id=77,
    ),
}
PREPROCESS = {"plain": "grey", "everything": "dynamic_binarization"}


def uneven_order() -> Order:
    """Three batches: full; devices with 2, 1 or no real examples; one real example in all."""
    index = np.random.default_rng(5).permutation(200)[: 3 * BATCH].reshape(3, BATCH)
    index[1, 3] = 77
    masks = np.zeros((3, BATCH), np.float32)
    masks[0] = 1
    masks[1, [0, 1, 3, 4, 6, 7, 9]] = 1  # device 5 on has none, devices 1 and 4 have one
    masks[2, 11] = 1
    return Order(jnp.asarray(index, jnp.int32), jnp.asarray(masks))


def prepared(case, mode, dataset):
    options = OPTIONS | {"train__parallel": mode, "data__preprocess": PREPROCESS[case]}
    config = dataclasses.replace(configure(None, options), objective=OBJECTIVES[case])
    return prepare_run(config, dataset)


def updated(case, mode, dataset):
    setup = prepared(case, mode, dataset)
    state, report = setup.execution.epoch(
        setup.initial_state(),
        uneven_order(),
        setup.splits["train"],
        setup.numbers,
        architecture=setup.architecture,
    )
    return jax.device_get((state, report))


@pytest.fixture(scope="module", params=list(OBJECTIVES))
def case(request):
    return request.param


@pytest.fixture(scope="module")
def on_one_device(case, image_set):
    return updated(case, "jit", image_set)


def assert_same_update(result, expected):
    (state, report), (expected_state, expected_report) = result, expected
    chex.assert_trees_all_close(state, expected_state, rtol=2e-5, atol=2e-6)
    chex.assert_trees_all_close(report.totals, expected_report.totals, rtol=2e-5)
    assert report.bad_step == expected_report.bad_step


def test_there_are_eight_devices():
    assert jax.device_count() == DEVICES


@pytest.mark.slow_cases("plain-*")
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_gives_the_update_of_one_device(mode, case, on_one_device, image_set):
    assert_same_update(updated(case, mode, image_set), on_one_device)


@pytest.mark.slow
def test_vmap_over_parts_of_the_batch_gives_the_update_of_one_device(
    case, on_one_device, image_set
):
    setup = prepared(case, "jit", image_set)
    parts = jax.tree.map(lambda a: a.reshape(3, DEVICES, -1), uneven_order())
    epoch = partial(run_epoch, architecture=setup.architecture, axis_name="parts")
    mapped = jax.vmap(epoch, in_axes=(None, 1, None, None), axis_name="parts")
    results = jax.jit(mapped)(setup.initial_state(), parts, setup.splits["train"], setup.numbers)
    for device in range(DEVICES):
        assert_same_update(jax.tree.map(lambda a, i=device: a[i], results), on_one_device)


@pytest.mark.slow_cases("plain")
def test_an_infinite_loss_on_one_device_is_reported_by_all(case, on_one_device):
    # The comparisons above hold every mode to what one device reports.
    assert on_one_device[1].bad_step == {"plain": NO_STEP, "everything": 1}[case]
    assert np.isinf(on_one_device[1].totals.sums["loss"]) == (case == "everything")


@pytest.mark.slow
def test_free_bits_divide_the_latent_dimensions_of_the_first_batch(image_set):
    """Some dimensions are above the free bits and some below: the comparison above tests both."""
    setup = prepared("everything", "jit", image_set)
    batch = batch_of(setup, 0)
    model = bound(setup.architecture.model, setup.initial_state().params)
    means = kl_per_dim(model.encode(batch), model.prior(batch)).mean(axis=0)
    assert 0 < (means > FREE_BITS).sum() < len(means), means


def batch_of(setup, row: int):
    state = setup.initial_state()
    return take_batch(
        setup.splits["train"],
        jax.tree.map(lambda a: a[row], uneven_order()),
        setup.architecture.preprocess,
        setup.numbers.statistics,
        stream_key(state.seed, "preprocessing", state.step),
    )


def test_a_step_is_sgd_on_the_mean_over_real_examples_only(image_set):
    """By hand: the examples with mask 1 cut out, the mean of their losses, p - rate * grad."""
    setup = prepared("plain", "jit", image_set)
    state, batch = setup.initial_state(), batch_of(setup, 1)
    real = np.flatnonzero(batch["mask"])
    cut = {name: value[real] for name, value in batch.items()}
    model, objective = setup.architecture.model, Elbo()
    key = stream_key(state.seed, "objective", 0)

    def mean_loss(params):
        return objective(bound(model, params), cut, key, state.step).loss.mean()

    loss, grads = jax.jit(jax.value_and_grad(mean_loss))(state.params)
    expected = jax.tree.map(lambda p, g: p - RATE * g, state.params, grads)
    step = make_step(model, objective, setup.numbers.transformation())
    after, report = jax.jit(step)(state, batch)
    chex.assert_trees_all_close(after.params, expected, rtol=1e-5, atol=1e-7)
    assert report.totals.count == len(real) == 7
    np.testing.assert_allclose(report.totals.sums["loss"], loss * 7, rtol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_batches_that_do_not_divide_among_the_devices_are_refused(mode, image_set):
    config = configure(None, {"batch_size": 12, "train__parallel": mode})
    with pytest.raises(UserError, match=f"batch_size 12 does not divide among 8 .*{mode}"):
        prepare_run(config, image_set)


@pytest.mark.slow_cases("sharded", "pmap")
@pytest.mark.parametrize("mode", MODES)
def test_a_parallel_run_resumes_bitwise_and_shares_its_program(mode, vector_set, tmp_path):
    def setup(seed=0, rate=0.01):
        options = {"hidden": [6], "latent_dim": 2, "epochs": 3, "batch_size": 16}
        options |= {"seed": seed, "learning_rate": rate, "train__parallel": mode}
        return prepare_run(configure(None, options), vector_set)

    whole = train(setup())
    with compilations() as counts:
        train(setup(), RunDirectory(tmp_path), until=2)
        resumed = train(setup(), RunDirectory(tmp_path))
        train(setup(seed=3, rate=0.1))
    chex.assert_trees_all_equal(jax.device_get(resumed.state), jax.device_get(whole.state))
    assert not set(counts) & PROGRAMS, counts


@pytest.mark.slow
def test_the_step_is_the_same_where_jax_tracks_what_differs(case, on_one_device, image_set):
    """`shard_map` as it is by default, around the step by hand: gradients arrive summed."""
    setup = prepared(case, "shard_map", image_set)
    everywhere, parts = PartitionSpec(), PartitionSpec(None, AXIS)
    mapped = jax.shard_map(
        partial(run_epoch, architecture=setup.architecture, axis_name=AXIS),
        mesh=data_mesh(),
        in_specs=(everywhere, parts, everywhere, everywhere),
        out_specs=everywhere,
    )
    arguments = uneven_order(), setup.splits["train"], setup.numbers
    result = jax.jit(mapped)(setup.initial_state(), *arguments)
    assert_same_update(jax.device_get(result), on_one_device)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["contractive", "contrastive_divergence"])
def test_loops_and_derivatives_within_an_objective_run_in_parts(name, image_set):
    """What they begin with is the same on all devices, and what comes of it is not."""
    head = image_set.splits["train"].head(64)
    few = dataclasses.replace(image_set, splits={"train": head})
    base = from_dict(override({}, [f"objective.name={name}", *REGISTERED.get(name).needs]))
    options = OPTIONS | {"epochs": 1, "batch_size": 32}
    options |= {"hidden": []} if base.model.name == "rbm" else {}
    ends = [
        train(prepare_run(configure(base, options | {"train__parallel": mode}), few)).state.params
        for mode in ("jit", "shard_map")
    ]
    one, parts = jax.device_get(ends)
    chex.assert_trees_all_close(parts, one, rtol=2e-5, atol=2e-6)
