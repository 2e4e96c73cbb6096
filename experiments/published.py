"""Published curves to compare with, kept as data in `targets/`."""

import json
from pathlib import Path

import numpy as np

from ae_jax.core.registry import unknown_name

TARGETS = Path(__file__).parent / "targets"
FIGURE_2 = TARGETS / "kingma_welling_fig2.json"


def load_curves(dataset: str) -> dict[tuple[int, str, str], np.ndarray]:
    """Fig. 2 of Kingma & Welling 2014 for `dataset`, "mnist" or "frey_face".

    Maps (latent size, "aevb" or "wake_sleep", "train" or "test") to [n, 2]: training samples seen
    and the average lower bound in nats per example. Raises UserError for another data set.
    """
    record = json.loads(FIGURE_2.read_text(encoding="utf-8"))
    samples = np.array(record["samples"], float)
    curves = {}
    for curve in record["curves"]:
        if curve["dataset"] == dataset:
            points = np.stack([samples, np.array(curve["bound"], float)], axis=-1)
            key = (curve["latent_dim"], curve["method"], curve["split"])
            curves[key] = points[np.isfinite(points[:, 1])]
    if not curves:
        raise unknown_name("published data set", dataset, {c["dataset"] for c in record["curves"]})
    return curves


def bound_at(curve: np.ndarray, samples: float) -> float:
    """The bound of a curve [n, 2] after `samples` examples, linear in the logarithm of samples.

    Raises ValueError outside the recorded range, where nothing was published.
    """
    if not curve[0, 0] <= samples <= curve[-1, 0]:
        raise ValueError(f"{samples} lies outside {curve[0, 0]:g} to {curve[-1, 0]:g} samples")
    return float(np.interp(np.log(samples), np.log(curve[:, 0]), curve[:, 1]))


def pca_errors() -> dict[int, float]:
    """Squared error per pixel of PCA on the MNIST test split, by code size: a closed form.

    Components and mean are those of the 60,000 training digits in [0, 1]; unclipped.
    """
    record = json.loads((TARGETS / "pca_mnist.json").read_text(encoding="utf-8"))
    return {int(size): value for size, value in record["squared_error_per_pixel"].items()}


def cvae_costs(kind: str) -> dict[int, float]:
    """Nats that the hidden quadrants of a test digit cost, "baseline" or "cvae", by those given."""
    record = json.loads((TARGETS / "cvae_quadrants.json").read_text(encoding="utf-8"))
    return {int(given): value for given, value in record[kind].items()}
