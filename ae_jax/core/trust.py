"""Which of users' files may be executed: those that this user has named before on this machine.

A run's config.json may name Python files, and to open the run executes them. Where the names come
from a file rather than from the user, only contents that the user has chosen before are executed:
their sha256 are kept in a file of the user's own.
"""

import contextlib
import contextvars
import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from ae_jax.core.errors import UserError
from ae_jax.core.files import state_root


class Untrusted(UserError):
    """A file that is not executed, as nothing tells that the user has chosen it."""


_named_by_a_file: contextvars.ContextVar[bool] = contextvars.ContextVar("by_file", default=False)
_known_here: set[str] = set()  # what this process has executed

_LIST = "trusted_code"


@contextlib.contextmanager
def only_known_code(trust: bool = False) -> Iterator[None]:
    """Within, files are executed only if this user has chosen their content before, or trusts."""
    token = _named_by_a_file.set(not trust)
    try:
        yield
    finally:
        _named_by_a_file.reset(token)


def check_may_run(path: Path, content: bytes) -> None:
    """Notes a file that the user chose. Raises UserError for one that somebody else may have."""
    digest = hashlib.sha256(content).hexdigest()
    if digest in _known_here:
        return
    if _named_by_a_file.get() and digest not in _remembered():
        raise Untrusted(
            f"{path} is code that would be executed, and you have not run it on this machine "
            "before: read it, and if you trust it add --trust (in Python trust=True)"
        )
    _known_here.add(digest)
    if not _named_by_a_file.get():
        _remember(digest)


def check_all(paths: Iterable[Path]) -> None:
    """Raises UserError for the first file that may not be executed here; executes none."""
    for path in paths:
        try:
            content = path.read_bytes()
        except OSError:
            continue  # what it is needed for says that it cannot be read
        if _named_by_a_file.get():
            check_may_run(path, content)


def choose(path: Path) -> None:
    """Notes that the user has named a file, whose content may be executed from now on."""
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return  # what it is needed for says that it cannot be read
    _known_here.add(digest)
    _remember(digest)


def are_known(digests: Iterable[str]) -> bool:
    """Whether the user has chosen all of these contents before."""
    return {*digests} <= _known_here | _remembered()


def _remembered() -> set[str]:
    """The digests in the list, if nobody but the user can have written it."""
    path = _list()
    if path is None:
        return set()
    try:
        facts = path.stat()
        if hasattr(os, "geteuid") and (facts.st_uid != os.geteuid() or facts.st_mode & 0o022):
            return set()
        return set(path.read_text(encoding="ascii", errors="replace").split())
    except OSError:
        return set()


def _remember(digest: str) -> None:
    path = _list()
    if path is None or digest in _remembered():
        return
    # Without such a list, runs with code of the user's own ask for --trust.
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "a") as stream:
            stream.write(f"{digest}\n")


def _list() -> Path | None:
    root = state_root()
    return None if root is None else root / _LIST
