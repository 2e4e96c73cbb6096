"""Patches of faces by person, the rows of errors on them, and figures."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from ae_jax.api import Fitted
from ae_jax.codecs.pca import PcaCodec
from ae_jax.data import DataSet, Split, load
from ae_jax.eval.estimates import standard_error
from ae_jax.lab import Rows, Shown, level, shown
from experiments.baselines import pca_of_rows, pca_reconstructions, rows_of, squared_error
from experiments.deep import DeepPreset, error_curve, published
from experiments.patches import PATCH_SEED, turned_patches
from experiments.varied_faces import varied


@dataclasses.dataclass(frozen=True)
class Preset(DeepPreset):
    """How far to go; the data set is that of the faces, and `patches` are cut from each."""

    patches: int


FACES_OF_A_PERSON = {"olivetti": 10}
SHOWN = 12
SMOKE_FACES = {"train": 120, "test": 40}
VALID_SHARE = 1 / 6  # of the training people, the last of them: five of thirty


@dataclasses.dataclass(frozen=True)
class Patches:
    """Normalised patches as a data set, and how to make grey levels of them again.

    dataset   those for training are of faces made of the training people's (`varied_faces`)
    as_taken  those for training as they were photographed; the others are the same
    """

    dataset: DataSet
    as_taken: DataSet
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
    by_face = everything.reshape(count, -1, *everything.shape[1:], 1)
    cut = len(faces["train"])
    people = cut - round(VALID_SHARE * cut)
    parts = np.split(by_face, [people, cut], axis=1)
    splits = {
        name: Split(part.reshape(-1, *part.shape[2:]))
        for name, part in zip(("train", "valid", "test"), parts, strict=True)
    }
    made = (varied_patches(faces["train"][:people], count) - mean) / np.float32(scale)
    varied_too = splits | {"train": Split(made[..., None])}
    return Patches(
        *(DataSet("face patches", of, protocol="full") for of in (varied_too, splits)), mean, scale
    )


def varied_patches(faces: np.ndarray, count: int) -> np.ndarray:
    """`count` patches of each face, each of it as varied anew, [count * N, 25, 25] float32."""
    rng = np.random.RandomState(PATCH_SEED)
    return np.concatenate(
        [turned_patches(varied(faces, rng), 1, seed=PATCH_SEED + 1 + i) for i in range(count)]
    )


def pca_of_all_people(patches: Patches, code: int) -> PcaCodec:
    """PCA of all people that train the network or stop it, as taken: there is nothing to stop, and
    with faces that are varied its error is no smaller."""
    people = np.concatenate([rows_of(patches.as_taken, part) for part in ("train", "valid")])
    return pca_of_rows(people, code)


def mean_error(dataset: DataSet) -> float:
    """The error of a code of nothing: test patches about the mean of all, which is 0."""
    x = rows_of(dataset, "test")
    return squared_error(x, np.zeros_like(x))


def by_person(preset: Preset, errors: np.ndarray) -> np.ndarray:
    """Mean errors [P] of people, from those of their patches [N] in the order of the data set.

    Patches of one person are alike: how far a mean may be off is told by people. Where people are
    not known, by faces.
    """
    faces = FACES_OF_A_PERSON.get(preset.dataset, 1)
    return errors.reshape(preset.patches, -1, faces).mean(axis=(0, 2))


def error_rows(preset: Preset, errors: Mapping[str, np.ndarray], before: float) -> Rows:
    sources = published(preset.dataset)
    rows = [
        {
            "method": name,
            "test error": round(float(values.mean()), 2),
            "±": round(standard_error(values), 2),
            "published": sources.get(name, ""),
        }
        for name, values in errors.items()
    ]
    unrolled = {"method": "autoencoder before fine-tuning", "test error": round(before, 2)}
    return [*rows, unrolled | {"±": "", "published": ""}]


def person_rows(errors: Mapping[str, np.ndarray]) -> Rows:
    """Errors of each test person, and their ratio."""
    ours, pca = errors["autoencoder"], errors["PCA"]
    return [
        {
            "test person": str(number),
            "autoencoder": round(float(own), 1),
            "PCA": round(float(other), 1),
            "autoencoder / PCA": round(float(own / other), 2),
        }
        for number, (own, other) in enumerate(zip(ours, pca, strict=True), 1)
    ]


def pictures(
    preset: Preset,
    patches: Patches,
    model: Fitted,
    codec: PcaCodec,
    errors: Mapping[str, np.ndarray],
    before: float,
) -> dict[str, Shown]:
    test = patches.dataset.splits["test"].x
    # Evenly spread, so that different people and turns are seen.
    chosen = test[np.linspace(0, len(test) - 1, SHOWN).astype(int)]
    rows = {
        "autoencoder": patches.grey(model.reconstruct(chosen, units="model")),
        "PCA": patches.grey(pca_reconstructions(codec, chosen.reshape(len(chosen), -1))),
    }
    curves = {"autoencoder": error_curve(model, before)}
    curves["PCA"] = level(float(errors["PCA"].mean()), curves)
    for method, value in published(preset.dataset).items():
        curves[f"published {method}"] = level(value, curves)
    return {
        "reconstructions": shown(
            "reconstructions", "Test patches", patches.grey(chosen), rows,
            caption=f"From codes of {preset.code} numbers; no person is in training and test.",
        ),
        "error_by_epoch": shown(
            "loss_curves", "Fine-tuning", curves, y_label="test squared error per image",
            caption="It begins where the unrolled layers are.",
        ),
    }  # fmt: skip
