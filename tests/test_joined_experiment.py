"""An experiment in two processes of two devices each comes out as in one process."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from timeless import CLOCK
from two_processes import run_in_two

from ae_jax.api import configure
from ae_jax.cli.launch import Local
from ae_jax.core.errors import UserError
from ae_jax.data import DataSet, load
from ae_jax.lab import Lab
from ae_jax.train import processes
from ae_jax.train.grid import Member
from ae_jax.train.rundir import RunDirectory
from experiments import kingma_welling

OPTIONS = {
    "data__name": "digits",
    "hidden": [8],
    "latent_dim": 2,
    "batch_size": 50,  # which four devices do not divide
    "epochs": 2,
    "learning_rate": 1e-3,
}


def digits() -> DataSet:
    return load("digits", limit=200)


def named(**options) -> list[Member]:
    """Three runs of two programs."""
    sizes = {"small": [8], "seeded": [8], "wide": [12]}
    return [
        Member(name, configure(None, OPTIONS | {"hidden": hidden, "seed": seed} | options))
        for seed, (name, hidden) in enumerate(sizes.items())
    ]


def experiment(lab: Lab) -> dict:
    """Runs that all can train, one that starts from given parameters, a codec; numbers of each."""
    trained = lab.train(named(), digits())
    given = Member("given", trained["small"].config, trained["small"].params)
    trained |= lab.train([given], digits())
    trained["pca"] = lab.fit("pca", configure(None, {"codec": "pca"}).codec, digits(), "grey")
    return {name: model.evaluate()["squared_error_per_example"] for name, model in trained.items()}


def run_experiment(path: str) -> None:
    """In each process; each writes down what it found."""
    root = Path(path)
    found = json.dumps(experiment(Lab(root, Local())))
    (root / f"found-{jax.process_index()}.json").write_text(found)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The folders of the experiment in two processes, and in this one."""
    two, one = tmp_path_factory.mktemp("two"), tmp_path_factory.mktemp("one")
    run_in_two("test_joined_experiment", "run_experiment", str(two))
    run_experiment(str(one))
    return two, one


def read(path: Path) -> dict:
    return json.loads(path.read_text())


@pytest.mark.slow
def test_every_process_finds_what_one_alone_finds(both):
    two, one = both
    first, second = read(two / "found-0.json"), read(two / "found-1.json")
    expected = read(one / "found-0.json")
    assert first == second
    assert first.keys() == expected.keys() == {"small", "seeded", "wide", "given", "pca"}
    for name, value in expected.items():
        assert first[name] == pytest.approx(value, rel=1e-4), name


@pytest.mark.slow
@pytest.mark.parametrize("name", ["small", "seeded", "wide", "given"])
def test_its_runs_are_those_of_one_process(name, both):
    found, expected = (RunDirectory(root / name).records() for root in both)
    assert [record["epoch"] for record in found] == [1, 2]
    for ours, theirs in zip(found, expected, strict=True):
        for key in theirs.keys() - CLOCK:
            np.testing.assert_allclose(ours[key], theirs[key], rtol=1e-4, err_msg=key)


@pytest.mark.slow
def test_one_process_goes_on_with_what_two_have_trained(both):
    before = RunDirectory(both[0] / "wide").records()
    outcomes = Local().train(named(), digits(), both[0])
    assert outcomes["wide"] == before


def run_grid(path: str) -> None:
    kingma_welling.main(["--preset", "smoke", "--workdir", path], standalone_mode=False)


@pytest.mark.slow
def test_the_grid_of_the_paper_in_two_processes(tmp_path):
    two, one = tmp_path / "two", tmp_path / "one"
    run_in_two("test_joined_experiment", "run_grid", str(two))
    run_grid(str(one))
    found, expected = read(two / "results.json"), read(one / "results.json")
    assert found["environment"]["device"].startswith("4 x")
    for heading, rows in expected["tables"].items():
        for ours, theirs in zip(found["tables"][heading], rows, strict=True):
            assert ours == pytest.approx(theirs, abs=0.2), heading


def test_tasks_of_a_cluster_are_not_joined_by_hand():
    options = ["--preset", "smoke", "--launcher", "slurm"]
    for flag in (["--distributed"], ["--join-timeout", "5"]):
        with pytest.raises(UserError, match=f"{flag[0]} is for --launcher local"):
            kingma_welling.main([*options, *flag], standalone_mode=False)


def test_nobody_waits_for_others_where_there_are_none(monkeypatch):
    with pytest.raises(UserError, match="--join-timeout is how long to wait for other processes"):
        processes.start(join_timeout=5.0)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")  # a job that is sometimes of several
    processes.start(join_timeout=5.0)
