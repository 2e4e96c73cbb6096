"""What experiments compare autoencoders with: linear maps in closed form, from training data.

Examples are rows [N, D] in model units, grey levels in [0, 1] for images.
"""

import jax
import numpy as np

from ae_jax.api import Fitted
from ae_jax.codecs import Pca, as_rows
from ae_jax.codecs.pca import PcaCodec
from ae_jax.data import DataSet, Split


def rows_of(dataset: DataSet, part: str | Split) -> np.ndarray:
    """A split, or a part of one, as float32 rows [N, D]: grey levels in [0, 1] if it is bounded."""
    x = (dataset.splits[part] if isinstance(part, str) else part).x
    rows = x.reshape(len(x), -1).astype(np.float32)
    return rows if dataset.max_value is None else rows / np.float32(dataset.max_value)


def pca_of(dataset: DataSet, count: int) -> PcaCodec:
    """The first `count` principal components of the training split, exactly."""
    x = dataset.splits["train"].x
    scale = 1.0 if dataset.max_value is None else 1.0 / dataset.max_value
    return pca_of_rows(x.reshape(len(x), -1), count, scale)


def pca_of_rows(x: np.ndarray, count: int, scale: float = 1.0) -> PcaCodec:
    """The first `count` principal components of rows [N, D] times `scale`, exactly."""
    return Pca(count, solver="gram").fit(as_rows(x, scale=scale), jax.random.key(0)).codec


def image_errors(model: Fitted, rows: np.ndarray, part: str = "test") -> np.ndarray:
    """Squared error of every image [N] of a split of a model, from its pixels in [0, 1], [N, D]."""
    images = model.setup.dataset.splits[part]
    made = model.reconstruct(images, units="model").reshape(rows.shape)
    return np.square(np.asarray(made, np.float64) - rows).sum(axis=1)


def pca_image_errors(codec: PcaCodec, x: np.ndarray) -> np.ndarray:
    """Squared error of each of the rows x [N, D] from its components, [N]."""
    return np.square(np.asarray(pca_reconstructions(codec, x), np.float64) - x).sum(axis=1)


def pca_error(codec: PcaCodec, x: np.ndarray) -> float:
    """Squared error of rows x [N, D] from their components, as `squared_error`."""
    return float(pca_image_errors(codec, x).mean())


def first_components(codec: PcaCodec, count: int) -> PcaCodec:
    """PCA with the first `count` components of a larger one."""
    return codec.replace(
        components=codec.components[:count],
        explained_variance=codec.explained_variance[:count],
    )


def pca_reconstructions(codec: PcaCodec, x: np.ndarray) -> np.ndarray:
    """x [N, D] projected onto the components, unclipped, [N, D]."""
    return np.asarray(codec.decode(codec.encode(x)))


def squared_error(x: np.ndarray, other: np.ndarray) -> float:
    """Squared error summed over an example, mean over examples; both [N, ...]."""
    difference = np.asarray(other, np.float64).reshape(len(x), -1) - x.reshape(len(x), -1)
    return float(np.square(difference).sum(axis=1).mean())


def one_of_each(split: Split, copies: int = 1) -> np.ndarray:
    """Indices of the first `copies` examples of each label, in the order of the labels."""
    return np.concatenate(
        [np.flatnonzero(split.y == label)[:copies] for label in np.unique(split.y)]
    )
