"""Pictures drawn from known factors, to measure how well a code tells them apart.

In the manner of dSprites (Matthey et al. 2017), with two differences: there are fewer values of
each factor, and no shape looks the same when it is turned, so that a picture determines its
factors: all 13,824 pictures differ.
"""

import itertools
from pathlib import Path

import numpy as np

from ae_jax.data.base import Facts, Split
from ae_jax.data.protocols import Stored, hold_out_rows
from ae_jax.data.sources.cache import Log

SOURCES = ("prepared files", "drawn by the library")
SIDE = 32
SHAPES = ("wedge", "half_disc", "ell")
FACTORS = ("shape", "scale", "orientation", "x", "y")
FACTOR_SIZES = (3, 6, 12, 8, 8)
_SMALLEST, _LARGEST = 5.0, 8.5  # pixels from the centre of a shape to its furthest point
_FIRST, _STEP = 9, 2  # of the centre, in pixels


def draw_shape(shape: int, scale: int, orientation: int, x: int, y: int) -> np.ndarray:
    """The picture [32, 32] of one setting of the factors, uint8: 1 inside the shape, 0 outside.

    scale        0..5: radius of 5 to 8.5 pixels, in even steps
    orientation  0..11: turned by so many times 30 degrees, from the x axis to the y axis
    x, y         0..7: centre at pixel 9 + 2x from the left and 9 + 2y from the top
    """
    radius = _SMALLEST + (_LARGEST - _SMALLEST) * scale / (FACTOR_SIZES[1] - 1)
    angle = 2 * np.pi * orientation / FACTOR_SIZES[2]
    row, column = np.mgrid[:SIDE, :SIDE]
    right, down = column - (_FIRST + _STEP * x), row - (_FIRST + _STEP * y)
    # A pixel is inside if its centre is, seen in the frame of the shape, at radius 1.
    u = (np.cos(angle) * right + np.sin(angle) * down) / radius
    v = (np.cos(angle) * down - np.sin(angle) * right) / radius
    # Pixels on an edge must not depend on the last bit of a machine's cosine.
    return _INSIDE[SHAPES[shape]](np.round(u, 9), np.round(v, 9)).astype(np.uint8)


def _wedge(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """A triangle with a sharp tip at u = 1."""
    return (u >= -0.8) & (np.abs(v) <= (1 - u) / 3)


def _half_disc(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return (u >= 0) & (u**2 + v**2 <= 1)


def _ell(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Two arms of different length at a right angle."""
    long = (np.abs(v + 0.4) <= 0.2) & (np.abs(u) <= 0.8)
    short = (np.abs(u + 0.6) <= 0.2) & (v >= -0.4) & (v <= 0.6)
    return long | short


_INSIDE = {"wedge": _wedge, "half_disc": _half_disc, "ell": _ell}


def draw_all() -> tuple[np.ndarray, np.ndarray]:
    """All pictures [13824, 32, 32, 1] uint8 and their factors [13824, 5] int32, y fastest."""
    factors = np.array(list(itertools.product(*map(range, FACTOR_SIZES))), np.int32)
    x = np.zeros((len(factors), SIDE, SIDE, 1), np.uint8)
    # Places are whole pixels apart: each form is drawn once and shifted.
    per_form = FACTOR_SIZES[3] * FACTOR_SIZES[4]
    for start in range(0, len(factors), per_form):
        form = draw_shape(*factors[start])
        for row in range(start, start + per_form):
            right, down = _STEP * factors[row, 3], _STEP * factors[row, 4]
            x[row, down:, right:, 0] = form[: SIDE - down, : SIDE - right]
    return x, factors


def shapes(work: Path, log: Log) -> Stored:
    """3 shapes x 6 scales x 12 orientations x 8 x 8 places, binary pixels 32x32x1 uint8.

    `factors` [N, 5] int32, in the order of `FACTORS`; labels are the shapes. Tenths are held out.
    """
    x, factors = draw_all()
    facts = Facts(factor_names=FACTORS, origin="ae_jax.data.sources.shapes.draw_all")
    examples = Split(x, factors[:, 0], factors=factors)
    return hold_out_rows(examples, 1.0, "shapes", SHAPES, facts)
