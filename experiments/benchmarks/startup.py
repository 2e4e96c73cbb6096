"""From the command to the first step, with and without programs compiled before."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ae_jax.core.errors import UserError
from ae_jax.data import prepare
from experiments.benchmarks.report import Results

EXAMPLES = 100  # one batch: the first epoch is the first step


def run(preset: str, say: Callable[[str], None]) -> Results:
    """Times `ae-jax train mnist` until its first record is written, and `ae-jax --help`."""
    prepare("mnist")
    rounds = 1 if preset == "smoke" else 3
    cold, warm = [], []
    for turn in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            for name, kept in (("cold", cold), ("warm", warm)):
                say(f"{name} start, round {turn + 1}")
                kept.append(_until_first_record(Path(folder), f"{name}"))
    help_seconds = min(_seconds_of([sys.executable, "-m", "ae_jax.cli", "--help"]) for _ in cold)
    rows = [
        {"start": "nothing compiled before", "seconds to the first step": round(min(cold), 2)},
        {"start": "compiled programs kept", "seconds to the first step": round(min(warm), 2)},
        {"start": "ae-jax --help", "seconds to the first step": round(help_seconds, 2)},
    ]
    return Results(
        tables={"From the command to the end of the first step": rows},
        claims=[
            ("cold start / warm start", min(cold) / min(warm), 1.0),
            ("one second / ae-jax --help", 1.0 / help_seconds, 1.0),
        ],
        facts={},
        note=(
            f"`ae-jax train mnist` on {EXAMPLES} examples in one batch, 500 tanh units, prepared "
            f"data; from the start of the process to the first line of metrics.jsonl; the best of "
            f"{rounds}."
        ),
    )


def _until_first_record(folder: Path, name: str) -> float:
    """Seconds until a run has written its first record; the cache lies in the folder."""
    run = folder / name
    command = [sys.executable, "-m", "ae_jax.cli", "train", "mnist", "--epochs", "1"]
    command += ["--set", f"data.limit={EXAMPLES}", "--workdir", str(run)]
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled")}
    environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
    start = time.perf_counter()
    process = subprocess.Popen(  # noqa: S603  words of ours
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    written = run / "metrics.jsonl"
    while not (written.is_file() and written.stat().st_size):
        if process.poll() is not None and not written.is_file():
            raise UserError(f"ae-jax train failed: {process.communicate()[0].strip()[-300:]}")
        time.sleep(0.005)
    seconds = time.perf_counter() - start
    process.communicate()
    return seconds


def _seconds_of(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603  words of ours
    return time.perf_counter() - start
