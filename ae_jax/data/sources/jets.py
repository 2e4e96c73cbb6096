"""Jets for the search of anomalies: QCD jets to train on, and all kinds to test with.

Images of transverse momentum, 40x40x1 float32, GeV, as `jet_images` makes them. Labels are 0 QCD,
1 top, 2 gluino. `factors` [N, 4] are pT (GeV), eta, phi (radians) and mass (GeV) of the jet.

After Farina, Nakai & Shih 2018 (arXiv:1808.08992), training and validation hold QCD jets only, and
the test split a quarter of the QCD jets with all jets of other kinds.
"""

import importlib.resources
import io
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ae_jax.core.errors import UserError
from ae_jax.data.arrays import UNREADABLE
from ae_jax.data.base import Facts, Split
from ae_jax.data.protocols import HOLD_OUT_SEED, Stored, valid_last
from ae_jax.data.sources.cache import Log
from ae_jax.data.sources.fetch import DATA_FOLDER, Unavailable, find_in_data_folder
from ae_jax.data.sources.jet_generator import CLASSES, JetSettings, generate_jets
from ae_jax.data.sources.jet_images import PIXELS

JETS_FILE = "jets_pythia8.npz"
JETS_SOURCES = (
    "prepared files",
    f"{JETS_FILE} in the folder named by {DATA_FOLDER}",
    "simulation with pythia8mc and fastjet (pip install 'ae_jax[jets]'; ten minutes or so)",
)
SMALL_SOURCES = ("prepared files", "embedded in ae_jax: simulated once by the same program")
KINEMATICS = ("pt", "eta", "phi", "mass")
QCD = 0
_TEST_SHARE = 0.25
_SMALL = "jets_small.npz"


def jets(work: Path, log: Log) -> Stored:
    """Simulated jets, from the user's file (20,000 QCD and 20,000 top jets) or drawn anew (20,000
    QCD, 5,000 top and 5,000 gluino jets); see `jet_generator`. Raises UserError.
    """
    found = _local(log)
    if found is not None:
        return anomaly_split(found, "jets", JETS_FILE)
    try:
        made = generate_jets(JetSettings(), log)
    except Unavailable as error:
        raise UserError(
            f"data set jets: {error}, or put {JETS_FILE} into the folder named by {DATA_FOLDER}; "
            "jets_small needs neither"
        ) from error
    return anomaly_split(made, "jets", f"simulated: {made['settings'].item()}")


def jets_small(work: Path, log: Log) -> Stored:
    """7,000 QCD, 2,000 top and 2,000 gluino jets that come inside the package."""
    content = importlib.resources.files("ae_jax.data.sources").joinpath(_SMALL).read_bytes()
    made = unpacked(np.load(io.BytesIO(content), allow_pickle=False))
    return anomaly_split(made, "jets_small", f"simulated: {made['settings'].item()}")


def anomaly_split(arrays: Mapping[str, np.ndarray], name: str, origin: str) -> Stored:
    """`images` [N, 40, 40], `kin` [N, 4] and `label` [N] as a data set that trains on QCD alone.

    Raises UserError.
    """
    x, y, factors = (arrays[key] for key in ("images", "label", "kin"))
    count = len(x)
    if x.shape != (count, PIXELS, PIXELS) or y.shape != (count,) or factors.shape != (count, 4):
        raise UserError(
            f"data set {name}: {PIXELS} x {PIXELS} images with label and kin [N, 4] are needed, "
            f"not {x.shape} with {y.shape} and {factors.shape}"
        )
    if not {QCD} < set(np.unique(y).tolist()) <= set(range(len(CLASSES))):
        raise UserError(f"data set {name}: labels have to be 0, QCD, and 1 or 2")
    y = y.astype(np.int32)
    x = x[..., None].astype(np.float32)
    examples = Split(x, y, factors=factors.astype(np.float32))
    qcd = np.flatnonzero(y == QCD)
    drawn = np.random.RandomState(HOLD_OUT_SEED).permutation(qcd)
    for_test = np.zeros(count, bool)
    for_test[drawn[: round(_TEST_SHARE * len(qcd))]] = True
    for_test |= y != QCD
    train, valid_count = valid_last(examples.rows(~for_test), name)
    facts = Facts(factor_names=KINEMATICS, origin=origin)
    return Stored(train, examples.rows(for_test), valid_count, None, CLASSES, facts)


def _local(log: Log) -> dict[str, np.ndarray] | None:
    try:
        path = find_in_data_folder("jets", JETS_FILE)
    except Unavailable as error:
        log(f"jets: {error}")
        return None
    if path is None:
        log(f"jets: no {JETS_FILE} in the folder named by {DATA_FOLDER}")
        return None
    log(f"jets: {path}: found")
    try:
        with path.open("rb") as opened:
            archive = np.load(opened, allow_pickle=False)
            return {key: archive[key] for key in ("images", "kin", "label")}
    except UNREADABLE as error:
        raise UserError(f"{path} cannot be read as jets: {error!r}") from error


def packed(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What `generate_jets` gives in few bytes: filled pixels only, each by its distance from the
    one before, over all images in a row; distances beyond a byte go in steps of 255 to pixels of 0.

    Exact. Values in order of their bytes' significance, which compress apart.
    """
    flat = arrays["images"].reshape(-1)
    places = np.flatnonzero(flat)
    gaps = np.diff(places, prepend=-1)  # 1 or more
    stops, remainders = np.divmod(gaps - 1, 255)
    steps = np.full(len(gaps) + int(stops.sum()), 255, np.uint8)
    ends = np.cumsum(stops + 1) - 1
    steps[ends] = remainders
    values = flat[places].view(np.uint16)
    return {
        "steps": steps,
        "ends": np.packbits(np.isin(np.arange(len(steps)), ends)),
        "high": (values >> 8).astype(np.uint8),
        "low": (values & 255).astype(np.uint8),
        "kin": arrays["kin"].astype(np.float32),
        "label": arrays["label"],
        "settings": arrays["settings"],
    }


def unpacked(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The inverse of `packed`."""
    steps = arrays["steps"].astype(np.int64)
    is_end = np.unpackbits(arrays["ends"])[: len(steps)].astype(bool)
    places = np.cumsum(np.where(is_end, steps + 1, 255))[is_end] - 1
    values = (arrays["high"].astype(np.uint16) << 8) | arrays["low"]
    images = np.zeros(len(arrays["label"]) * PIXELS * PIXELS, np.float16)
    images[places] = values.view(np.float16)
    return {
        "images": images.reshape(-1, PIXELS, PIXELS),
        "kin": arrays["kin"],
        "label": arrays["label"],
        "settings": arrays["settings"],
    }


def small_settings() -> dict:
    """How the embedded jets were simulated."""
    content = importlib.resources.files("ae_jax.data.sources").joinpath(_SMALL).read_bytes()
    return json.loads(np.load(io.BytesIO(content), allow_pickle=False)["settings"].item())
