"""Two processes with two devices each train what one device trains."""

import json
from pathlib import Path

import chex
import jax
import numpy as np
import pytest
from timeless import CLOCK
from two_processes import run_in_two

from ae_jax.api import configure
from ae_jax.core.errors import UserError
from ae_jax.data import from_array
from ae_jax.train import launched, processes
from ae_jax.train.grid import Member, train_grid
from ae_jax.train.loop import train
from ae_jax.train.prepare import prepare_run
from ae_jax.train.rundir import RunDirectory

OPTIONS = {
    "hidden": [9],
    "latent_dim": 3,
    "epochs": 3,
    "batch_size": 80,
    "optim__name": "sgd",
    "learning_rate": 0.01,
}
SIZES = {"small": 2, "large": 5, "seeded": 3}


def dataset():
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(330, 2))
    return from_array((codes @ rng.normal(size=(2, 6))).astype(np.float32))


def setup(**options):
    return prepare_run(configure(None, OPTIONS | options), dataset())


def members(parallel: str) -> list[Member]:
    return [
        Member(name, configure(None, OPTIONS | {"latent_dim": size, "train__parallel": parallel}))
        for name, size in SIZES.items()
    ]


def train_whole_and_half(path: str) -> None:
    """One run to its end, and one in two parts that does not reach it."""
    folder, half = Path(path), setup(train__parallel="sharded")
    train(half, RunDirectory(folder / "sharded"))
    train(half, RunDirectory(folder / "half"), until=1)
    train(half, RunDirectory(folder / "half"), until=2)


def train_otherwise(path: str) -> None:
    """Runs with their examples in parts, under both modes, and a grid of stacked members."""
    folder = Path(path)
    for mode in ("sharded", "shard_map"):
        parts = setup(train__parallel=mode, data__placement="sharded")
        assert [part.data.shape[0] for part in parts.splits["train"].x.addressable_shards] == [
            66,
            66,
        ]
        train(parts, RunDirectory(folder / f"{mode}_parts"))
    train_grid(members("sharded"), dataset(), folder / "grid", stack="always", devices_each=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    run_in_two("test_processes", "train_whole_and_half", str(folder))
    return folder


@pytest.fixture(scope="module")
def otherwise(tmp_path_factory):
    folder = tmp_path_factory.mktemp("otherwise")
    run_in_two("test_processes", "train_otherwise", str(folder))
    return folder


@pytest.fixture(scope="module")
def alone():
    return train(setup())


def assert_same_records(ours: list[dict], theirs: list[dict]) -> None:
    assert [record["epoch"] for record in ours] == [record["epoch"] for record in theirs]
    for one, other in zip(ours, theirs, strict=True):
        for name in other.keys() - CLOCK:
            np.testing.assert_allclose(one[name], other[name], rtol=1e-5, err_msg=name)


def test_two_processes_train_what_one_device_trains(folder, alone):
    assert_same_records(RunDirectory(folder / "sharded").records(), alone.records)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["sharded", "shard_map"])
def test_two_processes_train_the_same_where_each_holds_a_part(mode, otherwise, alone):
    assert_same_records(RunDirectory(otherwise / f"{mode}_parts").records(), alone.records)


def claim_another_run(path: str) -> None:
    """Writes down what each process has to say where the folder is of another run."""
    try:
        train(setup(train__parallel="sharded", seed=9), RunDirectory(Path(path) / "sharded"))
    except UserError as error:
        (Path(path) / f"said-{jax.process_index()}").write_text(str(error))


@pytest.mark.slow
def test_no_process_waits_for_a_first_one_that_cannot_go_on(folder):
    run_in_two("test_processes", "claim_another_run", str(folder))
    assert "train.seed" in (folder / "said-0").read_text()
    assert "the first process cannot go on" in (folder / "said-1").read_text()


def test_only_one_process_wrote(folder):
    lines = (folder / "sharded" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3]


@pytest.mark.slow
def test_what_four_devices_saved_goes_on_on_eight(folder, alone):
    """The checkpoint of two processes, continued here on the eight devices of one."""
    outcome = train(setup(train__parallel="sharded"), RunDirectory(folder / "half"))
    assert_same_records(outcome.records, alone.records)
    chex.assert_trees_all_close(
        jax.device_get(outcome.state.params), jax.device_get(alone.state.params), rtol=1e-4
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SIZES))
def test_members_of_a_grid_over_two_processes_are_runs_alone(name, otherwise):
    records = RunDirectory(otherwise / "grid" / name).records()
    assert_same_records(records, train(setup(latent_dim=SIZES[name])).records)


def test_a_process_without_others_to_join_is_one_sentence(monkeypatch):
    for name in launched.OWN:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match="cannot join other processes.*JAX_COORDINATOR_ADDRESS"):
        processes.start(wanted=True)


def test_a_mode_within_one_process_is_refused_in_many(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    for mode in ("jit", "pmap"):
        with pytest.raises(UserError, match="2 processes need sharded or shard_map"):
            processes.check_mode(mode)
    processes.check_mode("sharded")
