"""Data as other packages hold them in Python: data frames, `datasets`, torch data sets, texts.

None of these packages is imported: an object is known by what it can do.
"""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ae_jax.core.door import with_mask
from ae_jax.core.errors import UserError
from ae_jax.data.arrays import from_array
from ae_jax.data.base import DataSet
from ae_jax.data.counts import counts_from_text, dense_counts, stored_texts
from ae_jax.data.protocols import Stored
from ae_jax.data.sources.tables import frame_columns, stored_table
from ae_jax.data.sources.user_arrays import (
    channels_last,
    class_codes,
    stored_arrays,
    stored_of,
    stored_sparse,
)

_EXAMPLES = ("x", "image", "images", "img", "pixel_values", "features", "data", "text")
_LABELS = ("label", "labels", "y", "target", "class", "fine_label")
_PARTS = {"train": "train", "valid": "valid", "validation": "valid", "val": "valid", "test": "test"}


def from_object(
    x: Any,
    y: Any = None,
    *,
    name: str = "array",
    protocol: str = "paper",
    layout: str = "channels_last",
) -> DataSet:
    """A data set of what a user has in Python. Raises UserError.

    x       an array [N, ...] (see `from_array`); a sparse matrix [N, V] of scipy, in which whole
            numbers are counts; a data frame of pandas or polars, one example a row; texts, a list
            of strings, in which words are counted; a data set of Hugging Face's `datasets`, or
            several by the names of splits; or a data set of torch: a length and examples by their
            number, each an array, (array, label) or a mapping
    y       labels [N], numbers or words; or the name of the column that holds them
    layout  "channels_first" for images [N, C, H, W]
    """
    if isinstance(x, str | Path):
        raise UserError(f"{str(x)!r} is a name or a path, which ae_jax.data.load reads")
    if isinstance(x, Mapping) and not all(_is_table_of_rows(part) for part in x.values()):
        raise UserError(
            "a mapping of arrays is no data set: give its examples as x and its labels as y"
        )
    stored = _stored(x, y, name, layout)
    if stored is not None:
        return stored.under(protocol, name)
    # As it is, so that the door sees a mask, or a sparse matrix.
    array = x if layout == "channels_last" else channels_last(with_mask(x), layout, name)
    if y is None:
        return from_array(array, None, name=name, protocol=protocol)
    if not hasattr(array, "__len__") or getattr(array, "shape", None) == ():
        raise UserError(f"{name}: examples are an array [N, ...], and what was given has no length")
    _, classes = class_codes(y, array.shape[0] if hasattr(array, "shape") else len(array), name)
    if classes is None:
        return from_array(array, y, name=name, protocol=protocol)
    return stored_of(array, y, name).under(protocol, name)


def as_examples(x: Any, data: DataSet, layout: str = "channels_last") -> np.ndarray:
    """New examples for a model that was fitted on `data`, given as its own were, as an array.

    Of a data frame the columns that were features, by name; of texts the counts of the words that
    the vocabulary has. Raises UserError.
    """
    known = data.facts.feature_names
    if known and hasattr(x, "columns") and hasattr(x, "to_numpy"):
        columns = frame_columns(x, only=known)
        lacking = [name for name in known if name not in columns]
        if lacking:
            raise UserError(f"examples lack the column {lacking[0]!r}")
        return np.stack([columns[name] for name in known], axis=1)
    if known and data.is_counts and _are_texts(x):
        return dense_counts(counts_from_text(x, vocabulary=known).matrix, "examples")
    if layout == "channels_last":
        return x
    x = with_mask(x)
    if x.ndim == 2 and data.is_image and x.shape[1] == np.prod(data.shape):
        x = x.reshape(len(x), data.shape[-1], *data.shape[:-1])  # flattened as they were given
    return channels_last(x, layout, "examples") if x.ndim == 4 else x


def _stored(x: Any, y: Any, name: str, layout: str) -> Stored | None:
    """What is more than one array, or None."""
    if isinstance(x, np.ndarray) or hasattr(x, "__array__") and not hasattr(x, "columns"):
        return None
    if is_sparse(x):
        _refuse_layout(layout)
        return stored_sparse(x, y, name, _say)
    if isinstance(x, Mapping) and x and all(_is_table_of_rows(part) for part in x.values()):
        return _parts(x, y, name, layout)
    if _is_table_of_rows(x):
        return _hugging_face(x, y, name, layout)
    if hasattr(x, "columns") and hasattr(x, "to_numpy"):
        _refuse_layout(layout)
        label = y if isinstance(y, str) else None
        return stored_table(frame_columns(x), name, _say, label, None if label else y)
    if _are_texts(x):
        if y is not None:
            raise UserError("labels of texts are not kept: leave y out")
        _refuse_layout(layout)
        return stored_texts(x, name, _say, name)
    if isinstance(x, list | tuple) or not (hasattr(x, "__getitem__") and hasattr(x, "__len__")):
        return None
    return _by_number(x, y, name, layout)


def is_sparse(x: Any) -> bool:
    """Whether it is a sparse matrix or array of scipy."""
    sparse = sys.modules.get("scipy.sparse")
    return sparse is not None and sparse.issparse(x)


def _are_texts(x: Any) -> bool:
    return isinstance(x, list | tuple) and bool(x) and all(isinstance(text, str) for text in x)


