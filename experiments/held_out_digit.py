"""A digit that was held out: an autoencoder of the nine others, and PCA of the same code size.

Claim   Trained on nine digits, an autoencoder tells the tenth by its squared error better than PCA
        of the same code size: its AUC, averaged over the ten digits in turn, is higher by more than
        the bootstrap error of the paired difference.

Command python -m experiments.held_out_digit --preset smoke|quick|standard [--workdir DIR]
            [--launcher local|slurm [--slurm OPTION=VALUE ...]] [--print-only]

        smoke     seconds; the 8x8 digits, two of them held out, and no claim
        quick     10,000 training digits of MNIST, 6 epochs; about two minutes on two CPU cores
        standard  60,000 training digits, 20 epochs, three seeds; an hour or so on two CPU cores

Protocol  Grey MNIST digits in [0, 1]; the first training digits, without those of the held-out
        class; 784-128-z-128-784, rectified, linear code of 8, cross-entropy, Adam with a cosine
        schedule, batches of 128. Tested on all 10,000 test digits: those of the held-out class are
        the anomalies. The score is the squared error of the reconstruction, summed over pixels, of
        PCA likewise (unclipped). Errors are of 500 bootstrap samples of test digits, drawn within
        each class and the same for both methods and every held-out digit: the ten digits are all
        that there are, and no sample. The test split chooses nothing.

Figures figures/auc.png (AUC by held-out digit), reconstructions.png (what is made of each held-out
        digit).
"""

import dataclasses

import numpy as np

from ae_jax.api import Fitted
from ae_jax.codecs import Pca
from ae_jax.data import DataSet, load
from ae_jax.lab import (
    Claim,
    Estimate,
    Findings,
    Lab,
    Member,
    Shown,
    autoencoder,
    claim,
    experiment,
    rounded,
    run_command,
    run_rows,
    shown,
)
from experiments.held_out_scores import METHODS, REPLICATES, Scored, digit_rows, mean_rows


@dataclasses.dataclass(frozen=True)
class Preset:
    """How far to go; None of `limit` is all training digits."""

    dataset: str
    limit: int | None
    digits: tuple[int, ...]
    hidden: int
    epochs: int
    seeds: int = 1
    size: int = 8
    claimed: bool = True


PRESETS = {
    "smoke": Preset("digits", 400, (1, 8), 16, 5, claimed=False),
    "quick": Preset("mnist", 10_000, tuple(range(10)), 128, 6),
    "standard": Preset("mnist", None, tuple(range(10)), 128, 20, seeds=3),
}
DIGITS = {name: 4 for m in METHODS for name in (m, f"{m} ±")} | {
    "difference": 4, "±": 4, "autoencoder 1/εb at 50%": 2, "PCA 1/εb at 50%": 2,
}  # fmt: skip
MEANS = dict.fromkeys(("mean", "±", "least", "most", "deviation over digits"), 4)


def without(dataset: DataSet, digit: int) -> DataSet:
    """The set whose training digits are all but one; the test split is whole."""
    splits = {
        name: split if name == "test" else split.rows(split.y != digit)
        for name, split in dataset.splits.items()
    }
    return DataSet(f"{dataset.name}_without_{digit}", splits, dataset.max_value, dataset.protocol)


def member(preset: Preset, dataset: DataSet, seed: int) -> Member:
    """An autoencoder with one hidden layer on either side, and a linear code."""
    form = {"activation": "relu", "init": "glorot_uniform", "head": "bernoulli"}
    sizes = {"hidden": (preset.hidden,), "latent_dim": preset.size, "batch_size": 128}
    how = {"epochs": preset.epochs, "learning_rate": 2e-3, "seed": seed}
    config = autoencoder(dataset, "grey", **how, **sizes, **form)
    return Member(f"{dataset.name}/seed={seed}", config)


