"""From the particles of a jet to its image, by steps that every source of jets shares.

Macaluso & Shih 2018 (arXiv:1803.00107), as Farina, Nakai & Shih 2018 ("Searching for New Physics
with Deep Autoencoders", arXiv:1808.08992) take them over. All act on the particles, before pixels:

1. centre    the mean of (eta, phi), weighted by transverse momentum pT, becomes the origin; phi is
             first unrolled about the hardest particle
2. rotate    the principal axis of the pT-weighted second moments comes to lie along the columns
3. flip      in either direction, the half with more pT comes to lie at the lower indices
4. pixels    the pT of the particles in each of 40 x 40 squares of 0.04 x 0.04 is summed, in GeV;
             particles that lie outside, 0.8 or more from the centre in a direction, are left out

The papers have the axis upright and the heavy half at the upper right: the same images, turned.
They go on to divide each image by its sum; here that is the preprocessing `unit_sum`.
"""

import numpy as np

PIXELS = 40
HALF_WIDTH = 0.8


def jet_image(pt: np.ndarray, eta: np.ndarray, phi: np.ndarray) -> np.ndarray:
    """The image [40, 40] float32, GeV, of particles with pT [N], pseudorapidity and azimuth."""
    pt, along, across = oriented(*(np.asarray(values, np.float64) for values in (pt, eta, phi)))
    edges = np.linspace(-HALF_WIDTH, HALF_WIDTH, PIXELS + 1)
    image, _, _ = np.histogram2d(across, along, bins=(edges, edges), weights=pt)
    return image.astype(np.float32)


def oriented(
    pt: np.ndarray, eta: np.ndarray, phi: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps 1 to 3: pT, and the places along and across the principal axis, each [N]."""
    unrolled = (phi - phi[pt.argmax()] + np.pi) % (2 * np.pi) - np.pi
    places = np.stack([eta, unrolled])  # [2, N]
    places = places - (places * pt).sum(axis=1, keepdims=True) / pt.sum()
    moments = (places * pt) @ places.T
    _, axes = np.linalg.eigh(moments)  # in rising order of the moments
    across, along = axes.T @ places
    return pt, _heavy_half_first(along, pt), _heavy_half_first(across, pt)


def _heavy_half_first(places: np.ndarray, pt: np.ndarray) -> np.ndarray:
    return -places if pt[places > 0].sum() > pt[places < 0].sum() else places


def kinematics(
    px: np.ndarray, py: np.ndarray, pz: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """pT, pseudorapidity and azimuth of particles with pT > 0, from their momenta, GeV."""
    pt = np.hypot(px, py)
    return pt, np.arcsinh(pz / pt), np.arctan2(py, px)
