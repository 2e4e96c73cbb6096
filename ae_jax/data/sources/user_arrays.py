"""From what a file or an object of the user holds to a data set: the last step that all share."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ae_jax.core.door import summed
from ae_jax.core.errors import UserError
from ae_jax.data.array_files import explicit_splits
from ae_jax.data.arrays import examples_of, labels_of
from ae_jax.data.base import Facts, Split
from ae_jax.data.counts import stored_counts
from ae_jax.data.protocols import Stored, held_out_rows, hold_out_rows
from ae_jax.data.sources.cache import Log


def stored_of(
    x: np.ndarray,
    y: Any,
    origin: str,
    *,
    classes: Sequence[str] | None = None,
    names: np.ndarray | None = None,
    feature_names: Sequence[str] | None = None,
) -> Stored:
    """Examples [N, ...] and labels [N] of any kind, or None, as a data set: tenths are held out.

    Raises UserError.
    """
    examples = examples_of(x, f"data set {origin}")
    count = len(examples.values)
    labels, found = (None, None) if y is None else class_codes(y, count, origin)
    features = None if feature_names is None else tuple(map(str, feature_names))
    return hold_out_rows(
        Split(examples.values, labels, names=names),
        examples.max_value,
        origin,
        None if labels is None else found or (tuple(map(str, classes)) if classes else None),
        Facts(feature_names=features, origin=origin),
    )


def stored_arrays(arrays: Mapping[str, np.ndarray], origin: str) -> Stored:
    """Named arrays, `x` (and `y`) or `x_train`, `x_test`, ..., as a data set. Raises UserError."""
    if "x" in arrays:
        return stored_of(arrays["x"], arrays.get("y"), origin)
    if "x_train" in arrays and "x_test" in arrays:
        return explicit_splits(arrays, f"data set {origin}")
    found = ", ".join(sorted(arrays)) or "nothing"
    raise UserError(
        f"data set {origin} needs x, or x_train and x_test (optionally x_valid and labels y...), "
        f"but holds {found}"
    )


def stored_sparse(matrix: Any, y: Any, origin: str, log: Log, words: Any = None) -> Stored:
    """A sparse matrix [N, V] of scipy: whole numbers are counts, of whatever type they are; others
    are measurements, made dense. Tenths are held out. Raises UserError."""
    matrix = summed(matrix)
    if not _are_counts(matrix.data):
        if matrix.data.dtype.kind not in "iuf":
            raise UserError(
                f"data set {origin}: values of type {matrix.data.dtype} are not real numbers"
            )
        return stored_of(matrix, y, origin, feature_names=words)
    train, valid, test = held_out_rows(matrix.shape[0], origin)
    rows = np.concatenate([train, valid])
    labels, classes = (None, None) if y is None else class_codes(y, matrix.shape[0], origin)
    return stored_counts(
        matrix[rows], matrix[test], len(valid), words, origin, log,
        labels=None if labels is None else (labels[rows], labels[test]),
        classes=classes, rows=(rows, test), origin=origin,
    )  # fmt: skip


def _are_counts(values: np.ndarray) -> bool:
    """Whether all are whole numbers from 0 on."""
    kind = values.dtype.kind
    if kind not in "buif" or values.size and values.min() < 0:
        return False
    return kind != "f" or bool((values % 1 == 0).all())


def class_codes(y: Any, count: int, origin: str) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """Labels [N] int32, and the names of classes where labels are words: then in sorted order.

    Words are text, bytes and what pandas calls categories. Raises UserError.
    """
    if isinstance(y, np.ma.MaskedArray) and np.ma.is_masked(y):
        raise UserError(f"data set {origin}: some labels are masked: leave those examples out")
    y = np.asarray(y)
    if y.dtype.kind == "S" or y.dtype == object and all(isinstance(v, bytes) for v in y.flat):
        try:
            y = np.array([bytes(value).decode() for value in y.flat]).reshape(y.shape)
        except UnicodeDecodeError as error:
            raise UserError(
                f"data set {origin}: a label is no text in UTF-8: {error.object!r}"
            ) from error
    if y.dtype == object and not all(isinstance(value, str) for value in y.flat):
        raise UserError(f"data set {origin}: some labels are missing or of mixed types")
    return labels_of(y, count, f"data set {origin}")


def channels_last(x: np.ndarray, layout: str, origin: str) -> np.ndarray:
    """Images as [N, H, W, C], from [N, C, H, W] where the layout says so. Raises UserError."""
    if layout == "channels_last":
        return x
    if x.ndim != 4:
        raise UserError(
            f"data.layout=channels_first means images [N, C, H, W], and {origin} has shape "
            f"{x.shape}"
        )
    moved = np.moveaxis(x, 1, -1)
    # A masked array stays one: its own copy is in order too.
    return moved.copy() if isinstance(x, np.ma.MaskedArray) else np.ascontiguousarray(moved)
