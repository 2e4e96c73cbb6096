"""The models of Burda et al. 2016, Table 1, as runs of this library."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from ae_jax.data import DataSet
from ae_jax.objectives import Elbo, Iwae, Objective
from ae_jax.train.config import DataConfig, EvalConfig, ModelConfig, RunConfig, TrainConfig
from ae_jax.train.grid import Member
from ae_jax.train.optimisers import Adam
from experiments.published import TARGETS

HIDDEN = (200, 200)
BATCH_SIZE = 20
LEARNING_RATE = 1e-3
AFTERWARDS_RATE = 1e-4
PAPER_STAGES = 8
BETWEEN = (100, 100)  # units between two stochastic layers
SOURCE = "Burda et al. 2016, Table 1"


@dataclasses.dataclass(frozen=True)
class Run:
    """One model of the table.

    bound     `vae`: the mean of log w over k samples; `iwae`: the log of the mean of w
    samples   k
    stages    of the learning rate, i = 0, 1, ...: 3^i passes at 0.001 * 10^(-i/7)
    layers    of stochastic units: 50, or 100 and 50
    after     the run that this one goes on from: 3^(stages - 1) more passes at 1e-4 (Table 2)
    analytic  of a VAE: the KL in closed form; that of the samples otherwise, as in the paper
    """

    bound: str
    samples: int
    stages: int
    layers: int = 1
    after: "Run | None" = None
    analytic: bool = False

    @property
    def method(self) -> str:
        """As Table 1 has it; what goes on from another is none of these."""
        before = "" if self.after is None else f"{self.after.method}, then "
        return f"{before}{self.bound}-{self.samples}{'-analytic' if self.analytic else ''}"

    @property
    def epochs(self) -> int:
        return (3**self.stages - 1) // 2 if self.after is None else 3 ** (self.stages - 1)

    @property
    def all_epochs(self) -> int:
        """With those of the run before it."""
        return self.epochs + (0 if self.after is None else self.after.epochs)

    @property
    def length(self) -> tuple:
        """What has to be the same of two runs for a fair comparison."""
        return self.layers, self.epochs, self.after is None

    def improves(self, other: "Run") -> bool:
        """Whether this one is held to be better than the other, at equal length."""
        same = dataclasses.replace(self, analytic=False) == other
        return self.length == other.length and (self.bound == "iwae" or (self.analytic and same))

    @property
    def name(self) -> str:
        """Of its folder."""
        return (
            f"{self.layers}-layer/{self.method.replace(', ', '-').replace(' ', '-')}-{self.epochs}"
        )

    @property
    def described(self) -> str:
        before = "" if self.after is None else f"{self.after.described}; then "
        kl = ", analytic KL" if self.analytic else ""
        return f"{before}{self.bound.upper()}, k = {self.samples}{kl}"

    @property
    def labelled(self) -> str:
        """For a legend."""
        layers = ", two layers" if self.layers == 2 else ""
        return f"{self.described}, {self.all_epochs} epochs{layers}"

    @property
    def objective(self) -> Objective:
        # One estimator of the KL for both, which is that of the paper: what differs is the mean.
        if self.bound == "vae":
            form = "analytic" if self.analytic else "monte_carlo"
            return Elbo(num_samples=self.samples, kl_form=form)
        return Iwae(num_samples=self.samples)

    @property
    def model(self) -> ModelConfig:
        plain = ModelConfig(hidden=HIDDEN, activation="tanh", latent_dim=50, head="bernoulli")
        if self.layers == 1:
            return plain
        options = (("latent.top", 50), ("latent.hidden", BETWEEN), ("prior.hidden", BETWEEN))
        return dataclasses.replace(
            plain, name="ladder", latent="ladder", latent_dim=150, options=options
        )


def member(run: Run, dataset: DataSet, preprocess: str, seed: int = 0, start: Any = None) -> Member:
    """A run on a data set, from the parameters `start` if there are any."""
    final = 10 ** (-(run.stages - 1) / 7)
    rate = Adam(learning_rate=LEARNING_RATE, eps=1e-4, schedule="tripling", final_fraction=final)
    if run.after is not None:
        rate = Adam(learning_rate=AFTERWARDS_RATE, eps=1e-4)
    config = RunConfig(
        data=DataConfig(dataset.name, dataset.protocol, preprocess),
        model=run.model,
        objective=run.objective,
        optim=rate,
        train=TrainConfig(batch_size=BATCH_SIZE, epochs=run.epochs, seed=seed),
        eval=EvalConfig(every=max(1, run.epochs // 10)),
    )
    return Member(f"{run.name}/seed-{seed}", config, start)


def both(stages: int, samples: Sequence[int], layers: int = 1) -> tuple[Run, ...]:
    """The VAE with one sample and the IWAE with each number of samples."""
    return (
        Run("vae", 1, stages, layers),
        *(Run("iwae", count, stages, layers) for count in samples),
    )


def published(layers: int) -> dict[str, tuple[float, list[int]]]:
    """Test negative log-likelihood, nats, and active units by layer, of each method."""
    record = json.loads((TARGETS / "iwae.json").read_text(encoding="utf-8"))
    rows = {name: tuple(row) for name, row in record["table_1"][str(layers)].items()}
    if layers == 1:
        rows |= {name: (after, []) for name, (_, after) in record["table_2"].items()}
    return rows
