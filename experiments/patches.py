"""Patches of pictures: whitened ones of natural photographs, and turned ones of faces."""

from pathlib import Path

import click
import numpy as np
from scipy.ndimage import map_coordinates

from ae_jax.core.errors import UserError
from ae_jax.data import DataSet, Split

images_option = click.option(
    "--images",
    type=click.Path(path_type=Path),
    help="A folder of photographs.  [default: the two in scikit-learn]",
)

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp")
# Where the whitening filter falls off, cycles a pixel: 200 of 512 in Olshausen & Field.
CUT_OFF = 200 / 512
PATCH_SEED = 2006_0728
WITHIN = 3  # samples across a pixel of a turned patch
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


def natural_patches(
    folder: Path | None, side: int, train: int, test: int, seed: int = 0
) -> DataSet:
    """Whitened patches [N, side, side, 1]: `train` of the left four fifths of each photograph, and
    `test` of the rest, so that no test patch overlaps one for training."""
    images = [whitened(image) for image in photographs(folder).values()]
    cuts = [image.shape[1] * 4 // 5 for image in images]
    left = [image[:, :cut] for image, cut in zip(images, cuts, strict=True)]
    right = [image[:, cut:] for image, cut in zip(images, cuts, strict=True)]
    drawn = {
        "train": draw_patches(left, side, train, seed),
        "test": draw_patches(right, side, test, seed + 1),
    }
    shape = (-1, side, side, 1)
    splits = {name: Split(x.reshape(shape)) for name, x in drawn.items()}
    return DataSet("natural patches", splits, protocol="full")


def turned_patches(
    images: np.ndarray,
    count: int,
    *,
    side: int = 25,
    degrees: float = 90.0,
    scales: tuple[float, float] = (1.4, 1.8),
    seed: int = PATCH_SEED,
) -> np.ndarray:
    """`count` patches about the centre of each image, [N, H, W] -> float32 [count * N, side, side].

    Each is turned by an angle up to `degrees` either way and covers `scales` times its side in
    pixels of the image, both drawn uniformly: 25 x 25 patches of the faces of 64 x 64 as Hinton &
    Salakhutdinov 2006 describe theirs. A pixel is the mean of the image over its square (a point
    would alias what is finer than a patch can show), over `WITHIN` by `WITHIN` bilinear samples.
    The first N patches are one of each image, then the next, so that any head of them shows all
    images. An image's patches depend on the seed, its place and `count` only. Raises ValueError
    where a patch would leave an image.
    """
    images = np.asarray(images)
    total, height, width = images.shape
    reach = (side - 1 / WITHIN) / 2 * max(scales) * np.sqrt(2)
    if reach > (min(height, width) - 1) / 2:
        raise ValueError(
            f"patches of {side} pixels at scale {max(scales):g} leave images of {height} x {width}"
        )
    # RandomState's streams are frozen for good.
    draws = np.random.RandomState(seed).uniform(size=(total, count, 2))
    angles = np.deg2rad(degrees * (2 * draws[..., 0] - 1))
    spacing = scales[0] + (scales[1] - scales[0]) * draws[..., 1]
    fine = side * WITHIN
    place = (np.arange(fine) - (fine - 1) / 2) / WITHIN  # in pixels of the patch
    patches = np.empty((count, total, side, side), np.float32)
    for i, image in enumerate(images.astype(np.float32)):
        across, down = (spacing[i] * f(angles[i]) for f in (np.cos, np.sin))  # [count]
        rows = across[:, None, None] * place[:, None] + down[:, None, None] * place
        columns = across[:, None, None] * place - down[:, None, None] * place[:, None]
        where = np.stack([rows + (height - 1) / 2, columns + (width - 1) / 2])
        samples = map_coordinates(image, where, order=1, mode="nearest")  # [count, fine, fine]
        patches[:, i] = samples.reshape(count, side, WITHIN, side, WITHIN).mean(axis=(2, 4))
    return patches.reshape(-1, side, side)
