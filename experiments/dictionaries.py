"""Six dictionaries of the same data side by side: what each codec makes of X = Z Phi.

Claim   Of all codecs PCA has the least training error at every code size (Eckart & Young 1936;
        ICA spans the same space and ties); on MNIST its test error is that of the closed form.
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

Figures figures/mnist.png, patches.png (the atoms), error.png (test error against code size).
"""

import dataclasses
import time
from pathlib import Path
from typing import Any

import click
import jax
import numpy as np
from matplotlib.figure import Figure

from ae_jax.codecs import (
    Codec,
    CodecSpec,
    Ica,
    KMeans,
    Nmf,
    Pca,
    ProbabilisticPca,
    SparseCoding,
)
from ae_jax.data import load
from ae_jax.experiment import Claim, at_least, at_most
from ae_jax.shell import run_command
from ae_jax.viz import figures
from ae_jax.viz.dictionaries import dictionary_panels
from experiments.frame import Findings, Lab, Rows, Shown, experiment
from experiments.patches import train_and_test
from experiments.published import pca_errors

ENCODED_AT_ONCE = 1000


@dataclasses.dataclass(frozen=True)
class Preset:
    """What is fitted.

    digits       the data set of digits; `train_digits` and `test_digits` of it are used
    sizes        of the code; the last one is shown
    side         of a patch; `train_patches` and `test_patches` are drawn
    iterations   most of each fit
    tolerance    of PCA's test error on MNIST against the closed form, as a share; None claims
                 nothing
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
    "quick": Preset("mnist", 10_000, 2_000, 12, 10_000, 2_000, (16, 64), 20, 0.03),
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
    """Data to fit: rows [N, D] of patches [S, S], and whether they have negative values."""

    name: str
    train: np.ndarray
    test: np.ndarray
    side: int
    penalty: float

    @property
    def signed(self) -> bool:
        return bool(self.train.min() < 0)


class Channels:
    """What a codec sees of signed data [N, D] that it wants non-negative: [N, 2 D]."""

    def split(self, x: np.ndarray) -> np.ndarray:
        return np.concatenate([np.maximum(x, 0), np.maximum(-x, 0)], axis=1)

    def join(self, x: np.ndarray) -> np.ndarray:
        on, off = np.split(x, 2, axis=1)
        return on - off


class Plain:
    """Data as they are."""

    def split(self, x: np.ndarray) -> np.ndarray:
        return x

    def join(self, x: np.ndarray) -> np.ndarray:
        return x


@dataclasses.dataclass(frozen=True)
class Dictionary:
    """A fitted codec: its atoms as they look in the data, [Z, S, S], and what it does."""

    atoms: np.ndarray
    codes: np.ndarray
    train_error: float
    test_error: float
    seconds: float
    iterations: int
    converged: bool


def sparseness(codes: np.ndarray) -> float:
    """(sqrt(Z) - |z|_1 / |z|_2) / (sqrt(Z) - 1), a mean over codes [N, Z] that are not 0.

    0 where all values are equally large, 1 where one is not 0 (Hoyer 2004, Eq. 1).
    """
    codes = codes[np.abs(codes).sum(axis=1) > 0].astype(np.float64)
    root = np.sqrt(codes.shape[1])
    ratio = np.abs(codes).sum(axis=1) / np.sqrt(np.square(codes).sum(axis=1))
    return float(((root - ratio) / (root - 1)).mean())


def fit(spec: CodecSpec, source: Source) -> Dictionary:
    """Fits a codec to a source and measures it on both splits."""
    view = Channels() if isinstance(spec, Nmf) and source.signed else Plain()
    start = time.perf_counter()
    fitted = spec.fit(view.split(source.train), jax.random.key(0))
    seconds = time.perf_counter() - start
    splits = (source.train, source.test)
    codes = [encode(fitted.codec, view.split(x)) for x in splits]
    errors = [
        float(np.square(view.join(np.asarray(fitted.codec.decode(z))) - x).mean())
        for z, x in zip(codes, splits, strict=True)
    ]
    atoms = view.join(np.asarray(fitted.codec.atoms)).reshape(-1, source.side, source.side)
    return Dictionary(atoms, codes[1], *errors, seconds, fitted.iterations, bool(fitted.converged))


def encode(codec: Codec, x: np.ndarray) -> np.ndarray:
    """Codes of all rows, [N, Z]."""
    parts = [x[i : i + ENCODED_AT_ONCE] for i in range(0, len(x), ENCODED_AT_ONCE)]
    return np.concatenate([np.asarray(codec.encode(part)) for part in parts])


def sources(preset: Preset, images: Path | None) -> list[Source]:
    """Digits and patches."""
    data = load(preset.digits, protocol="full")
    scale = data.max_value
    flat = {
        name: np.asarray(data.splits[name].x[:count]).reshape(count, -1).astype(np.float32) / scale
        for name, count in (("train", preset.train_digits), ("test", preset.test_digits))
    }
    patches = train_and_test(images, preset.side, preset.train_patches, preset.test_patches)
    return [
        Source(preset.digits, flat["train"], flat["test"], data.shape[0], 0.5),
        Source("patches", *patches, preset.side, 0.5),
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


def closed_form_claim(found: dict[int, dict[str, Dictionary]], tolerance: float) -> Claim:
    """PCA's test error on MNIST against that of PCA on all digits."""
    published = pca_errors()
    size = max(set(found) & set(published))
    ratio = found[size]["pca"].test_error / published[size]
    name = f"mnist: PCA's test error at code size {size} is that of the closed form"
    return at_most(name, abs(ratio - 1), 0.0, tolerance, "relative error", "PCA of 60,000 digits")


