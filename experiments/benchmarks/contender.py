"""Runs one contender in a process of its own: `python -m experiments.benchmarks.contender`.

Nothing of one contender (threads, compiled programs, memory) is then there for the next.
"""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from importlib import import_module

from ae_jax.errors import UserError
from experiments.benchmarks.workload import Workload

MARK = "result: "


def measure(
    function: str, workload: Workload, environment: dict[str, str] | None = None, **options
) -> dict:
    """What `function`, named `module:function` beside this file, returns for a workload.

    Raises UserError with the end of its output where it fails.
    """
    command = [sys.executable, "-m", __name__, function]
    done = subprocess.run(
        [*command, json.dumps({"workload": asdict(workload), "options": options})],
        capture_output=True,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if done.returncode or not lines:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise UserError(f"contender {function} failed: {' '.join(last)}")
    return json.loads(lines[-1].removeprefix(MARK))


def _main() -> None:
    function, arguments = sys.argv[1], json.loads(sys.argv[2])
    module, _, name = function.partition(":")
    run = getattr(import_module(f"experiments.benchmarks.{module}"), name)
    result = run(Workload(**arguments["workload"]), **arguments["options"])
    print(MARK + json.dumps(result), flush=True)


if __name__ == "__main__":
    _main()
