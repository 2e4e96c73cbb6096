"""The one door that arrays come in by: at `fit`, at `encode`, at a codec's own `fit`, from files.

Whatever lies behind it is native float32 or uint8, and means the numbers that were given.
"""

import dataclasses
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

import numpy as np

from ae_jax.core.errors import UserError

Kind = Literal["binary", "bytes", "integers", "real"]

# Of the spread of a column: what rounding to float32 may be. A column of floats that varies by less
# than the second number, as a share of its size, is a constant with the noise of its computation.
_ROUNDING = 1e-2
_CONSTANT = 1e-9
_CHUNK = 2**20  # values that are looked at together
_MEMORY_SHARE = 0.5  # of the machine, that a sparse matrix may take when it is made dense


_FOR_A_MODEL: ContextVar[bool] = ContextVar("for_a_model", default=False)


@contextmanager
def for_a_model() -> Iterator[None]:
    """Within it, what is read is for a model that was fitted before: few examples are enough."""
    token = _FOR_A_MODEL.set(True)
    try:
        yield
    finally:
        _FOR_A_MODEL.reset(token)


def is_for_a_model() -> bool:
    """Whether what is read now need not be enough to fit one."""
    return _FOR_A_MODEL.get()


@dataclasses.dataclass(frozen=True)
class Admitted:
    """Numbers as the library holds them: `values` uint8 or float32, NaN where one is missing.

    `kind` says what was given: `binary` (booleans, or integers 0 and 1 only), `bytes` (other
    uint8), `integers` (others: counts, 16-bit images) or `real`.
    """

    values: np.ndarray
    kind: Kind

    @property
    def max_value(self) -> float | None:
        """The largest value that the format allows, where the kind tells."""
        return {"binary": 1.0, "bytes": 255.0}.get(self.kind)


def admit(x: Any, origin: str, *, check_digits: bool = True) -> Admitted:
    """An array, or what NumPy makes one of, as numbers of the library.

    Any byte order and any real type of number; a scipy sparse matrix is made dense; what a masked
    array masks is missing, NaN. Raises UserError for anything else, for values that are infinite
    in float32, and for columns whose differences float32 would round away: of a data set, whose
    spread is the measure. A few examples that are much alike have none; `check_digits` is False,
    or they are `for_a_model`.
    """
    x, masked = _unmasked(as_array(x, origin), origin)
    if x.size == 0:
        return Admitted(x.astype(np.float32), "real")
    known = x if masked is None else x[~masked]
    kind = _kind(known)
    if masked is not None:
        x = np.where(masked, np.nan, x.astype(np.result_type(x.dtype, np.float32)))
    elif kind in ("binary", "bytes"):
        return Admitted(x.astype(np.uint8, copy=False), kind)
    return Admitted(_float32(x, origin, check_digits and not is_for_a_model()), kind)


def with_mask(x: Any) -> np.ndarray:
    """An array of anything; a masked one stays so, where np.asarray would show what is masked."""
    return x if isinstance(x, np.ma.MaskedArray) else np.asarray(x)


def as_array(x: Any, origin: str) -> np.ndarray:
    """What was given as one array, still of its own type. Raises UserError where there is none."""
    sparse = sys.modules.get("scipy.sparse")
    if sparse is not None and sparse.issparse(x):
        return _dense(x, origin)
    if isinstance(x, np.ma.MaskedArray):
        return x
    try:
        return np.asarray(x)
    except ValueError as error:
        raise UserError(
            f"{origin}: examples differ in shape: bring them to one, as an array [N, ...]"
        ) from error


def _dense(x: Any, origin: str) -> np.ndarray:
    """A scipy sparse matrix as an array of its own type. Raises UserError beyond memory."""
    needed = int(np.prod(x.shape)) * max(4, x.dtype.itemsize)
    memory = _MEMORY_SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > memory:
        raise UserError(
            f"{origin}: a sparse matrix {tuple(x.shape)} takes {needed / 2**30:,.1f} GiB when it "
            f"is made dense, and {memory / 2**30:,.1f} GiB are there for it: leave out columns"
        )
    return summed(x).toarray()


def summed(x: Any) -> Any:
    """A sparse matrix of scipy in rows, with each entry once: those that lie apart are added up.

    In its own type, or where that cannot hold a sum of whole numbers in int64. The matrix that was
    given stays as it is.
    """
    from scipy import sparse

    if x.format in ("csr", "csc") and x.has_canonical_format:
        return sparse.csr_matrix(x)
    wide = sparse.csr_matrix(x.astype(np.int64) if x.dtype.kind in "ui" else x.copy())
    wide.sum_duplicates()
    fits = x.dtype.kind not in "ui" or not wide.nnz or wide.max() <= np.iinfo(x.dtype).max
    return wide.astype(x.dtype, copy=False) if fits else wide


