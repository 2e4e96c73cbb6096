"""Digits of which one, two or three quadrants are seen: a baseline network fills in the rest, and a
conditional VAE on top of it (Sohn et al. 2015, Sec. 4.2 and 5.1)."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ae_jax.api import Fitted
from ae_jax.data import DataSet
from ae_jax.data.missing import fill_in, hidden_entries, observed_entries
from ae_jax.eval import EvaluationData, ImportanceSampledLikelihood
from ae_jax.lab import Lab
from ae_jax.models import Batch, BoundModel
from ae_jax.objectives import CompletionElbo, MaskedReconstruction, Objective
from ae_jax.train.config import DataConfig, EvalConfig, ModelConfig, RunConfig, TrainConfig
from ae_jax.train.grid import Member
from ae_jax.train.optimisers import Adam

PATTERN = "fixed_quadrants"
UNSEEN = -1.0  # what the baseline sees in the place of a hidden pixel
PARTICLES = 10  # of the reported bound
IMPORTANCE_SAMPLES = 100
LOOK_EVERY = 3  # epochs, of a conditional VAE
PATIENCE = 3
WATCHED = 1000  # training digits that are looked at


@dataclasses.dataclass(frozen=True)
class Task:
    """So many of the four quadrants are given, as grey levels or as fixed binary pixels."""

    given: int
    pixels: str = "grey"

    @property
    def share(self) -> float:
        """The share of a digit that is hidden."""
        return 1 - self.given / 4

    @property
    def name(self) -> str:
        return f"{self.pixels}/given={self.given}"

    @property
    def preprocess(self) -> str:
        return "grey" if self.pixels == "grey" else "fixed_binarization"


@dataclasses.dataclass(frozen=True)
class Budget:
    """Sizes and lengths of training.

    width            units of every hidden layer, of which each network has two
    latent_dim       of the conditional VAE
    baseline_epochs, epochs   at most; the held-out digits stop both
    scored           test digits that are scored by importance sampling, the first of the split
    """

    width: int
    latent_dim: int
    baseline_epochs: int
    epochs: int
    scored: int


@dataclasses.dataclass(frozen=True, eq=False)
class Filled:
    """A task done: the data with the baseline's guesses beside them, both models, and their scores.

    `scores` are nats of each test digit, [N], by estimator; a bound counts as a cost here, negated.
    """

    task: Task
    dataset: DataSet
    baseline: Fitted
    cvae: Fitted
    scores: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class MetricsOf:
    """The metrics of an objective for each example: what `EvaluationData.rows` takes."""

    objective: Objective

    def __call__(self, model: BoundModel, batch: Batch, key: Array) -> dict[str, Array]:
        return self.objective(model, batch, key, jnp.zeros((), jnp.int32)).metrics


@dataclasses.dataclass(frozen=True)
class Guess:
    """The examples with what a pattern hides filled in once by a model: {filled: [B, ...]}."""

    share: float

    def __call__(self, model: BoundModel, batch: Batch, key: Array) -> dict[str, Array]:
        observed = observed_entries(batch["x"], batch["id"], PATTERN, self.share)
        return {"filled": fill_in(model, batch, observed, start=UNSEEN)}


def held_out(dataset: DataSet, count: int) -> DataSet:
    """The data set with its last `count` training examples as validation split."""
    train = dataset.splits["train"]
    first = len(train) - count
    splits = {
        "train": train.rows(slice(0, first)),
        "valid": train.rows(slice(first, None)),
        "test": dataset.splits["test"].rows(slice(None)),
    }
    return dataclasses.replace(dataset, splits=splits)


def baseline_run(task: Task, budget: Budget, dataset: DataSet) -> Member:
    """D-500-500-D, rectified, cross-entropy on the hidden pixels given the others."""
    config = RunConfig(
        data=DataConfig(dataset.name, protocol="full", preprocess=task.preprocess),
        model=ModelConfig(
            hidden=(budget.width,),
            decoder_hidden=(),
            activation="relu",
            init="glorot_uniform",
            latent="relu",
            latent_dim=budget.width,
            head="bernoulli",
        ),
        objective=MaskedReconstruction(
            share=task.share, pattern=PATTERN, scored="hidden", fill=UNSEEN
        ),
        optim=Adam(schedule="cosine"),
        train=TrainConfig(batch_size=128, epochs=budget.baseline_epochs, patience=PATIENCE),
        eval=EvalConfig(train_examples=WATCHED),
    )
    return Member(f"{task.name}/baseline", config)


def cvae_run(task: Task, budget: Budget, dataset: DataSet) -> Member:
    """q(z|x) of the whole digit, p(z|c) of the digit as the baseline completes it, p(x|z)."""
    hidden = (budget.width, budget.width)
    config = RunConfig(
        data=DataConfig(dataset.name, protocol="full", preprocess=task.preprocess),
        model=ModelConfig(
            hidden=hidden,
            activation="relu",
            init="glorot_uniform",
            latent_dim=budget.latent_dim,
            prior="network",
            head="bernoulli",
            condition="input",
            into=("prior",),
            options=(("prior.hidden", hidden),),
        ),
        objective=CompletionElbo(share=task.share, pattern=PATTERN),
        optim=Adam(schedule="cosine"),
        train=TrainConfig(batch_size=128, epochs=budget.epochs, patience=PATIENCE),
        eval=EvalConfig(every=LOOK_EVERY, train_examples=WATCHED),
    )
    return Member(f"{task.name}/cvae", config)


def fill_quadrants(task: Task, budget: Budget, dataset: DataSet, lab: Lab) -> Filled | None:
    """Trains the baseline, then the conditional VAE on its guesses; None if either diverged."""
    member = baseline_run(task, budget, dataset)
    baseline = lab.train([member], dataset, "best").get(member.name)
    if baseline is None:
        return None
    guessed = with_guesses(dataset, baseline, task)
    member = cvae_run(task, budget, guessed)
    cvae = lab.train([member], guessed, "best").get(member.name)
    if cvae is None:
        return None
    scores = scores_of(task, baseline, cvae, budget.scored)
    return Filled(task, guessed, baseline, cvae, scores)


def examples_of(model: Fitted, split: str, count: int | None = None) -> EvaluationData:
    """A split, or its first `count` examples, as evaluators take it."""
    data = model.evaluation_data(split)
    if count is None:
        return data
    first = {name: getattr(data.split, name) for name in ("x", "y", "condition")}
    part = data.split.replace(**{k: None if v is None else v[:count] for k, v in first.items()})
    return data.replace(split=part, batch_size=min(len(part), data.batch_size), factors=None)


def rows_of(model: Fitted, data: EvaluationData, values_of) -> dict[str, np.ndarray]:
    """The values of each example under a trained model."""
    return data.rows(values_of, model.setup.architecture.model, model.variables, jax.random.key(0))


def with_guesses(dataset: DataSet, baseline: Fitted, task: Task) -> DataSet:
    """The data set with each example, as the baseline completes it, for its condition."""
    splits = {}
    for name, split in dataset.splits.items():
        filled = rows_of(baseline, examples_of(baseline, name), Guess(task.share))["filled"]
        splits[name] = dataclasses.replace(split, condition=filled)
    return dataclasses.replace(dataset, splits=splits)


def scores_of(task: Task, baseline: Fitted, cvae: Fitted, count: int) -> dict[str, np.ndarray]:
    """Nats of the hidden pixels of each test digit, by estimator; smaller is better."""
    cost = MetricsOf(baseline.config.objective)
    bound = MetricsOf(cvae.config.objective.replace(num_samples=PARTICLES))
    terms = rows_of(cvae, examples_of(cvae, "test"), bound)
    scores = {
        "baseline": -rows_of(baseline, examples_of(baseline, "test"), cost)["reconstruction"],
        "bound": -terms["elbo"],
        "kl": terms["kl"],
    }
    few = examples_of(cvae, "test", count)
    for proposal in ("posterior", "prior"):
        estimate = ImportanceSampledLikelihood(
            IMPORTANCE_SAMPLES, proposal=proposal, pattern=PATTERN, share=task.share
        )
        smaller = few.replace(batch_size=max(1, few.batch_size // estimate.part))
        scores[proposal] = -rows_of(cvae, smaller, estimate.values_of)["log_likelihood"]
    return scores


def entropy_floor(x: np.ndarray, share: float) -> np.ndarray:
    """The least cross-entropy that grey levels x [N, H, W, C] in [0, 1] can cost, nats, [N].

    A Bernoulli of probability x has expected log-likelihood -H(x) at most, not 0.
    """
    hidden = np.asarray(hidden_entries(jnp.asarray(x), jnp.arange(len(x)), PATTERN, share))
    inside = np.clip(x.astype(np.float64), 1e-12, 1 - 1e-12)
    entropy = -(inside * np.log(inside) + (1 - inside) * np.log1p(-inside))
    return (entropy * hidden).sum(axis=(1, 2, 3))


def completions(filled: Filled, places: np.ndarray, samples: int) -> dict[str, np.ndarray]:
    """What was seen of some test digits, and ways to complete it: images [N, H, W, C] by name.

    Samples are codes from the conditional prior, decoded to their means; what was seen stays.
    """
    x = filled.cvae.inputs(filled.dataset.splits["test"])[places]
    condition = filled.dataset.splits["test"].condition[places]
    hidden = np.asarray(
        hidden_entries(jnp.asarray(x), jnp.arange(len(x)), PATTERN, filled.task.share)
    )
    images = {"seen": np.where(hidden, 0.5, x), "baseline": condition}
    for sample in range(samples):
        drawn = filled.cvae.sample(len(x), seed=sample, condition=condition, units="model")
        images[f"CVAE, sample {sample + 1}"] = np.where(hidden, drawn, x)
    return {**images, "original": x}
