"""Importance weighted autoencoders: a tighter bound trains a better model, with more units in use.

Claim   On MNIST with stochastic binarisation, the importance weighted autoencoder of Burda et al.
        2016 (arXiv:1509.00519, Tables 1 and 2) has a better test log-likelihood than the VAE on the
        same images: `quick`, with the first 40 of the paper's 3,280 epochs, by 0.8 to 2 nats for
        k = 5 over k = 1; `standard`, with 364, by 0.7 to 1.7, with likelihoods within a nat of the
        table or better; `paper` within half a nat of the whole table.

Command python -m experiments.iwae --preset smoke|quick|kl|standard|paper
            [--binarisation stochastic|fixed] [--workdir DIR] [--print-only]

        smoke     seconds; the 8x8 digits
        quick     k = 1 and 5 for 40 epochs, k = 1, 5 and 50 for 4; about 25 minutes on two idle
                  CPU cores, of which 8 for the likelihoods
        kl        what the KL of the samples costs the VAE in 13 epochs, beside the analytic one;
                  about fifteen minutes on two idle CPU cores
        standard  k = 1 and 5 for 364 epochs; about two hours and a half on two idle CPU cores
        paper     Table 1, one and two stochastic layers, and Table 2: for an accelerator

Protocol  60,000 training and 10,000 test digits; each pixel is 1 with its grey level as
        probability, drawn anew at each visit in training and once for the test images, which are
        the same for all models (`fixed`: Larochelle's binarisation, 50,000 training images).
        784-200-200-50 tanh, Bernoulli; two layers: 100 units in the first and 50 in the second,
        100-100 tanh between. Adam (0.9, 0.999, eps 1e-4), batches of 20, 3^i epochs at
        0.001 * 10^(-i/7) for i = 0, 1, ..., up to 7 in the paper, here the first of these. Glorot
        weights. The KL of both bounds is that of the samples, but where "analytic KL" stands.
        Negative log-likelihoods (NLL) are nats per image, importance sampling with 5,000 samples
        from q, means over the whole test split with standard errors over images; differences are
        of the same images. A unit is active where its posterior mean has a variance above 0.01
        over the test images. Nothing is chosen.

Figures figures/bound.png (each model's own bound of test images, by epoch), figures/units.png
        (variance of the posterior mean by unit).
"""

import dataclasses

import click
import numpy as np

from ae_jax.api import Fitted
from ae_jax.cli.shell import run_command
from ae_jax.data import DataSet, load
from ae_jax.lab import Findings, Lab, Shown, experiment, rounded, run_rows
from ae_jax.report import comparisons
from experiments.iwae_measured import ACTIVE, Measured, claims, measure, paired, rows_of
from experiments.iwae_runs import PAPER_STAGES, Run, both, member


@dataclasses.dataclass(frozen=True)
class Preset:
    """How far to go.

    runs       in the order in which they are trained
    samples    of the likelihood
    gate       range in which k = 5 is better than k = 1 at the end, nats
    tolerance  nats by which likelihoods may be worse than published, where they are held to that
    """

    dataset: str
    runs: tuple[Run, ...]
    samples: int = 5000
    gate: tuple[float, float] | None = None
    tolerance: float | None = None


TABLE_1 = tuple(
    Run(bound, samples, PAPER_STAGES, layers)
    for layers in (1, 2)
    for bound, samples in (("vae", 1), ("vae", 5), ("vae", 50), ("iwae", 5), ("iwae", 50))
)
TABLE_2 = (
    Run("iwae", 50, PAPER_STAGES, after=Run("vae", 1, PAPER_STAGES)),
    Run("vae", 1, PAPER_STAGES, after=Run("iwae", 50, PAPER_STAGES)),
)
FORMS_OF_KL = (Run("vae", 1, 3), Run("vae", 1, 3, analytic=True))
PRESETS = {
    "smoke": Preset("digits", both(2, (5,)), samples=50),
    "quick": Preset("mnist", (*both(4, (5,)), *both(2, (5, 50))), gate=(0.8, 2.0)),
    "kl": Preset("mnist", FORMS_OF_KL),
    "standard": Preset("mnist", both(6, (5,)), gate=(0.7, 1.7), tolerance=1.0),
    "paper": Preset("mnist", (*TABLE_1, *TABLE_2), gate=(0.7, 1.7), tolerance=0.5),
}


