"""Users' own arrays, from Python or from .npy and .npz files, checked and brought to one form."""

import dataclasses
import lzma
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ae_jax.core.errors import UserError
from ae_jax.data.base import DataSet, Split
from ae_jax.data.protocols import Stored, hold_out

_PARTS = ("train", "valid", "test")
UNREADABLE = (
    ValueError, TypeError, AttributeError, SyntaxError, ArithmeticError, LookupError, RuntimeError,
    OSError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error,
    tokenize.TokenError,
)  # fmt: skip


def from_array(x, y=None, *, name: str = "array", protocol: str = "paper") -> DataSet:
    """A data set of examples `x` [N, ...] and labels `y` [N] that are held in memory.

    A tenth each is held out for validation and test (see `protocols.hold_out`).

    x                                    stored as   max_value
    bool, or integers 0 and 1 only       uint8       1
    other uint8: 8-bit images            uint8       255
    other integers, floats               float32     None

    Only the type and the two binary values tell what range was meant: a largest value of 7 may be
    a count, a class or a grey level, so nothing is rescaled by it. Arrays [N, H, W] of any type
    are grey images and get a channel axis; [N, D] are vectors, [N, H, W, C] images.
    Raises UserError for arrays that nothing can be learned from.
    """
    examples, max_value = _examples(np.asarray(x), name)
    labels = None if y is None else _labels(np.asarray(y), len(examples), name)
    return hold_out(examples, labels, max_value, name).under(protocol, name)


@dataclasses.dataclass(frozen=True)
class ArrayFile:
    """A user's `.npy`, or `.npz` with `x` (and `y`), or with `x_train`, `x_test` (and
    `x_valid`, `y_train`, ...). Used where it lies; nothing is cached."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def sources(self) -> tuple[str, ...]:
        return (str(self.path),)

    def cached_at(self) -> Path:
        """The file itself. Raises UserError where there is none."""
        if not self.path.is_file():
            raise UserError(f"data set {self.path}: there is no such file")
        return self.path

    def stored(self, log) -> Stored:
        """The checked arrays of the file. Raises UserError."""
        arrays = _read(self.cached_at())
        origin = str(self.path)
        if "x" in arrays:
            x, max_value = _examples(arrays["x"], origin)
            y = _labels(arrays["y"], len(x), origin) if "y" in arrays else None
            return hold_out(x, y, max_value, origin)
        if "x_train" in arrays and "x_test" in arrays:
            return _explicit_splits(arrays, origin)
        found = ", ".join(sorted(arrays)) or "nothing"
        raise UserError(
            f"data set {origin} needs the key x, or x_train and x_test (optionally x_valid and "
            f"labels y...), but holds {found}"
        )

    peek = stored


def check_split(split: Split, shape: tuple[int, ...], origin: str) -> None:
    """Raises UserError unless `x` is [N, *shape] uint8 or finite float32 and `y` [N] int32."""
    examples, _ = _examples(split.x, origin)
    if split.x.dtype not in (np.uint8, np.float32) or split.x.shape[1:] != shape:
        raise UserError(
            f"data set {origin}: every split needs uint8 or float32 examples of one shape, not "
            f"{split.x.dtype} of {split.x.shape[1:]} beside {shape}"
        )
    if split.y is not None and _labels(split.y, len(examples), origin).dtype != split.y.dtype:
        raise UserError(f"data set {origin}: labels have to be int32, not {split.y.dtype}")


def _read(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a file that a data set may use; a .npy counts as `x`."""
    wanted = {"x", "y"} | {f"{kind}_{part}" for kind in "xy" for part in _PARTS}
    try:
        with path.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            if isinstance(content, np.ndarray):
                return {"x": content}
            arrays = {key: content[key] if key in wanted else None for key in content.files}
            for key, array in arrays.items():
                if not isinstance(array, np.ndarray | None):
                    raise ValueError(f"{key} is no array")
            return arrays
    except UNREADABLE as error:
        if "allow_pickle" in str(error):
            reason = "it holds Python objects, or is no NumPy file; nothing is unpickled"
        else:
            reason = "it is damaged, cut short or no NumPy file"
        raise UserError(f"data set {path} cannot be read: {reason}") from error


def _explicit_splits(arrays: Mapping[str, np.ndarray], origin: str) -> Stored:
    """Splits as the user cut them, brought to one type together."""
    parts = [part for part in _PARTS if f"x_{part}" in arrays]
    xs = [_with_axis(arrays[f"x_{part}"], f"x_{part} of {origin}") for part in parts]
    if len({x.shape[1:] for x in xs}) > 1:
        shapes = ", ".join(f"{part} {x.shape[1:]}" for part, x in zip(parts, xs, strict=True))
        raise UserError(f"data set {origin}: examples differ in shape between splits: {shapes}")
    counts = dict(zip(parts, map(len, xs), strict=True))
    ys = [
        _labels(arrays[f"y_{part}"], counts[part], f"{origin} ({part})")
        for part in parts
        if f"y_{part}" in arrays
    ]
    if ys and len(ys) < len(parts):
        raise UserError(f"data set {origin} has labels for some splits but not for all")
    everything, max_value = _examples(np.concatenate(xs), origin)
    labels = np.concatenate(ys) if ys else None
    cut = len(everything) - counts["test"]
    return Stored(
        train=Split(everything, labels).head(cut),
        test=Split(everything[cut:], None if labels is None else labels[cut:]),
        valid_count=counts.get("valid", 0),
        max_value=max_value,
    )


def _with_axis(x: np.ndarray, origin: str) -> np.ndarray:
    """The array, if it is a non-empty list of numeric examples. Raises UserError."""
    if x.dtype.kind not in "buif":
        raise UserError(f"data set {origin}: values of type {x.dtype} are not real numbers")
    if x.ndim < 2:
        raise UserError(
            f"data set {origin}: examples need shape [N, ...] with two or more axes, not {x.shape}"
        )
    if x.size == 0:
        raise UserError(f"data set {origin} is empty: its shape is {x.shape}")
    return x


def _examples(x: np.ndarray, origin: str) -> tuple[np.ndarray, float | None]:
    """Examples as uint8 or float32, and the largest value that their format allows."""
    x, max_value = _number_type(_with_axis(x, origin))
    if x.dtype == np.float32 and not np.isfinite(x).all():
        raise UserError(f"data set {origin} holds values that are NaN or infinite in float32")
    return x[..., None] if x.ndim == 3 else x, max_value


def _number_type(x: np.ndarray) -> tuple[np.ndarray, float | None]:
    """The table of `from_array`."""
    if x.dtype.kind in "bui" and x.min() >= 0 and x.max() <= 1:
        return x.astype(np.uint8, copy=False), 1.0
    if x.dtype == np.uint8:
        return x, 255.0
    with np.errstate(over="ignore"):  # what overflows becomes infinite, and is refused as such
        return x.astype(np.float32, copy=False), None


def _labels(y: np.ndarray, count: int, origin: str) -> np.ndarray:
    """Labels [N] as int32. Raises UserError."""
    if y.shape != (count,):
        raise UserError(
            f"data set {origin}: {count} examples need labels of shape ({count},), not {y.shape}"
        )
    limits = np.iinfo(np.int32)
    if y.dtype.kind not in "bui" or y.min() < limits.min or y.max() > limits.max:
        raise UserError(f"data set {origin}: labels of type {y.dtype} are not 32-bit integers")
    return y.astype(np.int32)
