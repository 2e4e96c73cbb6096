"""Sets that users bring as array archives in the folder named by AE_JAX_DATA."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from ae_jax.core.errors import UserError
from ae_jax.data.arrays import UNREADABLE
from ae_jax.data.base import Facts, Split
from ae_jax.data.protocols import Stored, hold_out, hold_out_rows, valid_last
from ae_jax.data.sources.base import CachedSource
from ae_jax.data.sources.cache import Log
from ae_jax.data.sources.classic_formats import format_amat
from ae_jax.data.sources.fetch import DATA_FOLDER, RawFile, Unavailable, find_in_data_folder

FREY_FACE_SOURCE = f"frey_rawface.mat or freyface.npz in the folder named by {DATA_FOLDER}"
_FREY_SHAPE = (1965, 28, 20)


@dataclasses.dataclass(frozen=True)
class BinarizedArchive:
    """`binarized_mnist.npz` with train, valid and test, written back as the published texts."""

    of_the_users: ClassVar[bool] = True

    label: str = f"binarized_mnist.npz in the folder named by {DATA_FOLDER}"

    def deliver(self, files: Sequence[RawFile], folder: Path) -> None:
        path = find_in_data_folder("binarized_mnist", "binarized_mnist.npz")
        if path is None:
            raise Unavailable("no such file")
        try:
            with path.open("rb") as opened:
                archive = np.load(opened, allow_pickle=False)
                for file in files:
                    part = file.name.removeprefix("binarized_mnist_").removesuffix(".amat")
                    (folder / file.name).write_bytes(format_amat(archive[part]))
        except UNREADABLE as error:
            raise Unavailable(f"{path} cannot be used: {error}; left as it is") from error


def frey_face(work: Path, log: Log) -> Stored:
    """1965 frames of Brendan Frey's face (Roweis & Saul 2000), 28x20x1 uint8.

    The published file lies in no archive of the catalogue and its host is gone, so the user
    brings it. Frames are in temporal order and the papers name no split: parts are held out by
    a permutation. Raises UserError.
    """
    path = _find_frey_face()
    log(f"frey_face: {path}: found")
    frames = _read_frey_face(path)
    if frames.shape != _FREY_SHAPE or frames.dtype != np.uint8:
        raise UserError(
            f"{path} should hold 1965 frames of 28x20 8-bit pixels, not {frames.shape} of "
            f"{frames.dtype}"
        )
    return hold_out(frames[..., None], None, 255.0, "frey_face")


def _find_frey_face() -> Path:
    problem = f"put frey_rawface.mat or freyface.npz into the folder named by {DATA_FOLDER}"
    try:
        for file in ("frey_rawface.mat", "freyface.npz"):
            path = find_in_data_folder("frey_face", file)
            if path is not None:
                return path
    except Unavailable as error:
        raise UserError(f"data set frey_face: {problem} ({error})") from error
    raise UserError(f"data set frey_face: {problem} (it holds neither)")


def _read_frey_face(path: Path) -> np.ndarray:
    """Frames [N, 28, 20]. The published matrix `ff` holds one frame a column, row by row."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        if path.suffix == ".npz":
            with path.open("rb") as opened:
                return np.load(opened, allow_pickle=False)["images"]
        return loadmat(path)["ff"].T.reshape(-1, *_FREY_SHAPE[1:])
    except (*UNREADABLE, TypeError, MatReadError) as error:
        raise UserError(f"{path} cannot be read as Frey faces: {error!r}") from error


def usps(work: Path, log: Log) -> Stored:
    """Digits of the US Postal Service (Le Cun et al. 1990), 16x16x1 uint8, 7,291 and 2,007.

    A tenth of the training digits is drawn for validation. Raises UserError.
    """
    arrays = _archive("usps", log, ("x_train", "y_train", "x_test", "y_test"))
    parts = {}
    for part, count in (("train", 7291), ("test", 2007)):
        x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
        _check("usps", x, (count, 16, 16))
        parts[part] = Split(x[..., None], y.astype(np.int32))
    train, valid_count = valid_last(parts["train"], "usps")
    return Stored(train, parts["test"], valid_count, 255.0)


