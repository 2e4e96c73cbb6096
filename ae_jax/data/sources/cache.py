"""Prepared arrays on disk: plain .npy files with a manifest, memory-mapped, swapped in whole.

One folder a data set: `manifest.json` and `x_train.npy`, `x_test.npy`, and where there are such,
`y_`, `factors_` and `names_`. A folder under this name is complete: it is written beside and
renamed.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import filelock
import numpy as np

from ae_jax.core.errors import present
from ae_jax.data.arrays import UNREADABLE
from ae_jax.data.base import COLUMNS, Facts, Split
from ae_jax.data.protocols import Stored

Log = Callable[[str], None]

_MANIFEST = "manifest.json"
_VERSION = 2


class Damaged(Exception):
    """Prepared files that are not what was written. The message says which, in a few words."""


def read(folder: Path) -> Stored | None:
    """The prepared set, memory-mapped, or None where there is none.

    Sizes, shapes and types are checked against the manifest, and contents against their sha256
    when this process opens them for the first time. Raises Damaged.
    """
    try:
        manifest = _manifest(folder)
        if manifest is None:
            return None
        arrays = {key: _open(folder, key, facts) for key, facts in manifest["arrays"].items()}
        return Stored(
            train=_split(arrays, "train"),
            test=_split(arrays, "test"),
            valid_count=manifest["valid_count"],
            max_value=manifest["max_value"],
            # Sets that were prepared long ago lack these two.
            classes=_tuples(manifest.get("classes")),
            facts=_facts(manifest.get("facts", {})),
        )
    except KeyError as error:
        raise Damaged(f"{_MANIFEST} lacks {error}") from error
    except (TypeError, AttributeError, ValueError) as error:
        raise Damaged(f"{_MANIFEST} has another form than when it was written") from error


def _split(arrays: dict[str, np.ndarray], part: str) -> Split:
    others: dict[str, Any] = {name: arrays.get(f"{name}_{part}") for name in COLUMNS if name != "x"}
    return Split(arrays[f"x_{part}"], **others)


def _facts(values: dict) -> Facts:
    """The facts as they were before JSON made their tuples lists. Raises Damaged."""
    try:
        return Facts(**{name: _tuples(value) for name, value in values.items()})
    except TypeError as error:
        raise Damaged(f"{_MANIFEST} holds unknown facts") from error


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def verify(folder: Path) -> None:
    """Compares the sha256 of every prepared file with the manifest. Raises Damaged."""
    for key, facts in present(_manifest(folder), str(folder))["arrays"].items():
        _verify(folder / f"{key}.npy", facts["sha256"])


# Files that this process has compared with their sha256: where they lie, and what tells whether
# they were written since.
_verified: set[tuple[str, int, int, int]] = set()


def _verify(path: Path, sha256: str) -> None:
    if sha256_of(path) != sha256:
        raise Damaged(f"{path.name} has another sha256 than when it was written")


def write(folder: Path, stored: Stored) -> None:
    """Writes a set into an existing folder, the manifest last. Raises OSError."""
    parts = {"train": stored.train, "test": stored.test}
    facts = {}
    for part, split in parts.items():
        for column in COLUMNS:
            key, array = f"{column}_{part}", getattr(split, column)
            if array is not None:
                facts[key] = _save(folder / f"{key}.npy", array)
    manifest = {
        "version": _VERSION,
        "valid_count": stored.valid_count,
        "max_value": stored.max_value,
        "classes": stored.classes,
        "facts": dataclasses.asdict(stored.facts),
        "arrays": facts,
    }
    (folder / _MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")


@contextlib.contextmanager
def exclusive(folder: Path, log: Log) -> Iterator[None]:
    """Holds the right to prepare this folder; waits for another process that does."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder.parent / f".{folder.name}.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        log(f"{folder.name}: another process is preparing it; waiting")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def replaced_whole(folder: Path) -> Iterator[Path]:
    """An empty folder beside `folder` that takes its place once the block has succeeded.

    Call it under `exclusive`: what a killed process left behind is removed first.
    """
    fresh, old = (folder.parent / f".{folder.name}.{suffix}" for suffix in ("new", "old"))
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh.mkdir()
    try:
        yield fresh
        if folder.exists():
            os.replace(folder, old)
        os.replace(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _manifest(folder: Path) -> dict | None:
    try:
        manifest = json.loads((folder / _MANIFEST).read_text())
    except (FileNotFoundError, NotADirectoryError):
        if folder.is_dir():
            raise Damaged(f"{_MANIFEST} is missing") from None
        return None
    except IsADirectoryError as error:
        raise Damaged(f"{_MANIFEST} is a folder") from error
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{_MANIFEST} is not JSON") from error
    if not isinstance(manifest, dict) or manifest.get("version") != _VERSION:
        raise Damaged(f"{_MANIFEST} is of another version")
    return manifest


def _save(path: Path, array: np.ndarray) -> dict:
    np.save(path, array, allow_pickle=False)
    return {
        "shape": list(array.shape),
        "dtype": array.dtype.str,
        "bytes": path.stat().st_size,
        "sha256": sha256_of(path),
    }


def _open(folder: Path, key: str, facts: dict) -> np.ndarray:
    path = folder / f"{key}.npy"
    try:
        found = path.stat()
        if found.st_size != facts["bytes"]:
            raise Damaged(f"{path.name} has {found.st_size} bytes instead of {facts['bytes']}")
        known = (str(path.absolute()), found.st_ino, found.st_mtime_ns, found.st_size)
        if known not in _verified:
            _verify(path, facts["sha256"])
            _verified.add(known)
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise Damaged(f"{path.name} is missing") from error
    except OSError:
        raise  # it may be whole, and only not for us
    except UNREADABLE as error:
        raise Damaged(f"{path.name} cannot be read") from error
    if list(array.shape) != facts["shape"] or array.dtype.str != facts["dtype"]:
        raise Damaged(f"{path.name} has another shape or type than when it was written")
    return array
