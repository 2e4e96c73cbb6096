"""What a learned prior adds: the VAE with N(0, I), a mixture, and a VampPrior.

Claim   On binarised MNIST a VAE whose prior is the mean of its own posteriors at learned
        pseudo-inputs (the VampPrior of Tomczak & Welling 2018, arXiv:1705.07120) has a higher
        log p(x) of test images than the same network with N(0, I), by more than two standard
        errors of the difference on the same images; `standard` is held to within 0.3 nats of two
        rows that pythae reproduced: VAE 89.78 (published 89.9), VampPrior 85.79 (85.57).

Command python -m experiments.priors --preset smoke|quick|standard|paper [--workdir DIR]
            [--launcher local|slurm [--slurm OPTION=VALUE ...]] [--print-only]

        smoke     seconds; the 8x8 digits
        quick     5 epochs, 200 components, 100 samples; ten to 25 minutes on two CPU cores
        standard  60 epochs after trials of 10, 500 components, 500 samples; about an hour on two
        paper     2,000 epochs, 5,000 samples: for an accelerator

Protocol  Larochelle's fixed binarisation: 50,000 training, 10,000 validation and 10,000 test
        images. Two networks, both with 40 latents and Bernoulli pixels, as pythae's scripts have
        them: 784-400-40-400-784 rectified with N(0, I) (`vae.py`: the row VAE), and
        784-300-300-40-300-300-784 of gated layers with He's weights (`vamp.py`: the row VampPrior,
        500 components). The gated one is also trained with N(0, I) and with a free mixture of as
        many components: only the prior differs there. Batches of 100; the KL of the gated ones is
        that of one sample, whatever the prior, and is warmed up over the first 5 % of the steps, as
        in `vamp.py` (100 of 2,000 epochs). Different from pythae: a cosine schedule of Adam in
        place of steps down from 1e-4 (of RMSProp in `vamp.py`), and fewer epochs; log variances
        have no bounds of -6 and 2; pseudo-inputs are free values kept in [0, 1], from
        N(0.5, 0.05^2). `standard` tries three step sizes for every model, a whole schedule of 10
        epochs each, and the bound of the validation images chooses; `quick` has one for all. The
        checkpoint is the best of the validation images, as there. NLL: nats per image, importance
        sampling from q, mean over the whole test split with its standard error over images; the
        spread that pythae reports is that of five rounds of the estimate. The test split chooses
        nothing.

Figures figures/bound.png (bound of the validation images by epoch), figures/units.png (variance
        of the posterior mean by unit), figures/samples.png (of each prior, the mean image).
"""

import dataclasses

import numpy as np

from ae_jax.cli.shell import run_command
from ae_jax.data import DataSet
from ae_jax.lab import Findings, Lab, Rows, Shown, experiment, rounded, run_rows
from ae_jax.report import comparisons
from experiments.priors_measured import ACTIVE, DIGITS, Measured, claims, measure, paired, rows_of
from experiments.priors_runs import BATCH_SIZE, VALIDATION, Row, images, trained

SHOWN = 16


@dataclasses.dataclass(frozen=True)
class Preset:
    """How far to go.

    components   of the mixture and the VampPrior
    rates        step sizes that every model may be trained at
    trial        epochs that each of them is tried for, where there are several
    samples      of the likelihood
    claimed      whether the order of the priors is claimed
    held         whether likelihoods are held to pythae's rows
    """

    dataset: str
    epochs: int
    components: int
    rates: tuple[float, ...]
    samples: int
    trial: int = 0
    claimed: bool = True
    held: bool = False


RATES = (5e-4, 1e-3, 2e-3)
PRESETS = {
    "smoke": Preset("digits", 2, 10, (1e-3,), 20, claimed=False),
    "quick": Preset("binarized_mnist", 5, 200, (1e-3,), 100),
    "standard": Preset("binarized_mnist", 60, 500, RATES, 500, trial=10, held=True),
    "paper": Preset("binarized_mnist", 2000, 500, RATES, 5000, trial=100, held=True),
}


