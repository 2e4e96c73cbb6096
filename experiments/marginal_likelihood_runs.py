"""Runs of few and many digits by three methods, and what is estimated of them along the way."""

import dataclasses
import functools
import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ae_jax.api import Fitted
from ae_jax.core.errors import TrainingDiverged, UserError
from ae_jax.data import DataSet
from ae_jax.eval import PosteriorFitLikelihood
from ae_jax.eval.estimates import standard_error
from ae_jax.lab import Claim, Lab, Rows, restored
from ae_jax.objectives import Mcem
from ae_jax.report.claims import at_least, close_to
from ae_jax.train.config import DataConfig, EvalConfig, ModelConfig, RunConfig, TrainConfig
from ae_jax.train.grid import Member
from ae_jax.train.optimisers import Adagrad
from experiments.evaluation import gain, kept, of_set
from experiments.kingma_welling_runs import BURN_IN, INIT_SCALE, OBJECTIVES
from experiments.published import TARGETS

METHODS = {"aevb": "AEVB", "wake_sleep": "wake-sleep", "mcem": "Monte Carlo EM"}
# As in figure 2; the MAP term of Monte Carlo EM is of all parameters too.
OBJECTIVE_OF = OBJECTIVES | {"mcem": Mcem(parameter_prior="normal")}
SPLITS = ("train", "test")
COUNTED = 1000  # first examples of a split
BATCH_SIZE = 100
LEAPFROG_STEPS = 4
ERRORS = 2  # standard errors by which one method is to be above the other
TOLERANCE = 3.0  # nats below the figure
ACCEPTANCE_TOLERANCE = 0.03
SOURCE = "Kingma & Welling 2014, arXiv:1312.6114, Fig. 3"


@dataclasses.dataclass(frozen=True)
class Cell:
    """A number of training digits and a method."""

    count: int
    method: str

    @property
    def folder(self) -> str:
        return f"digits={self.count}/{self.method}"


@dataclasses.dataclass(frozen=True)
class Estimates:
    """Of one cell: log p(x) of the first examples of each split [N], nats, at each of `samples`.

    step        size that was chosen
    runs        a row for each run, for the table of runs
    acceptance  of the last transition of each training digit, of methods that have chains
    """

    step: float
    samples: tuple[int, ...]
    log_likelihoods: dict[str, list[np.ndarray]]
    runs: Rows
    acceptance: float | None = None


def member(cell: Cell, dataset: DataSet, samples: float, step: float) -> Member:
    """One run of the figure, at a step size."""
    config = RunConfig(
        data=DataConfig(dataset.name, dataset.protocol, "grey", dataset.limit),
        model=ModelConfig(
            hidden=(100,), activation="tanh", latent_dim=3, head="bernoulli",
            init="normal", init_scale=INIT_SCALE,
        ),
        objective=OBJECTIVE_OF[cell.method],
        optim=Adagrad(learning_rate=step, burn_in=BURN_IN),
        train=TrainConfig(batch_size=BATCH_SIZE, epochs=epochs_of(samples, dataset)),
        eval=EvalConfig(per_decade=10),
    )  # fmt: skip
    return Member(f"{cell.folder}/step={step:g}", config)


def epochs_of(samples: float, dataset: DataSet) -> int:
    return math.ceil(samples / len(dataset.splits["train"]))


def estimated(
    lab: Lab,
    dataset: DataSet,
    cell: Cell,
    marks: Sequence[float],
    steps: Sequence[float],
    draws: int,
    chains: int,
) -> Estimates:
    """Chooses a step size by the training digits at the first mark, then trains on and estimates.

    Estimates are kept beside the runs: what has gone on is judged by where it stood then. Raises
    UserError where all step sizes diverge.
    """
    members = {step: member(cell, dataset, marks[-1], step) for step in steps}
    first, *later = (epochs_of(mark, dataset) for mark in marks)

    def at(step: float, epochs: int) -> dict[str, np.ndarray]:
        name = f"{chains}x{draws}-step={step:g}-epoch={epochs}.npz"
        model = restored(lab.root, [members[step]], dataset)[members[step].name]
        return _kept(lab.root / "estimates" / cell.folder / name, model, epochs, draws, chains)

    outcomes = lab.launcher.train(list(members.values()), dataset, lab.root, until=first)
    started = {
        step: at(step, first)
        for step, one in members.items()
        if not isinstance(outcomes[one.name], TrainingDiverged)
    }
    if not started:
        raise UserError(f"{cell.folder} diverges at all step sizes")
    step = max(started, key=lambda step: started[step]["train"].mean())
    chosen, values = members[step], [started[step]]
    records = outcomes[chosen.name]
    for epochs in later:
        records = lab.launcher.train([chosen], dataset, lab.root, until=epochs)[chosen.name]
        if isinstance(records, TrainingDiverged):
            raise records
        values.append(at(step, epochs))
    run = {
        "run": chosen.name,
        "samples": records[-1]["samples"],
        "step size": step,
        "training seconds": round(records[-1]["seconds"], 1),
    }
    return Estimates(
        step,
        tuple(epochs * len(dataset.splits["train"]) for epochs in (first, *later)),
        {split: [each[split] for each in values] for split in SPLITS},
        [run],
        records[-1].get("running/acceptance"),
    )


