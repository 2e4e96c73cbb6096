"""Denoising autoencoders of MNIST beside the best linear filter; missing pixels filled in.

Claim   At every level of additive Gaussian noise, masking, and salt and pepper, the denoising
        autoencoder has a higher PSNR on the test digits than the best linear filter, and where
        pixels or quadrants are missing it fills them in with a smaller squared error than the best
        linear estimate from those that are there, both limited to [0, 1].

Command python -m experiments.denoising --preset smoke|quick|standard [--workdir DIR]
            [--launcher local|slurm [--slurm OPTION=VALUE ...]] [--print-only]

        smoke     seconds; the 8x8 digits
        quick     6 epochs, 12 on incomplete digits; about 4 minutes on two CPU cores
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

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from ae_jax.api import Fitted
from ae_jax.cli.shell import run_command
from ae_jax.data import DataSet, Split, load
from ae_jax.data.batches import DeviceSplit
from ae_jax.data.corruption import CORRUPTIONS
from ae_jax.data.missing import fill_in, observed_entries
from ae_jax.eval import Completion, EvaluationData
from ae_jax.eval.reconstruction import psnr
from ae_jax.lab import Findings, Lab, Rows, Shown, experiment, rounded, run_rows
from ae_jax.models import Batch, BoundModel
from ae_jax.numerics.noise import example_keys
from ae_jax.objectives import Denoising, MaskedReconstruction, Objective
from ae_jax.report import comparisons, figures
from ae_jax.report.claims import Claim, at_least, at_most
from ae_jax.train.config import DataConfig, EvalConfig, ModelConfig, RunConfig, TrainConfig
from ae_jax.train.grid import Member
from ae_jax.train.optimisers import Adam
from experiments.baselines import one_of_each, rows_of
from experiments.linear_filters import Moments, linear_completion, moments_of, wiener_filter


@dataclasses.dataclass(frozen=True)
class Preset:
    """How far to go.

    epochs           of denoising
    filling_epochs   of training on incomplete digits, which learns from a part of each
    levels           of each corruption
    completed        test examples on which missing entries are filled in, the first of the split
    """

    dataset: str
    hidden: tuple[int, ...]
    latent_dim: int
    epochs: int
    filling_epochs: int
    levels: dict[str, tuple[float, ...]]
    completed: int


LEVELS = {
    "gaussian": (0.25, 0.5, 1.0),
    "masking": (0.25, 0.5, 0.75),
    "salt_and_pepper": (0.1, 0.25, 0.5),
}
QUICK_LEVELS = {name: levels[::2] for name, levels in LEVELS.items()}
SMOKE_LEVELS = {name: levels[1:2] for name, levels in LEVELS.items()}
PRESETS = {
    "smoke": Preset("digits", (64,), 32, 60, 60, SMOKE_LEVELS, 100),
    "quick": Preset("mnist", (256,), 128, 6, 12, QUICK_LEVELS, 500),
    "standard": Preset("mnist", (256,), 128, 50, 100, LEVELS, 500),
}
LEVEL_NAMES = {
    "gaussian": "standard deviation",
    "masking": "share of pixels",
    "salt_and_pepper": "share of pixels",
}
# Patterns of missing entries: the share of an example that is missing, and what the encoder is
# not shown of the rest. Few pixels, so that it sees about as many in training as later on.
MISSING = {"pixels": 0.5, "quadrants": 0.25}
WITHHELD = {"pixels": 0.1, "quadrants": 0.25}
NOISE_SEED = 7
METHODS = ("corrupted", "linear filter", "clipped", "autoencoder")
PSNR_DIGITS = dict.fromkeys(METHODS, 3)
MISSING_DIGITS = dict.fromkeys(("mean image", "linear estimate", "clipped", "autoencoder"), 5)


def configured(preset: Preset, dataset: DataSet, objective: Objective, epochs: int) -> RunConfig:
    return RunConfig(
        data=DataConfig(dataset.name, protocol="full", preprocess="grey"),
        model=ModelConfig(
            hidden=preset.hidden,
            activation="relu",
            init="glorot_uniform",
            latent="deterministic",
            latent_dim=preset.latent_dim,
            head="bernoulli",
        ),
        objective=objective,
        optim=Adam(learning_rate=2e-3, schedule="cosine"),
        train=TrainConfig(batch_size=128, epochs=epochs),
        eval=EvalConfig(every=epochs),
    )


def denoisers(preset: Preset, dataset: DataSet) -> dict[tuple[str, float], Member]:
    """One member a corruption and level."""
    return {
        (name, level): Member(
            f"{name}/level={level:g}",
            configured(preset, dataset, Denoising(level=level, corruption=name), preset.epochs),
        )
        for name, levels in preset.levels.items()
        for level in levels
    }


def completers(preset: Preset, dataset: DataSet) -> dict[str, Member]:
    """One member a pattern of missing entries."""
    return {
        pattern: Member(
            f"missing/{pattern}",
            configured(
                preset,
                dataset,
                MaskedReconstruction(
                    share=share,
                    withheld=WITHHELD[pattern],
                    pattern=pattern,
                    withheld_pattern=pattern,
                ),
                preset.filling_epochs,
            ),
        )
        for pattern, share in MISSING.items()
    }


@experiment("denoising", PRESETS)
def main(preset: Preset, lab: Lab) -> Findings:
    """Denoising autoencoders beside the best linear filter, and missing pixels filled in.

    Interrupted and started again, it continues; what is finished is reused.
    """
    dataset = load(preset.dataset, protocol="full")
    cleaners, fillers = denoisers(preset, dataset), completers(preset, dataset)
    fitted = lab.train([*cleaners.values(), *fillers.values()], dataset)
    clean = moments_of(rows_of(dataset, "train"))
    cleaned = {
        key: clean_test_split(fitted[one.name], dataset, clean, *key)
        for key, one in cleaners.items()
        if one.name in fitted
    }
    part = dataset.splits["test"].head(preset.completed)
    filled = {
        pattern: fill_in_split(fitted[one.name], part, clean, pattern)
        for pattern, one in fillers.items()
        if one.name in fitted
    }
    completions = [
        filled_row(fitted[fillers[pattern].name], part, images, pattern)
        for pattern, images in filled.items()
    ]
    rows = [psnr_row(*key, images) for key, images in cleaned.items()]
    dim = int(np.prod(dataset.shape))
    layers = [dim, *preset.hidden, preset.latent_dim, *preset.hidden[::-1], dim]
    return Findings(
        protocol=(
            f"{preset.dataset}, grey levels in [0, 1], {'-'.join(map(str, layers))}, rectified, "
            f"cross-entropy, {len(dataset.splits['train']):,} training examples, Adam, "
            f"{preset.epochs} epochs, {preset.filling_epochs} on incomplete digits"
        ),
        note=(
            "PSNR in dB, mean over the test split. Missing entries: squared error per missing "
            f"pixel over the first {len(part):,} test examples; the linear estimate knows the "
            "moments of complete training examples, the autoencoder was trained on incomplete "
            "ones. Clipped: the linear one limited to [0, 1], as the autoencoder is by its form."
        ),
        tables={
            "PSNR of corrupted and cleaned test digits": rounded(rows, PSNR_DIGITS),
            "Missing entries": rounded(completions, MISSING_DIGITS),
        },
        pictures=pictures(preset, dataset, cleaned, filled, part, rows),
        claims=claims(rows, completions),
        runs=run_rows(fitted),
    )


@dataclasses.dataclass(frozen=True)
class Images:
    """The same examples in model units, [N, D] each: clean, seen, and two ways to restore them.

    Unobserved entries of what was seen are NaN.
    """

    original: np.ndarray
    seen: np.ndarray
    linear: np.ndarray
    autoencoder: np.ndarray


def clean_test_split(
    model: Fitted, dataset: DataSet, clean: Moments, corruption: str, level: float
) -> Images:
    """The test split corrupted once, and cleaned by the linear filter and the autoencoder."""
    split = dataset.splits["test"]
    x = rows_of(dataset, "test")
    keys = example_keys(jax.random.key(NOISE_SEED), split.first_id + jnp.arange(len(split)))
    seen = np.asarray(CORRUPTIONS.get(corruption)(keys, jnp.asarray(x), level))
    made = apply_model(model, seen)
    return Images(x, seen, wiener_filter(clean, corruption, level)(seen), made)


def apply_model(model: Fitted, x: np.ndarray, size: int = 1000) -> np.ndarray:
    """Reconstructions of examples that are in model units already, [N, D] -> [N, D]."""
    shape = model.setup.dataset.shape

    @jax.jit
    def reconstruct(rows):
        images = rows.reshape(len(rows), *shape)
        return bound(model).reconstruct(batch_of(images)).mean()[0].reshape(rows.shape)

    parts = [reconstruct(x[start : start + size]) for start in range(0, len(x), size)]
    return np.concatenate([np.asarray(part) for part in parts])


def bound(model: Fitted) -> BoundModel:
    """A trained model as one looks at it."""
    return BoundModel(model.setup.architecture.model, model.variables)


def batch_of(x: jax.Array, first_id: int = 0) -> Batch:
    """Examples in model units as a batch of which all are real."""
    return {"x": x, "id": first_id + jnp.arange(len(x)), "mask": jnp.ones(len(x))}


def mean_psnr(x: np.ndarray, other: np.ndarray) -> float:
    """Mean over examples [N, D] of the peak signal-to-noise ratio, dB."""
    return float(np.mean(psnr(jnp.asarray(x), jnp.asarray(other))))


def psnr_row(corruption: str, level: float, images: Images) -> dict:
    restored = {
        "corrupted": images.seen,
        "linear filter": images.linear,
        "clipped": np.clip(images.linear, 0, 1),
        "autoencoder": images.autoencoder,
    }
    values = {name: mean_psnr(images.original, x) for name, x in restored.items()}
    return {"corruption": corruption.replace("_", " "), "level": level, **values}


def fill_in_split(model: Fitted, part: Split, clean: Moments, pattern: str) -> Images:
    """Examples with missing entries, filled in linearly and by the autoencoder."""
    x = jnp.asarray(model.inputs(part))
    batch = batch_of(x, part.first_id)
    observed = observed_entries(x, batch["id"], pattern, MISSING[pattern])
    filled = fill_in(bound(model), batch, observed)
    flat, known = (np.asarray(a).reshape(len(part), -1) for a in (x, observed))
    seen = np.where(known, flat, np.nan)
    linear = linear_completion(clean, seen, known)
    return Images(flat, seen, linear, np.asarray(filled).reshape(flat.shape))


def filled_row(model: Fitted, part: Split, images: Images, pattern: str) -> dict:
    """Squared error per missing pixel: of the mean digit's, linear, and the autoencoder's."""
    architecture, numbers = model.setup.architecture, model.setup.numbers
    data = EvaluationData(
        DeviceSplit.put(part), numbers.statistics, architecture.preprocess, len(part)
    )
    evaluator = Completion(pattern=pattern, share=MISSING[pattern])
    ours = evaluator(architecture.model, model.variables, data, jax.random.key(0))
    missing = np.isnan(images.seen)

    def error(made: np.ndarray) -> float:
        return float(np.square(made - images.original)[missing].mean())

    train = rows_of(model.setup.dataset, "train")
    return {
        "missing": pattern,
        "share": MISSING[pattern],
        "mean image": error(np.broadcast_to(train.mean(axis=0)[None], images.original.shape)),
        "linear estimate": error(images.linear),
        "clipped": error(np.clip(images.linear, 0, 1)),
        "autoencoder": ours["completion_squared_error_per_pixel"],
    }


def claims(rows: Rows, completion: Rows) -> list[Claim]:
    """The autoencoder above the best linear filter, and its completions below the linear ones."""
    found = [
        at_least(
            f"{row['corruption']} {row['level']:g}: PSNR of the autoencoder is at least that of "
            "the best linear filter, clipped",
            row["autoencoder"],
            row["clipped"],
            0.0,
            "dB",
            "linear least squares in closed form",
        )
        for row in rows
    ]
    return found + [
        at_most(
            f"missing {row['missing']}: squared error of the autoencoder is no more than that of "
            "the best linear estimate, clipped",
            1000 * row["autoencoder"],
            1000 * row["clipped"],
            0.0,
            "0.001 squared error per missing pixel",
            "linear least squares in closed form",
        )
        for row in completion
    ]


def pictures(
    preset: Preset,
    dataset: DataSet,
    cleaned: dict[tuple[str, float], Images],
    filled: dict[str, Images],
    part: Split,
    rows: Rows,
) -> dict[str, Shown]:
    shown = {"psnr": psnr_figure(rows)}
    chosen = one_of_each(dataset.splits["test"])
    for name, levels in preset.levels.items():
        key = (name, levels[-1])
        if key in cleaned:
            title = f"{name.replace('_', ' ')}, {LEVEL_NAMES[name]} {levels[-1]:g}"
            shown[f"cleaned_{name}"] = Shown(
                image_rows(cleaned[key], chosen, dataset, "corrupted", title),
                f"Test digits: {title}",
            )
    for pattern, images in filled.items():
        title = f"{MISSING[pattern]:.0%} missing, {pattern}"
        shown[f"filled_{pattern}"] = Shown(
            image_rows(images, one_of_each(part), dataset, "seen", title),
            f"Test digits: {title}",
            "What is missing is shown as grey.",
        )
    return shown


def image_rows(
    images: Images, chosen: np.ndarray, dataset: DataSet, seen: str, title: str
) -> Figure:
    """Originals over what was seen of them and the two ways to restore it."""

    def shaped(x: np.ndarray) -> np.ndarray:
        return np.nan_to_num(x[chosen], nan=0.5).reshape(-1, *dataset.shape)

    rows = {
        seen: shaped(images.seen),
        "linear": shaped(images.linear),
        "autoencoder": shaped(images.autoencoder),
    }
    return figures.reconstructions(shaped(images.original), rows, title)


def psnr_figure(rows: Rows) -> Shown:
    """PSNR against the level, one panel a corruption."""
    panels, labels = {}, {}
    for name in dict.fromkeys(row["corruption"] for row in rows):
        alike = [row for row in rows if row["corruption"] == name]
        levels = np.array([row["level"] for row in alike])
        panels[name] = {
            method: (levels, np.array([row[method] for row in alike])) for method in METHODS
        }
        labels[name] = LEVEL_NAMES[name.replace(" ", "_")]
    figure = comparisons.curve_panels(panels, labels, "mean PSNR on test digits (dB)")
    return Shown(figure, "PSNR by corruption and level")


if __name__ == "__main__":
    run_command(main)
