"""Six dictionaries of the same data side by side: what each codec makes of X = Z Phi.

Claim   Of the six PCA has the least training error at every code size (Eckart & Young 1936;
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

from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA

from ae_jax.lab import Claim, Findings, Lab, claim, experiment, run_command
from experiments import dictionaries_fitted as fitted
from experiments.baselines import rows_of
from experiments.dictionaries_fitted import PENALTY, Dictionary, Preset, Source, sparseness
from experiments.patches import images_option
from experiments.published import pca_errors

# Of float32 sums against float64 ones.
REFERENCE_TOLERANCE = 1e-4
PRESETS = {
    "smoke": Preset("digits", 300, 100, 6, 300, 100, (9,), 3, None),
    "quick": Preset("mnist", 10_000, 2_000, 12, 10_000, 2_000, (16, 64), 20, None),
    "standard": Preset("mnist", 60_000, 10_000, 12, 50_000, 10_000, (16, 32, 64, 100), 200, 0.001),
}


@experiment("dictionaries", PRESETS)
@images_option
def main(preset: Preset, lab: Lab, images: Path | None) -> Findings:
    """Six dictionaries of digits and of natural patches, side by side."""
    found, said, largest = {}, [], preset.sizes[-1]
    for source in fitted.sources(preset, images):
        found[source.name] = by_size = fitted.fit_all(preset, lab, source)
        said += claims(source.name, by_size, preset)
        said.append(reference_claim(source, largest, by_size[largest]["pca"]))
    if preset.tolerance is not None:
        said.append(closed_form_claim(found["mnist"], preset.tolerance))
    all_codecs = [by_codec for by_size in found.values() for by_codec in by_size.values()]
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
        tables={name: fitted.table(by_size) for name, by_size in found.items()},
        pictures=fitted.pictures(preset, found),
        claims=said,
        runs=[one.run for by_codec in all_codecs for one in by_codec.values()],
    )


def claims(name: str, found: dict[int, dict[str, Dictionary]], preset: Preset) -> list[Claim]:
    """What theory says of these numbers."""
    least = min(
        one.train_error / by_codec["pca"].train_error
        for by_codec in found.values()
        for one in by_codec.values()
    )
    shown = found[preset.sizes[-1]]
    optimal = f"{name}: no codec has less training error than PCA at the same code size"
    eckart = {"unit": "least error / PCA's", "source": "Eckart & Young 1936"}
    said = [claim(optimal, least, at_least=1.0, tolerance=1e-4, **eckart)]
    hoyer = {"unit": "difference in sparseness", "source": "Hoyer 2004"}
    for codec in ("nmf", "sparse_coding"):
        gain = sparseness(shown[codec].codes) - sparseness(shown["pca"].codes)
        sparser = f"{name}: codes of {codec} are sparser than PCA's"
        said.append(claim(sparser, gain, at_least=0.0, **hoyer))
    return said


def reference_claim(source: Source, size: int, one: Dictionary) -> Claim:
    """PCA's test error against that of scikit-learn's PCA of the same examples."""
    train, test = (rows_of(source.data, name) for name in ("train", "test"))
    reference = PCA(size, svd_solver="covariance_eigh").fit(train)
    made = reference.inverse_transform(reference.transform(test))
    name = f"{source.name}: PCA's test error at code size {size} is scikit-learn's"
    expected, by = float(np.square(made - test).mean()), "scikit-learn, in the same run"
    return same_error(name, one.test_error / expected, REFERENCE_TOLERANCE, by)


def closed_form_claim(found: dict[int, dict[str, Dictionary]], tolerance: float) -> Claim:
    """PCA's test error on MNIST against that of PCA on all digits."""
    published = pca_errors()
    size = max(set(found) & set(published))
    name = f"mnist: PCA's test error at code size {size} is that of the closed form"
    ratio = found[size]["pca"].test_error / published[size]
    return same_error(name, ratio, tolerance, "PCA of 60,000 digits")


def same_error(name: str, ratio: float, tolerance: float, source: str) -> Claim:
    judged = {"at_most": 0.0, "tolerance": tolerance, "unit": "relative error"}
    return claim(name, abs(ratio - 1), source=source, **judged)


if __name__ == "__main__":
    run_command(main)
