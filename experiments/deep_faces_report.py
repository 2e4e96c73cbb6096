"""Figures of deep autoencoders of faces."""

import numpy as np

from ae_jax.api import Fitted
from ae_jax.api.layerwise import Pretrained
from ae_jax.lab import Shown
from ae_jax.report import figures
from experiments.baselines import pca_of, pca_reconstructions
from experiments.deep import error_curve, level, published
from experiments.deep_faces_patches import Patches, Preset

SHOWN = 12


def pictures(
    preset: Preset,
    patches: Patches,
    model: Fitted,
    layers: Pretrained,
    errors: dict[str, float],
    before: float,
) -> dict[str, Shown]:
    test = patches.dataset.splits["test"].x
    # Evenly spread, so that different people and turns are seen.
    chosen = test[np.linspace(0, len(test) - 1, SHOWN).astype(int)]
    codec = pca_of(patches.dataset, preset.code)
    rows = {
        "autoencoder": patches.grey(model.reconstruct(chosen, units="model")),
        "PCA": patches.grey(pca_reconstructions(codec, chosen.reshape(len(chosen), -1))),
    }
    curves = {"autoencoder": error_curve(model, before)}
    curves["PCA"] = level(errors["PCA"], curves)
    for method, value in (published(preset.faces) or {}).items():
        curves[f"published {method}"] = level(value, curves)
    return {
        "reconstructions": Shown(
            figures.reconstructions(patches.grey(chosen), rows),
            "Test patches",
            f"From codes of {preset.code} numbers; no person is in training and test.",
        ),
        "error_by_epoch": Shown(
            figures.loss_curves(curves, y_label="test squared error per image"),
            "Fine-tuning",
            "It begins where the unrolled layers are.",
        ),
    }
