"""Two processes on this machine with two CPU devices each, which train as one."""

import os
import socket
import subprocess
import sys
from pathlib import Path

WORKER = """
import sys
sys.path.insert(0, {tests!r})
from ae_jax.train import processes
processes.start(wanted=True)
import jax
assert (jax.process_count(), jax.device_count()) == (2, 4)
from {module} import {function}
{function}(*{arguments!r})
"""


def run_in_two(module: str, function: str, *arguments: str) -> None:
    """Calls a function of a test file with texts in both; fails with what the failing one said."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    tests = str(Path(__file__).parent)
    code = WORKER.format(tests=tests, module=module, function=function, arguments=arguments)
    environment = {
        **os.environ,
        "JAX_NUM_CPU_DEVICES": "2",
        "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
        "JAX_NUM_PROCESSES": "2",
    }
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env={**environment, "JAX_PROCESS_ID": str(index)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    try:
        for process in started:
            _, errors = process.communicate(timeout=300)
            assert process.returncode == 0, errors[-3000:]
    finally:  # where one fails, the other would wait for it
        for process in started:
            process.kill()
            process.communicate()