@experiment("priors", PRESETS)
def main(preset: Preset, lab: Lab) -> Findings:
    """Priors of a VAE: N(0, I), a mixture and a VampPrior, by likelihood and units in use."""
    dataset = images(preset.dataset)
    rows = trained(lab, dataset, preset.components, preset.epochs, preset.rates, preset.trial)
    found = [measure(r, lab.root / "measured" / r.network.key, preset.samples) for r in rows]
    pairs = paired(found)
    return Findings(
        protocol=protocol(preset, dataset),
        note=(
            f"NLL: nats per image, importance sampling with {preset.samples:,} samples from q, "
            "mean over the whole test split ± standard error over images; differences are of the "
            "same images. Bound and KL are of one sample. A unit is active where its posterior "
            f"mean has a variance above {ACTIVE:g} over the test images; the aggregate KL is that "
            "of the mean of all test posteriors from the prior, ± over their codes. "
            f"{choice(preset)}; checkpoints are the best by the bound of the validation images."
        ),
        tables=tables(rows, found, pairs),
        pictures=pictures(rows, found),
        claims=claims(found, pairs, preset.samples, preset.held) if preset.claimed else (),
        runs=run_rows({row.network.described: row.model for row in rows}),
    )


def choice(preset: Preset) -> str:
    """What was chosen of the step sizes."""
    if preset.trial:
        rates = ", ".join(f"{rate:g}" for rate in preset.rates)
        return f"Step sizes are chosen so after {preset.trial} epochs at each of {rates}"
    return f"The step size is {preset.rates[0]:g} for all: none is chosen"


def protocol(preset: Preset, dataset: DataSet) -> str:
    return (
        f"{dataset.name}, fixed binarisation, {len(dataset.splits['train']):,} training and "
        f"{len(dataset.splits['test']):,} test images, 400 rectified units or 300-300 gated ones "
        f"on either side of 40 latents, {preset.components} components of learned priors, Adam "
        f"with a cosine schedule, batches of {BATCH_SIZE}, {preset.epochs} epochs"
    )


def tables(rows: list[Row], found: list[Measured], pairs: Rows) -> dict[str, Rows]:
    beside_published = rows[0].model.config.data.name == "binarized_mnist"
    made = {
        "Likelihood of test images": rounded(rows_of(found, beside_published), DIGITS),
        "On the same images": rounded(
            pairs, {"is (nats)": 2, "±": 3, "images on which it is higher (%)": 1}
        ),
    }
    if rows[0].by_rate:
        made["Bound of the validation images after the trial of each step size"] = [
            {
                "model": row.network.described,
                **{f"{rate:g}": round(bound, 2) for rate, bound in row.by_rate.items()},
            }
            for row in rows
        ]
    return made


def pictures(rows: list[Row], found: list[Measured]) -> dict[str, Shown]:
    bounds = {}
    for row in rows:
        seen = [record for record in row.model.records if VALIDATION in record]
        bounds[row.network.described] = [r["epoch"] for r in seen], [r[VALIDATION] for r in seen]
    units = {
        one.network.described: (
            np.arange(1, len(one.variances) + 1),
            np.maximum(np.sort(one.variances)[::-1], 1e-6),
        )
        for one in found
    }
    units["active"] = (np.array([1, len(found[0].variances)]), np.array([ACTIVE, ACTIVE]))
    samples = {
        row.network.described: np.asarray(row.model.sample(SHOWN, units="model")) for row in rows
    }
    return {
        "bound": Shown(
            comparisons.curves(bounds, "epoch", "bound (nats)", log_x=True),
            "The bound of the validation images along training",
        ),
        "units": Shown(
            comparisons.curves(
                units, "unit", "variance of the posterior mean", log_y=True, markers=False
            ),
            "Units of the code by the variance of their posterior mean",
            f"Above {ACTIVE:g} a unit counts as active.",
        ),
        "samples": Shown(
            comparisons.image_panels(samples, columns=4),
            "Mean images of codes drawn from each prior",
        ),
    }


if __name__ == "__main__":
    run_command(main)
