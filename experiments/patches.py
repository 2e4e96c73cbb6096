"""Whitened patches of natural photographs: scikit-learn's two, or those of a folder."""

from pathlib import Path

import numpy as np

from ae_jax.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp")
# Where the whitening filter falls off, cycles a pixel: 200 of 512 in Olshausen & Field.
CUT_OFF = 200 / 512
MARGIN = 8  # pixels at the edge of a photograph, which the filter wraps around


def photographs(folder: Path | None = None) -> dict[str, np.ndarray]:
    """Grey photographs [H, W] in [0, 1] by name: those in a folder, or scikit-learn's two.

    Raises UserError for a folder without images, or with one that cannot be read.
    """
    if folder is None:
        from sklearn.datasets import load_sample_images

        bunch = load_sample_images()
        names = [Path(name).name for name in bunch.filenames]
        return {name: _grey(image) for name, image in zip(names, bunch.images, strict=True)}
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise UserError(f"{folder} holds no image ({', '.join(SUFFIXES)})")
    return {path.name: _read(path) for path in paths}


def _read(path: Path) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return _grey(np.asarray(image.convert("RGB")))
    except OSError as error:
        raise UserError(f"the image {path} cannot be read: {error}") from error


def _grey(image: np.ndarray) -> np.ndarray:
    """Luma of bytes [H, W, 3] (ITU-R BT.601), in [0, 1]."""
    return image.astype(np.float64) @ np.array([0.299, 0.587, 0.114]) / 255


def whitened(image: np.ndarray) -> np.ndarray:
    """A photograph [H, W] through the filter f exp(-(f / f0)^4), with unit variance.

    It flattens the 1/f spectrum of natural images up to f0 and drops what is faster, which is
    mostly noise (Olshausen & Field 1997, Eq. 18). The edges are left out.
    """
    rows, columns = (np.fft.fftfreq(size) for size in image.shape)
    frequency = np.hypot(rows[:, None], columns[None, :])
    response = frequency * np.exp(-((frequency / CUT_OFF) ** 4))
    filtered = np.fft.ifft2(np.fft.fft2(image - image.mean()) * response).real
    inner = filtered[MARGIN:-MARGIN, MARGIN:-MARGIN]
    return inner / inner.std()


def draw_patches(images: list[np.ndarray], side: int, count: int, seed: int) -> np.ndarray:
    """Random patches without their mean, [count, side * side] float32, of unit mean variance.

    As many from each image; raises UserError for one that is smaller than a patch.
    """
    rng = np.random.default_rng(seed)
    parts = []
    for index, image in enumerate(images):
        if min(image.shape) < side:
            raise UserError(f"an image of {image.shape} pixels is smaller than a patch of {side}")
        size = count // len(images) + (index < count % len(images))
        rows = rng.integers(0, image.shape[0] - side + 1, size)
        columns = rng.integers(0, image.shape[1] - side + 1, size)
        windows = np.lib.stride_tricks.sliding_window_view(image, (side, side))
        parts.append(windows[rows, columns].reshape(size, -1))
    x = rng.permutation(np.concatenate(parts))
    x = x - x.mean(axis=1, keepdims=True)
    return (x / x.std()).astype(np.float32)


def train_and_test(
    folder: Path | None, side: int, train: int, test: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Whitened patches [train, D] and [test, D]: of the left four fifths of each photograph, and
    of the rest, so that no test patch overlaps one for training."""
    images = [whitened(image) for image in photographs(folder).values()]
    cuts = [image.shape[1] * 4 // 5 for image in images]
    left = [image[:, :cut] for image, cut in zip(images, cuts, strict=True)]
    right = [image[:, cut:] for image, cut in zip(images, cuts, strict=True)]
    return draw_patches(left, side, train, seed), draw_patches(right, side, test, seed + 1)
