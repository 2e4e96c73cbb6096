"""Accumulated gradients, averages of parameters, plateaus and weight decay, against NumPy."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compile_counts import compilations
from timeless import CLOCK, timeless

from ae_jax.api import configure, fit, fitted
from ae_jax.core.errors import UserError
from ae_jax.train.grid import Member, train_grid
from ae_jax.train.loop import train
from ae_jax.train.optimiser_wrappers import (
    accumulated,
    average_in,
    averaged,
    reduced_on_plateau,
)
from ae_jax.train.optimisers import AdamW, Sgd
from ae_jax.train.prepare import prepare_run
from ae_jax.train.rundir import RunDirectory

# Without noise: the loss of an example does not depend on the number of its step.
PLAIN = {
    "objective__name": "reconstruction",
    "model__latent": "deterministic",
    "model__head": "gaussian_fixed",
    "hidden": [6],
    "latent_dim": 2,
    "optim__name": "sgd",
    "optim__learning_rate": 0.05,
    "batch_size": 16,
    "epochs": 3,
}
ALL = {"optim__accumulate": 3, "optim__ema": 0.8, "optim__schedule": "plateau"}
ALL |= {"optim__plateau_patience": 1, "optim__plateau_tolerance": 0.3}


def prepared(dataset, **options):
    return prepare_run(configure(None, PLAIN | options), dataset)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("options")


@pytest.fixture(scope="module")
def plane(vector_set):
    """Training examples alone: each split has a program of its own to compile."""
    return dataclasses.replace(vector_set, splits={"train": vector_set.splits["train"]})


@pytest.fixture(scope="module")
def whole(plane):
    """A run with all options, on one device and in one go."""
    return train(prepared(plane, **ALL))


def assert_close(actual, expected, rtol=2e-5):
    chex.assert_trees_all_close(
        jax.device_get(actual), jax.device_get(expected), rtol=rtol, atol=2e-6
    )


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_batches_taken_together_are_one_batch_of_their_size(schedule, plane):
    """200 examples: 13 batches of 16, the last of 8, are the 4 of 64 that there otherwise are."""
    options = {"optim__schedule": schedule, "optim__warmup": 0.2 if schedule == "cosine" else 0.0}
    small = train(prepared(plane, optim__accumulate=4, **options))
    large = train(prepared(plane, batch_size=64, **options))
    assert int(small.state.step) == 39
    assert int(large.state.step) == 12
    assert_close(small.state.params, large.state.params)
    for ours, theirs in zip(small.records, large.records, strict=True):
        np.testing.assert_allclose(ours["train/loss"], theirs["train/loss"], rtol=1e-5)


def test_means_are_over_examples_and_an_epoch_ends_with_an_update():
    """By hand: weights 4, 4, 2 and rounds of two, in an epoch of three batches."""
    rule = accumulated(optax.sgd(1.0), every=2, steps_per_epoch=3)
    state, updates = rule.init(jnp.zeros(1)), []
    for gradient, weight in [(1.0, 4.0), (4.0, 2.0), (8.0, 2.0), (3.0, 4.0)]:
        step, state = rule.update(jnp.full(1, gradient), state, weight=weight)
        updates.append(float(step[0]))
    np.testing.assert_allclose(updates, [0.0, -2.0, -8.0, 0.0], rtol=1e-6)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
def test_an_average_is_its_closed_form(decay):
    rule, params = averaged(optax.sgd(0.1), decay), jnp.asarray([1.0, -2.0])
    state, path = rule.init(params), []
    for step in range(6):
        updates, state = rule.update(params * (step + 1.0), state, params)
        params = optax.apply_updates(params, updates)
        path.append(np.asarray(params, np.float64))
        weights = decay ** np.arange(len(path))[::-1]
        expected = (weights[:, None] * path).sum(axis=0) / weights.sum()
        np.testing.assert_allclose(average_in(state, params), expected, rtol=2e-5)


@pytest.mark.slow
def test_looks_codes_and_models_are_of_the_average(plane):
    setup = prepared(plane, optim__ema=0.9)
    outcome = train(setup)
    plain = train(prepared(plane))
    state, last = outcome.state, outcome.records[-1]
    assert_close(state.params, plain.state.params)  # which go on as if there were no average
    average = state.variables["params"]
    assert not np.allclose(
        average["head"]["mean"]["kernel"], state.params["head"]["mean"]["kernel"]
    )
    model = fitted(setup, state, outcome.records)
    chex.assert_trees_all_equal(model.params, average)
    own = setup.own_metrics({"params": average}, int(state.step), "train")
    np.testing.assert_allclose(last["train/loss"], own["loss"], rtol=1e-6)
    assert last["train/loss"] != plain.records[-1]["train/loss"]


@pytest.mark.slow
def test_a_group_may_have_an_average_of_its_own(plane):
    state = train(prepared(plane, **{"groups__decoder__ema": 0.9, "epochs": 1})).state
    same = jax.tree.map(lambda a, b: bool((a == b).all()), state.variables["params"], state.params)
    assert not any(jax.tree.leaves(same.pop("decoder")))
    assert all(jax.tree.leaves(same))


def test_a_run_that_starts_from_parameters_begins_its_average_there(plane):
    first = fit(plane, progress=False, **PLAIN | {"epochs": 1})
    setup = prepare_run(configure(None, PLAIN | {"optim__ema": 0.9}), plane, first.params)
    chex.assert_trees_all_equal(setup.initial_state().variables["params"], first.params)


LOSSES = [5.0, 4.0, 4.1, 3.9, 4.2, 4.2, 4.2, 3.0, 3.0, 3.1, 3.0, 2.999, 2.999, 3.0, *[2.0] * 9]


def scales(rule, losses):
    state, found = rule.init(jnp.zeros(())), []
    for loss in losses:
        update, state = rule.update(jnp.ones(()), state, value=loss)
        found.append(float(update))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2])
def test_a_plateau_is_that_of_optax_where_losses_are_above_0(size):
    ours = scales(reduced_on_plateau(0.5, 2, 1e-3, 0.2, size), LOSSES)
    reference = optax.contrib.reduce_on_plateau(
        0.5, 2, rtol=1e-3, accumulation_size=size, min_scale=0.2
    )
    assert ours == scales(reference, LOSSES)
    assert len({*ours}) > (2 if size == 1 else 1)
    assert min(ours) == (np.float32(0.2) if size == 1 else 0.5)


def test_a_loss_below_0_that_grows_is_a_plateau():
    """By hand: within 10% of -10, the loss grows to -9.5: no round is better than the first."""
    losses = [-10.0, -9.5, -9.6, -10.5, -12.0, -11.0, -11.0]
    assert scales(reduced_on_plateau(0.5, 2, 0.1, 0.0, 1), losses) == [
        1,
        1,
        0.5,
        0.5,
        0.5,
        0.5,
        0.25,
    ]


@pytest.mark.slow
def test_the_rate_of_a_run_falls_with_its_mean_loss_an_epoch(plane):
    options = {"optim__schedule": "plateau", "optim__plateau_patience": 2, "epochs": 8}
    options |= {"optim__plateau_tolerance": 0.5, "optim__final_fraction": 0.3}
    outcome = train(prepared(plane, **options))
    best, worse, expected = np.inf, 0, 1.0
    for record in outcome.records:
        loss = record["running/loss"]
        better = loss < best - 0.5 * abs(best) if np.isfinite(best) else True
        best, worse = (loss, 0) if better else (best, worse + 1)
        if worse == 2:
            expected, worse = max(0.5 * expected, 0.3), 0
    found = optax.tree_utils.tree_get(outcome.state.opt_state, "scale")
    assert float(found) == np.float32(expected) < 1


@pytest.mark.slow
def test_biases_and_what_patterns_name_do_not_decay():
    """A first step without gradients is the decay alone: p (1 - rate * decay), or p."""
    params = {"dense": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}, "log_scale": jnp.ones(3)}
    nothing = jax.tree.map(jnp.zeros_like, params)

    def after(**options):
        rule = AdamW(learning_rate=0.1, weight_decay=0.5, **options).build(10.0)
        updates, _ = rule.update(nothing, rule.init(params), params)
        moved = optax.apply_updates(params, updates)
        return [
            float(leaf.reshape(-1)[0]) for leaf in jax.tree.leaves(moved)
        ]  # bias, kernel, scale

    np.testing.assert_allclose(after(), [0.95, 0.95, 0.95], rtol=1e-6)
    np.testing.assert_allclose(after(weight_decay_of="matrices"), [1.0, 0.95, 1.0], rtol=1e-6)
    patterns = {"weight_decay_except": ("*.bias", "log_*")}
    np.testing.assert_allclose(after(**patterns), [1.0, 0.95, 1.0], rtol=1e-6)
    patterns = {"weight_decay_except": ("dense.*",)}
    np.testing.assert_allclose(after(**patterns), [1.0, 1.0, 0.95], rtol=1e-6)


@pytest.mark.parametrize(
    "mode", ["shard_map", *(pytest.param(m, marks=pytest.mark.slow) for m in ("sharded", "pmap"))]
)
def test_eight_devices_are_one(mode, whole, plane):
    outcome = train(prepared(plane, train__parallel=mode, **ALL))
    assert_close(outcome.state, whole.state, rtol=5e-5)


def test_a_run_continues_with_the_same_bits_in_one_program(whole, plane, tmp_path):
    """From the midst of a round of batches, after a kill at the end of its second epoch."""
    setup = prepared(plane, **ALL)
    train(setup, RunDirectory(tmp_path), until=2)
    with compilations() as counts:
        resumed = train(prepared(plane, **ALL), RunDirectory(tmp_path))
    assert "jit(run_epoch)" not in counts
    chex.assert_trees_all_equal(jax.device_get(resumed.state), jax.device_get(whole.state))
    assert timeless(resumed.records) == timeless(whole.records)


@pytest.mark.slow
def test_numbers_of_these_options_are_stacked(plane, tmp_path):
    changes = {
        "base": {},
        "ema": {"optim__ema": 0.5},
        "rounds": {"optim__accumulate": 2, "latent_dim": 1},
        "plateau": {"optim__plateau_factor": 0.1, "optim__plateau_patience": 2},
    }
    members = [Member(n, configure(None, PLAIN | ALL | more)) for n, more in changes.items()]
    with compilations() as counts:
        outcomes = train_grid(members, plane, tmp_path, stack="always")
    assert counts["jit(run_member_epochs)"] == 1
    for one in members:
        alone = train(prepare_run(one.config, plane))
        assert_close(outcomes[one.name].state, alone.state, rtol=1e-3)
        ours, theirs = outcomes[one.name].records[-1], alone.records[-1]
        for name in theirs.keys() - CLOCK:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-4, err_msg=name)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"optim__accumulate": 14}, "optim.accumulate is 14, more than the 13 batches of an epoch"),
        ({"optim__plateau_patience": 3}, "plateau_patience is for optim.schedule=plateau"),
        ({"optim__ema": 1.0}, "optim.ema: input should be less than 1"),
        ({"optim__ema": 0.99999999}, "optim.ema is 0.99999999, which float32 takes for 1"),
        (
            {"optim__name": "adamw", "optim__weight_decay_except": ["*.biass"]},
            "no parameter is named like '\\*.biass'; there are decoder.dense_0.bias, ",
        ),
        ({"groups__decoder__accumulate": 99}, "groups.decoder.accumulate is 99, more than"),
        (
            {"groups__head__name": "adamw", "groups__head__weight_decay_except": ["encoder.*"]},
            "no parameter is named like 'encoder.\\*'; there are head.mean.bias, head.mean.kernel",
        ),
    ],
)
def test_what_cannot_apply_is_refused(options, sentence, plane):
    with pytest.raises(UserError, match=sentence):
        prepared(plane, **options)


def test_the_plan_says_how_many_updates_there_are(command):
    """Batches of 100 of 1437 examples are 15, in rounds of 4."""
    status, out, _ = command(
        "train", "digits", "--dry-run", "--set", "optim.accumulate=4", "--epochs", "2"
    )
    assert status == 0
    assert "30 steps; 8 updates" in out


def test_an_optimiser_that_wraps_nothing_is_as_it_was():
    state = Sgd(learning_rate=0.1).build(10.0).init({"a": jnp.zeros(1)})
    assert jax.tree.structure(state) == jax.tree.structure(
        optax.sgd(lambda count: 0.1).init({"a": jnp.zeros(1)})
    )
