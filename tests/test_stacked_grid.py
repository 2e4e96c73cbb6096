"""Runs stacked into one program come out as they do alone."""

import dataclasses
import shutil

import chex
import jax
import numpy as np
import pytest
from compile_counts import compilations
from timeless import CLOCK, timeless

from ae_jax.api import configure
from ae_jax.core.errors import TrainingDiverged, UserError
from ae_jax.objectives import OBJECTIVES
from ae_jax.train import grid as grids
from ae_jax.train.config import from_dict, override
from ae_jax.train.engines import Stacked
from ae_jax.train.grid import Member, shared_program, train_grid
from ae_jax.train.loop import train, train_together
from ae_jax.train.optimisers import OPTIMISERS
from ae_jax.train.prepare import prepare_run
from ae_jax.train.records import is_look
from ae_jax.train.rundir import RunDirectory

OPTIONS = {"hidden": [9], "latent_dim": 3, "epochs": 3, "batch_size": 64, "learning_rate": 0.01}
DIFFERENCES = {
    "base": {},
    "seed": {"seed": 5},
    "wide code": {"latent_dim": 7},
    "narrow code": {"latent_dim": 1, "seed": 2},
    "rate": {"learning_rate": 0.002},
    "beta": {"objective__beta": 4.0, "latent_dim": 1},
    "warm-up": {"objective__beta_warmup": 6.0},
    "scale": {"model__init_scale": 0.5},
    "free bits": {"objective__free_bits": 0.3, "latent_dim": 7},
}


def member(name: str, **options) -> Member:
    return Member(name, configure(None, OPTIONS | options))


def assert_same_run(outcome, alone, tolerance=2e-5):
    chex.assert_trees_all_equal_shapes(outcome.state, alone.state)
    chex.assert_trees_all_close(
        jax.device_get(outcome.state.params), jax.device_get(alone.state.params),
        rtol=1e-3, atol=tolerance,
    )  # fmt: skip
    assert len(outcome.records) == len(alone.records)
    for ours, theirs in zip(outcome.records, alone.records, strict=True):
        assert ours.keys() == theirs.keys()
        for name in theirs.keys() - CLOCK:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-4, err_msg=name)


@pytest.fixture(scope="module")
def train_only(vector_set):
    """For runs whose looks say nothing more: each split has programs of its own to compile."""
    return dataclasses.replace(vector_set, splits={"train": vector_set.splits["train"]})


@pytest.fixture(scope="module")
def members():
    return [member(name, **options) for name, options in DIFFERENCES.items()]


@pytest.fixture(scope="module")
def stacked(members, vector_set, tmp_path_factory):
    """The members in one program over 8 devices: to epoch 2, and then resumed to the end."""
    root = tmp_path_factory.mktemp("stacked")
    with compilations() as counts:
        train_grid(members, vector_set, root, until=2, stack="always")
        outcomes = train_grid(members, vector_set, root, stack="always")
    return outcomes, counts, root


@pytest.fixture(scope="module")
def alone(members, vector_set):
    return {one.name: train(prepare_run(one.config, vector_set)) for one in members}


@pytest.mark.slow
def test_all_members_share_one_program_over_a_resume(stacked):
    _, counts, _ = stacked
    assert counts["jit(run_member_epochs)"] == 1
    assert counts["jit(evaluate_members)"] == 2  # a program for each size of split
    assert counts["jit(run_epoch)"] == 0


@pytest.mark.parametrize("name", list(DIFFERENCES))
def test_a_member_equals_the_same_run_alone(name, stacked, alone):
    outcomes, _, root = stacked
    assert_same_run(outcomes[name], alone[name])
    written = RunDirectory(root / name).records()
    assert [record["epoch"] for record in written] == [1, 2, 3]


@pytest.mark.slow
def test_a_member_continues_alone_from_what_it_saved_among_others(members, train_only, tmp_path):
    some = members[:4]
    train_grid(some, train_only, tmp_path, until=2, stack="always")
    outcomes = train_grid(some, train_only, tmp_path, stack="never")
    for one in some:
        assert_same_run(outcomes[one.name], train(prepare_run(one.config, train_only)))


@pytest.mark.slow
def test_members_that_stand_at_different_epochs_catch_up(members, vector_set, tmp_path, alone):
    some = members[:3]
    train_grid(some[:1], vector_set, tmp_path, until=2)
    train_grid(some[1:2], vector_set, tmp_path, until=1)
    outcomes = train_grid(some, vector_set, tmp_path, stack="always")
    for one in some:
        assert_same_run(outcomes[one.name], alone[one.name])


