"""Do objectives that press codes apart tell the factors of pictures apart?

Claim   On pictures drawn from five known factors, beta-TCVAE (Chen et al. 2018, arXiv:1802.04942)
        has a higher mutual information gap than the VAE, and FactorVAE (Kim & Mnih 2018,
        arXiv:1802.05983) a higher FactorVAE score: each by more than two standard errors over
        seeds. What that costs in reconstruction stands beside.

Command python -m experiments.disentangle --preset smoke|quick|standard [--workdir DIR]
            [--launcher local|slurm [--slurm OPTION=VALUE ...]] [--print-only]

        smoke     seconds; 200 pictures, one seed
        quick     50 epochs, three seeds; 20 to 50 minutes on two CPU cores
        standard  300 epochs, five seeds, three weights a method; hours on two CPU cores

Protocol  The data set `shapes`, drawn by the library in the manner of dSprites: 3 shapes, 6 scales,
        12 orientations, 8 x 8 places, binary pixels of 32 x 32; Bernoulli likelihood, ten latents,
        two rectified hidden layers on either side, Adam, batches of 64. Codes are posterior means.
        Measures are over all training pictures (factors train nothing): MIG with 20 bins, SAP, DCI
        by bagged trees, the FactorVAE score of 800 votes. Means over seeds with a standard error.
        No published number is of these pictures: the comparison is between methods.

Figures figures/measures.png (each measure against what is reconstructed), traversals.png (a
        dimension a row, those with the largest KL first, VAE beside the others).
"""

import dataclasses
from collections.abc import Mapping

from ae_jax.api import Fitted
from ae_jax.cli.shell import run_command
from ae_jax.data import DataSet, load
from ae_jax.eval import Disentanglement
from ae_jax.lab import Estimate, Findings, Lab, Shown, experiment, rounded, run_rows
from ae_jax.objectives import BetaTcvae, Elbo, FactorVae, Objective
from ae_jax.train.config import DataConfig, EvalConfig, ModelConfig, RunConfig, TrainConfig
from ae_jax.train.grid import Member
from ae_jax.train.optimisers import Adam
from experiments.disentangle_report import (
    DIGITS,
    MEASURES,
    PLAIN,
    claims,
    measures_figure,
    rows_of,
    traversals_figure,
)


@dataclasses.dataclass(frozen=True)
class Preset:
    """How far to go; `weights` of the part that each method presses with, the VAE has none."""

    epochs: int
    seeds: int
    hidden: tuple[int, ...]
    weights: Mapping[str, tuple[float, ...]]
    limit: int | None = None
    claimed: bool = True


PRESETS = {
    "smoke": Preset(2, 1, (16,), {"beta-TCVAE": (6.0,)}, limit=200, claimed=False),
    "quick": Preset(
        50, 3, (256, 256), {"beta-VAE": (4.0,), "beta-TCVAE": (6.0,), "FactorVAE": (20.0,)}
    ),
    "standard": Preset(
        300,
        5,
        (512, 512),
        {
            "beta-VAE": (2.0, 4.0, 8.0),
            "beta-TCVAE": (3.0, 6.0, 12.0),
            "FactorVAE": (10.0, 20.0, 40.0),
        },
    ),
}
OBJECTIVES = {
    "beta-VAE": lambda weight: Elbo(beta=weight),
    "beta-TCVAE": lambda weight: BetaTcvae(beta=weight),
    "FactorVAE": lambda weight: FactorVae(gamma=weight),
}
LATENT_DIM = 10


def methods(preset: Preset) -> dict[str, tuple[str, Objective]]:
    """The method and its objective by setting, as `beta-VAE 4`."""
    pressed = {
        f"{method} {weight:g}": (method, OBJECTIVES[method](weight))
        for method, weights in preset.weights.items()
        for weight in weights
    }
    return {PLAIN: (PLAIN, Elbo()), **pressed}


def member(preset: Preset, dataset: DataSet, name: str, objective: Objective, seed: int) -> Member:
    """A VAE of these pictures, trained by an objective."""
    config = RunConfig(
        data=DataConfig(dataset.name, dataset.protocol, "identity", dataset.limit),
        model=ModelConfig(
            hidden=preset.hidden,
            activation="relu",
            latent_dim=LATENT_DIM,
            head="bernoulli",
        ),
        objective=objective,
        optim=Adam(learning_rate=1e-3),
        train=TrainConfig(batch_size=64, epochs=preset.epochs, seed=seed),
        eval=EvalConfig(every=max(1, preset.epochs // 10)),
    )
    return Member(f"{name.replace(' ', '-')}/seed={seed}", config)


@experiment("disentangle", PRESETS)
def main(preset: Preset, lab: Lab) -> Findings:
    """Disentanglement of known factors: VAE, beta-VAE, beta-TCVAE and FactorVAE."""
    dataset = load("shapes", limit=preset.limit)
    settings = methods(preset)
    members = {
        (name, seed): member(preset, dataset, name, objective, seed)
        for name, (_, objective) in settings.items()
        for seed in range(preset.seeds)
    }
    trained = lab.train(list(members.values()), dataset)
    models = {place: trained[one.name] for place, one in members.items() if one.name in trained}
    found = {place: measured(model) for place, model in models.items()}
    of_setting = {
        name: {
            column: Estimate.of(values[column] for (one, _), values in found.items() if one == name)
            for column in ("reconstruction", "KL", *MEASURES)
        }
        for name in settings
    }
    count = len(dataset.splits["train"])
    return Findings(
        protocol=(
            f"shapes, {count:,} pictures of 32 x 32 binary pixels drawn from five factors, "
            f"Bernoulli, {LATENT_DIM} latents, hidden layers of "
            f"{' and '.join(map(str, preset.hidden))} rectified units, Adam, {preset.epochs} epochs"
        ),
        note=(
            f"Means over {preset.seeds} seeds with their standard errors; reconstruction and KL in "
            "nats per picture, one sample each. Codes are posterior means of all training pictures."
        ),
        tables={"Measures by method": rounded(rows_of(of_setting), DIGITS)},
        pictures={
            "measures": Shown(measures_figure(of_setting), "Each measure, and what it costs"),
            "traversals": Shown(
                traversals_figure({n: models[n, 0] for n in settings if (n, 0) in models}),
                "One dimension a row from -2 to 2, those with the largest KL first",
            ),
        },
        claims=claims(of_setting, {n: method for n, (method, _) in settings.items()})
        if preset.claimed
        else [],
        runs=run_rows(trained),
    )


def measured(model: Fitted) -> dict[str, float]:
    """Reconstruction and KL of the training pictures, nats, and all measures of their codes."""
    values = model.evaluate("train", [Disentanglement()])
    return {
        "reconstruction": values["reconstruction"],
        "KL": values["reconstruction"] - values["elbo"],
        **{measure: values[name] for measure, name in MEASURES.items()},
    }


if __name__ == "__main__":
    run_command(main)
