"""Faces that nobody has, made of those of a few people: what trains a network that learns by heart.

All of it is made of the faces that are given, so that those of people who are held out stay unseen.
"""

import numpy as np
from scipy.ndimage import map_coordinates

BLENDED = 2 / 3  # share of the faces that are a blend of two
STRETCH = 0.1  # log of the largest stretch, in breadth what is lost in height
CONTRAST = 0.2  # largest change, as a share
BRIGHTNESS = 8.0  # standard deviation of the change, grey levels of 255
SHADING = 15.0  # the same at the edge of the image, growing from its centre


def varied(faces: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """One face made of each of the faces [N, H, W], grey levels of 0 to 255; float32.

    In this order: mirrored, for one half of them; blended with another one (mirrored or not), by a
    uniform share; stretched; with another contrast and brightness; lit from one side. What is left
    of 0 and 255 by that is not cut off.
    """
    faces = np.asarray(faces, np.float32)
    made = _mirrored(faces, rng)
    others = _mirrored(faces[rng.randint(len(faces), size=len(faces))], rng)
    share = np.where(rng.uniform(size=len(faces)) < BLENDED, rng.uniform(size=len(faces)), 0.0)
    made += _each(share) * (others - made)
    made = _stretched(made, np.exp(rng.uniform(-STRETCH, STRETCH, len(faces))))
    mean = made.mean(axis=(1, 2), keepdims=True)
    made = mean + _each(rng.uniform(1 - CONTRAST, 1 + CONTRAST, len(faces))) * (made - mean)
    made += _each(rng.normal(0, BRIGHTNESS, len(faces)))
    down, right = (np.linspace(-1, 1, size, dtype=np.float32) for size in faces.shape[1:])
    made += _each(rng.normal(0, SHADING, len(faces))) * down[:, None]
    made += _each(rng.normal(0, SHADING, len(faces))) * right
    return made


def _each(values: np.ndarray) -> np.ndarray:
    """Values [N], to be taken with images [N, H, W]."""
    return values.astype(np.float32)[:, None, None]


def _mirrored(faces: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """About half of the faces from right to left; a copy."""
    turned = _each(rng.uniform(size=len(faces))) < 0.5
    return np.where(turned, faces[:, :, ::-1], faces)


def _stretched(faces: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Faces `by` [N] times as broad about their centre, and as much less high."""
    height, width = faces.shape[1:]
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    middle, centre = (height - 1) / 2, (width - 1) / 2
    return np.stack(
        [
            map_coordinates(
                face,
                [middle + (rows - middle) * factor, centre + (columns - centre) / factor],
                order=1,
                mode="nearest",
            )
            for face, factor in zip(faces, by, strict=True)
        ]
    )
