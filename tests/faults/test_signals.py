"""SIGTERM, SIGHUP and Ctrl-C: the epoch is finished and saved, and the same command goes on."""

import signal
import time
from pathlib import Path

import pytest

import ae_jax
from ae_jax.core import interrupts
from ae_jax.train.checkpoints import latest_step
from faults.shared import lines_of, records_of, start, two_clusters, wait_until

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


def test_a_second_signal_ends_at_once_and_without_a_traceback(tmp_path):
    data, run = two_clusters(tmp_path / "x.npy"), tmp_path / "run"
    process = start(tmp_path, *command_for(data))
    assert wait_until(process, lambda: lines_of(run) >= 1)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.001)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err


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
