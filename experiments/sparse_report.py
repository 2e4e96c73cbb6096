"""Figures of sparse codes: what units add to the image, and error over active units."""

import numpy as np

from ae_jax.data import DataSet
from ae_jax.lab import Shown
from ae_jax.report import comparisons, figures
from experiments.baselines import (
    first_components,
    pca_of,
    pca_reconstructions,
    rows_of,
    squared_error,
)
from experiments.sparse_codes import DENSE, Coder, Kind, Preset

ERROR = "squared error per image"
FEATURES = 64  # units shown


def pictures(preset: Preset, coders: dict[Kind, Coder], dataset: DataSet) -> dict[str, Shown]:
    """Features of the dense code and of each family, and one curve of error over active units."""
    shown = {}
    for kind in (DENSE, *preset.representatives):
        if kind not in coders:
            continue
        side = int(np.sqrt(min(FEATURES, preset.latent_dim)))
        images = coders[kind].features[: side**2].reshape(-1, *dataset.shape)
        name = kind.family.replace(" ", "_").lower()
        shown[f"features_{name}"] = Shown(
            figures.image_grid(about_grey(images), side, side, title=kind.name),
            f"Features: {kind.name}",
            "What a unit adds to the image, the most often active units first: grey is nothing, "
            "white and black are the most that any pixel of the unit gains or loses.",
        )
    shown["error_by_active_units"] = Shown(
        comparisons.curves(
            error_curves(coders, dataset),
            "active units per example",
            f"test {ERROR}",
            log_x=True,
            log_y=True,
        ),
        "Reconstruction against active units",
        "PCA uses all its components on every example, here as many as there are active units.",
    )
    return shown


def about_grey(images: np.ndarray) -> np.ndarray:
    """Each image [N, ...] scaled by its largest magnitude, 0 shown as 0.5."""
    largest = np.abs(images).max(axis=tuple(range(1, images.ndim)), keepdims=True)
    return 0.5 + 0.5 * images / np.where(largest > 0, largest, 1.0)


def error_curves(
    coders: dict[Kind, Coder], dataset: DataSet
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Active units and test error of each family, and of PCA with so many components."""
    points: dict[str, list[tuple[float, float]]] = {}
    for kind, coder in coders.items():
        points.setdefault(kind.family, []).append((coder.use["l0"], coder.error))
    lines = {family: np.array(sorted(pairs)).T for family, pairs in points.items()}
    every = [l0 for pairs in points.values() for l0, _ in pairs]
    sizes = np.unique(np.geomspace(max(1, min(every)), max(every), 8).round().astype(int))
    test, components = rows_of(dataset, "test"), pca_of(dataset, int(sizes[-1]))
    errors = [
        squared_error(test, pca_reconstructions(first_components(components, size), test))
        for size in sizes.tolist()
    ]
    return {family: (line[0], line[1]) for family, line in lines.items()} | {
        "PCA": (sizes, np.array(errors))
    }