def _kept(file: Path, model: Fitted, epochs: int, draws: int, chains: int) -> dict[str, np.ndarray]:
    """log p(x) of the first examples of each split at an epoch, read or estimated."""

    def made() -> dict[str, np.ndarray]:
        if model.records[-1]["epoch"] != epochs:
            raise UserError(f"{file} is gone, and its run has gone on: begin in another --workdir")
        estimator = _estimator(draws, chains)
        return {split: log_likelihoods(model, split, estimator) for split in SPLITS}

    return {split: values.astype(np.float64) for split, values in kept(file, made).items()}


@functools.cache  # one object, so that it is compiled once
def _estimator(draws: int, chains: int) -> PosteriorFitLikelihood:
    return PosteriorFitLikelihood(
        chains=chains, draws=draws, burn_in=2 * draws, leapfrog_steps=LEAPFROG_STEPS
    )


def log_likelihoods(model: Fitted, split: str, estimator: PosteriorFitLikelihood) -> np.ndarray:
    """Of the first examples of a split, nats, [N]."""

    def of_first(module: Any, variables: Any, data: Any, key: Any) -> np.ndarray:
        first = data.split.replace(
            x=data.split.x[:COUNTED], y=None, count=min(COUNTED, len(data.split))
        )
        found = data.replace(split=first).rows(estimator.values_of, module, variables, key)
        return found["hmc_log_likelihood"]

    return of_set(model, split, of_first)


def published(cell: Cell, split: str) -> dict[float, float]:
    """{training samples: log p(x)} of the figure, nats; empty where it has none."""
    record = json.loads((TARGETS / "kingma_welling_fig3.json").read_text(encoding="utf-8"))
    points = record["curves"].get(str(cell.count), {}).get(cell.method, [])
    place = SPLITS.index(split)
    return {
        samples: point[place]
        for samples, point in zip(record["samples"], points, strict=False)
        if point is not None
    }


def rows_of(found: dict[Cell, Estimates], beside_published: bool) -> Rows:
    """One row a cell and mark."""
    rows = []
    for cell, one in found.items():
        for place, samples in enumerate(one.samples):
            row: dict[str, Any] = {
                "training digits": cell.count,
                "method": METHODS[cell.method],
                "step size": one.step,
                "samples": f"{samples:.2g}",
            }
            for split in SPLITS:
                values = one.log_likelihoods[split][place]
                row[split] = round(float(values.mean()), 2)
                row[f"{split} ±"] = round(standard_error(values), 2)
                if beside_published:
                    row[f"{split}, paper"] = published(cell, split).get(float(samples), "")
            rows.append(row)
    return rows


def in_order(count: int) -> list[str]:
    """The methods from the best on, by test log p(x) at the end of the figure."""
    ends = {method: published(Cell(count, method), "test") for method in METHODS}
    return sorted(METHODS, key=lambda method: ends[method][max(ends[method])], reverse=True)


def claims(found: dict[Cell, Estimates]) -> list[Claim]:
    """Pairs of methods as the figure has them, on the same digits, and each beside the figure."""
    made = []
    for count in sorted({cell.count for cell in found}):
        for pair in itertools.combinations(in_order(count), 2):
            above, below = (found[Cell(count, method)] for method in pair)
            by = gain(above.log_likelihoods["test"][-1], below.log_likelihoods["test"][-1])
            first, second = (METHODS[method] for method in pair)
            name = (
                f"{count:,} training digits, {above.samples[-1]:.2g} samples: test log p(x) of "
                f"{first} less that of {second}, same digits (± {by.error:.2f}), is above 0 by "
                f"{ERRORS} standard errors"
            )
            source = f"the order at the end of {SOURCE}"
            made.append(at_least(name, by.mean, ERRORS * by.error, 0.0, "nats", source, by.error))
    for cell, one in found.items():
        if one.acceptance is not None:
            name = f"{cell.count:,} training digits: acceptance of the chains of Monte Carlo EM"
            target = OBJECTIVE_OF[cell.method].acceptance
            source = "Kingma & Welling 2014, arXiv:1312.6114, App. D"
            made.append(
                close_to(name, one.acceptance, target, ACCEPTANCE_TOLERANCE, "share", source)
            )
        theirs = published(cell, "test")
        for samples, values in zip(one.samples, one.log_likelihoods["test"], strict=True):
            if float(samples) in theirs:
                name = (
                    f"{cell.count:,} training digits, {samples:.2g} samples: test log p(x) of "
                    f"{METHODS[cell.method]} is no more than {TOLERANCE:g} nats below the figure"
                )
                made.append(
                    at_least(
                        name, float(values.mean()), theirs[float(samples)], TOLERANCE, "nats",
                        SOURCE, standard_error(values),
                    )
                )  # fmt: skip
    return made
