"""A linear autoencoder beside PCA: its error, and the subspace that its decoder spans."""

import numpy as np
from scipy.linalg import subspace_angles

from ae_jax.api import Fitted
from ae_jax.codecs.pca import PcaCodec
from ae_jax.lab import along
from experiments.baselines import pca_error, rows_of, squared_error


def training_rows(model: Fitted) -> np.ndarray:
    """The training split in the units of the data, [N, D]."""
    return rows_of(model.setup.dataset, "train")


def raw_reconstructions(model: Fitted) -> np.ndarray:
    """Reconstructions of the training split in the units of the data, [N, D]."""
    split = model.setup.dataset.splits["train"]
    made = model.reconstruct(split, units="model").reshape(len(split), -1)
    statistics = model.setup.numbers.statistics
    if statistics.mean is None:
        return made
    return made * np.asarray(statistics.scale)[None] + np.asarray(statistics.mean)[None]


def spans_of(model: Fitted) -> np.ndarray:
    """What each dimension of the code adds to the output of an affine decoder, [Z, D]."""
    size = model.config.model.latent_dim
    codes = np.concatenate([np.zeros((1, size)), np.eye(size)])
    decoded = model.decode(codes, units="model").reshape(size + 1, -1)
    return decoded[1:] - decoded[:1]


def directions(model: Fitted) -> np.ndarray:
    """The same in the units of the data, [Z, D]."""
    scale = model.setup.numbers.statistics.scale
    return spans_of(model) if scale is None else spans_of(model) * np.asarray(scale)[None]


def principal_angles(spans: np.ndarray, components: np.ndarray) -> np.ndarray:
    """Angles between two row spans [Z, D], degrees, the largest first, [Z]."""
    return np.degrees(subspace_angles(spans.T.astype(float), components.T.astype(float)))


def comparison(model: Fitted, codec: PcaCodec) -> dict:
    """Error and subspace of a linear autoencoder beside those of PCA."""
    x = training_rows(model)
    ours = squared_error(x, raw_reconstructions(model))
    optimum = pca_error(codec, x)
    angles = principal_angles(directions(model), np.asarray(codec.components))
    return {
        "code size": len(angles),
        "autoencoder": ours,
        "PCA": optimum,
        "excess (%)": 100 * (ours / optimum - 1),
        "largest angle (degrees)": float(angles[0]),
        "angles": angles,
    }


def excess_curve(model: Fitted, codec: PcaCodec) -> tuple[np.ndarray, np.ndarray]:
    """Epochs and the training error over that of PCA, per cent; not finite where it is below."""
    optimum = pca_error(codec, training_rows(model))
    epochs, errors = along(model, "running/squared_error")
    excess = 100 * (errors / optimum - 1)
    return epochs, np.where(excess > 0, excess, np.nan)
