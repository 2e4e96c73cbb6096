"""Sets that users bring as array archives in the folder named by AE_JAX_DATA."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ae_jax.core.errors import UserError
from ae_jax.data.arrays import UNREADABLE
from ae_jax.data.protocols import Stored, hold_out
from ae_jax.data.sources.cache import Log
from ae_jax.data.sources.fetch import DATA_FOLDER, RawFile, Unavailable, find_in_data_folder
from ae_jax.data.sources.formats import format_amat

FREY_FACE_SOURCE = f"frey_rawface.mat or freyface.npz in the folder named by {DATA_FOLDER}"
_FREY_SHAPE = (1965, 28, 20)


@dataclasses.dataclass(frozen=True)
class BinarizedArchive:
    """`binarized_mnist.npz` with train, valid and test, written back as the published texts."""

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
