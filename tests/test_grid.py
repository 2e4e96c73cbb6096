import contextlib
import dataclasses
import json
import shutil
import time
from functools import partial

import chex
import jax
import pytest
from compile_counts import compilations
from timeless import timeless

from ae_jax.api import configure
from ae_jax.core.errors import TrainingDiverged, UserError
from ae_jax.train import devices
from ae_jax.train import grid as grids
from ae_jax.train.config import to_dict
from ae_jax.train.grid import Member, train_grid
from ae_jax.train.kept import KeptOutcome
from ae_jax.train.loop import train, train_together
from ae_jax.train.prepare import prepare_run
from ae_jax.train.rundir import RunDirectory

# Of a size that no other test has: what is compiled is counted here.
OPTIONS = {"hidden": [13], "latent_dim": 3, "epochs": 3, "batch_size": 64}
DIFFERENCES = {
    "base": {},
    "seed": {"seed": 5},
    "rate": {"learning_rate": 0.01},
    "beta": {"objective__beta": 4.0},
    "warm-up": {"objective__beta_warmup": 6.0},
    "scale": {"model__init_scale": 0.5},
}
# Runs in turn keep the bits that they have alone.
in_turn = partial(train_grid, stack="never")
TRAINING = ("jit(run_epoch)", "jit(evaluate_split)")


def member(name: str, **options) -> Member:
    return Member(name, configure(None, OPTIONS | options))


@pytest.fixture(scope="module")
def members():
    return [member(name, **options) for name, options in DIFFERENCES.items()]


@pytest.fixture(scope="module")
def grid(members, vector_set, tmp_path_factory):
    """A grid trained to epoch 2 and then resumed to the end, and what that compiled."""
    root = tmp_path_factory.mktemp("grid")
    with compilations() as counts:
        in_turn(members, vector_set, root, until=2)
        outcomes = in_turn(members, vector_set, root)
    return outcomes, counts, root


def test_members_that_differ_in_numbers_share_one_program_over_a_resume(grid):
    _, counts, _ = grid
    # evaluate_split has one program for each size of split: 200 and 40 examples.
    assert {name: counts[name] for name in TRAINING} == {
        "jit(run_epoch)": 1,
        "jit(evaluate_split)": 2,
    }
    assert counts["jit(_initial_state)"] == 1


@pytest.mark.slow
def test_another_hidden_size_is_one_more_program(grid, vector_set, tmp_path):
    with compilations() as counts:
        in_turn(
            [member("wide", hidden=[14]), member("again", hidden=[14], seed=1)],
            vector_set,
            tmp_path,
        )
    assert [counts[name] for name in TRAINING] == [1, 2]


@pytest.mark.parametrize("name", list(DIFFERENCES))
def test_a_member_equals_the_same_run_alone_bitwise(name, grid, members, vector_set):
    outcomes, _, root = grid
    config = next(m.config for m in members if m.name == name)
    alone = train(prepare_run(config, vector_set))
    chex.assert_trees_all_equal(jax.device_get(outcomes[name].state), jax.device_get(alone.state))
    assert timeless(outcomes[name].records) == timeless(alone.records)
    assert timeless(RunDirectory(root / name).records()) == timeless(alone.records)


def test_members_that_differ_really_differ(grid):
    outcomes, _, _ = grid
    last = {name: outcome.last_look["train/loss"] for name, outcome in outcomes.items()}
    assert len(set(last.values())) == len(last), last


def test_members_share_the_examples_on_the_device(members, vector_set, tmp_path, monkeypatch):
    placed = []

    def spy(runs, **options):
        placed.extend(run.setup.splits for run in runs)
        return train_together(runs, **options)

    monkeypatch.setattr(grids, "train_together", spy)
    in_turn(members[:3], vector_set, tmp_path, until=1)
    for splits in placed[1:]:
        for name, split in splits.items():
            assert split.x is placed[0][name].x


def test_listeners_are_opened_for_each_member_and_closed(members, vector_set, tmp_path):
    log = []

    @dataclasses.dataclass
    class Opened:
        member: Member

        def __enter__(self):
            return lambda record: log.append((self.member.name, record["epoch"]))

        def __exit__(self, *_):
            log.append((self.member.name, "closed"))

    in_turn(members[:2], vector_set, tmp_path, until=1, listener_for=Opened)
    assert log == [("base", 1), ("base", "closed"), ("seed", 1), ("seed", "closed")]


@pytest.mark.slow
def test_a_member_that_diverges_does_not_stop_the_others(vector_set, tmp_path):
    """A step of SGD that is far too large: its own outcome is the error, its listener is closed."""
    closed = []

    @contextlib.contextmanager
    def opened(member):
        yield lambda record: None
        closed.append(member.name)

    wild = member("wild", optim__name="sgd", learning_rate=1e6)
    tame = member("tame", optim__name="sgd", learning_rate=1e-3)
    outcomes = in_turn([wild, tame], vector_set, tmp_path, listener_for=opened)
    assert isinstance(outcomes["wild"], TrainingDiverged)
    assert "not finite at step" in str(outcomes["wild"])
    alone = train(prepare_run(tame.config, vector_set))
    chex.assert_trees_all_equal(jax.device_get(outcomes["tame"].state), jax.device_get(alone.state))
    assert closed == ["wild", "tame"]


@pytest.mark.parametrize(("full_step", "sizes"), [(1e12, [2]), (1.0, [1, 1])])
def test_on_a_cpu_only_steps_that_do_not_fill_it_are_stacked(
    full_step, sizes, members, vector_set, tmp_path, monkeypatch
):
    together = []

    def count(runs, **options):
        together.append(len(runs))
        return [None] * len(runs)

    monkeypatch.setattr(grids, "train_together", count)
    monkeypatch.setattr(devices, "CPU_FULL_STEP", full_step)
    train_grid(members[:2], vector_set, tmp_path)
    assert together == sizes


def test_a_finished_member_costs_no_setup(grid, members, vector_set, monkeypatch):
    trained, _, root = grid

    def refused(*_, **__):
        raise AssertionError("a setup of a finished member")

    with monkeypatch.context() as patched:
        patched.setattr(grids, "prepare_run", refused)
        again = train_grid(members, vector_set, root)
    assert list(again) == list(trained)
    for name, outcome in again.items():
        assert timeless(outcome.records) == timeless(trained[name].records)
        assert outcome.last_look == outcome.records[-1]
    chex.assert_trees_all_equal(
        jax.device_get(again["beta"].state.params), jax.device_get(trained["beta"].state.params)
    )
    with pytest.raises(UserError, match="another configuration.*learning_rate"):
        train_grid([member("rate", learning_rate=0.5)], vector_set, root)


@pytest.mark.slow
def test_two_hundred_finished_members_cost_less_than_two_seconds(grid, vector_set, tmp_path):
    """Of processor time, whatever else the machine does; a setup of each took half a minute."""
    _, _, root = grid
    start = time.process_time()
    many = [member(f"seed{seed}", seed=seed) for seed in range(200)]
    spent = time.process_time() - start
    config = json.loads((root / "beta" / "config.json").read_text())
    for one in many:
        shutil.copytree(root / "beta", tmp_path / one.name)
        theirs = {**to_dict(one.config), "data": config["data"], "model": config["model"]}
        (tmp_path / one.name / "config.json").write_text(json.dumps(theirs))
    start = time.process_time()
    outcomes = train_grid(many, vector_set, tmp_path)
    assert spent + time.process_time() - start < 2.0
    assert {type(outcome) for outcome in outcomes.values()} == {KeptOutcome}