def error_figure(found: dict[str, dict[int, dict[str, Dictionary]]]) -> Figure:
    """Test error against code size, one panel a source."""
    figure = Figure((4.2 * len(found), 3.8), layout="constrained")
    markers = "os^DvP"
    for axes, (name, by_size) in zip(figure.subplots(1, len(found)), found.items(), strict=True):
        sizes = list(by_size)
        for index, codec in enumerate(by_size[sizes[0]]):
            errors = [by_size[size][codec].test_error for size in sizes]
            axes.plot(
                sizes,
                errors,
                label=codec,
                color=figures.CYCLE[index],
                marker=markers[index],
                markersize=4.5,
                # ICA lies on PCA: dashes show both.
                linestyle="--" if codec == "ica" else "-",
            )
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.set(xlabel="code size", ylabel="test MSE a pixel", title=name)
        axes.grid(color="0.92", which="both", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(frameon=False, fontsize=8)
    return figure


@experiment("dictionaries", PRESETS)
@click.option(
    "--images",
    type=click.Path(path_type=Path),
    help="A folder of photographs.  [default: the two in scikit-learn]",
)
def main(preset: Preset, lab: Lab, images: Path | None) -> Findings:
    """Six dictionaries of digits and of natural patches, side by side."""
    found: dict[str, dict[int, dict[str, Dictionary]]] = {}
    runs: list[dict[str, Any]] = []
    for source in sources(preset, images):
        found[source.name] = {}
        for size in preset.sizes:
            found[source.name][size] = {}
            for name, spec in specs(size, source.penalty, preset.iterations).items():
                click.echo(f"{source.name}, {name}, {size} atoms", err=True)
                one = found[source.name][size][name] = fit(spec, source)
                runs.append(
                    {
                        "fit": f"{source.name}, {name}, {size}",
                        "iterations": one.iterations,
                        "converged": one.converged,
                        "seconds": round(one.seconds, 1),
                    }
                )
    said = [claim for name, by_size in found.items() for claim in claims(name, by_size, preset)]
    if preset.tolerance is not None:
        said.append(closed_form_claim(found["mnist"], preset.tolerance))
    shown = {name: by_size[preset.sizes[-1]] for name, by_size in found.items()}
    return Findings(
        protocol=(
            f"{preset.train_digits:,} {preset.digits} images in [0, 1] and "
            f"{preset.train_patches:,} whitened {preset.side}x{preset.side} patches of natural "
            f"photographs; {preset.test_digits:,} and {preset.test_patches:,} for test"
        ),
        note=(
            "Squared errors are means over pixels; L0 is the mean number of non-zero values of a "
            "test code, sparseness Hoyer's (0 dense, 1 one value). NMF sees patches as an on- and "
            f"an off-channel. At most {preset.iterations} iterations a fit; penalty 0.5."
        ),
        tables={name: table(by_size) for name, by_size in found.items()},
        pictures={
            name: Shown(
                dictionary_panels({codec: one.atoms for codec, one in by_codec.items()}, 3),
                f"Atoms of {name}",
                "Each on its own scale; grey is zero where a codec has negative values.",
            )
            for name, by_codec in shown.items()
        }
        | {"error": Shown(error_figure(found), "Test error by code size")},
        claims=said,
        runs=runs,
    )


if __name__ == "__main__":
    run_command(main)
