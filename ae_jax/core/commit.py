"""Which state of this code it is that runs."""

import functools
import os
import subprocess
from pathlib import Path

UNKNOWN = "unknown"


@functools.cache  # a process runs the code that it has loaded
def commit() -> str:
    """The commit of the working tree, marked where files of it or of the library differ from it.

    "unknown" without one: of a library that lies in somebody else's repository, and is none of its
    files, too.
    """
    here = Path(__file__).parent
    try:
        _git(here, "ls-files", "--error-unmatch", Path(__file__).name)
        named = _git(here, "describe", "--always", "--dirty")
        added = _git(here.parent, "ls-files", "--others", "--exclude-standard")
    except (OSError, subprocess.SubprocessError):
        return UNKNOWN
    return f"{named}-dirty" if added and not named.endswith("-dirty") else named


def _git(folder: Path, *command: str) -> str:
    # A hook of git's names its own repository by variables that would win over the folder.
    rest = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(  # noqa: S603  words of ours
        ["git", "-C", str(folder), *command],  # noqa: S607  whichever is the user's
        capture_output=True, text=True, check=True, timeout=10, env=rest,
    )  # fmt: skip
    return done.stdout.strip()
