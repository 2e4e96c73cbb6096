"""Patches of faces by person, and the rows of errors on them."""

import dataclasses

import numpy as np

from ae_jax.api import Fitted
from ae_jax.data import DataSet, Split, load
from ae_jax.lab import Rows
from experiments.baselines import rows_of, squared_error
from experiments.deep import error_curve, published
from experiments.patches import turned_patches


@dataclasses.dataclass(frozen=True)
class Preset:
    """How far to go.

    faces          the data set that patches are cut from
    patches        of each face
    hidden, code   units of the encoder's layers, the last of them the code
    layer_epochs   of contrastive divergence on each layer
    epochs         of fine-tuning
    looks          epochs between two looks at the test split
    """

    faces: str
    patches: int
    hidden: tuple[int, ...]
    code: int
    layer_epochs: int
    epochs: int
    looks: int

    @property
    def sizes(self) -> tuple[int, ...]:
        return (*self.hidden, self.code)


SMOKE_FACES = {"train": 120, "test": 40}


@dataclasses.dataclass(frozen=True)
class Patches:
    """Normalised patches as a data set, and how to make grey levels of them again."""

    dataset: DataSet
    mean: np.ndarray
    scale: float

    def grey(self, x: np.ndarray) -> np.ndarray:
        """Grey levels in [0, 1] of normalised patches [N, 25, 25, 1]."""
        return (x.reshape(-1, *self.mean.shape) * self.scale + self.mean) / 255.0


def faces_of(name: str) -> dict[str, np.ndarray]:
    """Grey images [N, 64, 64] for training and test."""
    splits = load(name, protocol="full").splits
    if name == "olivetti":
        return {part: split.x[..., 0] for part, split in splits.items()}
    # 8x8 digits of 16 grey levels, each pixel as 8x8 pixels.
    return {
        part: np.kron(splits[part].x[:count, ..., 0].astype(np.float32) * 15, np.ones((8, 8)))
        for part, count in SMOKE_FACES.items()
    }


def patches_of(faces: dict[str, np.ndarray], count: int) -> Patches:
    """Patches of training and test faces, normalised all together, as published."""
    everything = turned_patches(np.concatenate([faces["train"], faces["test"]]), count)
    mean = everything.mean(axis=0, dtype=np.float64).astype(np.float32)
    everything -= mean
    scale = float(np.sqrt(np.square(everything, dtype=np.float64).mean()))
    everything /= np.float32(scale)
    by_face = everything.reshape(count, -1, *everything.shape[1:])
    cut = len(faces["train"])
    train, test = (
        part.reshape(-1, *everything.shape[1:]) for part in (by_face[:, :cut], by_face[:, cut:])
    )
    splits = {"train": Split(train[..., None]), "test": Split(test[..., None])}
    return Patches(DataSet("face patches", splits, protocol="full"), mean, scale)


def still_falling(model: Fitted) -> str:
    """How far from its end the training was when it ended, in words."""
    errors = error_curve(model)[1]
    if len(errors) < 2:
        return "looked at once"
    change = 100 * (1 - errors[-1] / errors[-2])
    return f"of which the last look was {change:.2g} % below the one before"


def mean_error(dataset: DataSet) -> float:
    """The error of a code of nothing: test patches about the mean of all, which is 0."""
    x = rows_of(dataset, "test")
    return squared_error(x, np.zeros_like(x))


def error_rows(preset: Preset, errors: dict[str, float], before: float) -> Rows:
    sources = published(preset.faces) or {}
    rows = [
        {"method": name, "test error": round(value, 2), "published": sources.get(name, "")}
        for name, value in errors.items()
    ]
    unrolled = {"method": "autoencoder before fine-tuning", "test error": round(before, 2)}
    return [*rows, unrolled | {"published": ""}]
