"""Tables: .csv, .tsv, .parquet and data frames, one example a row.

Columns of numbers are features. One column may hold labels, numbers or words: the one that is
named (`file.csv:species`), or else the one called label, labels, class, target or y; none of
`file.csv:`. Words anywhere else are refused by the name of their column. An empty field, NA and
NaN are missing.
"""

import csv
import re
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ae_jax.core.errors import UserError
from ae_jax.data.protocols import Stored
from ae_jax.data.sources.cache import Log
from ae_jax.data.sources.user_arrays import stored_of

LABELS = ("label", "labels", "class", "target", "y")
_INDEX = re.compile(r"__index_level_\d+__")
_NO_LABEL = ("", "na", "nan")  # that a class may be called none is another matter
_MISSING = (*_NO_LABEL, "null", "none")


def read_table(path: Path, log: Log, label: str | None = None) -> Stored:
    """A .csv, .tsv or .parquet file as a data set. Raises UserError."""
    if path.suffix.lower() == ".parquet":
        return stored_table(_parquet(path), str(path), log, label)
    return stored_table(_delimited(path, log), str(path), log, label, blank=_NO_LABEL)


def stored_table(
    columns: Mapping[str, np.ndarray],
    origin: str,
    log: Log,
    label: str | None = None,
    y: Any = None,
    blank: tuple[str, ...] = (),
) -> Stored:
    """Columns by name as a data set; `y` are labels that lie apart. Raises UserError.

    `blank` are words that stand for a label that is missing, as they do in a file of text.
    """
    columns, classes = dict(columns), y
    chosen = None if y is not None else _labels_among(columns) if label is None else label
    if chosen:
        if chosen not in columns:
            raise UserError(
                f"data set {origin} has no column {chosen!r}: it has {', '.join(columns)}"
            )
        classes = _as_labels(columns.pop(chosen), chosen, origin, blank)
        log(f"{origin}: labels from the column {chosen!r}")
    for name, values in columns.items():
        if values.dtype.kind not in "buif":
            way = "leave it out of the table"
            if not chosen and y is None:
                way += f", or name it as the labels: FILE:{name}, or y={name!r} in Python"
            raise UserError(
                f"data set {origin}: the column {name!r} holds {_kind(values)}, such as "
                f"{str(values[0])[:40]!r}; {way}"
            )
    if not columns:
        raise UserError(f"data set {origin} has no columns of numbers")
    x = np.stack(list(columns.values()), axis=1)
    return stored_of(x, classes, origin, feature_names=tuple(columns))


def _kind(values: np.ndarray) -> str:
    """Of what are no numbers."""
    return "words" if isinstance(values[0], str | bytes) else f"what is no number ({values.dtype})"


def _labels_among(columns: Mapping[str, np.ndarray]) -> str | None:
    return next((name for name in columns if name.lower() in LABELS), None)


def _as_labels(values: np.ndarray, name: str, origin: str, blank: tuple[str, ...]) -> np.ndarray:
    """Labels as whole numbers where they are. Raises UserError for missing or broken numbers."""
    if values.dtype.kind == "U" and any(one.strip().lower() in blank for one in values):
        raise UserError(f"data set {origin}: the column {name!r} lacks some labels")
    if values.dtype.kind != "f":
        return values
    if not np.isfinite(values).all():
        raise UserError(f"data set {origin}: the column {name!r} lacks some labels")
    if (values != np.round(values)).any():
        raise UserError(
            f"data set {origin}: the column {name!r} holds fractions, not labels; as a feature it "
            f"needs another name than {', '.join(LABELS)}, or FILE: for a table without labels"
        )
    return values.astype(np.int64)


