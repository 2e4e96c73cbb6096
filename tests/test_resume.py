"""A run that is killed and started again ends with the bits of one that never was."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits
from timeless import timeless

from ae_jax.api import configure, fit
from ae_jax.data import DataSet, from_array
from ae_jax.train import loop
from ae_jax.train.checkpoints import Checkpoints, latest_step
from ae_jax.train.loop import train
from ae_jax.train.prepare import prepare_run
from ae_jax.train.rundir import RunDirectory
from ae_jax.train.step import TrainState

EPOCHS = 40
SCRIPT = (
    "import sys; from ae_jax.train import loop; from test_resume import fit_digits; "
    "loop.LOOK_SECONDS = 0.0; fit_digits(sys.argv[1])"
)


def digits() -> DataSet:
    return from_array(load_digits().images.astype(np.uint8))


def fit_digits(workdir: str | Path) -> None:
    """1438 examples in batches of 100 for 40 epochs, with a checkpoint every second one."""
    fit(digits(), workdir=workdir, epochs=EPOCHS, hidden=[16], latent_dim=3, eval__every=2)


def start(workdir: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(workdir)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
        stderr=subprocess.DEVNULL,
    )


def kill_when(workdir: Path, is_time: Callable[[], bool]) -> None:
    """Starts the run and kills it, without warning, as soon as the condition holds."""
    with start(workdir) as process:
        while process.poll() is None and not is_time():
            time.sleep(0.001)
        process.kill()
    assert process.returncode == -signal.SIGKILL, "the run ended before it could be killed"


def lines(workdir: Path) -> int:
    file = workdir / "metrics.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def is_saving(workdir: Path) -> bool:
    """Whether a checkpoint is half written: Orbax renames its folder when it is complete."""
    folder = workdir / "checkpoints"
    return folder.is_dir() and any("tmp" in name for name in os.listdir(folder))


def records_of(workdir: Path) -> list[dict]:
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return timeless([json.loads(line) for line in lines])


def states(workdir: Path, dataset: DataSet) -> dict[str, TrainState]:
    """The latest and the best checkpoint of a run."""
    setup = prepare_run(RunDirectory(workdir).config(), dataset)
    with Checkpoints(workdir / "checkpoints", "elbo", True) as saved:
        return {
            which: jax.device_get(saved.restore(setup.initial_state(), which))
            for which in ("latest", "best")
        }


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_with_the_bits_of_one_never_killed(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    fit_digits(whole)
    rng = np.random.default_rng(int.from_bytes(os.urandom(4)))

    kill_when(broken, lambda: is_saving(broken))
    pause = rng.uniform(0, 0.05)
    kill_when(broken, lambda: lines(broken) >= 5 and time.sleep(pause) is None)
    reached = lines(broken)
    kill_when(broken, lambda: lines(broken) > reached + 3 and is_saving(broken))
    assert lines(broken) < EPOCHS
    fit_digits(broken)

    assert records_of(broken) == records_of(whole)
    assert len(records_of(whole)) == EPOCHS
    chex.assert_trees_all_equal(states(broken, digits()), states(whole, digits()))


OPTIONS = {"hidden": [5], "latent_dim": 2, "epochs": 6, "batch_size": 64, "eval__every": 2}


@pytest.fixture(scope="module")
def in_one_go(vector_set, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole")
    return path, train(prepared(vector_set), RunDirectory(path))


def prepared(dataset):
    return prepare_run(configure(None, OPTIONS), dataset)


def test_until_and_then_on_equals_one_go(in_one_go, vector_set, tmp_path):
    whole, outcome = in_one_go
    first = train(prepared(vector_set), RunDirectory(tmp_path), until=2)
    assert (int(first.state.step), len(first.records)) == (8, 2)
    second = train(prepared(vector_set), RunDirectory(tmp_path))
    chex.assert_trees_all_equal(jax.device_get(second.state), jax.device_get(outcome.state))
    assert records_of(tmp_path) == records_of(whole)
    chex.assert_trees_all_equal(states(tmp_path, vector_set), states(whole, vector_set))


def test_until_between_looks_adds_a_look_and_nothing_else(in_one_go, vector_set, tmp_path):
    whole, outcome = in_one_go
    train(prepared(vector_set), RunDirectory(tmp_path), until=3)
    second = train(prepared(vector_set), RunDirectory(tmp_path))
    chex.assert_trees_all_equal(jax.device_get(second.state), jax.device_get(outcome.state))
    records = records_of(tmp_path)
    assert "train/loss" in records[2]
    plain = {k: v for k, v in records[2].items() if "/" not in k or k.startswith("running/")}
    assert [*records[:2], plain, *records[3:]] == records_of(whole)


@pytest.fixture
def saved_steps(monkeypatch):
    """The steps of the states that are saved, of whatever run."""
    steps, save = [], Checkpoints.save

    def listen(self, state, *known, **more):
        steps.append(int(state.step))
        save(self, state, *known, **more)

    monkeypatch.setattr(Checkpoints, "save", listen)
    return steps


def test_a_run_that_is_seldom_looked_at_is_saved_by_the_clock(
    in_one_go, vector_set, tmp_path, monkeypatch, saved_steps
):
    """Every epoch where no time may pass; what comes after such a checkpoint is as in one go."""
    whole, outcome = in_one_go
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)

    class Killed(Exception):
        pass

    def listen(record):
        if record["epoch"] == 3:
            raise Killed

    with pytest.raises(Killed):
        train(prepared(vector_set), RunDirectory(tmp_path), listeners=[listen])
    assert saved_steps == [4, 8, 12]
    assert latest_step(tmp_path / "checkpoints") == 12, "what was being written is waited for"
    second = train(prepared(vector_set), RunDirectory(tmp_path))
    chex.assert_trees_all_equal(jax.device_get(second.state), jax.device_get(outcome.state))
    assert records_of(tmp_path) == records_of(whole)
    chex.assert_trees_all_equal(states(tmp_path, vector_set), states(whole, vector_set))


@pytest.fixture
def written_steps(monkeypatch):
    """The steps of the checkpoints that are written, of whatever run."""
    steps, start = [], Checkpoints._start

    def listen(self, held):
        steps.append(held.step)
        start(self, held)

    monkeypatch.setattr(Checkpoints, "_start", listen)
    return steps


@pytest.mark.parametrize("pause, written", [(3600.0, [12, 24]), (0.0, [8, 16, 24])])
def test_looks_in_quick_succession_are_written_together(
    pause, written, in_one_go, vector_set, tmp_path, monkeypatch, written_steps
):
    """Kept in the end are the same two. The second of three looks is made the best one."""
    whole, _ = in_one_go
    monkeypatch.setattr(loop, "LOOK_SECONDS", pause)
    train(prepared(vector_set), RunDirectory(tmp_path))
    best = max(records_of(whole)[1::2], key=lambda record: record["valid/elbo"])["step"]
    assert written_steps == ([*{best: None, 24: None}] if pause else written)
    assert records_of(tmp_path) == records_of(whole)
    chex.assert_trees_all_equal(states(tmp_path, vector_set), states(whole, vector_set))


def test_what_is_held_is_written_where_a_listener_raises(
    in_one_go, vector_set, tmp_path, written_steps
):
    whole, outcome = in_one_go

    def listen(record):
        if record["epoch"] == 5:
            raise KeyError("of the listener")

    with pytest.raises(KeyError, match="of the listener"):
        train(prepared(vector_set), RunDirectory(tmp_path), listeners=[listen])
    assert latest_step(tmp_path / "checkpoints") == written_steps[-1] == 16
    again = train(prepared(vector_set), RunDirectory(tmp_path))
    chex.assert_trees_all_equal(jax.device_get(again.state), jax.device_get(outcome.state))
    chex.assert_trees_all_equal(states(tmp_path, vector_set), states(whole, vector_set))


def test_a_state_that_is_not_finite_is_not_saved_by_the_clock(
    vector_set, tmp_path, monkeypatch, saved_steps
):
    """The last step of an epoch may ruin the parameters, which only the next loss tells."""
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(loop, "_all_finite", lambda params: False)
    with pytest.warns(UserWarning, match="the state at step 4 is not finite, and is not saved"):
        train(prepared(vector_set), RunDirectory(tmp_path), until=3)
    assert saved_steps == [8, 12], "a look saves, and there is one at the end"
    assert latest_step(tmp_path / "checkpoints") == 12
    saved_steps.clear()
    with pytest.warns(UserWarning, match="is not saved"):
        train(prepared(vector_set), RunDirectory(tmp_path / "again"), until=4)
    assert saved_steps == [8, 16]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_one_value_that_is_not_finite_is_found(bad):
    tree = {"a": jnp.ones((2, 3)), "b": jnp.array([1.0, bad])}
    assert not loop._all_finite(tree)
    assert loop._all_finite({"a": tree["a"]})


def test_a_finished_run_is_not_trained_again(in_one_go, vector_set):
    whole, outcome = in_one_go
    before = (whole / "metrics.jsonl").read_bytes()
    heard = []
    again = train(prepared(vector_set), RunDirectory(whole), listeners=[heard.append])
    assert heard == []
    assert again.records == outcome.records
    assert (whole / "metrics.jsonl").read_bytes() == before
    chex.assert_trees_all_equal(jax.device_get(again.state), jax.device_get(outcome.state))


# A whole line without the check of its own, as no run writes it, is taken for a damaged one.
@pytest.mark.filterwarnings("ignore:.*is damaged in line 3, which is left out")
@pytest.mark.parametrize(
    "tail", ["{", '{"epoch": 3, "step": 12, "samp', '{"epoch": 3, "step": 12}\n']
)
def test_records_after_the_last_checkpoint_are_written_anew(tail, in_one_go, vector_set, tmp_path):
    """A crash leaves a line cut short, or the whole record of an epoch that was not saved."""
    whole, _ = in_one_go
    train(prepared(vector_set), RunDirectory(tmp_path), until=2)
    with (tmp_path / "metrics.jsonl").open("a") as stream:
        stream.write(tail)
    train(prepared(vector_set), RunDirectory(tmp_path))
    assert records_of(tmp_path) == records_of(whole)


def test_seconds_go_on_counting_over_a_resume(vector_set, tmp_path):
    train(prepared(vector_set), RunDirectory(tmp_path), until=2)
    train(prepared(vector_set), RunDirectory(tmp_path))
    seconds = [record["seconds"] for record in RunDirectory(tmp_path).records()]
    assert seconds == sorted(seconds)
