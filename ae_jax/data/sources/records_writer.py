"""Writes sets into folders of array_record files, block by block, for `records` to read.

A set that is larger than memory is given as generators of blocks.
"""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ae_jax.core.errors import UserError
from ae_jax.data.arrays import check_split
from ae_jax.data.base import SPLITS, Facts, Split
from ae_jax.data.sources.cache import replaced_whole, sha256_of
from ae_jax.data.sources.records import BESIDE, HEADER, TYPES, VERSION

# Examples are read one by one in random order: groups or compression would be undone each time.
_WRITER_OPTIONS = "group_size:1,uncompressed"
_FILE_BYTES = 1 << 30


def write_records(
    folder: str | Path,
    splits: Mapping[str, Iterable[Split]],
    *,
    max_value: float | None = None,
    classes: Sequence[str] | None = None,
    facts: Facts | None = None,
    file_bytes: int = _FILE_BYTES,
) -> Path:
    """Writes a set into a folder that is not there yet, and returns it.

    splits      `train`, `test` and possibly `valid`, each as blocks of any length: [the split], or
                a generator where it does not fit into memory. Examples are uint8 or finite float32
                of one shape, counts also uint16; either every block of a split has labels
                (conditions, factors, names) or none has
    max_value   that of `DataSet`, as `classes` and `facts` are
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
            writer = _Writer(fresh, str(folder), file_bytes, facts or Facts())
            parts = {name: writer.write(name, blocks) for name, blocks in splits.items()}
            header = {
                "version": VERSION,
                "shape": list(writer.shape),
                "dtype": writer.dtype.name,
                "max_value": max_value,
                "classes": None if classes is None else list(map(str, classes)),
                "facts": dataclasses.asdict(writer.facts),
                "splits": parts,
            }
            (fresh / HEADER).write_text(json.dumps(header, indent=2) + "\n")
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}") from error
    return folder


class _Writer:
    """Writes the splits of one set; the first block decides shape and type of all."""

    def __init__(self, folder: Path, origin: str, file_bytes: int, facts: Facts):
        self._folder, self._origin, self._file_bytes = folder, origin, file_bytes
        self.facts = facts
        self.shape: tuple[int, ...] = ()
        self.dtype = np.dtype(np.uint8)
        self._begun = False

    def write(self, name: str, blocks: Iterable[Split]) -> dict[str, Any]:
        """What the header says of a split."""
        beside: dict[str, list[Any]] = {column: [] for column in BESIDE}
        bounds: list[Any] = []
        files = _Files(self._folder, name, self._file_bytes)
        with files:
            for block in blocks:
                x = self._checked(block)
                bounds += [x.min().item(), x.max().item()]
                for column, held in beside.items():
                    held.append(getattr(block, column))
                for row in x:
                    files.add(row.tobytes())
        if not bounds:
            raise UserError(f"data set {self._origin}: the split {name} has no examples")
        for column, held in beside.items():
            if len({values is None for values in held}) > 1:
                raise UserError(
                    f"data set {self._origin}: {name} has {BESIDE[column]} in some blocks only"
                )
        return {
            "count": sum(file["count"] for file in files.facts),
            "low": min(bounds),
            "high": max(bounds),
            "files": files.facts,
            **{
                BESIDE[column]: None if held[0] is None else self._save(name, column, held)
                for column, held in beside.items()
            },
        }

    def _checked(self, block: Split) -> np.ndarray:
        if np.ma.is_masked(block.x):
            raise UserError(f"data set {self._origin}: records have no place for missing values")
        x = np.asarray(block.x)
        if not self._begun:
            self.shape, self.dtype, self._begun = x.shape[1:], x.dtype, True
        counts = self.facts.kind == "counts"
        check_split(dataclasses.replace(block, x=x), self.shape, self._origin, counts=counts)
        for column in BESIDE:
            values = getattr(block, column)
            if values is not None and len(values) != len(x):
                raise UserError(
                    f"data set {self._origin}: {len(x)} examples need as many {BESIDE[column]}, "
                    f"not {len(values)}"
                )
        if x.dtype != self.dtype:
            raise UserError(f"data set {self._origin}: {x.dtype} beside {self.dtype}")
        return x.astype(TYPES[self.dtype.name], copy=False)

    def _save(self, name: str, column: str, parts: list[np.ndarray]) -> dict[str, Any]:
        path, values = self._folder / f"{name}-{BESIDE[column]}.npy", np.concatenate(parts)
        # Names may be objects of Python, which cannot be saved without pickles.
        np.save(path, values.astype(str) if column == "names" else values, allow_pickle=False)
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
