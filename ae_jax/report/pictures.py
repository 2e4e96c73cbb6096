"""What figures of images and of codes draw, in axes that somebody else has made.

Images are [N, H, W] or [N, H, W, C] with values in [0, 1], C one or three; values outside are
clipped.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from scipy.special import ndtri

from ae_jax.report.drawing import name_classes
from ae_jax.report.style import class_colors, display_name


def tile(images: np.ndarray, rows: int, columns: int, pad: int = 1) -> np.ndarray:
    """One picture [rows*(H+pad)-pad, columns*(W+pad)-pad] (and C, unless C is 1), row by row.

    `pad` pixels of white (1.0) lie between neighbours; places beyond the last image are white.
    Raises ValueError if there are more images than places.
    """
    images = np.asarray(images, dtype=np.float32)
    if images.ndim == 4 and images.shape[-1] == 1:
        images = images[..., 0]
    count, height, width, *channels = images.shape
    if count > rows * columns:
        raise ValueError(f"{count} images do not fit a grid of {rows} x {columns}")
    cells = np.ones((rows * columns, height + pad, width + pad, *channels), np.float32)
    cells[:count, :height, :width] = images
    cells = cells.reshape(rows, columns, *cells.shape[1:]).swapaxes(1, 2)
    picture = cells.reshape(rows * (height + pad), columns * (width + pad), *channels)
    return picture[: picture.shape[0] - pad, : picture.shape[1] - pad]


def in_unit(images: np.ndarray, like: np.ndarray | None = None) -> np.ndarray:
    """Images whose values in the range of `like` are in [0, 1]: as they are, if that lies within.

    That range is their own, where nothing else is given.
    """
    like = images if like is None else like
    low, high = float(like.min()), float(like.max())
    if low >= 0 and high <= 1:
        return images
    return (images - low) / max(high - low, float(np.finfo(np.float32).tiny))


def show_picture(axes: Axes, picture: np.ndarray) -> None:
    """The picture without frame or ticks; grey unless it has colours."""
    axes.imshow(np.clip(picture, 0, 1), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.grid(False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def draw_rows(
    axes: Axes, rows: Mapping[str, np.ndarray], columns: Sequence[str] | None = None
) -> np.ndarray:
    """As many images [N, ...] in each row, with its name before it; `columns` are named below.

    Returns the picture that was drawn.
    """
    count = len(next(iter(rows.values())))
    picture = tile(np.concatenate(list(rows.values())), len(rows), count)
    show_picture(axes, picture)
    height, width = picture.shape[:2]
    axes.set_yticks(_middles(height, len(rows)), [display_name(name) for name in rows])
    if columns is not None:
        axes.set_xticks(_middles(width, count), columns)
    axes.tick_params(axis="both", length=0)
    return picture


def _middles(pixels: int, count: int) -> np.ndarray:
    """Where the middles of so many tiles are, one pixel apart."""
    return (pixels + 1) / count * (np.arange(count) + 0.5) - 1


def draw_manifold(axes: Axes, images: np.ndarray, n: int) -> None:
    """The decoded `manifold_coordinates(n)`: codes below and left, their probabilities opposite."""
    picture = tile(images, n, n, pad=0)
    height, width = picture.shape[:2]
    show_picture(axes, picture)
    lower = np.floor(np.linspace(0, n / 2, 3, endpoint=False)).astype(int)
    shown = np.union1d(lower, n - 1 - lower)
    probability = (shown + 0.5) / n
    codes = [f"{z:.2f}".replace("-", "−") for z in ndtri(probability)]
    chances = [f"{p:.3g}" for p in probability]
    across = (shown + 0.5) * (width / n) - 0.5
    upwards = height - (shown + 0.5) * (height / n) - 0.5
    axes.set_xticks(across, codes)
    axes.set_yticks(upwards, codes)
    axes.set(xlabel=r"first code coordinate $z_1$", ylabel=r"second code coordinate $z_2$")
    top, right = axes.secondary_xaxis("top"), axes.secondary_yaxis("right")
    top.set_xticks(across, chances)
    right.set_yticks(upwards, chances)
    top.spines[:].set_visible(False)
    right.spines[:].set_visible(False)
    top.set_xlabel(r"prior probability below, $\Phi(z_1)$")
    right.set_ylabel(r"prior probability below, $\Phi(z_2)$")


def draw_codes(axes: Axes, codes: np.ndarray, labels: np.ndarray | None) -> None:
    """Codes [N, 2], one colour for each value of `labels` [N], whose names stand at the classes."""
    size = float(np.clip(20000 / max(len(codes), 1), 4, 16))
    classes = np.array([""]) if labels is None else np.unique(labels)
    for label, color in zip(classes, class_colors(len(classes)), strict=True):
        chosen = codes if labels is None else codes[labels == label]
        # Rasterised: ten thousand vector dots make a PDF that no reader opens in a second.
        look = {"s": size, "color": color, "linewidths": 0, "alpha": 0.7, "rasterized": True}
        axes.scatter(chosen[:, 0], chosen[:, 1], label=str(label) or None, **look)
    axes.set_aspect("equal", adjustable="datalim")
    if labels is not None:
        name_classes(axes, codes, labels)