@experiment("iwae", PRESETS)
@click.option(
    "--binarisation",
    type=click.Choice(["stochastic", "fixed"]),
    default="stochastic",
    show_default=True,
)
def main(preset: Preset, lab: Lab, binarisation: str) -> Findings:
    """Importance weighted autoencoders beside VAEs: likelihood and units in use."""
    dataset, preprocess = digits(preset, binarisation)
    models: dict[Run, Fitted] = {}
    for run in preset.runs:
        start = None if run.after is None else models[run.after].params
        one = member(run, dataset, preprocess, start=start)
        models[run] = lab.train([one], dataset)[one.name]
    found = [
        measure(run, model, lab.root / "likelihoods" / run.name, preset.samples)
        for run, model in models.items()
    ]
    pairs = paired(found)
    splits = dataset.splits
    return Findings(
        protocol=(
            f"{dataset.name}, {binarisation} binarisation, {len(splits['train']):,} training and "
            f"{len(splits['test']):,} test images, 784-200-200-50 tanh, batches of 20, the paper's "
            "learning rates"
        ),
        note=(
            "NLL: nats per image, importance sampling with "
            f"{preset.samples:,} samples from q, mean over the whole test split ± standard error "
            "over images. Published figures are those of 3,280 epochs. Differences are of the same "
            f"images, binarised alike; active units have a posterior mean of variance above "
            f"{ACTIVE:g} over the test images."
        ),
        tables={
            "Likelihood of test images": rows_of(found),
            "On the same images": rounded(
                pairs, {"by (nats)": 2, "±": 3, "images on which it is better (%)": 1}
            ),
        },
        pictures=pictures(models, found),
        claims=[]
        if preset.dataset == "digits"
        else claims(preset.gate, preset.tolerance, found, pairs),
        runs=run_rows({run.name: model for run, model in models.items()}),
    )


def digits(preset: Preset, binarisation: str) -> tuple[DataSet, str]:
    """The images, and the preprocessing that makes them binary."""
    if binarisation == "fixed" and preset.dataset == "mnist":
        return load("binarized_mnist"), "identity"
    preprocess = "fixed_binarization" if binarisation == "fixed" else "dynamic_binarization"
    return load(preset.dataset, protocol="full"), preprocess


def pictures(models: dict[Run, Fitted], found: list[Measured]) -> dict[str, Shown]:
    bounds = {}
    for run, model in models.items():
        metric = f"test/{model.config.objective.headline}"
        seen = [record for record in model.records if metric in record]
        bounds[run.labelled] = [r["epoch"] for r in seen], [r[metric] for r in seen]
    units = {
        f"{one.run.labelled}{', layer ' + str(layer) if one.run.layers > 1 else ''}": (
            np.arange(1, len(variance) + 1),
            np.maximum(np.sort(variance)[::-1], 1e-6),
        )
        for one in found
        for layer, variance in enumerate(one.variances, 1)
    }
    most = max(len(y) for _, y in units.values())
    units["active"] = (np.array([1, most]), np.array([ACTIVE, ACTIVE]))
    return {
        "bound": Shown(
            comparisons.curves(bounds, "epoch", "own bound (nats)", log_x=True),
            "Each model's own bound of test images, along training",
            "Bounds of more samples are tighter: that one is higher says little of the models.",
        ),
        "units": Shown(
            comparisons.curves(
                units, "unit", "variance of the posterior mean", log_y=True, markers=False
            ),
            "Units of the code by the variance of their posterior mean",
            f"Above {ACTIVE:g} a unit counts as active.",
        ),
    }


if __name__ == "__main__":
    run_command(main)
