"""Figures of linear autoencoders beside PCA: lines, errors by epoch, reconstructions."""

import numpy as np

from ae_jax.api import Fitted
from ae_jax.codecs.pca import PcaCodec
from ae_jax.data import DataSet
from ae_jax.lab import Shown
from ae_jax.report import comparisons, figures
from experiments.baselines import one_of_each, pca_reconstructions, rows_of
from experiments.linear_choices import IRIS_AXES, SPECIES, Preset, irises
from experiments.subspaces import directions, excess_curve


def pictures(
    preset: Preset,
    flowers: Fitted,
    linear: Fitted,
    flower_codec: PcaCodec,
    codec: PcaCodec,
    images: DataSet,
) -> dict[str, Shown]:
    test = images.splits["test"]
    chosen = one_of_each(test)
    rows = rows_of(images, "test")[chosen]
    return {
        "lines": lines(flowers, flower_codec),
        "loss": Shown(
            comparisons.curves(
                {
                    "iris": excess_curve(flowers, flower_codec),
                    preset.dataset: excess_curve(linear, codec),
                },
                "epoch",
                "training error over that of PCA (%)",
                log_x=True,
                log_y=True,
                markers=False,
            ),
            "How far the training error is above its optimum",
            "Means over each epoch, while it changed the weights.",
        ),
        "reconstructions": Shown(
            figures.reconstructions(
                linear.inputs(test.x[chosen]),
                {
                    "autoencoder": linear.reconstruct(test.x[chosen], units="model"),
                    "PCA": pca_reconstructions(codec, rows).reshape(len(chosen), *images.shape),
                },
            ),
            "Test digits, the linear autoencoder and PCA",
        ),
    }


def lines(model: Fitted, codec: PcaCodec) -> Shown:
    """The irises as measured, with the line of the decoder and that of PCA."""
    train = irises("raw").splits["train"]
    mean = train.x.mean(axis=0)
    drawn = {
        "first principal component": (mean, np.asarray(codec.components)[0]),
        "linear autoencoder": (
            mean + model.decode(np.zeros((1, 1)), units="model")[0],
            directions(model)[0],
        ),
    }
    labels = np.array([SPECIES[label] for label in train.y])
    return Shown(
        comparisons.lines_through_points(train.x, drawn, IRIS_AXES, labels),
        "Irises with the line of the autoencoder and that of PCA",
        "The autoencoder was trained on centred data; its line is moved back by their mean.",
    )