def omniglot_small(work: Path, log: Log) -> Stored:
    """242 characters of 8 alphabets by 20 drawers each (Lake, Salakhutdinov & Tenenbaum 2015).

    4,840 images 28x28x1 uint8, ink is bright; labels are the characters. A part of the whole set:
    likelihoods do not compare with published ones. `factors` [N, 3] are alphabet, character and
    drawer. No drawer is in two splits: 16 train, two each validate and test. Raises UserError.
    """
    keys = ("images", "alphabet", "character", "drawer", "alphabet_names")
    x, alphabet, character, drawer, alphabets = _archive("omniglot_small", log, keys).values()
    _check("omniglot_small", x, (4840, 28, 28))
    factors = np.stack([alphabet, character, drawer], axis=1).astype(np.int32)
    examples = Split(x[..., None], character.astype(np.int32), factors=factors)
    ranks = {"train": drawer <= 16, "valid": (drawer > 16) & (drawer <= 18), "test": drawer > 18}
    train, valid, test = (examples.rows(chosen) for chosen in ranks.values())
    first = {int(c): int(a) for c, a in zip(character[::-1], alphabet[::-1], strict=True)}
    begins = {a: min(c for c in first if first[c] == a) for a in first.values()}
    classes = tuple(f"{alphabets[first[c]]} {c - begins[first[c]]}" for c in sorted(first))
    return Stored(
        train=valid.after(train),
        test=test,
        valid_count=len(valid),
        max_value=255.0,
        classes=classes,
        facts=Facts(factor_names=("alphabet", "character", "drawer")),
    )


def kodak(work: Path, log: Log) -> Stored:
    """20 natural photographs, 480x480x1 uint8, grey, unwhitened; `names` are their titles.

    Tenths are held out: patches of two photographs validate, and of two test. Raises UserError.
    """
    images, names = _archive("kodak", log, ("images", "names")).values()
    _check("kodak", images, (20, 480, 480))
    return hold_out_rows(Split(images[..., None], names=names), 255.0, "kodak")


_FILES = {
    "usps": "usps.npz",
    "omniglot_small": "omniglot_small.npz",
    "kodak": "kodakdb_gray480.npz",
}


def _archive(name: str, log: Log, keys: Sequence[str]) -> dict[str, np.ndarray]:
    """Arrays of the user's file, in the order asked for. Raises UserError."""
    file = _FILES[name]
    try:
        path = find_in_data_folder(name, file)
        problem = "it is not there"
    except Unavailable as error:
        path, problem = None, str(error)
    if path is None:
        raise UserError(
            f"data set {name}: put {file} into the folder named by {DATA_FOLDER} ({problem})"
        )
    log(f"{name}: {path}: found")
    try:
        with path.open("rb") as opened:
            archive = np.load(opened, allow_pickle=False)
            return {key: archive[key] for key in keys}
    except (*UNREADABLE, TypeError) as error:
        raise UserError(f"{path} cannot be read as the data set {name}: {error!r}") from error


def _check(name: str, x: np.ndarray, shape: tuple[int, ...]) -> None:
    if x.shape != shape or x.dtype != np.uint8:
        raise UserError(
            f"data set {name}: 8-bit images of shape {shape} are needed, not {x.dtype} of {x.shape}"
        )


def _local(name: str, build: Callable[[Path, Log], Stored]) -> CachedSource:
    where = f"{_FILES[name]} in the folder named by {DATA_FOLDER}"
    return CachedSource(name, build, ("prepared files", where))


USPS = _local("usps", usps)
OMNIGLOT_SMALL = _local("omniglot_small", omniglot_small)
KODAK = _local("kodak", kodak)
