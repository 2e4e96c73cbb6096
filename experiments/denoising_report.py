"""Figures of denoising: digits and their reconstructions, and PSNR by level of noise."""

import numpy as np
from matplotlib.figure import Figure

from ae_jax.data import DataSet, Split
from ae_jax.lab import Rows, Shown
from ae_jax.report import comparisons, figures
from experiments.baselines import one_of_each
from experiments.denoising_models import METHODS, MISSING, Images, Preset

LEVEL_NAMES = {
    "gaussian": "standard deviation",
    "masking": "share of pixels",
    "salt_and_pepper": "share of pixels",
}


def pictures(
    preset: Preset,
    dataset: DataSet,
    cleaned: dict[tuple[str, float], Images],
    filled: dict[str, Images],
    part: Split,
    rows: Rows,
) -> dict[str, Shown]:
    shown = {"psnr": psnr_figure(rows)}
    chosen = one_of_each(dataset.splits["test"])
    for name, levels in preset.levels.items():
        key = (name, levels[-1])
        if key in cleaned:
            title = f"{name.replace('_', ' ')}, {LEVEL_NAMES[name]} {levels[-1]:g}"
            shown[f"cleaned_{name}"] = Shown(
                image_rows(cleaned[key], chosen, dataset, "corrupted", title),
                f"Test digits: {title}",
            )
    for pattern, images in filled.items():
        title = f"{MISSING[pattern]:.0%} missing, {pattern}"
        shown[f"filled_{pattern}"] = Shown(
            image_rows(images, one_of_each(part), dataset, "seen", title),
            f"Test digits: {title}",
            "What is missing is shown as grey.",
        )
    return shown


def image_rows(
    images: Images, chosen: np.ndarray, dataset: DataSet, seen: str, title: str
) -> Figure:
    """Originals over what was seen of them and the two ways to restore it."""

    def shaped(x: np.ndarray) -> np.ndarray:
        return np.nan_to_num(x[chosen], nan=0.5).reshape(-1, *dataset.shape)

    rows = {
        seen: shaped(images.seen),
        "linear": shaped(images.linear),
        "autoencoder": shaped(images.autoencoder),
    }
    return figures.reconstructions(shaped(images.original), rows, title)


def psnr_figure(rows: Rows) -> Shown:
    """PSNR against the level, one panel a corruption."""
    panels, labels = {}, {}
    for name in dict.fromkeys(row["corruption"] for row in rows):
        alike = [row for row in rows if row["corruption"] == name]
        levels = np.array([row["level"] for row in alike])
        panels[name] = {
            method: (levels, np.array([row[method] for row in alike])) for method in METHODS
        }
        labels[name] = LEVEL_NAMES[name.replace(" ", "_")]
    figure = comparisons.curve_panels(panels, labels, "mean PSNR on test digits (dB)")
    return Shown(figure, "PSNR by corruption and level")
