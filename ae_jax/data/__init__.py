"""Data sets by name: `load`, `prepare`, `info`; `from_object` and `from_array` for data in Python.

A new data set is one line here and, where it needs more than a function, one file beside.
"""

import dataclasses
import functools
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ae_jax.core.errors import UserError
from ae_jax.core.files import whole_path
from ae_jax.core.registry import Registry, absolute_reference
from ae_jax.data import other_files
from ae_jax.data.array_files import ArrayFile
from ae_jax.data.arrays import from_array, refuse_channels_first
from ae_jax.data.base import DataSet, Facts, Split
from ae_jax.data.counts import counts_from_text
from ae_jax.data.objects import from_object
from ae_jax.data.protocols import PROTOCOLS, Stored
from ae_jax.data.scales import scale_advice
from ae_jax.data.sources import (
    catalogue,
    corpora,
    embedded,
    faces,
    jets,
    local_archives,
    shapes,
    top_tagging,
    topics,
)
from ae_jax.data.sources.base import CachedSource, Source, UserFunction
from ae_jax.data.sources.cache import Log
from ae_jax.data.sources.records import RecordFolder, is_folder_of_records
from ae_jax.data.sources.records_writer import write_records
from ae_jax.data.sources.tables import LABELS
from ae_jax.data.sources.user_arrays import channels_last
from ae_jax.data.sources.user_files import TABLES, file_and_label, texts_of, user_file

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
        "20newsgroups": CachedSource(
            "20newsgroups", corpora.newsgroups, ("prepared files", *corpora.NEWSGROUPS_SOURCES)
        ),
        "reuters": CachedSource("reuters", corpora.reuters, corpora.REUTERS_SOURCES),
        "synthetic_topics": CachedSource(
            "synthetic_topics", topics.synthetic_topics, topics.SOURCES
        ),
        "shapes": CachedSource("shapes", shapes.shapes, shapes.SOURCES),
        "jets": CachedSource("jets", jets.jets, jets.JETS_SOURCES),
        "jets_small": CachedSource("jets_small", jets.jets_small, jets.SMALL_SOURCES),
        "top_tagging": CachedSource("top_tagging", top_tagging.top_tagging, top_tagging.SOURCES),
        "omniglot_small": local_archives.OMNIGLOT_SMALL,
        "usps": local_archives.USPS,
        "kodak": local_archives.KODAK,
    },
)

__all__ = [
    "DATA_SETS",
    "PROTOCOLS",
    "DataSet",
    "Facts",
    "Split",
    "absolute_name",
    "can_load",
    "counts_from_text",
    "examples_for",
    "from_array",
    "from_object",
    "info",
    "load",
    "prepare",
    "scale_advice",
    "write_records",
]


def load(
    name: str,
    *,
    protocol: str = "paper",
    limit: int | None = None,
    layout: str = "channels_last",
) -> DataSet:
    """The data set of that name, prepared first if need be.

    name      a registered name; a user's file, `.npy`, `.npz` (also a sparse matrix of scipy),
              `.npy.gz`, `.h5`, a table (`.csv`, `.tsv`, `.parquet`, also `table.csv:column` with
              the labels' column) or `.txt` (a document a line); a folder of pictures by class, of
              `.txt` files or of array_record files (see `write_records`); or
              `path/to/file.py:function`
    protocol  "paper" holds out validation examples, "full" trains on them too
    limit     only the first `limit` training examples
    layout    "channels_first" where a user's file holds images [N, C, H, W]
    Raises UserError.
    """
    # What a run writes down of its data means the same from any folder.
    name = absolute_name(absolute_reference(name))
    stored = _source(name).stored(_to_stderr)
    if layout != "channels_last":
        stored = _channels_last(stored, name, layout)
    data = stored.under(protocol, name)
    if name not in DATA_SETS:
        refuse_channels_first(data)
    return data if limit is None else data.limited(limit)


