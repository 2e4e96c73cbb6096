"""Files that a reader never sees half written."""

import os
from pathlib import Path

from ae_jax.errors import UserError


def write_atomically(path: str | Path, content: bytes) -> Path:
    """Replaces the file at `path` in one step, making its folder first. Returns the path.

    Raises UserError where the folder or the file cannot be written.
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
