"""Sets in array_record files, read row by row and never held in memory; see `records_writer`.

One folder a data set: `records.json` and, for each split, `SPLIT-00000.array_record` and so on. A
record is the bytes of one example, in C order and little-endian; all have the same size. Labels,
conditions, factors and names lie beside, as `SPLIT-labels.npy` and so on, and are held in memory.
"""

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Iterator
from functools import cached_property, lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ae_jax.core.errors import UserError
from ae_jax.data.base import SPLITS, Facts, Split
from ae_jax.data.protocols import Stored
from ae_jax.data.sources.cache import Log, sha256_of

HEADER = "records.json"
VERSION = 2
_VERSIONS = (1, VERSION)  # 1 knows of labels only
# What a split has beside its examples, and what that is called in a folder.
BESIDE = {"y": "labels", "condition": "condition", "factors": "factors", "names": "names"}
TYPES = {"uint8": "|u1", "uint16": "<u2", "float32": "<f4"}
_PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif")
_BLOCK_BYTES = 16 << 20


@dataclasses.dataclass(frozen=True)
class RecordFile:
    """A file and how many records are read from it, in the form that array_record asks for."""

    filename: str
    take: int
    sha256: str
    skip: int = 0

    @property
    def examples_in_shard(self) -> int:
        return self.take