def _delimited(path: Path, log: Log) -> dict[str, np.ndarray]:
    """The columns of a text file: between tabs in a .tsv, else between commas or semicolons."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            file.seek(0)
            between = "," if "," in first or ";" not in first else ";"
            between = "\t" if path.suffix.lower() == ".tsv" else between
            rows = [row for row in csv.reader(file, delimiter=between) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"data set {path} is no readable table: {error}") from error
    if not rows:
        raise UserError(f"data set {path} is empty")
    header = [field.strip() for field in rows[0]]
    counted = len(rows) > 1 and _counts_columns(header)
    if counted:
        log(
            f"{path}: its first row, {', '.join(header[:3])}, ..., counts the columns and is taken "
            "for their names"
        )
    if counted or any(field and not _is_number(field) for field in header):
        again = None if counted else _seen_below(header, rows[1:])
        if again is not None:
            raise UserError(
                f"data set {path}: its first row holds {again}, as rows below do, and numbers: if "
                "it is an example, put a row of names before it"
            )
        rows = rows[1:]
        if header[0] == "" and [row[0] for row in rows] == [*map(str, range(len(rows)))]:
            # The row numbers that pandas writes.
            header, rows = header[1:], [row[1:] for row in rows]
        elif header[0] == "" and _number_rows([row[0] for row in rows]):
            log(
                f"{path}: its first column has no name, and whole numbers that do not repeat: it "
                "is the feature column 0; if it numbers the rows, leave it out of the file"
            )
    else:
        header = [""] * len(header)
    names = [name or f"column {i}" for i, name in enumerate(header)]
    wrong = next((i for i, row in enumerate(rows) if len(row) != len(names)), None)
    if wrong is not None:
        raise UserError(
            f"data set {path}: row {wrong + 1} has {len(rows[wrong])} fields, and there are "
            f"{len(names)} columns"
        )
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"data set {path} has two columns called {twice!r}")
    if not rows:
        raise UserError(f"data set {path} holds names of columns and no rows")
    columns = zip(*rows, strict=True)
    return {name: _column(list(fields)) for name, fields in zip(names, columns, strict=True)}


def _seen_below(first: list[str], rows: list[list[str]]) -> str | None:
    """A word of a first row, beside numbers, that its own column holds again: what names do not."""
    words = [(i, field) for i, field in enumerate(first) if field and not _is_number(field)]
    if len(words) == len(first):
        return None
    return next(
        (word for i, word in words if any(len(row) > i and row[i].strip() == word for row in rows)),
        None,
    )


def _number_rows(fields: list[str]) -> bool:
    """Whether these are whole numbers that do not repeat: what pandas writes of a table's index."""
    return all(field.isdecimal() for field in fields) and len(set(fields)) == len(fields)


def _counts_columns(header: list[str]) -> bool:
    """Whether a first row is 0, 1, 2, ..., before it a blank where there are row numbers."""
    numbers = header[1:] if header[0] == "" else header
    return len(numbers) > 2 and numbers == [*map(str, range(len(numbers)))]


def _is_number(field: str) -> bool:
    if "_" in field:  # 10_0 is a word, and Python's number
        return False
    try:
        float(field)
    except ValueError:
        return field.strip().lower() in _MISSING[1:]
    return True


def _column(fields: list[str]) -> np.ndarray:
    """Whole numbers, numbers with NaN for missing ones, or the words."""
    if any("_" in field for field in fields):  # which Python reads as if they were not there
        return np.array(fields)
    for kind in (np.int64, np.float64):
        try:
            return np.array(fields).astype(kind)
        except (ValueError, OverflowError):
            continue
    filled = ["nan" if field.strip().lower() in _MISSING else field for field in fields]
    try:
        return np.array(filled).astype(np.float64)
    except ValueError:
        return np.array(fields)


def _parquet(path: Path) -> dict[str, np.ndarray]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise UserError(f"{path} is read by pyarrow: pip install 'ae_jax[data]'") from error
    try:
        table = parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(f"data set {path} cannot be read: it is no parquet file") from error
    # Where pandas wrote its row names they are a column, of which it alone knows that it is none.
    names = [name for name in table.column_names if not _INDEX.fullmatch(name)]
    return {name: _plain(_decoded(table[name], pyarrow).to_numpy()) for name in names}


def _decoded(column: Any, pyarrow: Any) -> Any:
    """A column of categories as what they are called: by numbers, a missing one is the last."""
    kind = column.type
    return column.cast(kind.value_type) if pyarrow.types.is_dictionary(kind) else column


def frame_columns(frame: Any, only: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """The columns of a pandas or polars data frame, by name: all, or `only` those.

    Raises UserError for a name that two of them have.
    """
    wanted = None if only is None else set(only)
    own = [name for name in frame.columns if wanted is None or str(name) in wanted]
    (twice, times), *_ = [*Counter(map(str, own)).most_common(1), ("", 0)]
    if times > 1:
        raise UserError(f"the data frame has two columns called {twice!r}")
    return {str(name): _plain(frame[name].to_numpy()) for name in own}


def _is_missing(value: Any) -> bool:
    """Of one cell: None, NaN, or what pandas has for missing, which is neither true nor false."""
    is_nan = isinstance(value, float | np.floating) and bool(np.isnan(value))
    return value is None or is_nan or type(value).__name__ in ("NAType", "NaTType")


def _plain(values: np.ndarray) -> np.ndarray:
    """Words as text where pandas has objects; what is neither numbers nor words stays as it is."""
    values = np.asarray(values)
    if values.dtype == object:
        known = [value for value in values if not _is_missing(value)]
        if known and all(isinstance(value, str) for value in known):
            return values if len(known) < len(values) else values.astype(str)
        if all(isinstance(value, bool | int | float) for value in known):
            return np.array([np.nan if _is_missing(v) else v for v in values], np.float64)
    return values
