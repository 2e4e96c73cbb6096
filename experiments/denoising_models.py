"""Denoising autoencoders and what fills in missing pixels: their errors, and figures of both."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ae_jax.api import Fitted
from ae_jax.data import DataSet, Split
from ae_jax.data.batches import DeviceSplit
from ae_jax.data.corruption import CORRUPTIONS
from ae_jax.data.missing import fill_in, observed_entries
from ae_jax.eval import Completion, EvaluationData
from ae_jax.eval.reconstruction import psnr
from ae_jax.lab import Estimate, Member, Rows, Shown, autoencoder, shown
from ae_jax.models import Batch, BoundModel
from ae_jax.numerics.noise import example_keys
from ae_jax.objectives import Denoising, MaskedReconstruction, Objective
from experiments.baselines import one_of_each, rows_of
from experiments.evaluation import paired, ratio
from experiments.linear_filters import Moments, linear_completion, wiener_filter


@dataclasses.dataclass(frozen=True)
class Preset:
    """How far to go.

    epochs           of denoising
    filling_epochs   of training on incomplete digits, which learns from a part of each
    levels           of each corruption
    """

    dataset: str
    hidden: tuple[int, ...]
    latent_dim: int
    epochs: int
    filling_epochs: int
    levels: dict[str, tuple[float, ...]]


# Patterns of missing entries: the share of an example that is missing, and what the encoder is
# not shown of the rest. Few pixels, so that it sees about as many in training as later on.
MISSING = {"pixels": 0.5, "quadrants": 0.25}
WITHHELD = {"pixels": 0.1, "quadrants": 0.25}
NOISE_SEED = 7
METHODS = ("corrupted", "linear filter", "clipped", "autoencoder")
GAIN = "autoencoder - clipped"


def denoisers(preset: Preset, dataset: DataSet) -> dict[tuple[str, float], Member]:
    """One member a corruption and level."""
    return {
        (name, level): member(
            f"{name}/level={level:g}", preset, dataset, preset.epochs,
            Denoising(level=level, corruption=name),
        )
        for name, levels in preset.levels.items()
        for level in levels
    }  # fmt: skip


def completers(preset: Preset, dataset: DataSet) -> dict[str, Member]:
    """One member a pattern of missing entries."""
    return {
        pattern: member(
            f"missing/{pattern}", preset, dataset, preset.filling_epochs,
            MaskedReconstruction(
                share=share, withheld=WITHHELD[pattern],
                pattern=pattern, withheld_pattern=pattern,
            ),
        )
        for pattern, share in MISSING.items()
    }  # fmt: skip


def member(name: str, preset: Preset, dataset: DataSet, epochs: int, how: Objective) -> Member:
    form = {"activation": "relu", "init": "glorot_uniform", "head": "bernoulli"}
    sizes = {"hidden": preset.hidden, "latent_dim": preset.latent_dim, "batch_size": 128}
    config = autoencoder(
        dataset, "grey", epochs=epochs, objective=how, learning_rate=2e-3, **sizes, **form
    )
    return Member(name, config)


@dataclasses.dataclass(frozen=True)
class Images:
    """The same examples in model units, [N, D] each: clean, seen, and two ways to restore them.

    Unobserved entries of what was seen are NaN.
    """

    original: np.ndarray
    seen: np.ndarray
    linear: np.ndarray
    autoencoder: np.ndarray

    @property
    def clipped(self) -> np.ndarray:
        return np.clip(self.linear, 0, 1)


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


def psnr_row(corruption: str, level: float, images: Images) -> dict:
    """Mean PSNR over examples, dB, and what the autoencoder has more than the clipped filter."""
    restored = {
        "corrupted": images.seen,
        "linear filter": images.linear,
        "clipped": images.clipped,
        "autoencoder": images.autoencoder,
    }
    original = jnp.asarray(images.original)
    values = {name: np.asarray(psnr(original, jnp.asarray(x))) for name, x in restored.items()}
    return {
        "corruption": corruption.replace("_", " "),
        "level": level,
        **{name: float(each.mean()) for name, each in values.items()},
        **_entries(paired(values["autoencoder"], values["clipped"])),
    }


def _entries(gain: Estimate) -> dict[str, float]:
    return {GAIN: gain.mean, "±": gain.standard_error}


def gain_in(row: Mapping[str, Any], examples: int) -> Estimate:
    """What a row says of the autoencoder over the clipped filter, its error over so many."""
    return Estimate(row[GAIN], row["±"], (), examples)


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
    squares = [np.square(made - images.original) for made in (images.autoencoder, images.clipped)]
    per_example = np.where(missing, squares[0] - squares[1], 0).sum(axis=1)
    return {
        "missing": pattern,
        "share": MISSING[pattern],
        "mean image": error(np.broadcast_to(train.mean(axis=0)[None], images.original.shape)),
        "linear estimate": error(images.linear),
        "clipped": error(images.clipped),
        "autoencoder": ours["completion_squared_error_per_pixel"],
        **_entries(ratio(per_example, missing.sum(axis=1))),  # examples lack more or less
    }


LEVEL_NAMES = {
    "gaussian": "standard deviation",
    "masking": "share of pixels",
    "salt_and_pepper": "share of pixels",
}


def pictures(
    preset: Preset,
    dataset: DataSet,
    cleaned: dict[tuple[str, float], Images],
    filled: dict[str, Images],
    part: Split,
    rows: Rows,
) -> dict[str, Shown]:
    made = {"psnr": psnr_figure(rows)}
    chosen = one_of_each(dataset.splits["test"])
    for name, levels in preset.levels.items():
        key = (name, levels[-1])
        if key in cleaned:
            title = f"{name.replace('_', ' ')}, {LEVEL_NAMES[name]} {levels[-1]:g}"
            made[f"cleaned_{name}"] = image_rows(cleaned[key], chosen, dataset, "corrupted", title)
    for pattern, images in filled.items():
        title = f"{MISSING[pattern]:.0%} missing, {pattern}"
        made[f"filled_{pattern}"] = image_rows(
            images, one_of_each(part), dataset, "seen", title, "What is missing is shown as grey."
        )
    return made


def image_rows(
    images: Images, chosen: np.ndarray, dataset: DataSet, seen: str, title: str, caption: str = ""
) -> Shown:
    """Originals over what was seen of them and the two ways to restore it."""

    def shaped(x: np.ndarray) -> np.ndarray:
        return np.nan_to_num(x[chosen], nan=0.5).reshape(-1, *dataset.shape)

    rows = {seen: images.seen, "linear": images.linear, "autoencoder": images.autoencoder}
    return shown(
        "reconstructions", f"Test digits: {title}",
        shaped(images.original), {name: shaped(x) for name, x in rows.items()}, title,
        caption=caption,
    )  # fmt: skip


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
    y_label = "mean PSNR on test digits (dB)"
    return shown("curve_panels", "PSNR by corruption and level", panels, labels, y_label)