def examples_for(
    name: str, data: DataSet, *, layout: str = "channels_last", labelled: bool = False
) -> tuple[Split, tuple[str, ...] | None]:
    """All examples of a file or data set for a model of `data`, and the names of their classes.

    Columns and words are those of `data`, by name, and so are classes where the model is
    `labelled`. Raises UserError.
    """
    path, label = file_and_label(name)
    features = {one.lower() for one in data.facts.feature_names or ()}
    if path.suffix.lower() in TABLES and label is None and not features.isdisjoint(LABELS):
        name = f"{name}:"  # what such a column is called makes no labels of features of the model
    return other_files.examples_for(
        name,
        data,
        load=functools.partial(load, layout=layout),
        texts=texts_of(name),
        labelled=labelled,
    )


def _channels_last(stored: Stored, name: str, layout: str) -> Stored:
    """A user's images with their channels last. Raises UserError for what cannot be meant."""
    if name in DATA_SETS:
        raise UserError(f"data.layout=channels_first is for your own images, not for {name}")
    train, test = (
        dataclasses.replace(split, x=channels_last(np.asarray(split.x), layout, name))
        for split in (stored.train, stored.test)
    )
    return dataclasses.replace(stored, train=train, test=test)


def can_load(name: str) -> bool:
    """Whether a name leads to a data set: registered, or a file that is there."""
    if name in DATA_SETS or is_folder_of_records(name):
        return True
    path = name.rpartition(":")[0]
    file = whole_path(path) if path.endswith(".py") else file_and_label(name)[0]
    return os.path.isfile(file) or (os.path.isdir(file) and user_file(name) is not None)


def absolute_name(name: str) -> str:
    """A user's file or folder with its whole path, so that it means the same from any folder."""
    if name in DATA_SETS:
        return name
    found = user_file(name)
    if found is not None:
        label = file_and_label(name)[1]
        return str(whole_path(found.path)) + ("" if label is None else f":{label}")
    return str(whole_path(name)) if is_folder_of_records(name) else name


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
    set that is prepared; so are, where they apply, `kind` (counts), `classes`, `factors`,
    `vocabulary` or `features` (names of words or columns), `origin` and `advice`.
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
    facts, classes = data.facts, data.classes
    named = "vocabulary" if data.is_counts else "features"
    contents = {
        "splits": {part: len(split) for part, split in data.splits.items()},
        "shape": data.shape,
        "dtype": xs[0].dtype.name,
        "range": (min(_least(x) for x in xs), max(_most(x) for x in xs)),
        "bytes": sum(x.nbytes for x in xs),
    }
    missing = sum(int(np.isnan(x).sum()) for x in xs if _may_lack(x))
    further = {
        "missing values": missing or None,
        "kind": facts.kind if data.is_counts else None,
        "classes": None if classes is None else _some(classes),
        "factors": None if facts.factor_names is None else _some(facts.factor_names),
        named: None if facts.feature_names is None else _some(facts.feature_names),
        "origin": facts.origin or None,
        "advice": scale_advice(data),
    }
    return contents | {key: value for key, value in further.items() if value is not None}


def _may_lack(x: Any) -> bool:
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"


def _least(x: Any) -> float:
    """Of the values that are there."""
    return (np.nanmin(x) if _may_lack(x) else x.min()).item()


def _most(x: Any) -> float:
    return (np.nanmax(x) if _may_lack(x) else x.max()).item()


def _some(names: tuple[str, ...], most: int = 12) -> str:
    """The first names, and how many there are in all."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown}, ... ({len(names)} in all)"


def _source(name: str) -> Source:
    found = None if name in DATA_SETS else user_file(name)
    if found is not None:
        return found
    if name.endswith((".npy", ".npz")):
        return ArrayFile(Path(name).expanduser())
    if name not in DATA_SETS and whole_path(name).is_dir():
        if not is_folder_of_records(name):
            raise UserError(
                f"the folder {name} holds no data: neither pictures, nor .txt files, nor records "
                "with their records.json"
            )
        return RecordFolder(whole_path(name))
    entry: Any = DATA_SETS.get(name)
    return entry if name in DATA_SETS else UserFunction(name, entry)


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr)
