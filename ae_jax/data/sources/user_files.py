"""Users' own files and folders, read where they lie by what their names end with."""

import dataclasses
import gzip
import os
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ae_jax.core.errors import UserError
from ae_jax.data.array_files import names_of_keys
from ae_jax.data.arrays import UNREADABLE
from ae_jax.data.counts import stored_texts
from ae_jax.data.protocols import Stored
from ae_jax.data.sources.cache import Log
from ae_jax.data.sources.pictures import is_folder_of_pictures, is_picture, read_pictures
from ae_jax.data.sources.records import HEADER
from ae_jax.data.sources.tables import read_table
from ae_jax.data.sources.top_tagging import imported_h5py
from ae_jax.data.sources.user_arrays import stored_arrays, stored_of, stored_sparse

TABLES = (".csv", ".tsv", ".parquet")
_SPARSE = {"data", "indices", "indptr", "shape"}


@dataclasses.dataclass(frozen=True)
class UserFile:
    """A file or folder and how it is read, `read(path, log)`. Nothing is cached."""

    path: Path
    read: Callable[[Path, Log], Stored]

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def sources(self) -> tuple[str, ...]:
        return (str(self.path),)

    def cached_at(self) -> Path:
        """The file itself. Raises UserError where there is none."""
        if not os.path.exists(self.path):
            raise UserError(f"data set {self.path}: there is no such file")
        return self.path

    def stored(self, log: Log) -> Stored:
        """What it holds. Raises UserError."""
        return self.read(self.cached_at(), log)

    peek = stored


def user_file(name: str) -> UserFile | None:
    """The file or folder that a name leads to, or None where it is none of those read here."""
    path, label = file_and_label(name)
    lower = path.name.lower()
    if lower.endswith(TABLES):
        return UserFile(path, lambda path, log: read_table(path, log, label))
    for ending, read in _READERS.items():
        if lower.endswith(ending):
            return UserFile(path, read)
    if lower.endswith(".npz") and _is_sparse(path):
        return UserFile(path, _sparse_matrix)
    if not os.path.isdir(path) or (path / HEADER).is_file():  # False for what cannot be a path
        return None  # of records, `RecordFolder` knows
    texts = [*path.glob("*.txt")]
    examples = any(not _is_about(text) for text in texts)
    if examples and any(is_picture(file) for file in path.iterdir()):
        return UserFile(path, _folder_of_both)
    if not examples and is_folder_of_pictures(path):
        return UserFile(path, lambda path, log: read_pictures(path))
    return UserFile(path, _folder_of_texts) if texts else None


def _is_about(text: Path) -> bool:
    """Whether a text is of a folder of pictures and not an example."""
    name = text.stem.lower()
    return name in ("classes", "labels") or name.startswith(("readme", "license", "licence"))


def _folder_of_both(path: Path, log: Log) -> Stored:
    raise UserError(f"data set {path} holds texts and pictures: put those to train on alone")


def file_and_label(name: str) -> tuple[Path, str | None]:
    """A table's path and the column of its labels, from `table.csv:column`; else None.

    That is empty for `table.csv:`, a table of features alone.
    """
    path, colon, label = name.rpartition(":")
    while colon:
        if path.lower().endswith(TABLES):
            return Path(path).expanduser(), label
        path, colon, before = path.rpartition(":")
        label = f"{before}:{label}"
    return Path(name).expanduser(), None


def texts_of(name: str) -> list[str] | None:
    """The texts of a file or a folder, as `user_file` reads them; None where it holds others."""
    found = user_file(name)
    return _read_texts(found.path) if found and found.read in (_texts, _folder_of_texts) else None


def _read_texts(path: Path) -> list[str]:
    """One document a line, and empty lines are none; of a folder one a file, in their order."""
    if path.is_dir():
        return [_text_of(file) for file in sorted(path.glob("*.txt"))]
    return [line for line in _text_of(path).splitlines() if line.strip()]


def _texts(path: Path, log: Log) -> Stored:
    return stored_texts(_read_texts(path), str(path), log, str(path))


def _folder_of_texts(path: Path, log: Log) -> Stored:
    return stored_texts(_read_texts(path), str(path), log, str(path))


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a text in UTF-8: {error}") from error


def _is_sparse(path: Path) -> bool:
    """Whether an archive has the four arrays of `scipy.sparse.save_npz`."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {f"{key}.npy" for key in _SPARSE} <= set(archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False  # what is wrong with it is said where it is read


def _sparse_matrix(path: Path, log: Log) -> Stored:
    """A CSR matrix of scipy: whole numbers are counts, others are measurements made dense.

    `y`, and `vocab` with the words of the columns, may lie beside.
    """
    from scipy import sparse

    try:
        with path.open("rb") as opened:
            archive = np.load(opened, allow_pickle=False)
            parts = {key: archive[key] for key in (_SPARSE | {"y", "vocab"}) & set(archive.files)}
            kind = archive["format"].item() if "format" in archive.files else b"csr"
        if kind not in (b"csr", "csr"):
            raise ValueError(f"the matrix is in the format {kind!r}, and CSR is needed")
        matrix = sparse.csr_matrix(
            (parts["data"], parts["indices"], parts["indptr"]), shape=tuple(parts["shape"])
        )
        matrix.check_format()
    except UNREADABLE as error:
        raise UserError(f"data set {path} cannot be read as a sparse matrix: {error}") from error
    words = parts.get("vocab")
    if words is not None and len(words) != matrix.shape[1]:
        raise UserError(f"data set {path}: {len(words)} words and {matrix.shape[1]} columns")
    return stored_sparse(matrix, parts.get("y"), str(path), log, words)


def _gzipped_array(path: Path, log: Log) -> Stored:
    """A .npy file, compressed by gzip."""
    try:
        with gzip.open(path) as opened:
            x = np.load(opened, allow_pickle=False)
    except (*UNREADABLE, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"data set {path} cannot be read as a gzipped .npy file") from error
    if not isinstance(x, np.ndarray):
        raise UserError(f"data set {path} is a gzipped archive: unpack it, and name the .npz file")
    return stored_of(x, None, str(path))


def _hdf5(path: Path, log: Log) -> Stored:
    """The arrays of an HDF5 file under the keys that a .npz file may have."""
    h5py = imported_h5py(path)
    try:
        with h5py.File(path, "r") as file:
            names = names_of_keys([k for k in file if isinstance(file[k], h5py.Dataset)], path)
            arrays: dict[str, Any] = {name: file[key][()] for key, name in names.items() if name}
            others: dict[str, Any] = {key: None for key, name in names.items() if name is None}
    except (OSError, TypeError, ValueError) as error:
        raise UserError(f"data set {path} cannot be read as HDF5: {error}") from error
    return stored_arrays(arrays if arrays else others, str(path))


_READERS: dict[str, Callable[[Path, Log], Stored]] = {
    ".txt": _texts,
    ".npy.gz": _gzipped_array,
    ".h5": _hdf5,
    ".hdf5": _hdf5,
}
