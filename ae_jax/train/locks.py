"""Who reads the checkpoints of a run keeps the run from deleting them meanwhile.

The lock is on their folder itself, so that it also works where a reader may not write. Where the
system has no such locks, nothing is held, and readers look again.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Holds what lies in a folder, together with other readers; waits for a deletion to end."""
    with _locked(path, exclusively=False):
        yield


@contextmanager
def deleting(path: Path) -> Iterator[bool]:
    """Whether nobody reads what lies in a folder; nobody begins to before the block ends."""
    with _locked(path, exclusively=True) as alone:
        yield alone


@contextmanager
def _locked(path: Path, exclusively: bool) -> Iterator[bool]:
    descriptor = None
    allowed = True
    try:
        if fcntl is not None:
            descriptor = os.open(path, os.O_RDONLY)
            how = fcntl.LOCK_EX | fcntl.LOCK_NB if exclusively else fcntl.LOCK_SH
            fcntl.flock(descriptor, how)
    except BlockingIOError:
        allowed = False
    except OSError:  # no folder yet, or a file system without locks
        pass
    try:
        yield allowed
    finally:
        if descriptor is not None:
            os.close(descriptor)  # and with it the lock
