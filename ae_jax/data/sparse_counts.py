"""Counts that stay sparse on the host: rows are made dense as they are read, a batch at a time."""

import dataclasses
import hashlib
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class SparseCounts:
    """Counts [N, V] as scipy's CSR matrix, with as much of NumPy's interface as data sets use.

    A slice is another `SparseCounts`; an array of indices gives those rows, dense. `nbytes` are
    those of all rows made dense: by them a run knows whether the device has room, or the set is
    streamed.
    """

    matrix: Any

    @property
    def dtype(self) -> np.dtype:
        return self.matrix.dtype

    @property
    def shape(self) -> tuple[int, int]:
        return self.matrix.shape

    @property
    def ndim(self) -> int:
        return 2

    @property
    def nbytes(self) -> int:
        return self.shape[0] * self.shape[1] * self.dtype.itemsize

    @property
    def fingerprint(self) -> str:
        """The identity of these rows, from the entries that are not 0."""
        rows = self.matrix.sorted_indices()
        digest = hashlib.sha256()
        starts = (rows.indptr - rows.indptr[0]).astype(np.int64)
        for part in (starts, rows.indices.astype(np.int64), rows.data):
            digest.update(np.ascontiguousarray(part).data)
        return digest.hexdigest()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: slice | np.ndarray | int) -> "SparseCounts | np.ndarray":
        """A part, or dense rows [*index.shape, V]."""
        if isinstance(key, slice):
            return SparseCounts(self.matrix[key])
        index = np.asarray(key)
        return self.matrix[index.ravel()].toarray().reshape(*index.shape, self.shape[1])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        whole = self.matrix.toarray()
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def min(self) -> np.generic:
        return self.matrix.min()

    def max(self) -> np.generic:
        return self.matrix.max()

    def mean(self, axis: int, dtype: Any = np.float64) -> np.ndarray:
        """Mean of each word, [V]."""
        return np.asarray(self.matrix.mean(axis=axis, dtype=dtype)).ravel()

    def std(self, axis: int, dtype: Any = np.float64) -> np.ndarray:
        """Standard deviation of each word, [V]."""
        values = self.matrix.astype(dtype)
        mean = self.mean(axis, dtype)
        squares = np.asarray(values.multiply(values).mean(axis=axis)).ravel()
        return np.sqrt(np.maximum(squares - mean**2, 0.0))