def _is_table_of_rows(x: Any) -> bool:
    """Whether this is a data set of Hugging Face's `datasets`."""
    return all(hasattr(x, name) for name in ("features", "column_names", "num_rows"))


def _hugging_face(x: Any, y: Any, name: str, layout: str) -> Stored:
    columns, label = _columns(x), _chosen_label(x, y)
    key = _key(columns, _EXAMPLES)
    labels = y if y is not None and label is None else _take(columns, label)
    if key is None:
        if label is not None:
            columns = {k: v for k, v in columns.items() if k != label}
        return stored_table(_arrays(columns), name, _say, None, labels)
    values = list(columns[key])
    if values and isinstance(values[0], str):
        if y is not None:
            raise UserError("labels of texts are not kept: leave y out")
        return stored_texts(values, name, _say, name)
    classes = _classes(x, label) if label else None
    examples = channels_last(_images(x, key, values, name), layout, name)
    return stored_of(examples, labels, name, classes=classes)


def _parts(x: Mapping[str, Any], y: Any, name: str, layout: str) -> Stored:
    """Splits by name; Raises UserError for other names, and for texts and tables."""
    unknown = [part for part in x if part not in _PARTS]
    if unknown or "train" not in x or "test" not in x:
        raise UserError(f"{name} has the splits {', '.join(x)}, and train and test are needed")
    if y is not None and not isinstance(y, str):
        raise UserError(f"{name} comes in splits: y is the name of the column of its labels")
    arrays, named = {}, set()
    for part, rows in x.items():
        columns, label = _columns(rows), _chosen_label(rows, y)
        key = _key(columns, _EXAMPLES[:-1])
        if key is None:
            raise UserError(f"{name}: none of its columns is one of {', '.join(_EXAMPLES[:-1])}")
        examples = _images(rows, key, columns[key], name)
        arrays[f"x_{_PARTS[part]}"] = channels_last(examples, layout, name)
        if label is not None:
            arrays[f"y_{_PARTS[part]}"] = np.asarray(columns[label])
            named.add(_classes(rows, label))
    if len(named) > 1:
        raise UserError(f"{name}: its splits have other names for the same classes")
    stored = stored_arrays(arrays, name)
    (classes,) = named or {None}
    return stored if stored.classes else dataclasses.replace(stored, classes=classes)


def _images(x: Any, key: str, values: Sequence[Any], name: str) -> np.ndarray:
    """The examples of a column, as bytes where its features say so: lists have lost that."""
    declared = x.features[key]
    while hasattr(declared, "feature"):
        declared = declared.feature
    examples = _stacked(values, name)
    return examples.astype(np.uint8) if getattr(declared, "dtype", "") == "uint8" else examples


def _classes(x: Any, label: str) -> tuple[str, ...] | None:
    """What the classes of a column of labels are called, where it says so."""
    names = getattr(x.features[label], "names", None)
    return tuple(names) if names else None


def _columns(x: Any) -> dict[str, Sequence[Any]]:
    rows = x[:]
    return {column: rows[column] for column in x.column_names}


def _chosen_label(x: Any, y: Any) -> str | None:
    if isinstance(y, str):
        if y not in x.column_names:
            raise UserError(f"there is no column {y!r}: there are {', '.join(x.column_names)}")
        return y
    return None if y is not None else _key(x.column_names, _LABELS)


def _key(columns: Any, wanted: Sequence[str]) -> str | None:
    return next((key for key in wanted if key in columns), None)


def _take(columns: Mapping[str, Any], label: str | None) -> np.ndarray | None:
    return None if label is None else np.asarray(columns[label])


def _arrays(columns: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {key: np.asarray(values) for key, values in columns.items()}


def _by_number(x: Any, y: Any, name: str, layout: str) -> Stored:
    """Examples one by one, as torch's data sets give them."""
    examples, labels = [], []
    for index in range(len(x)):
        example, label = _example_of(x[index], name)
        examples.append(example)
        labels.append(label)
    lacking = [label is None for label in labels]
    if any(lacking) and not all(lacking):
        raise UserError(f"{name} has labels for some examples but not for all")
    if y is None and labels and not any(lacking):
        y = np.array(
            [label if isinstance(label, str) else np.asarray(label)[()] for label in labels]
        )
    classes = getattr(x, "classes", None)
    return stored_of(
        channels_last(_stacked(examples, name), layout, name), y, name, classes=classes
    )


def _example_of(row: Any, name: str) -> tuple[Any, Any]:
    """An example and its label, if it has one. Raises UserError."""
    if isinstance(row, Mapping):
        key = _key(row, _EXAMPLES)
        if key is None:
            raise UserError(f"{name}: an example has {', '.join(row)}, none of them known as x")
        label = _key(row, _LABELS)
        return row[key], None if label is None else row[label]
    if isinstance(row, tuple | list):
        if len(row) > 2:
            raise UserError(f"{name}: an example has {len(row)} parts, and x and y are known")
        return row[0], row[1] if len(row) == 2 else None
    return row, None


def _stacked(values: Sequence[Any], name: str) -> np.ndarray:
    try:
        return np.stack([np.asarray(value) for value in values])
    except (ValueError, TypeError) as error:
        raise UserError(f"{name}: examples differ in shape or are no arrays") from error


def _refuse_layout(layout: str) -> None:
    if layout != "channels_last":
        raise UserError("data.layout=channels_first is for images, and these are none")


def _say(line: str) -> None:
    print(line, file=sys.stderr)