@dataclasses.dataclass(frozen=True)
class RecordArray:
    """Examples [N, *example] on disk, with as much of NumPy's interface as data sets use.

    A slice is another `RecordArray`; an array of indices reads those rows. `low` and `high` bound
    all values of the set, also of the parts that a slice leaves out.
    """

    files: tuple[RecordFile, ...]
    example: tuple[int, ...]
    dtype: np.dtype
    low: float
    high: float
    start: int
    stop: int

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), *self.example)

    @property
    def ndim(self) -> int:
        return 1 + len(self.example)

    @property
    def nbytes(self) -> int:
        return len(self) * self._record_bytes

    @property
    def fingerprint(self) -> str:
        """The identity of these rows, from the recorded sha256 of the files."""
        parts = [*(file.sha256 for file in self.files), str(self.start), str(self.stop)]
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, key: slice | np.ndarray | int) -> "RecordArray | np.ndarray":
        """A part (slices without a step), or rows [*index.shape, *example]. Raises UserError."""
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            if step != 1:
                raise IndexError("examples in files have slices without a step only")
            stop = max(start, stop)
            return dataclasses.replace(self, start=self.start + start, stop=self.start + stop)
        index = np.asarray(key)
        if index.size and not (index.min() >= 0 and index.max() < len(self)):
            raise IndexError(f"rows {index.min()} to {index.max()} of {len(self)}")
        records = self._read((index.ravel() + self.start).tolist())
        return np.frombuffer(b"".join(records), self.dtype).reshape(*index.shape, *self.example)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        whole = np.empty(self.shape, self.dtype)
        filled = 0
        for block in self.blocks():
            whole[filled : filled + len(block)] = block
            filled += len(block)
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def blocks(self) -> Iterator[np.ndarray]:
        """All rows in order, a few megabytes at a time."""
        size = max(1, _BLOCK_BYTES // self._record_bytes)
        for start in range(0, len(self), size):
            yield np.asarray(self[np.arange(start, min(start + size, len(self)))])

    def min(self) -> np.generic:
        """`low`: the smallest value of the set."""
        return self.dtype.type(self.low)

    def max(self) -> np.generic:
        """`high`: the largest value of the set."""
        return self.dtype.type(self.high)

    def mean(self, axis: int = 0, dtype: Any = np.float64) -> np.ndarray:
        """Over the examples, [*example], in one pass."""
        return self._mean_over(lambda block: block, axis, dtype)

    def std(self, axis: int = 0, dtype: Any = np.float64) -> np.ndarray:
        """Over the examples, [*example], in two passes: the differences from the mean are small."""
        mean = self.mean(axis, dtype)
        return np.sqrt(self._mean_over(lambda block: (block - mean) ** 2, axis, dtype))

    def _mean_over(self, function: Any, axis: int, dtype: Any) -> np.ndarray:
        if axis != 0:
            raise ValueError("examples in files are averaged over axis 0 only")
        sums = (function(block.astype(dtype)).sum(axis=0) for block in self.blocks())
        return sum(sums) / len(self)

    @property
    def _record_bytes(self) -> int:
        return math.prod(self.example) * self.dtype.itemsize

    def _read(self, rows: list[int]) -> list[bytes]:
        if not rows:
            return []
        try:
            records = _opened(self.files).__getitems__(rows)
        except (ValueError, IndexError, RuntimeError, OSError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(
                f"records in {Path(self.files[0].filename).parent} cannot be read: {reason}"
            ) from error
        if any(len(record) != self._record_bytes for record in records):
            raise UserError(
                f"records in {Path(self.files[0].filename).parent} have another size than the "
                f"{self._record_bytes} bytes of an example"
            )
        return records


@lru_cache(maxsize=64)  # parts of a set share its open files
def _opened(files: tuple[RecordFile, ...]) -> Any:
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    return ArrayRecordDataSource(files)  # reads ahead nothing, as suits a random order


def is_folder_of_records(name: str) -> bool:
    """Whether a name is the path of a folder that `write_records` has written."""
    return os.path.isfile(Path(name).expanduser() / HEADER)  # False for what cannot be a path


@dataclasses.dataclass(frozen=True)
class RecordFolder:
    """A folder of array_record files. Used where it lies; nothing is cached or held in memory."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def sources(self) -> tuple[str, ...]:
        return (str(self.path),)

    def cached_at(self) -> Path:
        """The folder itself."""
        return self.path

    def stored(self, log: Log) -> Stored:
        """The splits, as arrays on disk. Sizes of files are checked. Raises UserError."""
        parts = {name: self._part(name) for name in SPLITS if name in self._header["splits"]}
        train = [parts[name] for name in ("train", "valid") if name in parts]
        return Stored(
            train=self._split(train),
            test=self._split([parts["test"]]),
            valid_count=parts["valid"]["count"] if "valid" in parts else 0,
            max_value=self._header["max_value"],
            classes=_names(self._header.get("classes")),
            facts=self._facts(),
        )

    peek = stored

    def prepare(self, log: Log) -> Path:
        """Compares the sha256 of every file with the header. Raises UserError."""
        self.stored(log)
        for facts in self._header["splits"].values():
            for file in [*facts["files"], *_beside(facts).values()]:
                if sha256_of(self.path / file["name"]) != file["sha256"]:
                    raise self._bad(f"{file['name']} has another sha256 than when it was written")
        log(f"{self.path}: sha256 of all files verified")
        return self.path

    @cached_property
    def _header(self) -> dict[str, Any]:
        try:
            header = json.loads((self.path / HEADER).read_text())
        except OSError as error:
            files = islice(self.path.rglob("*"), 1000)
            if any(file.suffix.lower() in _PICTURES for file in files):
                raise UserError(
                    f"{self.path} is a folder of pictures: save them as one array [N, H, W, C] of "
                    "bytes in a .npy file, and name that"
                ) from error
            raise self._bad(f"{HEADER}: {error.strerror}") from error
        except ValueError as error:
            raise self._bad(f"{HEADER} is not JSON") from error
        if not isinstance(header, dict) or header.get("version") not in _VERSIONS:
            raise self._bad(f"{HEADER} is of another version")
        missing = {"shape", "dtype", "max_value", "splits"} - header.keys()
        if missing:
            raise self._bad(f"{HEADER} lacks {', '.join(sorted(missing))}")
        if not {"train", "test"} <= set(header["splits"]):
            raise self._bad(f"{HEADER} lacks the splits train and test")
        if header["dtype"] not in TYPES:
            raise self._bad(f"{HEADER}: examples are of type {header['dtype']}")
        return header

    def _facts(self) -> Facts:
        """What the header says that the numbers mean."""
        known: dict[str, Any] = self._header.get("facts", {})
        try:
            fields: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value
                for name, value in known.items()
            }
            return Facts(**fields)
        except (TypeError, AttributeError) as error:
            raise self._bad(f"{HEADER}: its facts are of another version") from error

    def _part(self, name: str) -> dict[str, Any]:
        """What the header says of a split, once the sizes of its files have been checked."""
        facts = self._header["splits"][name]
        missing = {"count", "low", "high", "files", "labels"} - set(facts)
        if missing:
            raise self._bad(f"{HEADER}: the split {name} lacks {', '.join(sorted(missing))}")
        try:
            for file in [*facts["files"], *_beside(facts).values()]:
                found = (self.path / file["name"]).stat().st_size
                if found != file["bytes"]:
                    raise self._bad(f"{file['name']} has {found} bytes instead of {file['bytes']}")
        except OSError as error:
            raise self._bad(f"{Path(error.filename).name}: {error.strerror}") from error
        if sum(file["count"] for file in facts["files"]) != facts["count"]:
            raise self._bad(f"{HEADER}: the files of {name} do not hold {facts['count']} examples")
        return facts

    def _split(self, parts: list[dict[str, Any]]) -> Split:
        """Parts after one another, as one split."""
        files = tuple(
            RecordFile(str(self.path / file["name"]), file["count"], file["sha256"])
            for fact in parts
            for file in fact["files"]
        )
        x: Any = RecordArray(
            files,
            tuple(self._header["shape"]),
            np.dtype(TYPES[self._header["dtype"]]),
            min(fact["low"] for fact in parts),
            max(fact["high"] for fact in parts),
            0,
            sum(fact["count"] for fact in parts),
        )
        columns: dict[str, Any] = {
            column: np.concatenate([self._column(fact, column) for fact in parts])
            for column in BESIDE
            if all(column in _beside(fact) for fact in parts)
        }
        partly = {column for fact in parts for column in _beside(fact)} - {
            *columns,
            "names",
            "factors",
        }
        if partly:
            raise self._bad(
                f"training and validation examples do not both have {BESIDE[min(partly)]}"
            )
        return Split(x, **columns)

    def _column(self, facts: dict[str, Any], column: str) -> np.ndarray:
        name = _beside(facts)[column]["name"]
        try:
            values = np.load(self.path / name, allow_pickle=False)
        except ValueError as error:
            raise self._bad(f"{name} cannot be read") from error
        if len(values) != facts["count"]:
            raise self._bad(f"{name} holds other than {facts['count']} {BESIDE[column]}")
        if column == "y" and (values.shape != (facts["count"],) or values.dtype != np.int32):
            raise self._bad(f"{name} holds other than {facts['count']} labels of type int32")
        return values

    def _bad(self, reason: str) -> UserError:
        return UserError(f"data set {self.path}: {reason}")


def _beside(facts: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The files of a split beside its examples, by the columns that they hold."""
    found = {column: facts.get(name) for column, name in BESIDE.items()}
    return {column: file for column, file in found.items() if file is not None}


def _names(value: list[str] | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(value)
