"""Figure 3 of Kingma & Welling 2014: marginal likelihood from few and from many digits.

Claim   With 3 latents the marginal likelihood itself can be estimated, and methods that share no
        bound can be compared (Kingma & Welling 2014, arXiv:1312.6114, Sec. 5 and App. D): AEVB,
        wake-sleep and Monte Carlo EM, with 1,000 training digits and with 50,000. Of each pair the
        one that is above at the end of the figure is above here on test digits, by more than two
        standard errors of the difference on the same digits: Monte Carlo EM, AEVB, wake-sleep from
        few digits; AEVB, wake-sleep, Monte Carlo EM from many. `standard` and `paper` are held to
        within 3 nats of the figure at the samples that it has.

Command python -m experiments.marginal_likelihood --preset smoke|quick|early|standard|paper
            [--workdir DIR] [--launcher local|slurm [--slurm OPTION=VALUE ...]] [--print-only]

        smoke     seconds; the 8x8 digits
        quick     1,000 digits, 1e6 training samples a run; about five minutes on two CPU cores
        early     1,000 and 50,000 digits, as many samples; about a quarter of an hour
        standard  1e7, the first point of the figure; more than an hour
        paper     6e7, its whole length

Protocol  784-100-3-100-784 tanh, Bernoulli pixels with grey targets in [0, 1], minibatches of 100,
        one sample an example, Adagrad, the MAP term, initial weights and step sizes of the
        experiment `kingma_welling`: 0.01, 0.02 and 0.1 are tried, and log p(x) of training digits
        at the first estimate chooses, the same rule for all methods, as bounds depend on encoders
        that are no part of every method. Monte Carlo EM: a chain for each training digit, 10
        leapfrog steps at a step size that is adapted to an acceptance of 0.9, then 5 updates of the
        weights at that code; here at 5 visits of the digit, where the paper may have taken one
        minibatch 5 times. Its chains ask no encoder; one is fitted to their codes beside, as a
        place where estimates begin. log p(x): the estimator of App. D on the first 1,000 training
        and test digits, Hamiltonian Monte Carlo with 4 leapfrog steps, 50 draws of the posterior a
        digit that a Gaussian is fitted to and as many that the expectation is over. Different from
        the paper: these chains begin at the encoder's codes, step sizes are adapted for each digit,
        and path lengths vary. Means over digits with standard errors. Test digits choose nothing.

Figures figures/marginal_likelihood.png (ours and the paper's, by training samples).
"""

import dataclasses

import numpy as np

from ae_jax.cli.shell import run_command
from ae_jax.data import load
from ae_jax.lab import Findings, Lab, Shown, experiment
from ae_jax.report import figures
from ae_jax.report.style import Figure
from experiments.marginal_likelihood_runs import (
    COUNTED,
    METHODS,
    Cell,
    Estimates,
    claims,
    estimated,
    published,
    rows_of,
)


@dataclasses.dataclass(frozen=True)
class Preset:
    """How far to go.

    counts      numbers of training digits
    marks       training samples at which log p(x) is estimated; the first chooses the step size,
                the last ends the run
    steps       step sizes that are tried
    draws       of the posterior of a digit by each of the chains, and chains
    """

    dataset: str
    counts: tuple[int, ...]
    marks: tuple[float, ...]
    steps: tuple[float, ...] = (0.01, 0.02, 0.1)
    draws: int = 25
    chains: int = 2


PRESETS = {
    "smoke": Preset("digits", (200,), (2e4, 4e4), (0.02, 0.1), draws=5),
    "quick": Preset("mnist", (1_000,), (1e5, 1e6), (0.02, 0.1), draws=15),
    # By then each of many digits was seen six times, and their chains have moved twice.
    "early": Preset("mnist", (1_000, 50_000), (3e5, 1e6)),
    "standard": Preset("mnist", (1_000, 50_000), (1e6, 3e6, 1e7)),
    "paper": Preset("mnist", (1_000, 50_000), (1e6, 3e6, 1e7, 3e7, 6e7)),
}


@experiment("marginal_likelihood", PRESETS)
def main(preset: Preset, lab: Lab) -> Findings:
    """The marginal likelihood of three methods, by the number of training digits."""
    whole = load(preset.dataset)
    found: dict[Cell, Estimates] = {}
    for count in preset.counts:
        available = len(whole.splits["train"])
        dataset = whole if count == available else whole.limited(count)
        for method in METHODS:
            found[Cell(count, method)] = estimated(
                lab, dataset, Cell(count, method), preset.marks, preset.steps,
                preset.draws, preset.chains,
            )  # fmt: skip
    is_paper = preset.dataset == "mnist"
    return Findings(
        protocol=(
            f"{whole.name}, grey targets in [0, 1], Bernoulli, 100 tanh units on either side of 3 "
            f"latents, minibatches of 100, Adagrad, {preset.marks[-1]:.3g} training samples"
        ),
        note=(
            f"log p(x), nats per digit, by the HMC-based estimator with {preset.chains} chains of "
            f"{preset.draws} draws a digit, mean over the first {COUNTED:,} digits of a split ± "
            f"standard error over these. Of step sizes {', '.join(map(str, preset.steps))} the one "
            f"with the highest of training digits after {preset.marks[0]:.2g} samples goes on."
        ),
        tables={"Marginal likelihood": rows_of(found, is_paper)},
        pictures={
            "marginal_likelihood": Shown(
                drawn(panels(found, is_paper)),
                "Estimated log p(x) along training (MCEM: Monte Carlo EM)",
            )
        },
        claims=claims(found) if is_paper else (),
        runs=[row for one in found.values() for row in one.runs],
    )


def drawn(parts: list[figures.Panel]) -> Figure:
    """All of the curves, the lowest too: no method is left out for being far below."""
    values = np.concatenate([curve.values for part in parts for curve in part.curves])
    margin = 0.04 * np.ptp(values)
    limits = float(values.min() - margin), float(values.max() + margin)
    return figures.bound_curves(parts, limits=limits, y_label="log p(x) (nats per digit)")


def panels(found: dict[Cell, Estimates], is_paper: bool) -> list[figures.Panel]:
    """One panel a number of training digits: ours, and the paper's where it has any."""
    made = []
    for count in sorted({cell.count for cell in found}):
        curves = []
        for place, method in enumerate(METHODS):
            name = {"mcem": "MCEM"}.get(method, METHODS[method])  # or the legend is too wide
            one = found[Cell(count, method)]
            for split in ("test", "train"):
                means = np.array([values.mean() for values in one.log_likelihoods[split]])
                samples = np.array(one.samples, float)
                curves.append(
                    figures.Curve(f"{name} {split}", samples, means, f"ours_{split}", place)
                )
                theirs = published(Cell(count, method), split) if is_paper else {}
                if theirs:
                    points = np.array(list(theirs)), np.array(list(theirs.values()))
                    label = f"{name} {split}, paper"
                    curves.append(figures.Curve(label, *points, f"paper_{split}", place))
        made.append(figures.Panel(f"{count:,} training digits", tuple(curves)))
    return made


if __name__ == "__main__":
    run_command(main)
