"""Launchers: processes on this machine stand for the tasks of a cluster; one test starts Slurm."""

import json
import os
import pickletools
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
import types
from pathlib import Path

import pytest
import slurm
from timeless import timeless

from ae_jax.cli.launch import Local, cluster, launcher_named
from ae_jax.cli.launch.cluster import Slurm
from ae_jax.cli.shell import run_command
from ae_jax.core.errors import TrainingDiverged, UserError
from ae_jax.data import load
from ae_jax.train.config import DataConfig, EvalConfig, ModelConfig, RunConfig, TrainConfig
from ae_jax.train.grid import Member
from ae_jax.train.optimisers import Sgd
from experiments import kingma_welling

pytest.importorskip("submitit", reason="the extra 'slurm' is not installed")
cloudpickle = pytest.importorskip("cloudpickle")  # which submitit brings

LIMIT = 200  # training examples, of the 8x8 digits: two steps an epoch
# Epochs until a checkpoint, and of a run that is long enough to be stopped after the first one.
LOOK, EPOCHS = 500, 1500


def member(name: str, epochs: int = 1, rate: float = 1e-3, hidden: int = 8, seed: int = 0):
    config = RunConfig(
        data=DataConfig("digits", limit=LIMIT),
        model=ModelConfig(hidden=(hidden,), latent_dim=2),
        optim=Sgd(learning_rate=rate),
        train=TrainConfig(batch_size=100, epochs=epochs, seed=seed),
        eval=EvalConfig(every=LOOK),
    )
    return Member(name, config)


@pytest.fixture(scope="module")
def digits():
    return load("digits", limit=LIMIT)


# The first two share a program, and a task; the step of the second is far too large.
GRID = [member("tame", EPOCHS), member("wild", EPOCHS, rate=1e9), member("short")]


@pytest.fixture(scope="module")
def expected(digits, tmp_path_factory):
    """What training in this process gives."""
    return Local().train(GRID, digits, tmp_path_factory.mktemp("local"))


def comparable(outcomes: dict) -> dict:
    """Records without the clock, errors as text."""
    return {
        name: str(end) if isinstance(end, TrainingDiverged) else timeless(end)
        for name, end in outcomes.items()
    }


def processes_launcher():
    """The launcher for Slurm with submitit's executor of processes in Slurm's place."""
    return Slurm({"timeout_min": 60}, cluster="local")


def wait_until(holds, seconds: float = 1200.0) -> None:
    start = time.monotonic()
    while not holds():
        assert time.monotonic() - start < seconds, "waited too long"
        time.sleep(0.01)


def is_on_its_way(root: Path) -> bool:
    """Whether `tame` has looked at itself twice."""
    records = root / "tame" / "metrics.jsonl"
    return records.exists() and records.read_bytes().count(b"\n") >= 2 * LOOK


def preempt_when_begun(root: Path) -> None:
    """Sends submitit's signal to the task that trains `tame`, once that is on its way."""
    wait_until(lambda: is_on_its_way(root))
    for process in Path("/proc").glob("[0-9]*"):
        command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        opened = process / "fd"
        if f"submitit.core._submit {root}" in command and any(
            str(root / "tame") in os.path.realpath(place) for place in opened.iterdir()
        ):
            os.kill(int(process.name), signal.SIGUSR2)
            return
    raise AssertionError("no task holds the directory of the run")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks for the task in /proc")
def test_tasks_end_as_local_training_does_though_one_is_preempted(
    expected, digits, tmp_path, capsys
):
    launcher = processes_launcher()
    preemption = threading.Thread(target=preempt_when_begun, args=(tmp_path,))
    preemption.start()
    outcomes = launcher.train(GRID, digits, tmp_path)
    preemption.join()
    said = capsys.readouterr().err
    assert "3 runs in 2 tasks" in said and "2 of 2 tasks ended" in said
    logs = "".join(log.read_text() for log in tmp_path.glob("slurm/*/*_log.*"))
    assert "Requeued job" in logs and "tame" in logs
    assert isinstance(expected["wild"], TrainingDiverged)
    assert comparable(outcomes) == comparable(expected)
    assert len(outcomes["tame"]) == EPOCHS

    finished = [one for one in GRID if one.name != "wild"]
    again = launcher.train(finished, digits, tmp_path)
    assert again == {one.name: outcomes[one.name] for one in finished}
    assert "tasks" not in capsys.readouterr().err, "nothing is left to submit"


@pytest.mark.slow
def test_a_task_that_fails_is_told_with_its_reason_and_its_log(digits, tmp_path, monkeypatch):
    launcher = processes_launcher()
    monkeypatch.setenv("AE_JAX_CACHE", "/dev/null")  # where the task finds no data
    with pytest.raises(UserError, match=r"task \d+: .*; logs: .*slurm.*same command continues"):
        launcher.train([member("one")], digits, tmp_path)


