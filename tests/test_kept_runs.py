"""What is kept of runs is enough: to mend a grid, to go on with the same bits, to be used again."""

import dataclasses
import shutil
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest

import ae_jax
from ae_jax.api import UserError, configure
from ae_jax.data import load
from ae_jax.train import checkpoints, loop
from ae_jax.train import grid as grids
from ae_jax.train.checkpoints import latest_step
from ae_jax.train.grid import Member, train_grid
from ae_jax.train.kept import KeptOutcome
from ae_jax.train.loop import train_together
from ae_jax.train.rundir import RunDirectory

OPTIONS = {"hidden": [4], "latent_dim": 2, "epochs": 3, "batch_size": 64, "learning_rate": 0.01}
X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)


def member(name: str, **options) -> Member:
    return Member(name, configure(None, OPTIONS | options))


@pytest.fixture
def folder(tmp_path):
    return tmp_path


@pytest.fixture(scope="module")
def data(vector_set):
    return dataclasses.replace(vector_set, splits={"train": vector_set.splits["train"]})


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """A grid of two members, stacked, whose looks are all held until its end."""
    root = tmp_path_factory.mktemp("finished")
    members = [member("a"), member("b", seed=1)]
    return members, train_grid(members, data, root, stack="always"), root


def flip_a_bit(folder) -> None:
    file = max((f for f in folder.rglob("*") if f.is_file()), key=lambda f: f.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_a_finished_member_that_lost_its_last_line_is_mended(finished, data, tmp_path):
    members, outcomes, root = finished
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    lines = (tmp_path / "a" / "metrics.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "a" / "metrics.jsonl").write_text("".join(lines[:-1]) + lines[-1][:20])
    with pytest.warns(UserWarning, match="lacks the record of step"):
        again = train_grid(members, data, tmp_path, stack="always")
    assert again["a"].records == outcomes["a"].records
    assert len((tmp_path / "a" / "metrics.jsonl").read_text().splitlines()) == len(lines)


def test_the_state_of_a_damaged_end_is_not_that_of_another_step(finished, data, tmp_path):
    members, _, root = finished
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    saved = RunDirectory(tmp_path / "a").checkpoints
    train_grid(members[:1], data, tmp_path / "short", until=2)
    before = RunDirectory(tmp_path / "short" / "a").checkpoints
    shutil.copytree(before / str(latest_step(before)), saved / str(latest_step(before)))
    flip_a_bit(saved / str(latest_step(saved)))
    outcome = train_grid(members, data, tmp_path)["a"]
    assert isinstance(outcome, KeptOutcome)
    says = f"{latest_step(saved)} is damaged: without that folder .* from step"
    with (
        pytest.warns(UserWarning, match="is used instead"),
        pytest.raises(UserError, match=says),
    ):
        _ = outcome.state


def test_before_one_writes_its_end_all_have_written_the_look_before(data, tmp_path, monkeypatch):
    """So that a group that is killed then is known for one, and goes on in one program."""
    members = [member(name, seed=seed) for seed, name in enumerate("abc")]
    begin, stood = checkpoints.Checkpoints._start, []

    def spy(self, held):
        stood.append(
            (held.step, [latest_step(tmp_path / one.name / "checkpoints") for one in members])
        )
        begin(self, held)

    monkeypatch.setattr(checkpoints.Checkpoints, "_start", spy)
    outcomes = train_grid(members, data, tmp_path, stack="always")
    end = outcomes["a"].records[-1]["step"]
    at_first = next(steps for step, steps in stood if step == end)
    assert at_first == [outcomes["a"].records[-2]["step"]] * 3


def test_a_member_that_patience_ended_stays_in_the_program(data, tmp_path, monkeypatch):
    options = {"train__patience": 1, "epochs": 5, "optim__name": "sgd"}
    members = [member("still", **options | {"learning_rate": 1e-30}), member("moving", **options)]
    train_grid(members, data, tmp_path, until=3, stack="always")
    groups = []

    def spy(runs, **how):
        groups.append([run.directory.path.name for run in runs])
        return train_together(runs, **how)

    monkeypatch.setattr(grids, "train_together", spy)
    outcomes = train_grid(members, data, tmp_path, stack="always")
    assert groups == [["still", "moving"]]
    assert [outcomes[name].records[-1]["epoch"] for name in ("still", "moving")] == [2, 5]


def test_that_a_member_diverged_is_known_though_the_grid_is_interrupted(data, tmp_path):
    def listen(record):
        if record["epoch"] == 3:
            raise KeyboardInterrupt

    rates = {"wild": 1e30, "tame": 1e-3}
    members = [member(n, learning_rate=rate, optim__name="sgd") for n, rate in rates.items()]
    with pytest.raises(KeyboardInterrupt):
        train_grid(
            members, data, tmp_path, stack="always", listener_for=lambda _: nullcontext(listen)
        )
    assert "not finite" in RunDirectory(tmp_path / "wild").diverged()
    assert RunDirectory(tmp_path / "tame").diverged() is None


def test_a_look_is_written_ten_seconds_later_though_nothing_is_looked_at(
    data, tmp_path, monkeypatch
):
    """Epochs of two seconds, of which the fifth and the last are looked at."""
    now, begun, begin = [0.0], {}, checkpoints.Checkpoints._start

    def spy(self, held):
        begun[held.step] = now[0]
        begin(self, held)

    def listen(record):
        now[0] += 2.0

    monkeypatch.setattr(loop.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(checkpoints.Checkpoints, "_start", spy)
    one = member("a", epochs=9, eval__every=5)
    train_grid([one], data, tmp_path, listener_for=lambda _: nullcontext(listen))
    steps = [record["step"] for record in RunDirectory(tmp_path / "a").records()]
    assert begun == {steps[4]: 10.0, steps[5]: 10.0, steps[8]: 16.0}


def test_a_killed_run_is_not_over_though_its_records_are(finished, tmp_path, command):
    _, _, root = finished
    shutil.copytree(root, tmp_path / "runs")
    saved = RunDirectory(tmp_path / "runs" / "a").checkpoints
    shutil.rmtree(saved / str(latest_step(saved)))
    table = [line.split("|") for line in command("runs", tmp_path / "runs")[1].splitlines()]
    states = {row[1].strip(): [cell.strip() for cell in row] for row in table if len(row) > 3}
    assert "not over" in states["a"] and "over" in states["b"]


@pytest.mark.parametrize("given", [False, True])
def test_a_run_on_a_function_is_used_when_the_file_of_that_is_gone(given, tmp_path):
    file = tmp_path / "own.py"
    file.write_text(
        "import numpy as np\nfrom ae_jax.data import DataSet, Split\n"
        "x = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)\n"
        "def made():\n    return DataSet('own', {'train': Split(x[:30]), 'test': Split(x[30:])})\n"
    )
    data = load(f"{file}:made")
    whole = ae_jax.fit(data, workdir=tmp_path / "run", hidden=[4], latent_dim=2, epochs=1)
    file.unlink()
    model = ae_jax.load(tmp_path / "run", data=data if given else None)
    np.testing.assert_array_equal(model.encode(X), whole.encode(X))


@pytest.mark.parametrize("content", ["", "e,f\nword,other\nmore,words\n"])
def test_a_run_is_used_where_its_file_cannot_be_read_any_more(content, tmp_path, command):
    table, run = tmp_path / "own.csv", tmp_path / "run"
    pd.DataFrame(X, columns=["a", "b", "c"]).to_csv(table, index=False)
    options = ("--hidden", 4, "--latent-dim", 2, "--epochs", 1, "--no-report")
    assert command("train", table, *options, "--workdir", run)[0] == 0
    whole = ae_jax.load(run)
    table.write_text(content)
    with pytest.warns(UserWarning, match="the run is used without its examples"):
        model = ae_jax.load(run)
    np.testing.assert_array_equal(model.encode(X), whole.encode(X))
