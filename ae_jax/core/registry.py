"""Names for exchangeable parts, and the one way to extend them.

Every kind of part (objectives, optimisers, encoders, heads, data sets, ...) has one `Registry`
in its folder's `__init__.py`, filled by one line an entry. Wherever a registered name is
accepted, `path/to/file.py:Name` is accepted too, so that users extend the library without
editing it.
"""

import difflib
import hashlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar, cast

from ae_jax.core.errors import UserError, present, shortened
from ae_jax.core.files import whole_path
from ae_jax.core.trust import check_may_run

T = TypeVar("T")


def unknown_name(kind: str, name: str, valid: Iterable[str]) -> UserError:
    """The error for a name that nobody registered: the nearest one, then all valid ones."""
    valid, name = sorted(valid), shortened(name)
    near = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    if not valid:
        return UserError(f"unknown {kind} {name!r}: there is none")
    return UserError(f"unknown {kind} {name!r}: {hint}valid: {', '.join(valid)}")


class Registry(Generic[T]):
    """A read-mostly mapping from names to parts, with errors that say what would be valid.

    With a `base`, what a user's file holds has to be a class derived from it.
    """

    def __init__(self, kind: str, entries: dict[str, T], base: type | None = None):
        self.kind = kind
        self._entries = dict(entries)
        self._base = base

    def register(self, name: str, entry: T) -> None:
        """Adds an entry from outside the library. Raises ValueError if the name is taken."""
        if name in self._entries:
            raise ValueError(f"{self.kind} {name!r} is registered already")
        self._entries[name] = entry

    def get(self, name: str) -> T:
        """The entry of that name, or the object that `path/to/file.py:Name` points to."""
        if name in self._entries:
            return self._entries[name]
        path, _, attribute = name.rpartition(":")
        if path.endswith(".py"):
            return self._checked(_load_from_file(self.kind, Path(path), attribute), name)
        if name.endswith(".py"):
            raise UserError(f"{self.kind} {name!r} is a file: name what is in it, as {name}:Name")
        raise unknown_name(self.kind, name, self._entries)

    def _checked(self, entry: Any, name: str) -> T:
        base = self._base
        if base is None or isinstance(entry, type) and issubclass(entry, base):
            return cast(T, entry)
        raise UserError(
            f"{self.kind} {name!r} is no class derived from {base.__module__}.{base.__name__}"
        )

    def name_of(self, entry: Any) -> str:
        """The name that `get` answers with this entry. Raises UserError for one it cannot find."""
        for name, candidate in self._entries.items():
            if candidate is entry:
                return name
        origin = getattr(sys.modules.get(getattr(entry, "__module__", "")), "__file__", None)
        if origin and entry.__module__.startswith(_PREFIX):
            return f"{origin}:{entry.__name__}"
        raise UserError(
            f"{self.kind} {getattr(entry, '__name__', entry)} has no name: register it, or put it "
            "in a file and name it as path/to/file.py:Name"
        )

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def items(self) -> list[tuple[str, T]]:
        return sorted(self._entries.items())


def absolute_reference(value: Any) -> Any:
    """A reference to a user's file (`x.npy`, `x.npz`, `x.csv`, `x.py:Name`) with its whole path.

    So it means the same from any folder. Anything else is given back as it is.
    """
    if not isinstance(value, str):
        return value
    path, colon, name = value.rpartition(":")
    if path.endswith(".py"):
        return f"{whole_path(path)}{colon}{name}"
    if value.endswith((".npy", ".npz", ".csv")):
        return str(whole_path(value))
    return value


def user_files(values: Any) -> list[Path]:
    """The Python files that are named, as `path/to/file.py:Name`, anywhere in nested values."""
    found: dict[Path, None] = {}
    waiting = [values]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, list | tuple):
            waiting += value
        elif isinstance(value, str):
            path = value.rpartition(":")[0]
            if path.endswith(".py") and "\0" not in path:
                found[whole_path(path)] = None
    return sorted(found)


def code_of(values: Any) -> dict[str, str]:
    """The sha256 of each Python file that is named anywhere in nested values, by its path.

    Of a file that this process has executed it is that of what was executed. Raises UserError
    where the file has been edited since.
    """
    digests = {}
    for path in user_files(values):
        try:
            now = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError:
            continue  # a text that looks like a file; what is needed has been read before
        module = sys.modules.get(_module_name(path))
        if module is not None and getattr(module, _EXECUTED) != now:
            raise UserError(f"{path} was edited after this process had read it: start a new one")
        digests[str(path)] = now
    return digests


_PREFIX = "ae_jax_user_"


_EXECUTED = "__ae_jax_sha256__"


def _module_name(path: Path) -> str:
    return _PREFIX + hashlib.sha256(str(path).encode()).hexdigest()[:16]


def _load_from_file(kind: str, path: Path, attribute: str):
    """Imports a user's file once a process, under a name of its own, and takes one object."""
    path = whole_path(path)
    if not path.is_file():
        raise UserError(f"{kind} {path}:{attribute}: there is no such file")
    module_name = _module_name(path)
    if module_name not in sys.modules:
        _execute(kind, path, module_name)
    module = sys.modules[module_name]
    if not hasattr(module, attribute):
        public = [
            name
            for name, value in vars(module).items()
            if not name.startswith("_")
            and getattr(value, "__module__", module_name) == module_name
            and not isinstance(value, ModuleType)
        ]
        raise unknown_name(f"{kind} in {path}", attribute, public)
    return getattr(module, attribute)


def _execute(kind: str, path: Path, module_name: str) -> None:
    """Makes a module of a file: of the very bytes that were found to be trusted."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{kind} file {path} cannot be read: {error.strerror}") from error
    check_may_run(path, content)
    loader = SourceFileLoader(module_name, str(path))
    spec = importlib.util.spec_from_file_location(module_name, path, loader=loader)
    module = importlib.util.module_from_spec(present(spec, "the form of a module"))
    setattr(module, _EXECUTED, hashlib.sha256(content).hexdigest())
    sys.modules[module_name] = module  # dataclasses look their module up while it executes
    try:
        exec(loader.source_to_code(content, str(path)), module.__dict__)  # noqa: S102  trusted
    except BaseException as error:
        del sys.modules[module_name]
        if not isinstance(error, Exception):
            raise
        raise UserError(f"{kind} file {path} fails on import: {error!r}") from error
