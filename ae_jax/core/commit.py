"""Which state of this code it is that runs."""

import functools
import subprocess
from pathlib import Path


@functools.cache  # a process runs the code that it has loaded
def commit() -> str:
    """The commit of the working tree, marked where files differ from it; "unknown" without one."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(  # noqa: S603  words of ours
            command, capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()
