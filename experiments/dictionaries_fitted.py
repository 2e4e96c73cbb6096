"""Codecs fitted to several sources of data, what was measured of them, and figures of it."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from ae_jax.codecs import CodecSpec, Ica, KMeans, Nmf, Pca, ProbabilisticPca, SparseCoding
from ae_jax.data import DataSet, Split, load
from ae_jax.lab import Lab, Rows, Shown, fit_row, rounded, shown
from experiments.patches import natural_patches

PENALTY = 0.5  # of sparse coding, on the L1 norm of codes


@dataclasses.dataclass(frozen=True)
class Preset:
    """What is fitted.

    digits       the data set of digits; `train_digits` and `test_digits` of it are used
    sizes        of the code; the last one is shown
    side         of a patch; `train_patches` and `test_patches` are drawn
    iterations   most of each fit
    tolerance    of PCA's test error against the published one of 60,000 digits, as a share; None
                 where it is of fewer
    """

    digits: str
    train_digits: int
    test_digits: int
    side: int
    train_patches: int
    test_patches: int
    sizes: tuple[int, ...]
    iterations: int
    tolerance: float | None


def specs(size: int, penalty: float, iterations: int) -> dict[str, CodecSpec]:
    """The six codecs with so many atoms; `penalty` is that of sparse coding."""
    return {
        "pca": Pca(size),
        "probabilistic_pca": ProbabilisticPca(size),
        "ica": Ica(size, max_iterations=iterations),
        "kmeans": KMeans(size, max_iterations=iterations),
        "nmf": Nmf(size, max_iterations=iterations),
        "sparse_coding": SparseCoding(size, penalty=penalty, max_iterations=iterations),
    }


@dataclasses.dataclass(frozen=True)
class Source:
    """Images [N, S, S, 1], how they are preprocessed, and the penalty of sparse coding on them."""

    data: DataSet
    preprocess: str
    penalty: float

    @property
    def name(self) -> str:
        return self.data.name

    @property
    def signed(self) -> bool:
        return bool(self.data.splits["train"].x.min() < 0)


def on_and_off(data: DataSet) -> DataSet:
    """Signed images [N, S, S, 1] as two channels that are not negative, [N, S, S, 2]."""
    splits = {
        name: Split(np.concatenate([np.maximum(part.x, 0), np.maximum(-part.x, 0)], axis=-1))
        for name, part in data.splits.items()
    }
    return dataclasses.replace(data, name=f"{data.name}, on and off", splits=splits)


def joined(x: np.ndarray) -> np.ndarray:
    """Images of one channel as they are, of two as the difference on - off: [N, S, S]."""
    return x[..., 0] if x.shape[-1] == 1 else x[..., 0] - x[..., 1]


@dataclasses.dataclass(frozen=True)
class Dictionary:
    """A fitted codec: its atoms as they look in the data, [Z, S, S], and what it does."""

    atoms: np.ndarray
    codes: np.ndarray
    train_error: float
    test_error: float
    run: dict[str, Any]


def sparseness(codes: np.ndarray) -> float:
    """(sqrt(Z) - |z|_1 / |z|_2) / (sqrt(Z) - 1), a mean over codes [N, Z] that are not 0.

    0 where all values are equally large, 1 where one is not 0 (Hoyer 2004, Eq. 1).
    """
    codes = codes[np.abs(codes).sum(axis=1) > 0].astype(np.float64)
    root = np.sqrt(codes.shape[1])
    ratio = np.abs(codes).sum(axis=1) / np.sqrt(np.square(codes).sum(axis=1))
    return float(((root - ratio) / (root - 1)).mean())


def fit(lab: Lab, folder: str, spec: CodecSpec, source: Source) -> Dictionary:
    """Fits a codec to a source and measures it on both splits; NMF sees signed data in channels."""
    data = on_and_off(source.data) if isinstance(spec, Nmf) and source.signed else source.data
    model = lab.fit(folder, spec, data, source.preprocess)
    codes, errors = {}, {}
    for name, split in data.splits.items():
        codes[name] = model.encode(split)
        difference = joined(model.decode(codes[name], units="model")) - joined(model.inputs(split))
        errors[name] = float(np.square(difference).mean())
    atoms = joined(np.asarray(model.params.atoms).reshape(-1, *data.shape))
    return Dictionary(atoms, codes["test"], errors["train"], errors["test"], fit_row(folder, model))


def sources(preset: Preset, images: Path | None) -> list[Source]:
    """Digits and patches."""
    digits = load(preset.digits, protocol="full")
    sizes = {"train": preset.train_digits, "test": preset.test_digits}
    heads = {name: digits.splits[name].head(size) for name, size in sizes.items()}
    patches = natural_patches(images, preset.side, preset.train_patches, preset.test_patches)
    return [
        Source(dataclasses.replace(digits, splits=heads), "grey", PENALTY),
        Source(patches, "identity", PENALTY),
    ]


def table(found: dict[int, dict[str, Dictionary]]) -> Rows:
    """One row a codec and size."""
    rows = [
        {
            "codec": name,
            "code size": size,
            "train MSE": one.train_error,
            "test MSE": one.test_error,
            "L0": float((one.codes != 0).sum(axis=1).mean()),
            "sparseness": sparseness(one.codes),
        }
        for size, by_codec in found.items()
        for name, one in by_codec.items()
    ]
    return rounded(rows, {"train MSE": 5, "test MSE": 5, "L0": 1, "sparseness": 3})


def fit_all(preset: Preset, lab: Lab, source: Source) -> dict[int, dict[str, Dictionary]]:
    """Every codec at every size."""
    return {
        size: {
            name: fit(lab, f"{source.name}/{name}-{size}", spec, source)
            for name, spec in specs(size, source.penalty, preset.iterations).items()
        }
        for size in preset.sizes
    }


def pictures(
    preset: Preset, found: dict[str, dict[int, dict[str, Dictionary]]]
) -> dict[str, Shown]:
    """The atoms of the largest dictionaries of each source, and errors by size."""
    drawn = {}
    for name, by_size in found.items():
        atoms = {codec: one.atoms for codec, one in by_size[preset.sizes[-1]].items()}
        caption = "Each on its own scale; grey is zero where a codec has negative values."
        drawn[name.replace(" ", "_")] = shown(
            "dictionaries", f"Atoms of {name}", atoms, 3, caption=caption
        )
    return drawn | {"error": error_figure(found)}


def error_figure(found: dict[str, dict[int, dict[str, Dictionary]]]) -> Shown:
    """Test error against code size, one panel a source."""
    panels = {}
    for name, by_size in found.items():
        sizes = np.array(list(by_size))
        panels[name] = {
            codec: (sizes, np.array([by_size[size][codec].test_error for size in by_size]))
            for codec in next(iter(by_size.values()))
        }
    labels, how = dict.fromkeys(panels, "code size"), {"log_x": True, "log_y": True}
    heading = "Test error by code size"
    return shown("curve_panels", heading, panels, labels, "test MSE a pixel", share_y=False, **how)