@experiment("held_out_digit", PRESETS)
def main(preset: Preset, lab: Lab) -> Findings:
    """Held-out digits: reconstruction errors of an autoencoder and of PCA as anomaly scores."""
    whole = load(preset.dataset, protocol="full", limit=preset.limit)
    test, runs, found, restored = whole.splits["test"], {}, [], {}
    for digit in preset.digits:
        dataset = without(whole, digit)
        members = [member(preset, dataset, seed) for seed in range(preset.seeds)]
        fitted = lab.train(members, dataset)
        pca = lab.fit(f"{dataset.name}/pca", Pca(preset.size, solver="gram"), dataset, "grey")
        models = {("autoencoder", i): model for i, model in enumerate(fitted.values())}
        models["PCA", 0] = pca
        scores = {key: model.score(test) for key, model in models.items()}
        found.append(Scored(digit, scores, test.y))
        runs |= fitted
        restored[digit] = made_of(models["autoencoder", 0], pca, test.x[test.y == digit][:1])
    again = [one.replicates() for one in found]
    rows = digit_rows(found, again)
    return Findings(
        protocol=(
            f"{preset.dataset}, grey levels in [0, 1], one class of {whole.num_classes} left out "
            f"of the first {len(whole.splits['train']):,} training digits, {len(test):,} test "
            f"digits, code of {preset.size}, {preset.hidden} hidden units, Adam, "
            f"{preset.epochs} epochs"
        ),
        note=(
            "AUC of the squared error, summed over pixels, as a score of the held-out digit "
            f"against the nine others; seeds are averaged (here {preset.seeds}). ± is one standard "
            f"error over {REPLICATES} bootstrap samples of test digits, drawn within each class, "
            "of the difference paired. "
            "Below one half, the held-out digit is reconstructed better than those seen. 1/εb at "
            "50% is the background rejection at half of the held-out digits."
        ),
        tables={
            "AUC by held-out digit": rounded(rows, DIGITS),
            "Over the held-out digits": rounded(mean_rows(found, again), MEANS),
        },
        pictures=pictures(found, restored),
        claims=[better(found, again)] if preset.claimed else [],
        runs=run_rows(runs),
    )


def made_of(model: Fitted, pca: Fitted, x: np.ndarray) -> list[np.ndarray]:
    """A held-out digit, and what the autoencoder and PCA make of it."""
    return [
        model.inputs(x)[0],
        model.reconstruct(x, units="model")[0],
        pca.reconstruct(x, units="model")[0],
    ]


def better(found: list[Scored], again: list[dict[str, np.ndarray]]) -> Claim:
    """The mean difference over the digits, whose test digits are the same."""
    gain = 1000 * np.mean([one.values("autoencoder") - one.values("PCA") for one in found])
    drawn = np.mean([one["autoencoder"] - one["PCA"] for one in again], axis=0)
    spread = 1000 * float(drawn.std(ddof=1))
    name = (
        "AUC of the autoencoder less that of PCA of the same code size, mean over held-out digits, "
        "above its error"
    )
    value = Estimate(float(gain), spread, (), len(again[0]["PCA"]))
    return claim(name, value, at_least=0.0, errors=1, unit="0.001 AUC")


def pictures(found: list[Scored], restored: dict[int, list[np.ndarray]]) -> dict[str, Shown]:
    digits = np.array([one.digit for one in found])
    lines = {m: (digits, np.array([one.values(m) for one in found])) for m in METHODS}
    original, ours, pca = (np.stack(images) for images in zip(*restored.values(), strict=True))
    made = {"autoencoder": ours, "pca": pca}
    heading = "Each held-out digit, and what those who have not seen it make of it"
    return {
        "auc": shown(
            "curves", "AUC by held-out digit", lines, "held-out digit", "AUC of the squared error",
            ticks=tuple(digits.tolist()),
        ),
        "reconstructions": shown("reconstructions", heading, original, made),
    }  # fmt: skip


if __name__ == "__main__":
    run_command(main)
