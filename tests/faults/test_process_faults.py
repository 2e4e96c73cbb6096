"""What happens to several processes when one is killed, interrupted, starved, or not there.

The short forms go without JAX where the fault does not need it: a worker that meets the others,
says so and sleeps where training would wait for them in a collective operation.
"""

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from pairs import addresses, free_port, processes_in

from ae_jax.train.checkpoints import latest_step

# For a machine with few cores that does other things too; measured: below one second for a word,
# two to ten for a save.
AT_ONCE, WITH_A_SAVE, START = 10.0, 60.0, 120.0

# A process after the meeting: `what` is what its main thread does there.
WORKER = """
import os, signal, sys, time
from ae_jax.core.errors import UserError
from ae_jax.train.launched import group_of
from ae_jax.train.line import Line, meet, say
try:
    group = group_of(os.environ)
    line = Line(group, meet(group, {timeout}, {greeting}), 2)
except UserError as error:
    say(f"Error: {{error}}")
    sys.exit(2)
say("met")
try:
    {what}
except KeyboardInterrupt:
    say("Interrupted")
    line.leave(130)
"""
WAIT = "time.sleep(300)"
# A main thread that is in C and does not come back to Python for a signal, as in a collective
# operation: it waits for a lock of pthreads, which goes on waiting after one.
STUCK = (
    "import ctypes; c = ctypes.CDLL(None); lock = (ctypes.c_char * 64)(); "
    "say('stuck'); c.pthread_mutex_lock(lock); c.pthread_mutex_lock(lock)"
)


@pytest.fixture
def group(tmp_path):
    with processes_in(tmp_path) as running:
        yield running


def work(group, what: str, environment: dict, timeout: float = 60, greeting: dict | None = None):
    code = WORKER.format(timeout=timeout, what=what, greeting=greeting or {})
    group.start([sys.executable, "-c", code], environment)


def all_met(group) -> bool:
    return all("met\n" in group.log(i) for i in range(len(group.running)))


# Three processes, so that one hears of the end of another by way of the first.
@pytest.mark.parametrize("victim", [0, 2])
@pytest.mark.parametrize(
    ("number", "status", "word"),
    [
        (signal.SIGKILL, 2, "was killed or lost"),
        (signal.SIGINT, 130, "ended with status 130"),
    ],
)
def test_all_end_at_once_after_one(victim, number, status, word, group):
    for environment in addresses(3):
        work(group, WAIT, environment)
    group.wait_until(lambda: all_met(group))
    group.signal(victim, number)
    statuses = group.ends(within=AT_ONCE)
    assert statuses.pop(victim) == (-9 if number == signal.SIGKILL else 130)
    assert statuses == [status] * 2
    for index in {0, 1, 2} - {victim}:
        said = f"Error: another process ended; see its log (process {victim} {word})\n"
        assert said in group.log(index)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_an_interrupt_ends_a_process_whose_main_thread_is_stuck(victim, group):
    for environment in addresses():
        work(group, STUCK, environment)
    group.wait_until(lambda: all("stuck" in group.log(i) for i in range(2)))
    group.signal(victim, signal.SIGINT)
    assert group.ends(within=5 + AT_ONCE) == [130, 130]


def test_a_process_that_raises_takes_the_others_with_it(group):
    first, second = addresses()
    work(group, WAIT, first)
    work(group, "say('Error: the disk is full'); line.leave(2)", second)
    assert group.ends(within=START) == [2, 2]
    assert "process 1 ended with status 2" in group.log(0)


@pytest.mark.slow
def test_one_that_parts_still_writes_why(group):
    first, second = addresses()
    work(group, "line.part(2); say('result written'); os._exit(0)", first)
    work(group, WAIT, second)
    assert group.ends(within=START) == [0, 2]
    assert "result written" in group.log(0)


def test_nobody_leaves_before_all_have_finished(group):
    first, second = addresses()
    work(group, "time.sleep(1); line.finish(); say(f'at {time.time()}'); os._exit(0)", first)
    work(group, "line.finish(); say(f'at {time.time()}'); os._exit(0)", second)
    assert group.ends(within=START) == [0, 0]
    ends = [float(group.log(i).split("at ")[-1]) for i in range(2)]
    assert abs(ends[0] - ends[1]) < 0.9


@pytest.mark.slow
def test_an_interrupt_that_had_its_way_does_not_end_the_wait_for_the_others(group):
    """All have saved, and each ends with its own status, though one takes longer."""
    first, second = addresses()
    noted = (
        "sys.modules['ae_jax.train.line'].INTERRUPT = 2.0; "
        "signal.signal(signal.SIGINT, lambda *_: None); signal.raise_signal(signal.SIGINT); "
    )
    work(group, f"{noted} line.finish(); os._exit(130)", first)
    work(group, "time.sleep(4); line.finish(); os._exit(143)", second)
    assert group.ends(within=START) == [130, 143]
    assert "Interrupted" not in group.log(0) and "another process" not in group.log(1)


