"""Conditional VAEs of MNIST: the label as the condition, and quadrants filled in.

Claim   Given the label, the bound on the test digits is higher than without it, and one code gives
        one style in all ten classes. Given one, two or three quadrants of a digit, the baseline
        network predicts the others within 1 nat of the published cost or better, and a conditional
        VAE on top of it reaches a bound within 1.5, 1.5 and 1 nats of the published or better,
        which is below the baseline's cost in grey as well as in binary pixels.

Command python -m experiments.cvae --preset smoke|quick|standard [--workdir DIR]
            [--launcher local|slurm [--slurm OPTION=VALUE ...]] [--print-only]

        smoke     seconds; the 8x8 digits
        quick     4 epochs with labels, one quadrant in 9 epochs; minutes on two CPU cores
        standard  20 epochs with labels, all quadrants, grey and binary, in at most 20 epochs of
                  the baseline and 45 of the CVAE; an hour and three quarters on two CPU cores

Protocol  Of 60,000 training digits the last 5,000 are held out and stop the training of all that
        concerns quadrants: three looks without a better bound there end it, and the best one is
        kept; the baseline looks at itself after every epoch, the CVAE after every third.
        The test digits choose nothing (in the published code they stop the training).
        Quadrants: 784-500-500-784 for the baseline, which sees -1 for what is hidden; the prior
        network sees the digit with the baseline's guess filled in, the recognition network the
        whole digit, the decoder only the code: 500-500 rectified units in each, 200 latents. Adam,
        1e-3 with a cosine schedule, batches of 128. Costs are nats of the hidden pixels of a test
        digit. Grey levels are no outcomes of a Bernoulli: what they cost is a cross-entropy, with
        the entropy of the grey levels for a floor; for binary pixels it is -log p.
        Labels: 784-500-20-500-784, binary pixels, the label into encoder and decoder.

Figures figures/class_and_style.png, figures/filled_1.png to filled_3.png (seen, baseline, samples).
"""

import dataclasses

from ae_jax.cli.shell import run_command
from ae_jax.data import load
from ae_jax.lab import Findings, Lab, experiment, run_rows
from experiments.cvae_labels import LabelBudget, bounds, label_rows, train_labels
from experiments.cvae_quadrants import (
    IMPORTANCE_SAMPLES,
    PARTICLES,
    Budget,
    Task,
    fill_quadrants,
    held_out,
)
from experiments.cvae_report import (
    entropy_of,
    label_claim,
    pictures,
    quadrant_claims,
    quadrant_rows,
)


@dataclasses.dataclass(frozen=True)
class Preset:
    """How far to go; `held_out` training digits stop the training."""

    dataset: str
    held_out: int
    tasks: tuple[Task, ...]
    quadrants: Budget
    labels: LabelBudget

    @property
    def is_published(self) -> bool:
        """Whether it goes as far as the published numbers."""
        return self.quadrants.epochs >= 45


ALL = tuple(Task(given, pixels) for pixels in ("grey", "binary") for given in (1, 2, 3))
PRESETS = {
    "smoke": Preset("digits", 200, ALL[:1], Budget(64, 8, 6, 15, 100), LabelBudget(64, 4, 40, 2)),
    "quick": Preset(
        "mnist", 5000, ALL[:1], Budget(500, 200, 4, 9, 1000), LabelBudget(500, 20, 4, 3)
    ),
    "standard": Preset(
        "mnist", 5000, ALL, Budget(500, 200, 20, 45, 10_000), LabelBudget(500, 20, 20, 3)
    ),
}


@experiment("cvae", PRESETS)
def main(preset: Preset, lab: Lab) -> Findings:
    """Conditional VAEs: labels as condition, and quadrants of digits filled in."""
    dataset = held_out(load(preset.dataset, protocol="full"), preset.held_out)
    done = [fill_quadrants(task, preset.quadrants, dataset, lab) for task in preset.tasks]
    filled = [one for one in done if one is not None]
    labelled = train_labels(preset.labels, dataset, lab)
    by_kind = bounds(labelled)
    floors = {one.task: entropy_of(one) for one in filled if one.task.pixels == "grey"}
    runs = {
        f"{one.task.name}/{kind}": getattr(one, kind)
        for one in filled
        for kind in ("baseline", "cvae")
    }
    runs |= {
        f"labels/{k}/{i}": model for k, models in labelled.items() for i, model in enumerate(models)
    }
    tables = {
        f"Hidden quadrants, {pixels} pixels: nats a test digit": quadrant_rows(
            [one for one in filled if one.task.pixels == pixels], floors, preset.is_published
        )
        for pixels in ("grey", "binary")
        if any(one.task.pixels == pixels for one in filled)
    }
    return Findings(
        protocol=protocol(preset, len(dataset.splits["train"])),
        note=note(preset),
        tables={**tables, "The label as the condition": label_rows(by_kind)},
        pictures=pictures(filled, labelled, dataset.shape),
        claims=[*quadrant_claims(filled, preset.is_published), label_claim(by_kind)],
        runs=run_rows(runs),
    )


def protocol(preset: Preset, count: int) -> str:
    budget, labels = preset.quadrants, preset.labels
    return (
        f"{preset.dataset}, {count:,} training examples, {preset.held_out:,} held out, which stop "
        f"the training on quadrants and choose its checkpoint; hidden layers of {budget.width} "
        f"rectified units, two in each network, {budget.latent_dim} latents, at most "
        f"{budget.baseline_epochs} epochs of the baseline and {budget.epochs} of the CVAE; with "
        f"labels one hidden layer of {labels.width}, {labels.latent_dim} latents, {labels.epochs} "
        "epochs; Adam with a cosine schedule"
    )


def note(preset: Preset) -> str:
    """How the numbers were estimated."""
    return (
        "Mean over test digits and its standard error, nats summed over hidden pixels; less is "
        f"better. The mean bound ({PARTICLES} samples of q, KL in closed form) and the baseline "
        f"are of the whole test split, importance estimates ({IMPORTANCE_SAMPLES} samples) of its "
        f"first {preset.quadrants.scored:,}. q has seen what is to be predicted, the prior has "
        "not. Grey costs are cross-entropies and no likelihoods, binary ones (a fixed "
        f"binarisation) are -log p. Labels: mean bound of {PARTICLES} samples of q on the "
        "binarised test split."
    )


if __name__ == "__main__":
    run_command(main)