def test_a_submission_is_plain_data_and_the_name_of_a_function(digits, tmp_path):
    task = cluster._task(GRID, digits, tmp_path, 3)
    assert json.loads(json.dumps(task)) == task
    assert task["until"] == 3 and Path(task["root"]).is_absolute()
    again = cluster.run_task.checkpoint(task)
    assert (again.function, again.args) == (cluster.run_task, (task,))
    pickled = cloudpickle.dumps(cluster.run_task)
    names = {argument for _, argument, _ in pickletools.genops(pickled) if argument}
    assert {"ae_jax.cli.launch.cluster", "run_task"} <= names and len(pickled) < 100


@pytest.mark.slow
def test_a_signal_that_meets_the_start_up_is_kept_until_an_epoch_is_saved(
    digits, tmp_path, monkeypatch
):
    """It would queue the task again before it has done anything, and so each time."""
    came = []

    def load_interrupted(*given, **options):
        signal.raise_signal(signal.SIGUSR2)
        assert not came
        return load(*given, **options)

    monkeypatch.setattr(cluster, "load", load_interrupted)
    before = signal.signal(signal.SIGUSR2, lambda number, _: came.append(number))
    try:
        cluster.run_task(cluster._task([member("one", epochs=3)], digits, tmp_path, None))
        assert came == [signal.SIGUSR2]
        assert [path.name for path in (tmp_path / "one" / "checkpoints").iterdir()] == ["2"]
        # Told once: the next start goes on to the end.
        monkeypatch.setattr(cluster, "load", load)
        ended = cluster.run_task(cluster._task([member("one", epochs=3)], digits, tmp_path, None))
        assert ended == {"diverged": {}} and len(came) == 1
    finally:
        signal.signal(signal.SIGUSR2, before)


@pytest.mark.slow
def test_the_tasks_tell_the_trackers(digits, tmp_path, monkeypatch):
    told = []

    class Writer:
        def __init__(self, path):
            told.append(path)

        def add_scalar(self, name, value, samples):
            told.append(name)

        def add_image(self, name, pixels, samples, dataformats):
            told.append(name)

        def close(self):
            told.append("close")

    monkeypatch.setitem(sys.modules, "tensorboardX", types.SimpleNamespace(SummaryWriter=Writer))
    task = cluster._task([member("one")], digits, tmp_path, None, ["tensorboard"])
    assert cluster.run_task(json.loads(json.dumps(task))) == {"diverged": {}}
    assert told[0] == str(tmp_path / "one/tensorboard") and told[-1] == "close"
    assert {"running/loss", "test/elbo", "reconstructions", "samples"} < {*told}


@pytest.mark.parametrize(("size", "groups"), [(None, ["abd", "c"]), (2, ["ab", "d", "c"])])
def test_members_are_grouped_by_program(size, groups, digits):
    members = [member("a"), member("b", seed=1), member("c", hidden=9), member("d", rate=0.1)]
    parts = Slurm(members_per_task=size, cluster="local").parts(members, digits)
    assert ["".join(one.name for one in part) for part in parts] == groups
    assert Local().parts(members, digits) == [members]


def test_data_without_a_name_is_refused(vector_set, tmp_path):
    with pytest.raises(UserError, match="load their data by name, and 'plane' is none"):
        processes_launcher().train([member("a")], vector_set, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_directory_of_another_run_is_refused_before_anything_is_submitted(digits, tmp_path):
    launcher = processes_launcher()
    Local().train([member("a")], digits, tmp_path)
    with pytest.raises(UserError, match="another configuration.*train.seed: 0 -> 1"):
        launcher.train([member("a", seed=1), member("b")], digits, tmp_path)
    assert not (tmp_path / "slurm").exists()


@pytest.fixture
def no_slurm(monkeypatch, tmp_path):
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.fixture
def slurm_commands(no_slurm):
    """Commands that are there and refuse every job."""
    for name in ("sbatch", "srun", "squeue"):
        (no_slurm / name).write_text("#!/bin/sh\necho 'error: invalid partition' >&2\nexit 1\n")
        (no_slurm / name).chmod(stat.S_IRWXU)


def test_without_the_extra_one_sentence_and_status_2(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "submitit", None)
    monkeypatch.setenv("JAX_ENABLE_COMPILATION_CACHE", "false")  # leave JAX's own as it is here
    workdir = tmp_path / "grid"
    arguments = ["kingma_welling", "--preset", "smoke", "--launcher", "slurm"]
    monkeypatch.setattr(sys, "argv", [*arguments, "--workdir", str(workdir)])
    with pytest.raises(SystemExit) as caught:
        run_command(kingma_welling.main)
    assert caught.value.code == 2
    assert capsys.readouterr().err == (
        "Error: the slurm launcher needs the extra: pip install 'ae_jax[slurm]'\n"
    )
    assert not workdir.exists()


def test_without_slurm_one_sentence(no_slurm):
    with pytest.raises(UserError, match="there is no sbatch on the PATH"):
        launcher_named("slurm")


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["partitoin=gpu"], "unknown Slurm option 'partitoin': did you mean 'partition'"),
        (["partition"], "'partition' is not of the form option=value"),
        (["=gpu"], "not of the form"),
        (["time=1-00:00:00"], "time is in whole minutes, not '1-00:00:00'"),
        (["time=0"], "whole minutes"),
        (
            ["time=2"],
            "time=2 is too short: a task is told 90 s before its .*time=4 is the",
        ),
        (["time=5", "signal_delay_s=300"], "time=7 is the least"),
        (["signal_delay_s=soon"], "signal_delay_s is in whole seconds"),
        (["setup=module load cuda"], "setup is a JSON list"),
    ],
)
def test_wrong_options_are_refused(assignments, message, slurm_commands):
    with pytest.raises(UserError, match=message):
        launcher_named("slurm", assignments)


