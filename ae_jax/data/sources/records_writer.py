"""Writes sets into folders of array_record files, block by block, for `records` to read.

A set that is larger than memory is given as generators of blocks.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ae_jax.core.errors import UserError
from ae_jax.data.arrays import check_split
from ae_jax.data.base import SPLITS, Split
from ae_jax.data.sources.cache import replaced_whole, sha256_of
from ae_jax.data.sources.records import HEADER, TYPES, VERSION

# Examples are read one by one in random order: groups or compression would be undone each time.
_WRITER_OPTIONS = "group_size:1,uncompressed"
_FILE_BYTES = 1 << 30


def write_records(
    folder: str | Path,
    splits: Mapping[str, Iterable[Split]],
    *,
    max_value: float | None = None,
    file_bytes: int = _FILE_BYTES,
) -> Path:
    """Writes a set into a folder that is not there yet, and returns it.

    splits      `train`, `test` and possibly `valid`, each as blocks of any length: [the split], or
                a generator where it does not fit into memory. Examples are uint8 or finite float32
                of one shape; either every block of a split has labels or none has
    max_value   that of `DataSet`
    file_bytes  about as much goes into one file
    Raises UserError.
    """
    folder = Path(folder).expanduser()
    if folder.exists():
        raise UserError(f"{folder} is there already; records go into a folder of their own")
    if not {"train", "test"} <= set(splits) <= set(SPLITS):
        raise UserError(f"records need the splits train and test, not {', '.join(splits)}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with replaced_whole(folder) as fresh:
            writer = _Writer(fresh, str(folder), file_bytes)
            facts = {name: writer.write(name, blocks) for name, blocks in splits.items()}
            header = {
                "version": VERSION,
                "shape": list(writer.shape),
                "dtype": writer.dtype.name,
                "max_value": max_value,
                "splits": facts,
            }
            (fresh / HEADER).write_text(json.dumps(header, indent=2) + "\n")
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}") from error
    return folder


class _Writer:
    """Writes the splits of one set; the first block decides shape and type of all."""

    def __init__(self, folder: Path, origin: str, file_bytes: int):
        self._folder, self._origin, self._file_bytes = folder, origin, file_bytes
        self.shape: tuple[int, ...] = ()
        self.dtype = np.dtype(np.uint8)
        self._begun = False

    def write(self, name: str, blocks: Iterable[Split]) -> dict[str, Any]:
        """What the header says of a split."""
        labels: list[Any] = []
        bounds: list[Any] = []
        files = _Files(self._folder, name, self._file_bytes)
        with files:
            for block in blocks:
                x = self._checked(block)
                bounds += [x.min().item(), x.max().item()]
                labels.append(block.y)
                for row in x:
                    files.add(row.tobytes())
        if not bounds:
            raise UserError(f"data set {self._origin}: the split {name} has no examples")
        if len({y is None for y in labels}) > 1:
            raise UserError(f"data set {self._origin}: {name} has labels in some blocks only")
        return {
            "count": sum(file["count"] for file in files.facts),
            "low": min(bounds),
            "high": max(bounds),
            "files": files.facts,
            "labels": None if labels[0] is None else self._save_labels(name, labels),
        }

    def _checked(self, block: Split) -> np.ndarray:
        x = np.asarray(block.x)
        if not self._begun:
            self.shape, self.dtype, self._begun = x.shape[1:], x.dtype, True
        check_split(Split(x, block.y), self.shape, self._origin)
        if x.dtype != self.dtype:
            raise UserError(f"data set {self._origin}: {x.dtype} beside {self.dtype}")
        return x.astype(TYPES[self.dtype.name], copy=False)

    def _save_labels(self, name: str, labels: list[np.ndarray]) -> dict[str, Any]:
        path = self._folder / f"{name}-labels.npy"
        np.save(path, np.concatenate(labels), allow_pickle=False)
        return {"name": path.name, "bytes": path.stat().st_size, "sha256": sha256_of(path)}


class _Files:
    """The record files of a split, begun anew when one is full."""

    def __init__(self, folder: Path, name: str, file_bytes: int):
        self._folder, self._name, self._file_bytes = folder, name, file_bytes
        self._writer: Any = None
        self._count = 0
        self.facts: list[dict[str, Any]] = []

    def __enter__(self) -> "_Files":
        return self

    def __exit__(self, *_: Any) -> None:
        self._finish()

    def add(self, record: bytes) -> None:
        if self._count * len(record) >= self._file_bytes:
            self._finish()
        if self._writer is None:
            from array_record.python.array_record_module import ArrayRecordWriter

            self._writer = ArrayRecordWriter(str(self._path), _WRITER_OPTIONS)
        self._writer.write(record)
        self._count += 1

    @property
    def _path(self) -> Path:
        return self._folder / f"{self._name}-{len(self.facts):05}.array_record"

    def _finish(self) -> None:
        if self._writer is None:
            return
        self._writer.close()
        path = self._path
        facts = {"name": path.name, "count": self._count, "bytes": path.stat().st_size}
        self.facts.append(facts | {"sha256": sha256_of(path)})
        self._writer, self._count = None, 0
