"""The Olivetti faces, from the user's folder or by scikit-learn's fetcher."""

from pathlib import Path

import numpy as np

from ae_jax.core.errors import UserError
from ae_jax.data.arrays import UNREADABLE
from ae_jax.data.base import Split
from ae_jax.data.protocols import Stored
from ae_jax.data.sources.cache import Log
from ae_jax.data.sources.fetch import DATA_FOLDER, Unavailable, find_in_data_folder
from ae_jax.data.sources.mirrors import PATIENCE, silence

OLIVETTI_SOURCES = (
    f"olivetti.npz in the folder named by {DATA_FOLDER}",
    "the download of scikit-learn's fetch_olivetti_faces",
)
_URL = "https://ndownloader.figshare.com/files/5976027"
_SHAPE = (400, 64, 64)
# Ten images each: the first 30 people train, of whom the last 5 are held out; 10 people test.
_TRAIN, _VALID = 300, 50


def olivetti(work: Path, log: Log) -> Stored:
    """400 faces of 40 people (Samaria & Harter 1994), 64x64x1 uint8; labels are the people 0..39.

    No person is in two splits: 30 people train, of whom the last five are held out for validation,
    and ten test, as Hinton & Salakhutdinov 2006 divide them. Raises UserError.
    """
    images, people = _local(log) or _fetched(work, log)
    if images.shape != _SHAPE or images.dtype != np.uint8 or people.shape != _SHAPE[:1]:
        raise UserError(
            f"data set olivetti: 400 faces of 64x64 8-bit pixels with their people are needed, not "
            f"{images.shape} of {images.dtype} with {people.shape}"
        )
    order = np.argsort(people, kind="stable")
    x, y = images[order][..., None], people[order].astype(np.int32)
    return Stored(
        train=Split(x[:_TRAIN], y[:_TRAIN]),
        test=Split(x[_TRAIN:], y[_TRAIN:]),
        valid_count=_VALID,
        max_value=255.0,
    )


def _local(log: Log) -> tuple[np.ndarray, np.ndarray] | None:
    """`images` and `target` of the user's file; None where there is none."""
    try:
        path = find_in_data_folder("olivetti", "olivetti.npz")
    except Unavailable as error:
        log(f"olivetti: {error}")
        return None
    if path is None:
        log(f"olivetti: no olivetti.npz in the folder named by {DATA_FOLDER}")
        return None
    log(f"olivetti: {path}: found")
    try:
        with path.open("rb") as opened:
            archive = np.load(opened, allow_pickle=False)
            return archive["images"], archive["target"]
    except UNREADABLE as error:
        raise UserError(f"{path} cannot be read as Olivetti faces: {error!r}") from error


def _fetched(work: Path, log: Log) -> tuple[np.ndarray, np.ndarray]:
    """By the fetcher, which checks the sha256; into an empty folder, so that it reads its own."""
    from sklearn.datasets import fetch_olivetti_faces

    problem = silence(_URL, PATIENCE)
    try:
        if problem:
            raise OSError(problem)
        log("olivetti: downloading by scikit-learn")
        bunch = fetch_olivetti_faces(data_home=work / "sklearn", n_retries=1)
    except OSError as error:
        raise UserError(
            f"data set olivetti could not be downloaded ({error}); put olivetti.npz with images "
            f"[400, 64, 64] uint8 and target [400] into the folder named by {DATA_FOLDER}"
        ) from error
    # It stretches the grey levels to [0, 1].
    return np.rint(255 * bunch.images).astype(np.uint8), bunch.target
