"""Runs to break, processes to break them in, and the account of what came of it."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy
from timeless import timeless

from ae_jax.core.errors import UserError

TINY = ("--latent-dim", 2, "--hidden", 4, "--set", "data.limit=200", "--batch-size", 50)


@dataclasses.dataclass
class Account:
    """How often something was tried, and what came of it."""

    tried: int = 0
    answered: int = 0  # right, or with a sentence
    lost: int = 0
    tracebacks: int = 0
    wrong: int = 0  # silently
    first: str = ""

    def took(self, what: str, kind: str) -> None:
        self.tried += 1
        setattr(self, kind, getattr(self, kind) + 1)
        if kind != "answered" and not self.first:
            self.first = f"{kind}: {what}"

    def settle(self, name: str) -> None:
        print(f"\n{name}: {self}")
        assert self.tried == self.answered and self.tried, self.first


def try_many(name: str, count: int, given_: SearchStrategy, use: Callable[[Any], None]) -> None:
    """Uses so many values, always the same ones: an answer or a UserError of one line each.

    Any other error ends it, with the smallest value that raises it.
    """
    account = Account()

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
    )
    @given(given_)
    def one(value: Any) -> None:
        try:
            use(value)
        except UserError as error:
            fine = "\n" not in str(error) and len(str(error)) < 20_000
            account.took(repr(value)[:300], "answered" if fine else "tracebacks")
        else:
            account.took("", "answered")

    one()
    account.settle(name)


def is_sentence(text: str) -> bool:
    """Whether a command said on standard error what was wrong, and nothing of Python's."""
    lines = [line for line in text.splitlines() if line.startswith(("Error:", "Usage:"))]
    return bool(lines) and "Traceback" not in text


def environment(folder: Path) -> dict[str, str]:
    """For a child: one device, and a cache of data beside its runs."""
    return os.environ | {
        "AE_JAX_CACHE": str(folder / "cache"),
        "JAX_NUM_CPU_DEVICES": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }


def start(
    folder: Path,
    *arguments: object,
    more: Mapping[str, str] = MappingProxyType({}),
    before: str = "",
) -> subprocess.Popen:
    """`ae-jax` as a process of its own in a folder, with more in its environment.

    `before` is code that is run there first.
    """
    code = f"{before}\nfrom ae_jax.cli import main; main()"
    command = ("-c", code) if before else ("-m", "ae_jax.cli")
    return subprocess.Popen(
        [sys.executable, *command, *map(str, arguments)],
        cwd=folder,
        env={**environment(folder), **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


_FORKING = """
import os, sys
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        exec(line)
        os._exit(0)
    print(child, flush=True)
    os.waitpid(child, 0)
"""


@dataclasses.dataclass(frozen=True)
class Forked:
    """A child that has its imports from the start."""

    pid: int

    def poll(self) -> int | None:
        """None while it lives."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return 0
        return None

    def kill(self, after: float) -> None:
        """Kills it after so many seconds, if it has not ended before."""
        end = time.monotonic() + after
        while self.poll() is None and time.monotonic() < end:
            time.sleep(0.002)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        while self.poll() is None:
            time.sleep(0.002)


@contextlib.contextmanager
def forking(folder: Path, imports: str) -> Iterator[Callable[[str], Forked]]:
    """Starts lines of code in a folder, one after another, each as a process of its own.

    They are forked from one that has imported and computed nothing: imports take longer than most
    of what is killed here. What they say on standard error is in `errors` of the folder.
    """
    with (folder / "errors").open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", imports + _FORKING],
            cwd=folder,
            # Threads of linear algebra would not be there after a fork.
            env=environment(folder) | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        try:

            def started(line: str) -> Forked:
                process.stdin.write(line + "\n")
                process.stdin.flush()
                return Forked(int(process.stdout.readline()))

            yield started
        finally:
            process.communicate()


def wait_until(process: subprocess.Popen | Forked, is_time: Callable[[], bool]) -> bool:
    """Whether the time came before the process ended."""
    while process.poll() is None:
        if is_time():
            return True
        time.sleep(0.002)
    return False


def lines_of(run: Path) -> int:
    file = run / "metrics.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def records_of(run: Path) -> list[dict]:
    return timeless([json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()])


def two_clusters(path: Path, count: int = 240) -> Path:
    """A .npy file of vectors [N, 6] around two centres."""
    rng = np.random.default_rng(0)
    centres = np.where(rng.integers(0, 2, count) == 1, 1.0, -1.0)[:, None]
    np.save(path, (centres + 0.3 * rng.normal(size=(count, 6))).astype(np.float32))
    return path
