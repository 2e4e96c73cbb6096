"""Six dictionaries of the same data side by side: what each codec makes of X = Z Phi.

Claim   Of all codecs PCA has the least training error at every code size (Eckart & Young 1936;
        ICA spans the same space and ties); its test error is that of scikit-learn's, and with
        all of MNIST (`standard`) the published one.
        A k-means code has one non-zero value, and codes of NMF and of sparse coding are sparser
        (Hoyer 2004) than PCA's on both kinds of data.

Command python -m experiments.dictionaries --preset smoke|quick|standard [--images FOLDER]

        smoke     seconds; the 8x8 digits and 6x6 patches, and no claim about MNIST
        quick     10,000 training digits and 10,000 patches; about 4 minutes on two CPU cores
        standard  60,000 digits, 50,000 patches, for an idle machine or an accelerator

Protocol  MNIST, grey levels in [0, 1]; patches of scikit-learn's two photographs (or of a folder),
        whitened as in `natural_patches`. NMF cannot see negative values: of the patches it sees
        an on-channel max(x, 0) and an off-channel max(-x, 0) (Hoyer 2003), and its reconstruction
        is their difference. Errors are squared, a mean over pixels.

Figures figures/mnist.png, natural_patches.png (the atoms), error.png (test error by code size).
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sklearn.decomposition import PCA

from ae_jax.cli.shell import run_command
from ae_jax.codecs import (
    CodecSpec,
    Ica,
    KMeans,
    Nmf,
    Pca,
    ProbabilisticPca,
    SparseCoding,
)
from ae_jax.data import DataSet, Split, load
from ae_jax.lab import Findings, Lab, Rows, Shown, experiment, fit_row
from ae_jax.report import comparisons
from ae_jax.report.claims import Claim, at_least, at_most
from ae_jax.report.dictionaries import dictionary_panels
from experiments.baselines import rows_of
from experiments.patches import images_option, natural_patches
from experiments.published import pca_errors

# Of float32 sums against float64 ones.
REFERENCE_TOLERANCE = 1e-4
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


PRESETS = {
    "smoke": Preset("digits", 300, 100, 6, 300, 100, (9,), 3, None),
    "quick": Preset("mnist", 10_000, 2_000, 12, 10_000, 2_000, (16, 64), 20, None),
    "standard": Preset("mnist", 60_000, 10_000, 12, 50_000, 10_000, (16, 32, 64, 100), 200, 0.001),
}


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
    return [
        {
            "codec": name,
            "code size": size,
            "train MSE": round(one.train_error, 5),
            "test MSE": round(one.test_error, 5),
            "L0": round(float((one.codes != 0).sum(axis=1).mean()), 1),
            "sparseness": round(sparseness(one.codes), 3),
        }
        for size, by_codec in found.items()
        for name, one in by_codec.items()
    ]


def claims(name: str, found: dict[int, dict[str, Dictionary]], preset: Preset) -> list[Claim]:
    """What theory says of these numbers."""
    least = min(
        one.train_error / by_codec["pca"].train_error
        for by_codec in found.values()
        for one in by_codec.values()
    )
    shown = found[preset.sizes[-1]]
    said = [
        at_least(
            f"{name}: no codec has less training error than PCA at the same code size",
            least,
            1.0,
            0.005,
            "least error / PCA's",
            "Eckart & Young 1936",
        ),
        at_most(
            f"{name}: a k-means code has one non-zero value",
            float((shown["kmeans"].codes != 0).sum(axis=1).max()),
            1.0,
            0.0,
            "non-zero values",
            "definition",
        ),
    ]
    for codec in ("nmf", "sparse_coding"):
        gain = sparseness(shown[codec].codes) - sparseness(shown["pca"].codes)
        said.append(
            at_least(
                f"{name}: codes of {codec} are sparser than PCA's",
                gain,
                0.0,
                0.0,
                "difference in sparseness",
                "Hoyer 2004",
            )
        )
    return said


def reference_claim(source: Source, size: int, one: Dictionary) -> Claim:
    """PCA's test error against that of scikit-learn's PCA of the same examples."""
    train, test = (rows_of(source.data, name) for name in ("train", "test"))
    reference = PCA(size, svd_solver="covariance_eigh").fit(train)
    expected = float(
        np.square(reference.inverse_transform(reference.transform(test)) - test).mean()
    )
    return at_most(
        f"{source.name}: PCA's test error at code size {size} is scikit-learn's",
        abs(one.test_error / expected - 1),
        0.0,
        REFERENCE_TOLERANCE,
        "relative error",
        "scikit-learn, in the same run",
    )


def closed_form_claim(found: dict[int, dict[str, Dictionary]], tolerance: float) -> Claim:
    """PCA's test error on MNIST against that of PCA on all digits."""
    published = pca_errors()
    size = max(set(found) & set(published))
    ratio = found[size]["pca"].test_error / published[size]
    name = f"mnist: PCA's test error at code size {size} is that of the closed form"
    return at_most(name, abs(ratio - 1), 0.0, tolerance, "relative error", "PCA of 60,000 digits")


def error_figure(found: dict[str, dict[int, dict[str, Dictionary]]]) -> Figure:
    """Test error against code size, one panel a source."""
    panels = {}
    for name, by_size in found.items():
        sizes = np.array(list(by_size))
        panels[name] = {
            codec: (sizes, np.array([by_size[size][codec].test_error for size in by_size]))
            for codec in next(iter(by_size.values()))
        }
    return comparisons.curve_panels(
        panels,
        dict.fromkeys(panels, "code size"),
        "test MSE a pixel",
        log_x=True,
        log_y=True,
        share_y=False,
    )


@experiment("dictionaries", PRESETS)
@images_option
def main(preset: Preset, lab: Lab, images: Path | None) -> Findings:
    """Six dictionaries of digits and of natural patches, side by side."""
    found, said, largest = {}, [], preset.sizes[-1]
    for source in sources(preset, images):
        found[source.name] = by_size = fit_all(preset, lab, source)
        said += claims(source.name, by_size, preset)
        said.append(reference_claim(source, largest, by_size[largest]["pca"]))
    if preset.tolerance is not None:
        said.append(closed_form_claim(found["mnist"], preset.tolerance))
    return Findings(
        protocol=(
            f"{preset.train_digits:,} {preset.digits} images in [0, 1] and "
            f"{preset.train_patches:,} whitened {preset.side}x{preset.side} patches of natural "
            f"photographs; {preset.test_digits:,} and {preset.test_patches:,} for test"
        ),
        note=(
            "Squared errors are means over pixels; L0 is the mean number of non-zero values of a "
            "test code, sparseness Hoyer's (0 dense, 1 one value). NMF sees patches as an on- and "
            f"an off-channel. At most {preset.iterations} iterations a fit; penalty {PENALTY:g}."
        ),
        tables={name: table(by_size) for name, by_size in found.items()},
        pictures=pictures(preset, found),
        claims=said,
        runs=[
            one.run
            for by_size in found.values()
            for by_codec in by_size.values()
            for one in by_codec.values()
        ],
    )


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
    atoms = {
        name: {codec: one.atoms for codec, one in by_size[preset.sizes[-1]].items()}
        for name, by_size in found.items()
    }
    drawn = {
        name.replace(" ", "_"): Shown(
            dictionary_panels(of_codec, 3),
            f"Atoms of {name}",
            "Each on its own scale; grey is zero where a codec has negative values.",
        )
        for name, of_codec in atoms.items()
    }
    return drawn | {"error": Shown(error_figure(found), "Test error by code size")}


if __name__ == "__main__":
    run_command(main)