@pytest.mark.slow
@pytest.mark.parametrize("saved_last", [2, 3])
def test_a_group_killed_while_it_saved_continues_in_one_program_with_the_same_bits(
    saved_last, members, stacked, vector_set, tmp_path
):
    """Two members to a device: fewer of them would be another program."""
    whole, _, root = stacked
    train_grid(members, vector_set, tmp_path, until=saved_last - 1, stack="always")
    if saved_last == 3:
        ahead = root
    else:
        ahead = shutil.copytree(tmp_path, tmp_path.with_name("ahead"))
        train_grid(members, vector_set, ahead, until=saved_last, stack="always")
    for one in members[::2]:
        shutil.rmtree(tmp_path / one.name)
        shutil.copytree(ahead / one.name, tmp_path / one.name)
    with compilations() as counts:
        outcomes = train_grid(members, vector_set, tmp_path, stack="always")
    assert counts["jit(run_member_epochs)"] == 0
    for one in members:
        ours, theirs = outcomes[one.name], whole[one.name]
        chex.assert_trees_all_equal(jax.device_get(ours.state), jax.device_get(theirs.state))
        assert timeless(ours.records) == timeless(theirs.records)


@pytest.mark.slow
def test_members_that_are_over_are_not_trained_with_those_added(
    members, train_only, tmp_path, monkeypatch
):
    train_grid(members[:2], train_only, tmp_path, stack="always")
    groups = []

    def spy(runs, **options):
        groups.append([run.directory.path.name for run in runs])
        return train_together(runs, **options)

    monkeypatch.setattr(grids, "train_together", spy)
    outcomes = train_grid(members[:4], train_only, tmp_path, stack="always")
    names = [one.name for one in members[:4]]
    assert groups == [names[2:]]
    assert list(outcomes) == names
    assert all(len(outcome.records) == 3 for outcome in outcomes.values())


@pytest.mark.slow
@pytest.mark.parametrize("optimiser", list(OPTIMISERS))
def test_every_optimiser_keeps_padded_codes_apart(optimiser, train_only, tmp_path):
    options = {"optim__name": optimiser, "learning_rate": 1e-3, "epochs": 2}
    options |= {"optim__clip_norm": 1.0, "objective__parameter_prior": "normal"}
    some = [member("small", latent_dim=2, **options), member("large", latent_dim=6, **options)]
    outcomes = train_grid(some, train_only, tmp_path, stack="always")
    for one in some:
        assert_same_run(outcomes[one.name], train(prepare_run(one.config, train_only)))


WHOLE_CODES = [name for name in OBJECTIVES if not OBJECTIVES.get(name).can_pad]


@pytest.mark.slow_cases(
    "mcem",
    "sparse_resampling",
    "contrastive_divergence",
    "sparse_auxk",
    "sparse_l0",
    "contractive",
    "sparse",
    "sparse_kl",
    "sparse_l1",
)
@pytest.mark.parametrize("objective", WHOLE_CODES)
def test_an_objective_that_needs_whole_codes_is_stacked_with_its_own_model(
    objective, image_set, tmp_path
):
    """Contrastive divergence, for one, asks for a machine."""
    head = image_set.splits["train"].head(64)
    few = dataclasses.replace(image_set, splits={"train": head})
    needs = OBJECTIVES.get(objective).needs
    base = from_dict(override({}, [f"objective.name={objective}", *needs]))
    options = OPTIONS | {"epochs": 1, "batch_size": 32}
    is_flat = base.model.name == "rbm" or "model.hidden=[]" in needs
    options |= {"hidden": []} if is_flat else {}
    some = [
        Member(name, configure(base, options | {"seed": seed}))
        for seed, name in enumerate(("one", "other"))
    ]
    outcomes = train_grid(some, few, tmp_path, stack="always")
    for one in some:
        assert_same_run(outcomes[one.name], train(prepare_run(one.config, few)))


@pytest.mark.slow
def test_two_devices_share_a_member(members, vector_set, tmp_path, alone):
    some = members[:3]
    outcomes = train_grid(some, vector_set, tmp_path, stack="always", devices_each=2)
    for one in some:
        assert_same_run(outcomes[one.name], alone[one.name])


