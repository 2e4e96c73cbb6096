"""A run from given parameters: it begins there, is known by them, and resumes to the bit."""

import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from timeless import timeless

from ae_jax.api import Fitted, configure, fit
from ae_jax.cli.launch.cluster import Slurm
from ae_jax.core.errors import UserError
from ae_jax.train.grid import Member, train_grid
from ae_jax.train.loop import train
from ae_jax.train.prepare import prepare_run
from ae_jax.train.rundir import RunDirectory
from ae_jax.train.setup import Setup
from tests.bound import reconstructed

# One batch an epoch: the running mean of an epoch is the loss at the parameters it began with.
OPTIONS = {
    "objective__name": "reconstruction",
    "model__latent": "deterministic",
    "model__head": "bernoulli",
    "latent_dim": 3,
    "hidden": [10],
    "batch_size": 200,
    "epochs": 4,
    "learning_rate": 0.01,
}
CONFIG = configure(None, OPTIONS)


@pytest.fixture(scope="module")
def given(image_set):
    """Parameters that are not those that the run would draw."""
    return fit(image_set, config=CONFIG, seed=7).params


def setup_from(given, image_set) -> Setup:
    return prepare_run(CONFIG, image_set, start=given)


def test_training_begins_at_the_loss_of_the_given_parameters(given, image_set):
    setup = setup_from(given, image_set)
    x = jnp.asarray(image_set.splits["train"].x / np.float32(255))
    likelihood = reconstructed(setup.architecture.model, given, x)
    expected = -float(likelihood.log_prob(x).mean())
    drawn = train(prepare_run(CONFIG, image_set)).records[0]["running/loss"]
    record = train(setup).records[0]
    assert record["running/loss"] == pytest.approx(expected, rel=1e-5)
    assert abs(drawn - expected) > 1
    # The first step has not taken the caller's arrays away.
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(given))


def test_all_but_the_parameters_starts_as_in_any_other_run(given, image_set):
    warm, cold = setup_from(given, image_set).initial_state(), prepare_run(CONFIG, image_set)
    chex.assert_trees_all_equal(warm.params, given)
    chex.assert_trees_all_equal(
        warm.replace(params=None), cold.initial_state().replace(params=None)
    )


def test_stopped_and_continued_it_ends_with_the_same_bits(given, image_set, tmp_path):
    whole, broken = RunDirectory(tmp_path / "whole"), RunDirectory(tmp_path / "broken")
    expected = train(setup_from(given, image_set), whole)
    train(setup_from(given, image_set), broken, until=2)
    outcome = train(setup_from(given, image_set), broken)
    chex.assert_trees_all_equal(outcome.state.params, expected.state.params)
    assert timeless(outcome.records) == timeless(expected.records)


@pytest.mark.slow
def test_another_start_is_refused_with_the_difference(given, image_set, tmp_path):
    directory = RunDirectory(tmp_path)
    train(setup_from(given, image_set), directory, until=1)
    sha256 = json.loads((tmp_path / "start.json").read_text())["sha256"]
    assert directory.start() == sha256
    nudged = jax.tree.map(lambda leaf: leaf.at[(0,) * leaf.ndim].add(1e-6), given)
    with pytest.raises(UserError, match=f'start: "{sha256}" -> "'):
        train(setup_from(nudged, image_set), directory)
    with pytest.raises(UserError, match=f'start: "{sha256}" -> null'):
        train(prepare_run(CONFIG, image_set), directory)
    host = jax.device_get(given)  # the same numbers wherever they lie
    assert train(setup_from(host, image_set), directory).records[-1]["epoch"] == 4


def test_a_run_that_drew_its_own_parameters_refuses_given_ones(given, image_set, tmp_path):
    train(prepare_run(CONFIG, image_set), RunDirectory(tmp_path), until=1)
    assert not (tmp_path / "start.json").exists()
    with pytest.raises(UserError, match='start: null -> "'):
        train(setup_from(given, image_set), RunDirectory(tmp_path))


def test_parameters_of_another_model_are_refused(given, image_set):
    other = configure(CONFIG, {"latent_dim": 5})
    with pytest.raises(UserError, match=r"latent.code.bias: float32 \(3,\) given, float32 \(5,\)"):
        prepare_run(other, image_set, start=given)
    with pytest.raises(UserError, match="encoder.dense_0.bias: absent given"):
        prepare_run(CONFIG, image_set, start={k: v for k, v in given.items() if k != "encoder"})
    broken = jax.tree.map(lambda leaf: leaf.at[(0,) * leaf.ndim].set(jnp.nan), given)
    with pytest.raises(UserError, match="start from are not finite"):
        prepare_run(CONFIG, image_set, start=broken)


@pytest.mark.slow_cases("always")
@pytest.mark.parametrize("stack", ["never", "always"])
def test_members_of_a_grid_start_where_each_is_told(given, image_set, tmp_path, stack):
    members = [Member("warm", CONFIG, given), Member("cold", CONFIG)]
    outcomes = train_grid(members, image_set, tmp_path, stack=stack)
    alone = {"warm": train(setup_from(given, image_set)), "cold": fit(image_set, config=CONFIG)}
    for name, end in outcomes.items():
        expected = alone[name].records[0]["running/loss"]
        assert end.records[0]["running/loss"] == pytest.approx(expected, rel=1e-5)
    assert RunDirectory(tmp_path / "warm").start() == setup_from(given, image_set).start.fingerprint


def test_a_cluster_refuses_what_it_cannot_send(given, image_set, tmp_path, monkeypatch):
    monkeypatch.setattr("ae_jax.cli.launch.cluster.can_load", lambda name: True)
    members = [Member("cold", CONFIG), Member("warm", CONFIG, given)]
    with pytest.raises(UserError, match="draw their own parameters, and warm starts from given"):
        Slurm(cluster="local").train(members, image_set, tmp_path)


def test_fit_takes_a_start(given, image_set):
    model = fit(image_set, config=configure(CONFIG, {"learning_rate": 1e-12}), start=given)
    assert isinstance(model, Fitted)
    chex.assert_trees_all_close(model.params, given, atol=1e-9)


@pytest.mark.parametrize(("option", "value"), [("activation", "sigmoid"), ("latent", "relu")])
def test_a_model_of_another_form_is_refused_where_shapes_do_not_tell(option, value, image_set):
    model = fit(image_set, config=CONFIG, epochs=1)
    sentence = f"model to start from is of another form: model.{option} is {value}, and was"
    with pytest.raises(UserError, match=sentence):
        fit(image_set, config=CONFIG, start=model, **{f"model__{option}": value})