def _unmasked(x: np.ndarray, origin: str) -> tuple[np.ndarray, np.ndarray | None]:
    """The plain array of real numbers, and which of them are masked if any is."""
    masked = None
    if isinstance(x, np.ma.MaskedArray):
        masked = np.ma.getmaskarray(x) if np.ma.is_masked(x) else None
        x = x.data
        if masked is not None and masked.all():
            raise UserError(f"{origin}: every value is masked")
    if x.dtype.kind not in "buif" and not _is_extended_float(x.dtype):
        raise UserError(f"{origin}: values of type {x.dtype} are not real numbers{_hint(x)}")
    return x, masked


def _hint(x: np.ndarray) -> str:
    """A way out, after the refusal of a type."""
    if x.dtype.kind == "c":
        return ": give real and imaginary parts as columns of their own"
    if x.dtype.kind in "US":
        return ": text of numbers becomes numbers by x.astype(float)"
    if x.dtype.kind == "O":
        return ": give one array of numbers, with examples of one shape"
    return ""


def _kind(x: np.ndarray) -> Kind:
    if x.dtype.kind not in "bui":
        return "real"
    if x.min() >= 0 and x.max() <= 1:
        return "binary"
    return "bytes" if x.dtype == np.uint8 else "integers"


def _float32(x: np.ndarray, origin: str, check_digits: bool) -> np.ndarray:
    """The array in float32. Raises UserError where that is not what was given."""
    with np.errstate(over="ignore"):  # what overflows becomes infinite, and is refused as such
        values = x.astype(np.float32, copy=False)
    if np.isinf(values).any():
        raise UserError(f"{origin} holds values that are infinite in float32: scale them")
    if check_digits and x.ndim > 1 and may_lose_digits(x):
        _check_digits(x, values, origin)
    return values


def may_lose_digits(x: np.ndarray) -> bool:
    """Whether float32 has fewer digits than the type of an array."""
    return x.dtype.itemsize >= 4 and x.dtype.newbyteorder("=") != np.float32


def _check_digits(x: np.ndarray, values: np.ndarray, origin: str) -> None:
    """Raises UserError for a column that varies, but by less than float32 can tell apart."""
    count, digits = len(x), Digits()
    wide, rounded = x.reshape(count, -1), values.reshape(count, -1)
    size = max(1, _CHUNK // max(1, wide.shape[1]))
    for start in range(0, count, size):
        digits.add(wide[start : start + size], rounded[start : start + size])
    digits.refuse_lost(origin)


class Digits:
    """What float32 rounds of the values of columns, beside their spread; part by part."""

    def __init__(self) -> None:
        self._first: np.ndarray | None = None
        self._known = self._sums = self._squares = self._errors = np.zeros(())
        self._noise = 0.0

    def add(self, x: np.ndarray, rounded: np.ndarray) -> None:
        """Rows [N, D] as they were given, and in float32."""
        if self._first is None:
            self._first = np.nan_to_num(x[0].astype(np.float64))
            self._noise = _CONSTANT if x.dtype.kind == "f" else 0.0
        with np.errstate(over="ignore", invalid="ignore"):
            part = x.astype(np.float64)
            error = np.nan_to_num(part - rounded)
            self._known = self._known + np.isfinite(part).sum(axis=0)
            part = np.nan_to_num(part - self._first)
            self._sums = self._sums + part.sum(axis=0)
            self._squares = self._squares + np.square(part).sum(axis=0)
            self._errors = self._errors + np.square(error).sum(axis=0)

    def refuse_lost(self, origin: str) -> None:
        """Raises UserError for a column that varies, but by less than float32 can tell apart."""
        if self._first is None:
            return
        known = np.maximum(self._known, 1)
        mean = self._sums / known
        with np.errstate(over="ignore", invalid="ignore"):
            spread = np.sqrt(np.maximum(self._squares / known - mean**2, 0.0))
        about = self._first + mean
        lost = np.sqrt(self._errors / known) > _ROUNDING * spread
        varies = spread > self._noise * np.abs(about)
        if (lost & varies).any():
            column = int(np.argmax(lost & varies))
            raise UserError(
                f"{origin}: the values of column {column} vary by {spread[column]:.3g} about "
                f"{about[column]:.6g}, and float32 cannot tell them apart: subtract their mean and "
                "scale them"
            )


def _is_extended_float(kind: np.dtype) -> bool:
    """Whether this is one of the types of real numbers that NumPy lacks, such as bfloat16."""
    from jax import dtypes  # slow to import, and rarely asked

    return bool(dtypes.issubdtype(kind, np.floating))