@pytest.mark.slow
def test_members_that_do_not_fit_together_train_in_halves(
    members, vector_set, tmp_path, alone, monkeypatch
):
    sizes, epoch = [], Stacked.epoch

    def small(self, number, between):
        sizes.append(len(self._shapes))
        if len(self._shapes) > 2:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        return epoch(self, number, between)

    monkeypatch.setattr(Stacked, "epoch", small)
    chosen = members[:5]
    outcomes = train_grid(chosen, vector_set, tmp_path, stack="always")
    assert list(outcomes) == [one.name for one in chosen]
    assert sizes == [5, 2, 2, 2, 3, 2, 2, 2]  # a half of the three that are left trains alone
    for one in chosen:
        assert_same_run(outcomes[one.name], alone[one.name])


@pytest.mark.slow
def test_other_errors_of_the_device_are_not_taken_for_memory(
    members, vector_set, tmp_path, monkeypatch
):
    def broken(self, number, between):
        raise jax.errors.JaxRuntimeError("INTERNAL: it broke")

    monkeypatch.setattr(Stacked, "epoch", broken)
    with pytest.raises(jax.errors.JaxRuntimeError, match="it broke"):
        train_grid(members[:3], vector_set, tmp_path, stack="always")


def test_devices_that_do_not_divide_are_refused(members, vector_set, tmp_path):
    with pytest.raises(UserError, match="8 devices do not divide into groups of 3"):
        train_grid(members[:1], vector_set, tmp_path, devices_each=3)


@pytest.mark.slow
def test_a_member_that_diverges_leaves_the_others_alone(train_only, tmp_path):
    wild = member("wild", optim__name="sgd", learning_rate=1e6)
    tame = member("tame", optim__name="sgd", learning_rate=1e-3)
    outcomes = train_grid([wild, tame], train_only, tmp_path, stack="always")
    assert isinstance(outcomes["wild"], TrainingDiverged)
    assert_same_run(outcomes["tame"], train(prepare_run(tame.config, train_only)))


@pytest.mark.slow
def test_nothing_is_trained_again_for_members_that_wait(train_only, tmp_path, monkeypatch):
    wild = member("wild", optim__name="sgd", learning_rate=1e6)
    tame = member("tame", optim__name="sgd", learning_rate=1e-3)
    train_grid([tame], train_only, tmp_path, until=2)
    epochs, step = [], Stacked.epoch

    def spy(engine, epoch, between):
        epochs.append(epoch)
        return step(engine, epoch, between)

    monkeypatch.setattr(Stacked, "epoch", spy)
    outcomes = train_grid([wild, tame], train_only, tmp_path, stack="always")
    assert isinstance(outcomes["wild"], TrainingDiverged)
    assert epochs == [1, 3]
    assert_same_run(outcomes["tame"], train(prepare_run(tame.config, train_only)))


@pytest.mark.slow
def test_another_architecture_is_another_group(vector_set):
    def key(**options):
        return shared_program(prepare_run(configure(None, OPTIONS | options), vector_set))

    for options in DIFFERENCES.values():
        assert key(**options) == key()
    for other in (
        {"hidden": [10]},
        {"model__activation": "relu"},
        {"model__latent": "deterministic"},
        {"optim__name": "sgd"},
        {"optim__clip_norm": 1.0},
        {"optim__schedule": "cosine"},
        {"objective__num_samples": 2},
        {"epochs": 4},
        {"batch_size": 32},
        {"train__precision": "bfloat16"},
    ):
        assert key(**other) != key()
    with_top_k = {"model__latent": "top_k"}  # which are the highest depends on all dimensions
    assert key(**with_top_k) != key(**with_top_k, latent_dim=4)


@pytest.mark.slow
def test_patience_ends_one_member_and_not_the_others(vector_set, tmp_path):
    """SGD with a step of almost nothing brings nothing better; its run ends after the patience."""
    options = {"train__patience": 2, "epochs": 6, "optim__name": "sgd"}
    still = member("still", **options | {"learning_rate": 1e-30})
    moving = member("moving", **options | {"learning_rate": 1e-3})
    for stack in ("never", "always"):
        outcomes = train_grid([still, moving], vector_set, tmp_path / stack, stack=stack)
        assert len(outcomes["still"].records) == 3
        assert len(outcomes["moving"].records) == 6
        again = train_grid([still, moving], vector_set, tmp_path / stack, stack=stack)
        assert again["still"].records == outcomes["still"].records
        assert [r["epoch"] for r in outcomes["still"].records if is_look(r)] == [1, 2, 3]
        saved = jax.device_get(again["still"].state)
        chex.assert_trees_all_equal(saved, jax.device_get(outcomes["still"].state))
