"""Data sets by name: `load`, `prepare` and `info`, and `from_array` for arrays in memory.

A new data set is one line here and, where it needs more than a function, one file beside.
"""

import sys
from pathlib import Path

from ae_jax.core.files import whole_path
from ae_jax.core.registry import Registry
from ae_jax.data.arrays import ArrayFile, from_array
from ae_jax.data.base import DataSet, Split
from ae_jax.data.protocols import PROTOCOLS
from ae_jax.data.sources import catalogue, embedded, faces, local_archives
from ae_jax.data.sources.base import CachedSource, Source, UserFunction
from ae_jax.data.sources.cache import Log
from ae_jax.data.sources.records import RecordFolder, is_folder_of_records
from ae_jax.data.sources.records_writer import write_records

DATA_SETS: Registry[Source] = Registry(
    "data set",
    {
        "mnist": catalogue.MNIST,
        "fashion_mnist": catalogue.FASHION_MNIST,
        "binarized_mnist": catalogue.BINARIZED_MNIST,
        "frey_face": CachedSource(
            "frey_face",
            local_archives.frey_face,
            ("prepared files", local_archives.FREY_FACE_SOURCE),
        ),
        "olivetti": CachedSource(
            "olivetti",
            faces.olivetti,
            ("prepared files", *faces.OLIVETTI_SOURCES),
        ),
        "digits": CachedSource("digits", embedded.digits, embedded.SOURCES),
        "iris": CachedSource("iris", embedded.iris, embedded.SOURCES),
    },
)

__all__ = [
    "DATA_SETS",
    "PROTOCOLS",
    "DataSet",
    "Split",
    "absolute_name",
    "can_load",
    "from_array",
    "info",
    "load",
    "prepare",
    "write_records",
]


def load(name: str, *, protocol: str = "paper", limit: int | None = None) -> DataSet:
    """The data set of that name, prepared first if need be.

    name      a registered name, a user's `.npy` or `.npz`, a folder of array_record files (see
              `write_records`), or `path/to/file.py:function`
    protocol  "paper" holds out validation examples, "full" trains on them too
    limit     only the first `limit` training examples
    Raises UserError.
    """
    data = _source(name).stored(_to_stderr).under(protocol, name)
    return data if limit is None else data.limited(limit)


def can_load(name: str) -> bool:
    """Whether a name leads to a data set: registered, or a file that is there."""
    path = name.rpartition(":")[0]
    file = path if path.endswith(".py") else name
    return name in DATA_SETS or whole_path(file).is_file() or is_folder_of_records(name)


def absolute_name(name: str) -> str:
    """A folder of records with its whole path, so that it means the same from any folder."""
    is_folder = name not in DATA_SETS and is_folder_of_records(name)
    return str(whole_path(name)) if is_folder else name


def prepare(name: str, log: Log = print) -> Path:
    """Prepares a data set, or verifies the prepared one; where it lies. Raises UserError."""
    source = _source(name)
    if isinstance(source, CachedSource | RecordFolder):
        return source.prepare(log)
    source.stored(log)
    return source.cached_at()


def info(name: str) -> dict:
    """What a data set holds and where it comes from, for people; downloads nothing.

    `splits` (counts under "paper"), `shape`, `dtype`, `range` and `bytes` are there only for a
    set that is prepared.
    """
    source = _source(name)
    stored = source.peek(_to_stderr)
    facts = {
        "name": name,
        "prepared": stored is not None,
        "location": str(source.cached_at()),
        "sources": list(source.sources),
    }
    return facts if stored is None else facts | _contents(stored.under("paper", name))


def _contents(data: DataSet) -> dict:
    xs = [split.x for split in data.splits.values()]
    return {
        "splits": {part: len(split) for part, split in data.splits.items()},
        "shape": data.shape,
        "dtype": xs[0].dtype.name,
        "range": (min(x.min() for x in xs).item(), max(x.max() for x in xs).item()),
        "bytes": sum(x.nbytes for x in xs),
    }


def _source(name: str) -> Source:
    if name.endswith((".npy", ".npz")):
        return ArrayFile(Path(name).expanduser())
    if name not in DATA_SETS and whole_path(name).is_dir():
        return RecordFolder(whole_path(name))
    entry = DATA_SETS.get(name)
    return entry if name in DATA_SETS else UserFunction(name, entry)


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr)
