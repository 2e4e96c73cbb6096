"""A linear VAE loses nothing to its bound: it finds probabilistic PCA, and collapses as that does.

Claim   The linear VAE of Lucas et al. 2019 ("Don't blame the ELBO!", arXiv:1911.02469), trained by
        gradients on MNIST, ends at the noise variance and the log p(x) that probabilistic PCA has
        in closed form, with 2, 10 and 20 latents. Where its noise is fixed instead, at 1, 0.1 and
        0.05, it keeps as many dimensions alive as there are eigenvalues of the covariance above it,
        12, 69 and 102, within three.

Command python -m experiments.linear_vae --preset smoke|quick|standard [--workdir DIR]
            [--launcher local|slurm [--slurm OPTION=VALUE ...]] [--print-only]

        smoke     seconds; the 8x8 digits
        quick     20 epochs; 5 minutes on two CPU cores
        standard  200 epochs; about 45 minutes on one CPU core

Protocol  60,000 training and 10,000 test digits in [0, 1], not binarised, not centred. Encoder and
        decoder are affine, q(z|x) is a diagonal Gaussian, p(z) is N(0, I), p(x|z) has one noise
        variance. Adam with a cosine schedule, batches of 128, one sample an example. Bounds are
        nats per image with one sample an image, log p(x) of a linear Gaussian model is exact; both
        are of the same images, and their difference has a standard error over these. A dimension
        is alive where its posterior mean has a variance above 0.01 over the training images (Burda
        et al. 2016); in closed form where its eigenvalue is above the noise. The test split chooses
        nothing.

Figures figures/gap.png (what the bound lacks, by epoch), figures/alive.png (variance of the
        posterior mean by dimension, trained and in closed form).
"""

import dataclasses

import numpy as np

from ae_jax.api import Fitted
from ae_jax.cli.shell import run_command
from ae_jax.data import DataSet, load
from ae_jax.eval.posteriors import variance_of_means
from ae_jax.lab import Findings, Lab, Rows, Shown, experiment, rounded, run_rows
from ae_jax.objectives import Elbo
from ae_jax.report import comparisons
from ae_jax.train.config import DataConfig, EvalConfig, ModelConfig, RunConfig, TrainConfig
from ae_jax.train.grid import Member
from ae_jax.train.optimisers import Adam
from experiments import linear_vae_theory as theory
from experiments.baselines import rows_of
from experiments.evaluation import of_set
from experiments.linear_vae_judged import ALIVE, DIGITS, claims, learned_row


@dataclasses.dataclass(frozen=True)
class Preset:
    """How far to go.

    sizes       of codes whose noise variance is learned
    noises      fixed noise variances, each with a code of `size` dimensions
    """

    dataset: str
    epochs: int
    sizes: tuple[int, ...]
    noises: tuple[float, ...]
    size: int


PRESETS = {
    "smoke": Preset("digits", 150, (2, 5), (0.2, 0.05), 24),
    "quick": Preset("mnist", 20, (2, 10, 20), (1.0, 0.1, 0.05), 128),
    "standard": Preset("mnist", 200, (2, 10, 20), (1.0, 0.1, 0.05), 128),
}


def member(preset: Preset, dataset: DataSet, size: int, noise: float | None) -> Member:
    """A linear VAE whose noise variance is learned, or fixed."""
    fixed = noise is not None
    config = RunConfig(
        data=DataConfig(dataset.name, protocol="full", preprocess="grey"),
        model=ModelConfig(
            hidden=(),
            latent_dim=size,
            head="gaussian_fixed" if fixed else "gaussian_global",
            head_scale=float(np.sqrt(noise)) if fixed else 1.0,
        ),
        objective=Elbo(),
        optim=Adam(learning_rate=5e-3, schedule="cosine"),
        train=TrainConfig(batch_size=128, epochs=preset.epochs),
        eval=EvalConfig(every=max(1, preset.epochs // 20), train_examples=60_000),
    )
    return Member(f"noise-{noise:g}" if fixed else f"latents-{size}", config)


@experiment("linear_vae", PRESETS)
def main(preset: Preset, lab: Lab) -> Findings:
    """Linear VAEs beside probabilistic PCA: noise, bound, and dimensions alive."""
    dataset = load(preset.dataset, protocol="full")
    learned = {k: trained(lab, member(preset, dataset, k, None), dataset) for k in preset.sizes}
    fixed = {
        noise: trained(lab, member(preset, dataset, preset.size, noise), dataset)
        for noise in preset.noises
    }
    spectrum = theory.eigenvalues(rows_of(dataset, "train"))
    optima = {size: theory.optimum(dataset, size) for size in preset.sizes}
    rows = [learned_row(size, learned[size], optima[size], dataset) for size in preset.sizes]
    means = {noise: spread(model) for noise, model in fixed.items()}
    counted = [
        {
            "fixed noise variance": noise,
            "eigenvalues above it": theory.alive(spectrum, noise),
            "alive after training": int((means[noise] > ALIVE).sum()),
            "latents": preset.size,
        }
        for noise in preset.noises
    ]
    count = len(dataset.splits["train"])
    return Findings(
        protocol=(
            f"{dataset.name}, pixels in [0, 1], {count:,} training images, affine encoder and "
            f"decoder, one noise variance, Adam, {preset.epochs} epochs"
        ),
        note=(
            "Nats per image, summed over pixels; bounds with one sample an image, log p(x) exact. "
            "What the bound lacks is that of probabilistic PCA less the trained bound on the same "
            "images, with a standard error over them."
        ),
        tables={
            "Noise variance learned": rounded(rows, DIGITS),
            "Noise variance fixed": counted,
        },
        pictures=pictures(preset, learned, rows, means, spectrum),
        claims=claims(dataset.name, rows, counted),
        runs=run_rows({f"{k} latents": m for k, m in learned.items()})
        + run_rows({f"noise variance {noise:g}": m for noise, m in fixed.items()}),
    )


def trained(lab: Lab, one: Member, dataset: DataSet) -> Fitted:
    return lab.train([one], dataset)[one.name]


def spread(model: Fitted) -> np.ndarray:
    """The variance of the posterior mean over the training images, largest first, [Z]."""
    return np.sort(of_set(model, "train", variance_of_means))[::-1]


def pictures(
    preset: Preset,
    learned: dict[int, Fitted],
    rows: Rows,
    means: dict[float, np.ndarray],
    spectrum: np.ndarray,
) -> dict[str, Shown]:
    gaps = {}
    for (size, model), row in zip(learned.items(), rows, strict=True):
        seen = [record for record in model.records if "train/elbo" in record]
        lacks = [row["log p(x), PPCA, train"] - record["train/elbo"] for record in seen]
        gaps[f"{size} latents"] = [record["epoch"] for record in seen], np.maximum(lacks, 1e-3)
    places = np.arange(1, preset.size + 1)
    panels = {
        f"noise variance {noise:g}": {
            "closed form": (places, theory.variances_of_means(spectrum, noise, preset.size)),
            "trained": (places, found),
        }
        for noise, found in means.items()
    }
    return {
        "gap": Shown(
            comparisons.curves(
                gaps, "epoch", "log p(x) of PPCA - bound (nats)", log_y=True, markers=False
            ),
            "What the bound of the training images lacks, along training",
        ),
        "alive": Shown(
            comparisons.curve_panels(
                panels,
                dict.fromkeys(panels, "dimension"),
                "variance of the posterior mean",
                markers=False,
            ),
            "Dimensions in use at a fixed noise variance, the most used first",
        ),
    }


if __name__ == "__main__":
    run_command(main)
