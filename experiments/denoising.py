"""Denoising autoencoders of MNIST beside the best linear filter; missing pixels filled in.

Claim   At every level of additive Gaussian noise, masking, and salt and pepper, the denoising
        autoencoder has a higher PSNR on the test digits than the best linear filter, and where
        pixels or quadrants are missing it fills them in with a smaller squared error than the best
        linear estimate from those that are there, both limited to [0, 1]: by two standard errors
        of the difference, paired over test digits.

Command python -m experiments.denoising --preset smoke|quick|standard [--workdir DIR]
            [--launcher local|slurm [--slurm OPTION=VALUE ...]] [--print-only]

        smoke     seconds; the 8x8 digits
        quick     6 epochs, 12 on incomplete digits; about 5 minutes on two CPU cores
        standard  50 epochs, 100 on incomplete digits; about two hours on two CPU cores

Protocol  784-256-128-256-784, rectified hidden units, a linear code, pixels limited to (0, 1),
        cross-entropy against the clean digit; 60,000 training digits in [0, 1], Adam with a cosine
        schedule, batches of 128; one autoencoder a corruption and level, with fresh noise at each
        step. The linear filter is the affine map of least mean squared error, in closed form from
        the mean and covariance of the clean training digits and the law of the corruption
        (Wiener); it is shown as it is and limited to [0, 1], which only helps it. PSNR is the mean
        over test digits, peak 1.
        Missing entries: an autoencoder is trained on digits of which each lacks the same pixels,
        or the same quadrant, at every visit, so that it never sees a complete one; the encoder is
        not shown a part of the rest, anew at each visit: a tenth of the pixels, or a quadrant. It
        is compared on further digits with the conditional mean of a Gaussian that has the moments
        of the complete training digits.

Figures figures/psnr.png, figures/cleaned_*.png (original, corrupted, filtered, cleaned rows),
        figures/filled_*.png (original, seen, linear, filled-in rows).
"""

import numpy as np

from ae_jax.data import DataSet, load
from ae_jax.lab import Claim, Findings, Lab, Rows, claim, experiment, rounded, run_command, run_rows
from experiments import denoising_models as models
from experiments.baselines import rows_of
from experiments.denoising_models import GAIN, METHODS, Preset
from experiments.linear_filters import moments_of

LEVELS = {
    "gaussian": (0.25, 0.5, 1.0),
    "masking": (0.25, 0.5, 0.75),
    "salt_and_pepper": (0.1, 0.25, 0.5),
}
QUICK_LEVELS = {name: levels[::2] for name, levels in LEVELS.items()}
SMOKE_LEVELS = {name: levels[1:2] for name, levels in LEVELS.items()}
PRESETS = {
    "smoke": Preset("digits", (64,), 32, 60, 60, SMOKE_LEVELS),
    "quick": Preset("mnist", (256,), 128, 6, 12, QUICK_LEVELS),
    "standard": Preset("mnist", (256,), 128, 50, 100, LEVELS),
}
PSNR_DIGITS = dict.fromkeys((*METHODS, GAIN, "±"), 3)
MISSING_DIGITS = dict.fromkeys(
    ("mean image", "linear estimate", "clipped", "autoencoder", GAIN, "±"), 5
)


@experiment("denoising", PRESETS)
def main(preset: Preset, lab: Lab) -> Findings:
    """Denoising autoencoders beside the best linear filter, and missing pixels filled in."""
    dataset = load(preset.dataset, protocol="full")
    cleaners, fillers = models.denoisers(preset, dataset), models.completers(preset, dataset)
    fitted = lab.train([*cleaners.values(), *fillers.values()], dataset)
    clean = moments_of(rows_of(dataset, "train"))
    test = dataset.splits["test"]
    cleaned = {
        key: models.clean_test_split(fitted[one.name], dataset, clean, *key)
        for key, one in cleaners.items()
        if one.name in fitted
    }
    filled = {
        pattern: models.fill_in_split(fitted[one.name], test, clean, pattern)
        for pattern, one in fillers.items()
        if one.name in fitted
    }
    rows = [models.psnr_row(*key, images) for key, images in cleaned.items()]
    completions = [
        models.filled_row(fitted[fillers[pattern].name], test, images, pattern)
        for pattern, images in filled.items()
    ]
    return Findings(
        protocol=protocol(preset, dataset),
        note=(
            f"Means over {len(test):,} test examples: PSNR in dB, and squared error per missing "
            "pixel; the linear estimate knows the moments of complete training examples, the "
            "autoencoder was trained on incomplete ones. Clipped: the linear one limited to "
            "[0, 1], as the autoencoder is by its form. ± is one standard error of the difference "
            "over test examples, paired."
        ),
        tables={
            "PSNR of corrupted and cleaned test digits": rounded(rows, PSNR_DIGITS),
            "Missing entries": rounded(completions, MISSING_DIGITS),
        },
        pictures=models.pictures(preset, dataset, cleaned, filled, test, rows),
        claims=claims(rows, completions, len(test)),
        runs=run_rows(fitted),
    )


def protocol(preset: Preset, dataset: DataSet) -> str:
    dim = int(np.prod(dataset.shape))
    layers = [dim, *preset.hidden, preset.latent_dim, *preset.hidden[::-1], dim]
    return (
        f"{preset.dataset}, grey levels in [0, 1], {'-'.join(map(str, layers))}, rectified, "
        f"cross-entropy, {len(dataset.splits['train']):,} training examples, Adam, "
        f"{preset.epochs} epochs, {preset.filling_epochs} on incomplete digits"
    )


def claims(rows: Rows, completions: Rows, examples: int) -> list[Claim]:
    """The autoencoder above the best linear filter, and its completions below the linear ones."""
    source, how = "linear least squares in closed form", "of the autoencoder less that of the best"
    found = []
    for row in rows:
        what = f"{row['corruption']} {row['level']:g}: PSNR {how} linear filter, clipped"
        name, gain = f"{what}, is above 0 by 2 standard errors", models.gain_in(row, examples)
        found.append(claim(name, gain, at_least=0.0, errors=2, unit="dB", source=source))
    for row in completions:
        what = f"missing {row['missing']}: squared error {how} linear estimate, clipped"
        name, gain = f"{what}, is below 0 by 2 standard errors", models.gain_in(row, examples)
        unit = "squared error per missing pixel"
        found.append(claim(name, gain, at_most=0.0, errors=2, unit=unit, source=source))
    return found


if __name__ == "__main__":
    run_command(main)
