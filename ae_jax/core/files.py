"""Writing files so that a reader never meets half of one."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ae_jax.core.errors import UserError


def write_atomically(path: str | Path, content: bytes) -> Path:
    """Replaces the file at `path` in one step, making its folder first. Returns the path.

    After a crash the file is the old one or the new one, whole. Raises UserError where the
    folder or the file cannot be written.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(content)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
    return path


def write_text(path: Path, text: str) -> None:
    """As `write_atomically`, for text."""
    write_atomically(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """As `write_text`, for JSON with an indent of two. Raises ValueError for NaN and infinity."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def finite_or_none(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with None, JSON's null, for floats that are not finite: JSON has no other way."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }


def parse_json(text: str) -> Any:
    """What a text of JSON says. Raises ValueError, also for numbers that JSON has not, which
    Python would take: NaN and infinity, and what is as large as that. Raises RecursionError."""
    return json.loads(text, parse_constant=_finite, parse_float=_finite)


def _finite(text: str) -> float:
    value = float(text)
    if math.isfinite(value):
        return value
    raise ValueError(f"{text[:40]} is no number of JSON")


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises UserError if it is missing or not JSON."""
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path} is not a JSON file: {error}") from error
    except RecursionError as error:
        raise UserError(f"{path} is not a JSON file of ours: it is nested too deeply") from error


def read_table(path: Path, *entries: str) -> dict[str, Any]:
    """The JSON object in a file, with these entries. Raises UserError for any other content."""
    table = read_json(path)
    if not isinstance(table, dict) or not all(name in table for name in entries):
        what = f"with {', '.join(entries)}" if entries else "of sections"
        raise UserError(f"{path} is damaged: it has to be a table {what}")
    return table


def whole_path(path: str | Path) -> Path:
    """The path from the root, with links and `~` followed. Raises UserError for one that cannot
    be: a link to itself, a name with a null character."""
    try:
        return Path(path).expanduser().resolve()
    except (RuntimeError, OSError, ValueError) as error:
        raise UserError(f"{str(path)[:200]!r} leads nowhere: {error}") from error


def make_directory(path: Path) -> Path:
    """Creates a folder with its parents. Raises UserError where that is not permitted."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot create the folder {path}: {error.strerror}") from error
    if not os.access(path, os.W_OK):
        raise UserError(f"no permission to write in the folder {path}")
    return path


def cache_root() -> Path:
    """Where things are kept for the next time: $AE_JAX_CACHE, or `ae_jax` in the user's cache."""
    chosen = os.environ.get("AE_JAX_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    users = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(users) / "ae_jax"


def state_root() -> Path | None:
    """What is remembered of this user: $AE_JAX_STATE, or `ae_jax` in the user's state folder.

    None for a user without a home.
    """
    chosen = os.environ.get("AE_JAX_STATE")
    if chosen:
        return Path(chosen).expanduser()
    users = os.environ.get("XDG_STATE_HOME")
    if users:
        return Path(users) / "ae_jax"
    try:
        return Path.home() / ".local" / "state" / "ae_jax"
    except RuntimeError:
        return None