def test_options_are_json_or_text(slurm_commands):
    assignments = ["partition=gpu", "gpus-per-node=1", 'setup=["module load cuda"]', "mem=8GB"]
    launcher = launcher_named("slurm", assignments, 5)
    assert launcher.members_per_task == 5
    assert launcher.options == {
        "partition": "gpu",
        "gpus_per_node": 1,
        "setup": ["module load cuda"],
        "mem": "8GB",
    }


def test_what_slurm_refuses_is_told_in_its_words(slurm_commands, digits, tmp_path):
    with pytest.raises(UserError, match="^Slurm refuses the job: error: invalid partition$"):
        launcher_named("slurm", ["partition=nonesuch"]).train([member("a")], digits, tmp_path)


def test_options_for_slurm_need_slurm():
    for options in ((["partition=gpu"], None), ([], 3)):
        with pytest.raises(UserError, match="need --launcher slurm"):
            launcher_named("local", *options)
    assert launcher_named("local") == Local()


@pytest.fixture
def cluster_of_one_node():
    if slurm.missing():
        pytest.skip(f"not installed: {', '.join(slurm.missing())} (Debian: slurm-wlm, munge)")
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # sockets need short paths
    try:
        with slurm.running(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
def test_slurm_runs_a_grid_over_an_interruption_and_a_preemption(
    cluster_of_one_node, expected, digits, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(cluster.POLL, "slurm", 1.0)
    launcher = launcher_named("slurm", ["partition=low", "time=30"])

    def interrupted(self, jobs, folder):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(cluster.Slurm, "_collected", interrupted)
        with pytest.raises(KeyboardInterrupt):
            launcher.train(GRID, digits, tmp_path)
    assert "3 runs in 2 tasks" in capsys.readouterr().err
    wait_until(lambda: is_on_its_way(tmp_path))
    wanted = ["sbatch", "--partition=high", "--exclusive", "--output=/dev/null", "--wrap=sleep 1"]
    subprocess.run(wanted, check=True, capture_output=True)

    outcomes = launcher.train(GRID, digits, tmp_path)
    said = capsys.readouterr().err
    assert "of an earlier start goes on" in said and "runs in" not in said
    logs = "".join(log.read_text() for log in tmp_path.glob("slurm/*/*_log.*"))
    assert "DUE TO PREEMPTION" in logs
    assert comparable(outcomes) == comparable(expected)

    with pytest.raises(UserError, match="Slurm refuses the job: .*partition"):
        launcher_named("slurm", ["partition=nonesuch"]).train([member("new")], digits, tmp_path)


@pytest.mark.slow
def test_two_tasks_on_a_node_train_as_one_and_both_end(
    cluster_of_one_node, digits, tmp_path, monkeypatch
):
    if os.cpu_count() < 2:
        pytest.skip("two tasks need two processors")
    monkeypatch.setitem(cluster.POLL, "slurm", 1.0)
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")
    launcher = launcher_named("slurm", ["partition=low", "time=30", "nodes=1", "ntasks_per_node=2"])
    outcomes = launcher.train([member("short", 2)], digits, tmp_path)
    assert [record["epoch"] for record in outcomes["short"]] == [1, 2]
    queue = ["squeue", "--me", "--noheader"]
    wait_until(lambda: not subprocess.run(queue, capture_output=True, text=True).stdout, 60)
    second = next(tmp_path.glob("slurm/*/*_1_log.err")).read_text()
    assert "process 1 of 2: waiting for 2 processes" in second
