"""The top-tagging reference data of Kasieczka, Plehn, Thompson & Russell (Zenodo 2603256).

Pythia 8 at 14 TeV with a simple detector, anti-kT jets with radius 0.8 and pT of 550 to 650 GeV:
one row a jet, up to 200 particles, hardest first, each as E, PX, PY, PZ in GeV, filled up with 0;
then the momentum of the top quark, `ttv` and `is_signal_new` (1 top, 0 QCD).

The files are tables of pandas in HDF5. They are read by h5py alone, which unpickles nothing: pandas
keeps the names of columns as pickles, so columns are known by their published order.
"""

from pathlib import Path
from typing import Any

import numpy as np

from ae_jax.core.errors import UserError
from ae_jax.data.protocols import Stored
from ae_jax.data.sources.cache import Log
from ae_jax.data.sources.fetch import DATA_FOLDER, Unavailable, find_in_data_folder
from ae_jax.data.sources.jet_images import PIXELS, jet_image, kinematics
from ae_jax.data.sources.jets import anomaly_split

FILE = "test.h5"
SOURCES = ("prepared files", f"{FILE} (Zenodo 2603256) in the folder named by {DATA_FOLDER}")
PARTICLES = 200
PER_CLASS = 20_000
_MOMENTA = 4 * PARTICLES
_BLOCK = 5000


def top_tagging(work: Path, log: Log) -> Stored:
    """The first 20,000 QCD and 20,000 top jets of `test.h5`, as images; the form of `jets`."""
    try:
        path = find_in_data_folder("top_tagging", FILE)
    except Unavailable as error:
        raise UserError(f"data set top_tagging: put {FILE} of Zenodo 2603256 into the folder named "
                        f"by {DATA_FOLDER} ({error})") from error  # fmt: skip
    if path is None:
        raise UserError(
            f"data set top_tagging: put {FILE} of Zenodo 2603256 into the folder named by "
            f"{DATA_FOLDER} (it is not there)"
        )
    log(f"top_tagging: {path}: making images of the first {PER_CLASS:,} jets of each class")
    return anomaly_split(read_jets(path, PER_CLASS), "top_tagging", f"{path.name}, Zenodo 2603256")


def read_jets(path: Path, per_class: int) -> dict[str, np.ndarray]:
    """`images` [N, 40, 40] float32, `kin` [N, 4] and `label` [N] of the first jets of each class.

    Raises UserError.
    """
    h5py = imported_h5py(path)
    images, kin, label = [], [], []
    wanted = {0: per_class, 1: per_class}
    try:
        with h5py.File(path, "r") as file:
            table = file["table/table"]
            for start in range(0, len(table), _BLOCK):
                rows = table[start : start + _BLOCK]
                momenta = rows["values_block_0"][:, :_MOMENTA].reshape(-1, PARTICLES, 4)
                for kind, jet in zip(rows["values_block_1"][:, -1], momenta, strict=True):
                    if wanted.get(int(kind), 0):
                        wanted[int(kind)] -= 1
                        image, facts = _jet(jet.astype(np.float64))
                        images.append(image)
                        kin.append(facts)
                        label.append(int(kind))
                if not any(wanted.values()):
                    break
    except (OSError, KeyError, ValueError, TypeError, IndexError) as error:
        raise UserError(
            f"{path} cannot be read as the top-tagging table of {_MOMENTA} momenta and "
            f"is_signal_new: {error}"
        ) from error
    return {
        "images": np.array(images, np.float32).reshape(-1, PIXELS, PIXELS),
        "kin": np.array(kin, np.float32).reshape(-1, 4),
        "label": np.array(label, np.uint8),
    }


def _jet(momenta: np.ndarray) -> tuple[np.ndarray, tuple[float, ...]]:
    """The image, and pT, eta, phi and mass, of the particles [200, 4]. Raises ValueError."""
    particles = momenta[momenta[:, 0] > 0]
    if not len(particles) or (particles[:, 0] < 0.99 * np.abs(particles[:, 3])).any():
        raise ValueError("its columns are not energies and momenta in turn")
    pt, eta, phi = kinematics(*particles.T[1:])
    energy, *momentum = particles.sum(axis=0)
    whole = kinematics(*(np.array([component]) for component in momentum))
    mass = np.sqrt(max(energy**2 - sum(component**2 for component in momentum), 0.0))
    return jet_image(pt, eta, phi), (*(value.item() for value in whole), float(mass))


def imported_h5py(path: Path) -> Any:
    """The package h5py. Raises UserError where it is not installed."""
    try:
        import h5py
    except ImportError as error:
        raise UserError(f"{path} is read by h5py: pip install 'ae_jax[data]'") from error
    return h5py
