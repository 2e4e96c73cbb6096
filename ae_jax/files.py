"""Writing files so that a reader never meets half of one."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from ae_jax.errors import UserError


def write_text(path: Path, text: str) -> None:
    """Replaces the file in one move: after a crash it is the old one or the new one, whole."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.chmod(temporary, 0o644)  # mkstemp makes files that only their owner may read
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """As `write_text`, for JSON with an indent of two."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises UserError if it is missing or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path} is not a JSON file: {error}") from error


def make_directory(path: Path) -> Path:
    """Creates a folder with its parents. Raises UserError where that is not permitted."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot create the folder {path}: {error.strerror}") from error
    if not os.access(path, os.W_OK):
        raise UserError(f"no permission to write in the folder {path}")
    return path
