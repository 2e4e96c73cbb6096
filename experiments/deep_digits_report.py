"""Figures of deep autoencoders of digits."""

import numpy as np

from ae_jax.codecs.pca import PcaCodec
from ae_jax.data import DataSet
from ae_jax.lab import Shown
from ae_jax.report import figures
from experiments.baselines import one_of_each, pca_reconstructions
from experiments.deep import error_curve, level, published
from experiments.deep_digits_models import LOGISTIC, PCA, PRETRAINED, SCRATCH, Models


def pictures(
    dataset: DataSet,
    models: Models,
    codec: PcaCodec,
    errors: dict[str, np.ndarray],
    unrolled: list[float],
) -> dict[str, Shown]:
    test = dataset.splits["test"]
    chosen = test.x[one_of_each(test)]
    originals = models.logistic.inputs(chosen)
    by_pca = pca_reconstructions(codec, originals.reshape(len(chosen), -1))
    rows = {
        "autoencoder": models.model(PRETRAINED).reconstruct(chosen, units="model"),
        LOGISTIC: models.logistic.reconstruct(chosen, units="model"),
        PCA: by_pca.reshape(originals.shape),
    }
    curves = {
        PRETRAINED: error_curve(models.model(PRETRAINED), before=unrolled[-1]),
        SCRATCH: error_curve(models.model(SCRATCH)),
        LOGISTIC: error_curve(models.logistic),
    }
    curves[PCA] = level(float(errors[PCA].mean()), curves)
    sources = published(dataset.name)
    if sources is not None:
        curves["published autoencoder"] = level(sources["autoencoder"], curves)
    return {
        "reconstructions": Shown(
            figures.reconstructions(originals, rows),
            "Test digits",
            f"The first of each class, from codes of {len(codec.components)} numbers.",
        ),
        "error_by_epoch": Shown(
            figures.loss_curves(curves, y_label="test squared error per image"),
            "Along training",
            "Pretrained, the network begins where its unrolled layers are.",
        ),
    }
