"""SIGTERM, SIGHUP and Ctrl-C: the epoch is finished and saved, and the same command goes on."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import numpy as np
import pytest

import ae_jax
from ae_jax.cli import shell
from ae_jax.core import interrupts
from ae_jax.train.checkpoints import latest_step
from faults.shared import (
    Account,
    environment,
    lines_of,
    records_of,
    start,
    two_clusters,
    wait_until,
)

OPTIONS = {"latent_dim": 2, "hidden": [4], "batch_size": 16, "eval__every": 1000}
LONG = 5000


def command_for(data: Path, epochs: int = LONG) -> list[object]:
    return [
        *("train", data, "--latent-dim", 2, "--hidden", 4, "--batch-size", 16),
        *("--set", "eval.every=1000", "--epochs", epochs, "--workdir", "run"),
    ]


@pytest.mark.slow_cases("SIGINT", "SIGHUP")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_saves_the_epoch_and_ends_with_the_customary_status(name, tmp_path):
    data, number = two_clusters(tmp_path / "x.npy"), getattr(signal, name)
    run = tmp_path / "run"
    process = start(tmp_path, *command_for(data))
    assert wait_until(process, lambda: lines_of(run) >= 3), process.communicate()
    with pytest.raises(ae_jax.UserError, match="in use by a run that is still going on"):
        ae_jax.fit(ae_jax.data.load(str(data)), workdir=run, epochs=LONG, **OPTIONS)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "Traceback" not in err and err.splitlines()[-1].endswith("the same command continues.")
    steps = 12
    assert latest_step(run / "checkpoints") == lines_of(run) * steps, "the last epoch is saved"


@pytest.mark.slow
def test_a_second_signal_ends_at_once_and_without_a_traceback(tmp_path):
    data, run = two_clusters(tmp_path / "x.npy"), tmp_path / "run"
    process = start(tmp_path, *command_for(data))
    assert wait_until(process, lambda: lines_of(run) >= 1)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.001)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err


@pytest.mark.slow
def test_what_a_signal_interrupted_goes_on_to_the_same_end(tmp_path, monkeypatch):
    data = ae_jax.data.load(str(two_clusters(tmp_path / "x.npy")))
    options = {**OPTIONS, "epochs": 6}
    ae_jax.fit(data, workdir=tmp_path / "whole", **options)
    heard = []
    with interrupts.heard():

        def ask(record):
            heard.append(record["epoch"])
            if record["epoch"] == 2:
                signal.raise_signal(signal.SIGTERM)

        with pytest.raises(interrupts.Interrupted) as caught:
            ae_jax.fit(data, workdir=tmp_path / "broken", listeners=[ask], **options)
    assert caught.value.status == 143 and heard[-1] in (2, 3)
    assert latest_step(tmp_path / "broken/checkpoints") == heard[-1] * 12
    ae_jax.fit(data, workdir=tmp_path / "broken", **options)
    assert records_of(tmp_path / "broken") == records_of(tmp_path / "whole")


def test_what_the_parent_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupts.heard():
            signal.raise_signal(signal.SIGHUP)
            assert not interrupts.asked()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_signal_in_a_callback_that_can_raise_nothing_is_heard_after_it(capsys):
    class Last:
        def __del__(self):
            signal.raise_signal(signal.SIGTERM)

    with interrupts.heard():
        Last()
        with pytest.raises(interrupts.Interrupted):
            time.sleep(5)
    assert not capsys.readouterr().err


def test_a_signal_in_the_midst_of_an_import_is_heard_after_it(tmp_path, monkeypatch):
    """Compiled modules that are cut short there end the process by ways of their own."""
    (tmp_path / "slowly_imported.py").write_text(
        "import signal, time\nsignal.raise_signal(signal.SIGTERM)\ntime.sleep(0.2)\nwhole = True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with interrupts.heard():
        import slowly_imported

        with pytest.raises(interrupts.Interrupted) as caught:
            time.sleep(5)
    assert slowly_imported.whole and caught.value.status == 143


def test_a_script_that_trains_as_it_is_imported_hears_signals(tmp_path, monkeypatch):
    (tmp_path / "training_script.py").write_text(
        "import signal\nfrom ae_jax.core import interrupts\n"
        "with interrupts.heard():\n    signal.raise_signal(signal.SIGTERM)\n    late = True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(interrupts.Interrupted):
        import training_script  # noqa: F401


def test_a_second_signal_ends_an_import_at_once(tmp_path):
    (tmp_path / "endless.py").write_text(
        "import time\nprint('here', flush=True)\nwhile True:\n    time.sleep(0.01)\n"
    )
    code = "from ae_jax.core import interrupts\nwith interrupts.heard():\n    import endless"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"here\n"
    for _ in range(2):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
    process.communicate(timeout=60)
    assert process.returncode == 143


class Undocumented(Exception):
    """What nobody has foreseen."""


@pytest.mark.parametrize("made", [ImportError, ae_jax.UserError, OSError, RuntimeError])
def test_what_a_library_makes_of_a_signal_is_the_signal(made, capsys):
    @click.command()
    def importing():
        try:
            signal.raise_signal(signal.SIGTERM)
        except BaseException as error:
            raise made("initialization failed") from error

    with pytest.raises(SystemExit) as ended, pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["importing"])
        shell.run_command(importing)
    assert ended.value.code == 143
    assert capsys.readouterr().err == "Ended by SIGTERM; the same command continues.\n"


def test_an_error_after_a_signal_that_was_noted_is_an_error():
    @click.command()
    def saving():
        with interrupts.deferred():
            signal.raise_signal(signal.SIGTERM)
            raise Undocumented

    with pytest.raises(Undocumented), pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["saving"])
        shell.run_command(saving)


def is_listening(process) -> bool:
    """Whether a process takes SIGTERM itself, as the kernel says."""
    try:
        facts = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return False
    caught = next(line for line in facts.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


SHORT = ("--latent-dim", 2, "--hidden", 4, "--batch-size", 16, "--epochs", 40)
COMMANDS = {
    "network": ("train", "x.npy", *SHORT, "--workdir", "run"),
    "grid": ("grid", "x.npy", *SHORT, "--over", "seed=0:3", "--workdir", "run"),
    "codec": ("train", "x.npy", "--codec", "sparse_coding", "--latent-dim", 8, "--workdir", "run"),
    "evaluate": ("evaluate", "kept"),
    "prepare": ("data", "prepare", "digits"),
}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc to look in")
@pytest.mark.parametrize("kind", COMMANDS)
def test_signals_at_any_moment_end_with_a_sentence_and_lose_nothing(kind, tmp_path):
    two_clusters(tmp_path / "x.npy")
    rng, account = np.random.default_rng(int.from_bytes(os.urandom(4))), Account()
    if kind == "evaluate":
        kept = start(tmp_path, *COMMANDS["network"][:-1], "kept")
        _, err = kept.communicate()
        assert kept.returncode == 0, err
    for turn in range(12):
        process = start(tmp_path, *COMMANDS[kind])
        wait_until(process, lambda one=process: is_listening(one))
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(rng.exponential(2.0))  # it imports, compiles, trains, saves or has ended
        number = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)[turn % 3]
        process.send_signal(number)
        _, err = process.communicate(timeout=120)
        ended = process.returncode == 128 + number and err.endswith("the same command continues.\n")
        # When all is done, the signal is the system's again.
        fine = ended or process.returncode in (0, -number)
        what = f"{number.name} in turn {turn}: {process.returncode} {err}"
        account.took(what, "answered" if fine and "Traceback" not in err else "tracebacks")
    again = start(tmp_path, *COMMANDS[kind])
    _, err = again.communicate()
    assert again.returncode == 0, err
    if kind in ("network", "grid", "codec"):
        whole = start(tmp_path, *COMMANDS[kind][:-1], "whole")
        _, err = whole.communicate()
        assert whole.returncode == 0, err
        for file in (tmp_path / "whole").rglob("metrics.jsonl"):
            here = tmp_path / "run" / file.parent.relative_to(tmp_path / "whole")
            same = records_of(here) == records_of(file.parent)
            account.took(f"the end of {here.name}", "answered" if same else "lost")
    account.settle(f"signals, {kind}")
