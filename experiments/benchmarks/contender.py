"""Runs one contender in a process of its own: `python -m experiments.benchmarks.contender`.

Nothing of one contender (threads, compiled programs, memory) is then there for the next. Contenders
that are to be compared take turns, one epoch each: the machine has slow minutes, and they hit all.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from importlib import import_module
from typing import Any

from ae_jax.core.errors import UserError
from experiments.benchmarks.workload import READY, Workload

MARK = "result: "
# Several processes share an accelerator, where the first would take all memory.
SHARED = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}


@dataclass(frozen=True)
class Contender:
    """`function`, named `module:function` beside this file, for a workload, with its options."""

    function: str
    workload: Workload
    options: Mapping[str, Any] = field(default_factory=dict)


def measure(
    function: str, workload: Workload, environment: dict[str, str] | None = None, **options
) -> dict:
    """What a contender returns. Raises UserError with the end of its output where it fails."""
    with _Process(Contender(function, workload, options), environment) as process:
        return process.result()


def in_turns(
    contenders: Mapping[str, Contender], say: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """What each contender returns, all of them alive at once and taking turns, epoch by epoch.

    All have the same number of epochs. Raises UserError as `measure`.
    """
    (epochs,) = {contender.workload.epochs for contender in contenders.values()}
    with ExitStack() as stack:
        alive = {
            name: stack.enter_context(_Process(contender, SHARED))
            for name, contender in contenders.items()
        }
        for name, process in alive.items():  # one after another: to start is work, too
            say(f"{name}, first epoch")
            process.turn()
        for turn in range(1, epochs + 1):
            say(f"turn {turn} of {epochs}")
            # There and back, so that none is always the one after a slow or a fast one.
            order = list(alive.values())
            for process in order if turn % 2 else reversed(order):
                process.turn()
        return {name: process.result() for name, process in alive.items()}


class _Process:
    """A contender that runs; it starts at its first turn."""

    def __init__(self, contender: Contender, environment: Mapping[str, str] | None = None):
        self._contender, self._environment = contender, environment or {}
        self._last = ""

    def __enter__(self) -> "_Process":
        self._errors = tempfile.TemporaryFile("w+")
        self._process = None
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                with suppress(OSError):  # what it did not read any more
                    pipe.close()
        self._errors.close()

    def turn(self) -> None:
        """Lets the contender go on to where it waits again, or to its end. Raises UserError."""
        if self._process is None:
            self._start()
            self._wait()
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self._wait()

    def result(self) -> dict:
        """Lets the contender go on to its end. Raises UserError if that is none."""
        if self._process is None:
            self._start()
        self._process.stdin.close()
        while not self._last.startswith(MARK) and self._read():
            pass
        if self._process.wait() or not self._last.startswith(MARK):
            raise self._failure()
        return json.loads(self._last.removeprefix(MARK))

    def _start(self) -> None:
        arguments = {
            "workload": asdict(self._contender.workload),
            "options": dict(self._contender.options),
        }
        self._process = subprocess.Popen(  # noqa: S603  words of ours
            [sys.executable, "-m", __name__, self._contender.function, json.dumps(arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, **self._environment},
        )

    def _wait(self) -> None:
        if not self._read():
            raise self._failure()

    def _read(self) -> bool:
        """Reads up to the next line that counts; whether there is one."""
        for line in self._process.stdout:
            if line.rstrip() == READY or line.startswith(MARK):
                self._last = line
                return True
        return False

    def _failure(self) -> UserError:
        self._errors.seek(0)
        last = (self._errors.read().strip() or self._last.strip()).splitlines()[-1:]
        return UserError(f"contender {self._contender.function} failed: {' '.join(last)}")


def _main() -> None:
    function, arguments = sys.argv[1], json.loads(sys.argv[2])
    module, _, name = function.partition(":")
    run = getattr(import_module(f"experiments.benchmarks.{module}"), name)
    result = run(Workload(**arguments["workload"]), **arguments["options"])
    print(MARK + json.dumps(result), flush=True)


if __name__ == "__main__":
    _main()