@pytest.mark.slow
def test_a_process_that_is_suspended_is_waited_for(group):
    first, second = addresses()
    work(group, "line.finish(); os._exit(0)", first)
    work(group, "time.sleep(1); line.finish(); os._exit(0)", second)
    group.wait_until(lambda: all_met(group))
    group.signal(1, signal.SIGSTOP)
    time.sleep(2)
    assert group.running[0].poll() is None
    group.signal(1, signal.SIGCONT)
    assert group.ends(within=AT_ONCE) == [0, 0]


@pytest.mark.slow
def test_a_missing_process_is_named_after_the_time_to_join(group):
    for environment in addresses(4)[:2]:
        work(group, WAIT, environment, timeout=3)
    assert group.ends(within=START) == [2, 2]
    for index in range(2):
        log = group.log(index)
        assert f"process {index} of 4: waiting for 4 processes at 127.0.0.1:" in log
        assert "cannot join the other processes in 3 s (--join-timeout)" in log
        assert "of 4 processes 2, 3 did not come" in log


@pytest.mark.slow_cases("no-such-host*")
@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1:{port}", "nothing listens there (connection refused)"),
        ("no-such-host.invalid:{port}", "the name no-such-host.invalid does not resolve"),
    ],
)
def test_an_address_where_nobody_is_is_said_at_once(address, reason, group):
    _, environment = addresses()
    environment["JAX_COORDINATOR_ADDRESS"] = address.format(port=free_port())
    work(group, WAIT, environment, timeout=3)
    group.wait_until(lambda: f"process 1: {reason} so far" in group.log(0))
    assert group.ends(within=AT_ONCE) == [2]
    assert f"Error: cannot join the other processes in 3 s (--join-timeout): {address[:9]}" in (
        group.log(0)
    )


def test_a_process_that_is_started_again_joins(group):
    """As a pod does whose first attempt was killed."""
    first, second, third = addresses(3)
    work(group, "line.finish(); os._exit(0)", first)
    work(group, WAIT, second)
    group.wait_until(lambda: "waiting" in group.log(1))
    time.sleep(0.5)
    group.running[1].kill()
    group.running[1].wait()
    group.running.pop(1)
    for environment in (second, third):
        code = WORKER.format(timeout=60, what="line.finish(); os._exit(0)", greeting={})
        group.start([sys.executable, "-c", code], environment)
    assert group.ends(within=START) == [0, 0, 0]


def test_a_port_in_use_is_one_sentence(group):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        first, _ = addresses(port=taken.getsockname()[1])
        work(group, WAIT, first)
        assert group.ends(within=START) == [2]
    assert "cannot listen at port" in group.log(0)
    assert "Traceback" not in group.log(0)


def test_another_release_of_jax_is_refused(group):
    for number, environment in enumerate(addresses()):
        work(group, WAIT, environment, greeting={"jax": f"0.10.{number}"})
    assert group.ends(within=START) == [2, 2]
    for index in range(2):
        assert "jax '0.10.1' here and '0.10.0' in the first process" in group.log(index)


# From here on, real trainings.

OPTIONS = (
    *("--hidden", 8, "--latent-dim", 2, "--batch-size", 80, "--set", "train.parallel=sharded"),
    *("--set", "eval.every=100000"),
)
FOREVER = ("--epochs", 100_000)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "x.npy"
    np.save(path, np.random.default_rng(0).normal(size=(400, 6)).astype(np.float32))
    return path


def epochs_in(folder: Path) -> int:
    metrics = folder / "metrics.jsonl"
    return len(metrics.read_text().splitlines()) if metrics.exists() else 0


def train_forever(group, data, **limits):
    given = (data, *OPTIONS, *FOREVER, "--workdir", "run")
    group.train(given, given, **limits)
    group.wait_until(lambda: epochs_in(group.folder / "run") >= 3)


@pytest.mark.slow
def test_processes_that_are_not_alike_are_refused_before_the_first_step(group, data, tmp_path):
    changed = tmp_path / "other.npy"
    values = np.load(data)
    values[7, 3] += 1
    np.save(changed, values)
    given = (*OPTIONS, "--workdir", "run", "--epochs")
    group.train((data, *given, 3, "--seed", 0), (changed, *given, 4, "--seed", 1))
    assert group.ends(within=START) == [2, 2]
    said = group.log(0) + group.log(1)
    assert "processes 0 and 1 do not run the same" in said
    for difference in ("train.epochs (3 and 4)", "train.seed (0 and 1)", "data.sha256 ("):
        assert difference in said
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_told_to_stop_all_save_and_the_same_command_continues(group, data, tmp_path):
    train_forever(group, data)
    group.signal(1, signal.SIGTERM)
    assert group.ends(within=WITH_A_SAVE) == [143, 143]
    done = epochs_in(tmp_path / "run")
    for index in range(2):
        assert f"Stopped: epoch {done} of 100000 is over and saved; the same command" in (
            group.log(index)
        )
    (saved,) = (tmp_path / "run" / "checkpoints").glob("[0-9]*")
    records = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(records[-1])["step"] == int(saved.name)


