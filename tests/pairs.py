"""Two commands on this machine that train as one, to be watched, signalled and ended apart."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from socket import socket


def free_port() -> int:
    with closing(socket()) as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def addresses(count: int = 2, port: int | None = None) -> list[dict[str, str]]:
    """The variables that make processes one group, for each of them."""
    address = f"127.0.0.1:{free_port() if port is None else port}"
    return [
        {
            "JAX_COORDINATOR_ADDRESS": address,
            "JAX_NUM_PROCESSES": str(count),
            "JAX_PROCESS_ID": str(index),
        }
        for index in range(count)
    ]


class Processes:
    """Running processes, each with a log of all that it says."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.running: list[subprocess.Popen] = []
        self.changed = time.monotonic()

    def start(
        self, command: Sequence[str], environment: Mapping[str, str], limit: int | None = None
    ) -> None:
        """Starts one more, whose files may have so many KiB: a full disk, without filling one."""
        if limit is not None:
            command = ["bash", "-c", f'ulimit -f {limit}; exec "$@"', "-", *command]
        with (self.folder / f"log-{len(self.running)}").open("w") as log:
            self.running.append(
                subprocess.Popen(
                    command,
                    cwd=self.folder,
                    env={**os.environ, "JAX_NUM_CPU_DEVICES": "1", **environment},
                    stdout=log,
                    stderr=log,
                )
            )

    def train(self, *arguments: Sequence[object], limits: Mapping[int, int] | None = None):
        """`ae-jax train` with the arguments of each process."""
        for index, environment in enumerate(addresses(len(arguments))):
            command = [sys.executable, "-m", "ae_jax.cli", "train", *map(str, arguments[index])]
            self.start(command, environment, (limits or {}).get(index))

    def log(self, index: int) -> str:
        return (self.folder / f"log-{index}").read_text()

    def signal(self, index: int, number: int) -> None:
        self.running[index].send_signal(number)
        self.changed = time.monotonic()

    def wait_until(self, holds: Callable[[], bool], seconds: float = 120.0) -> None:
        start = time.monotonic()
        while not holds():
            logs = "\n".join(self.log(i)[-1500:] for i in range(len(self.running)))
            assert all(one.poll() is None for one in self.running), f"ended early\n{logs}"
            assert time.monotonic() - start < seconds, f"waited too long\n{logs}"
            time.sleep(0.02)
        self.changed = time.monotonic()

    def ends(self, within: float) -> list[int]:
        """The statuses of all, which have to end within so many seconds of the last change."""
        for one in self.running:
            left = self.changed + within - time.monotonic()
            try:
                one.wait(max(0.01, left))
            except subprocess.TimeoutExpired:
                logs = "\n".join(self.log(i)[-1500:] for i in range(len(self.running)))
                raise AssertionError(f"still running after {within} s\n{logs}") from None
        return [one.returncode for one in self.running]


@contextmanager
def processes_in(folder: Path) -> Iterator[Processes]:
    """Processes that are gone at the end, whatever they wait for."""
    processes = Processes(folder)
    try:
        yield processes
    finally:
        for one in processes.running:
            if one.poll() is None:
                one.send_signal(signal.SIGCONT)
                one.kill()
            one.wait()
