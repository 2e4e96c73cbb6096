"""Users' own arrays, checked and brought to one form: at the start of a run and ever after.

Numbers come in by `core.door`; what is added here is what examples are: their shape, the range of
their values, and their labels.
"""

import dataclasses
import lzma
import struct
import tokenize
import zipfile
import zlib
from typing import Any

import numpy as np

from ae_jax.core.door import Admitted, admit, as_array
from ae_jax.core.errors import UserError
from ae_jax.data.base import DataSet, Split
from ae_jax.data.protocols import hold_out

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
    other integers (counts), floats      float32     None

    Only the type and the two binary values tell what range was meant: a largest value of 7 may be
    a count, a class or a grey level, so nothing is rescaled by it. Arrays [N, H, W] of any type
    are grey images and get a channel axis; [N, D] are vectors, [N, H, W, C] images. A scipy sparse
    matrix is made dense. NaN, and what a masked array masks, is a missing value: it comes in here,
    and whatever is fitted refuses it unless its objective takes missing values. Labels are
    integers, or text of which `DataSet.classes` keeps the names. Raises UserError for arrays that
    nothing can be learned from.
    """
    origin = f"data set {name}"
    examples = examples_of(x, origin)
    labels, classes = (None, None) if y is None else labels_of(y, len(examples.values), origin)
    stored = hold_out(examples.values, labels, examples.max_value, name, classes)
    return stored.under(protocol, name)


def check_split(
    split: Split,
    shape: tuple[int, ...],
    origin: str,
    *,
    missing: bool = False,
    counts: bool = False,
) -> None:
    """Raises UserError unless `x` is [N, *shape] uint8 or finite float32 and `y` [N] int32.

    With `missing`, NaN may stand for missing values; `counts` may be uint16.
    """
    origin = f"data set {origin}"
    examples = examples_of(split.x, origin).values
    allowed = (np.uint8, np.float32, np.uint16) if counts else (np.uint8, np.float32)
    if split.x.dtype not in allowed or split.x.shape[1:] != shape:
        raise UserError(
            f"{origin}: every split needs uint8 or float32 examples of one shape, not "
            f"{split.x.dtype} of {split.x.shape[1:]} beside {shape}"
        )
    if not missing and examples.dtype == np.float32 and np.isnan(examples).any():
        raise UserError(f"{origin} holds values that are NaN")
    if split.y is not None and labels_of(split.y, len(examples), origin)[0].dtype != split.y.dtype:
        raise UserError(f"{origin}: labels have to be int32, not {split.y.dtype}")


def admitted(dataset: DataSet) -> DataSet:
    """A data set with every array in memory in the form of the library. Raises UserError.

    Labels and conditions are one for each example, and numbers that say what they seem to.
    """
    shapes = {}
    for name, split in dataset.splits.items():
        origin = f"data set {dataset.name}"
        if not hasattr(split.x, "dtype"):
            raise UserError(
                f"{origin}: the examples of {name} are an array, not {type(split.x).__name__}"
            )
        shapes[split.x.shape[1:]] = name
        if len(shapes) > 1:
            (one, first), (other, second) = list(shapes.items())[:2]
            raise UserError(
                f"{origin}: examples have one shape, and those of {first} have {one}, those of "
                f"{second} {other}"
            )
        if split.y is not None:
            labels_of(split.y, len(split.x), origin)
        if split.condition is not None:
            _check_conditions(split.condition, len(split.x), origin)
    forms = [np.dtype(np.uint8), np.dtype(np.float32)]  # in the byte order of this machine
    if dataset.is_counts:
        forms.append(np.dtype(np.uint16))
    splits = {
        name: dataclasses.replace(split, x=admit(split.x, f"data set {dataset.name}").values)
        for name, split in dataset.splits.items()
        if split.x.dtype not in forms or isinstance(split.x, np.ma.MaskedArray)
    }
    return dataclasses.replace(dataset, splits={**dataset.splits, **splits}) if splits else dataset


def _check_conditions(condition: Any, count: int, origin: str) -> None:
    if len(condition) != count:
        raise UserError(f"{origin}: {count} examples need as many conditions, not {len(condition)}")
    if isinstance(condition, np.ma.MaskedArray) and np.ma.is_masked(condition):
        raise UserError(f"{origin}: some conditions are masked: leave those examples out")
    in_memory = isinstance(condition, np.ndarray) and not isinstance(condition, np.memmap)
    if in_memory and not np.isfinite(condition).all():
        raise UserError(f"{origin}: some conditions are not finite")


def examples_of(x: Any, origin: str) -> Admitted:
    """Examples [N, ...] as uint8 or float32, grey images with a channel axis. Raises UserError."""
    admitted = admit(with_axis(x, origin), origin)
    if admitted.values.ndim != 3:
        return admitted
    return Admitted(admitted.values[..., None], admitted.kind)


def with_axis(x: Any, origin: str) -> np.ndarray:
    """The array, if it is a non-empty list of examples. Raises UserError."""
    x = as_array(x, origin)
    if x.dtype.kind in "biuf" and x.ndim < 2:
        raise UserError(
            f"{origin}: examples need shape [N, ...] with two or more axes, not {x.shape}"
            + ("; one number an example is x[:, None]" if x.ndim == 1 else "")
        )
    if x.size == 0:
        raise UserError(f"{origin} is empty: its shape is {x.shape}")
    return x


def refuse_channels_first(dataset: DataSet) -> None:
    """Raises UserError for images [N, C, H, W], grey or in colour, taken for [N, H, W, C]."""
    if has_channels_first((0, *dataset.shape)):
        raise UserError(
            f"data set {dataset.name}: examples of shape {dataset.shape} have their channels "
            "first; images are [N, H, W, C], which data.layout=channels_first makes of them, or "
            "np.moveaxis(x, 1, -1)"
        )


def has_channels_first(shape: tuple[int, ...]) -> bool:
    """Whether an array of images is [N, C, H, W], grey or in colour."""
    return len(shape) == 4 and shape[1] in (1, 3) and shape[3] not in (1, 3)


def labels_of(y: Any, count: int, origin: str) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """Labels [N] as int32, and the names of the classes where they were text. Raises UserError."""
    y = as_array(y, origin)
    if y.shape != (count,):
        hint = "; argmax(axis=1) makes such of one-hot rows" if y.ndim == 2 else ""
        raise UserError(
            f"{origin}: {count} examples need labels of shape ({count},), not {y.shape}{hint}"
        )
    if isinstance(y, np.ma.MaskedArray) and np.ma.is_masked(y):
        raise UserError(f"{origin}: some labels are masked: leave those examples out")
    y = np.asarray(y)
    if holds_text(y):
        names, codes = np.unique(y.astype(str), return_inverse=True)
        return codes.astype(np.int32), tuple(names.tolist())
    limits = np.iinfo(np.int32)
    if y.dtype.kind not in "bui" or y.min() < limits.min or y.max() > limits.max:
        raise UserError(f"{origin}: labels of type {y.dtype} are neither 32-bit integers nor text")
    return y.astype(np.int32), None


def holds_text(values: np.ndarray) -> bool:
    """Whether all values of an array are text, in NumPy's types or as Python's own."""
    kind = values.dtype.kind
    return kind in "US" or kind == "O" and all(isinstance(one, str) for one in values.ravel())


def new_examples(x: Any, dataset: DataSet, *, missing: bool = False) -> np.ndarray:
    """Examples for a model that was fitted on a data set, in the form of that set.

    They may be flat, and grey images without a channel axis. What `from_array` refuses is refused
    here, and so are values outside the range of the data set, fractions where grey levels are
    meant, and NaN unless missing values are taken. Raises UserError.
    """
    raw, shape = as_array(x, "examples"), dataset.shape
    alike = {shape, (int(np.prod(shape)),)}  # flattened is as good,
    if shape[-1] == 1:
        alike.add(shape[:-1])  # and so are grey images without a channel axis
    if raw.ndim == 0 or raw.shape[1:] not in alike:
        raise UserError(
            f"examples have shape {raw.shape[1:]}; the model was fitted on {shape}"
            + _way_to(shape, raw.shape, alike)
        )
    admitted = admit(raw, "examples", check_digits=False)
    values = admitted.values.reshape(len(raw), *shape)
    if len(values) == 0:
        return values
    if not missing and np.isnan(values).any():
        raise UserError("examples hold values that are NaN, and the model takes no missing ones")
    _check_range(admitted, dataset.max_value, raw.dtype)
    return values


def _way_to(shape: tuple[int, ...], given: tuple[int, ...], alike: set[tuple[int, ...]]) -> str:
    if given in alike:
        return "; one example x has to come as x[None]"
    if len(given) == 4 and (*given[2:], given[1]) == shape:
        return "; np.moveaxis(x, 1, -1) brings their channels last"
    return ""


def _check_range(examples: Admitted, largest: float | None, given: np.dtype) -> None:
    """Raises UserError for values that the format of the data set has not.

    Fractions are not grey levels, but black is black in both.
    """
    if largest is None:
        return
    low, high = float(np.nanmin(examples.values)), float(np.nanmax(examples.values))
    if given.kind == "b" and largest > 1:
        raise UserError(
            "examples are true and false, which are no grey levels; the model was fitted on values "
            f"up to {largest:g}"
        )
    if examples.kind == "real" and largest > 1 and 0 < high <= 1:
        raise UserError(
            f"examples are fractions up to {high:g}; the model was fitted on values up to "
            f"{largest:g}"
        )
    if low < 0 or high > largest:
        raise UserError(
            f"examples have values from {low:g} to {high:g}; the model was fitted on values from "
            f"0 to {largest:g}"
        )