@pytest.mark.slow
def test_a_full_disk_under_the_first_process_ends_both(group, data):
    given = (data, *OPTIONS, *FOREVER, "--workdir", "run")
    group.train(given, given, limits={0: 3})
    assert group.ends(within=START) == [2, 2]
    assert "cannot write run/metrics.jsonl: File too large" in group.log(0)
    assert "another process ended; see its log (process 0 ended with status 2)" in group.log(1)


@pytest.mark.slow
def test_a_checkpoint_that_cannot_be_written_ends_both(group, data):
    given = (data, *OPTIONS[2:], "--hidden", 512, "--epochs", 3, "--workdir", "run")
    group.train(given, given, limits={0: 16})
    assert group.ends(within=START) == [2, 2]
    assert "cannot write a checkpoint in run/checkpoints: File too large" in group.log(0)
    assert "another process ended; see its log (process 0 ended with status 2)" in group.log(1)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_one_that_is_lost_in_the_middle_takes_the_other_with_it(victim, group, data):
    train_forever(group, data)
    group.signal(victim, signal.SIGKILL)
    statuses = group.ends(within=AT_ONCE)
    assert (statuses[victim], statuses[1 - victim]) == (-9, 2)
    said = f"another process ended; see its log (process {victim} was killed or lost)"
    assert said in group.log(1 - victim)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_one_that_is_interrupted_in_the_middle_takes_the_other_with_it(victim, group, data):
    """All save where that takes less than five seconds, as it does unless the machine is busy."""
    train_forever(group, data)
    group.signal(victim, signal.SIGINT)
    statuses = group.ends(within=WITH_A_SAVE)
    assert statuses[victim] == 130
    assert "SIGINT: ending, saved if that takes less than 5 s" in group.log(victim)
    if "Stopped: epoch" in group.log(victim):
        assert statuses[1 - victim] == 143 and "Stopped: epoch" in group.log(1 - victim)
        assert "another process ended" not in group.log(1 - victim)
    else:
        assert statuses[1 - victim] == 130 and "Interrupted" in group.log(victim)
        assert f"(process {victim} ended with status 130)" in group.log(1 - victim)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_one_that_is_killed_in_a_save_leaves_the_checkpoints_before(victim, group, data, tmp_path):
    often = (*OPTIONS[:-2], "--set", "eval.every=1", "--workdir", "run")
    given = (data, *often, *FOREVER)
    group.train(given, given)
    group.wait_until(lambda: epochs_in(tmp_path / "run") >= 3)
    folder = tmp_path / "run" / "checkpoints"
    # The second save, as there has to be one before it.
    group.wait_until(lambda: any(name.isdecimal() for name in os.listdir(folder)))
    group.wait_until(lambda: any("tmp" in name for name in os.listdir(folder)))
    group.signal(victim, signal.SIGKILL)
    statuses = group.ends(within=AT_ONCE)
    assert statuses[1 - victim] == 2
    latest = latest_step(folder)
    with processes_in(tmp_path) as again:
        again.train(given, given)
        again.wait_until(lambda: latest_step(folder) > latest)
        again.signal(0, signal.SIGTERM)
        assert again.ends(within=WITH_A_SAVE) == [143, 143]


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_one_that_is_killed_at_the_start_takes_the_other_with_it(victim, group, data):
    given = (data, *OPTIONS, *FOREVER, "--workdir", "run")
    group.train(given, given)
    group.wait_until(lambda: "in all" in group.log(0))
    group.signal(victim, signal.SIGKILL)
    assert group.ends(within=AT_ONCE)[1 - victim] == 2


@pytest.mark.slow
def test_a_folder_that_is_not_shared_is_refused(group, data):
    given = (data, *OPTIONS, *FOREVER, "--workdir")
    group.train((*given, "here"), (*given, "there"))
    assert group.ends(within=START) == [2, 2]
    assert "does not see in" in group.log(0) + group.log(1)
    assert "a folder that all of them share" in group.log(0) + group.log(1)


@pytest.mark.slow
def test_a_damaged_file_on_one_machine_ends_both(group, data, tmp_path):
    damaged = tmp_path / "damaged.npy"
    damaged.write_bytes(data.read_bytes()[:-100])
    given = (*OPTIONS, *FOREVER, "--workdir", "run")
    group.train((data, *given), (damaged, *given))
    assert group.ends(within=START) == [2, 2]
    assert "damaged.npy" in group.log(1)
    assert "process 1 ended with status 2" in group.log(0)


@pytest.mark.slow
def test_a_process_that_is_suspended_in_the_middle_is_waited_for(group, data, tmp_path):
    train_forever(group, data)
    group.signal(1, signal.SIGSTOP)
    time.sleep(15)
    done = epochs_in(tmp_path / "run")
    group.signal(1, signal.SIGCONT)
    group.wait_until(lambda: epochs_in(tmp_path / "run") > done + 1)
    group.signal(0, signal.SIGTERM)
    assert group.ends(within=WITH_A_SAVE) == [143, 143]
