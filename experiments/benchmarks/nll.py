"""Likelihoods by importance sampling, and training of the bound of many samples: against pythae's
estimator and trainer, and a plain loop in PyTorch."""

import dataclasses
import statistics
from collections.abc import Callable, Mapping
from typing import Any

from experiments.benchmarks.contender import Contender, in_turns
from experiments.benchmarks.report import Results, share
from experiments.benchmarks.step import times
from experiments.benchmarks.workload import PIXELS, Workload

OURS, PRODUCTS = "ae_jax", "large matrix products alone"
TORCH, PYTHAE = "PyTorch", "pythae"


@dataclasses.dataclass(frozen=True)
class Length:
    """How much is measured.

    samples       of the likelihood, K
    images        whose likelihood is estimated in a turn
    batches       pythae's samples at once, of which its best counts
    examples      of an epoch of training
    train_samples k of the bound that is trained
    turns         of each contender
    """

    samples: int
    images: int
    batches: tuple[int, ...]
    examples: int
    train_samples: int
    turns: int


LENGTHS = {
    "smoke": Length(200, 10, (100, 200), 200, 5, 1),
    "standard": Length(5000, 100, (100, 500, 1000, 5000), 2000, 50, 7),
}


def run(preset: str, say: Callable[[str], None]) -> Results:
    """Measures both; contenders take turns."""
    length = LENGTHS[preset]
    one, other = _needed(length), _trained(length)
    likelihood, best = _likelihood(length, say)
    likelihood = _for_the_same_work(likelihood, *one)
    training = _for_the_same_work(_training(length, say), *other)
    images, examples = f"{length.images} images", f"{length.examples:,} examples"
    return Results(
        tables={
            "Likelihood": [
                {
                    "estimator": name,
                    "milliseconds an image": round(1e3 * _median(result) / length.images, 2),
                    "time / ae_jax": round(times(likelihood, name), 2),
                    "share of the matrix-product rate": share(times(likelihood, PRODUCTS, name)),
                    "peak memory (MiB)": round(result["peak_mib"]),
                }
                for name, result in likelihood.items()
            ],
            f"Training, k = {length.train_samples}": [
                {
                    "contender": name,
                    "examples a second": f"{length.examples / _median(result):,.0f}",
                    "time / ae_jax": round(times(training, name), 2),
                    "share of the matrix-product rate": share(times(training, PRODUCTS, name)),
                    "peak memory (MiB)": round(result["peak_mib"]),
                }
                for name, result in training.items()
            ],
        },
        claims=[
            ("likelihood: pythae at its best batch size / ae_jax", times(likelihood, best), 5.0),
            ("likelihood: share of the matrix-product rate", times(likelihood, PRODUCTS), 0.75),
            ("training: pythae / ae_jax", times(training, PYTHAE), 1.0),
            ("training: PyTorch / ae_jax", times(training, TORCH), 1.0),
        ],
        facts={"pythae's best": best},
        note=(
            f"784-500-20-500-784 tanh, Bernoulli, MNIST. Likelihoods: {length.samples:,} samples "
            f"of q(z|x) for each of {images} a turn. Training: the bound of "
            f"{length.train_samples} samples, {examples} an epoch, batches of 100, Adagrad. Each "
            "contender in a process of its own, all alive and taking turns: seconds are medians of "
            f"{length.turns} turns after the first, ratios are medians over turns of the ratio "
            "within the turn. Of the products those that are needed count: of a likelihood the "
            "decoder's, of training those of the decoder and its two gradients; large products "
            "alone are timed at other work, and scaled to this. pythae takes one image at a time, "
            "and so many samples of it at once as its batch size says."
        ),
    )


def _likelihood(length: Length, say: Callable[[str], None]) -> tuple[Mapping[str, Any], str]:
    """What estimators measure, and which of pythae's was the fastest."""
    workload = Workload(epochs=length.turns, examples=length.images)
    theirs = {
        f"{PYTHAE}, {size} samples at once": Contender(
            "nll_torch_contenders:pythae_likelihood",
            workload,
            {"samples": length.samples, "batch_size": size},
        )
        for size in length.batches
    }
    ours = Contender("nll_contenders:likelihood", workload, {"samples": length.samples})
    measured = in_turns({OURS: ours, **theirs, PRODUCTS: _products(length)}, say)
    return measured, min(theirs, key=lambda name: _median(measured[name]))


def _training(length: Length, say: Callable[[str], None]) -> Mapping[str, Any]:
    workload = Workload(epochs=length.turns, examples=length.examples)
    options = {"samples": length.train_samples}
    contenders = {
        OURS: Contender("ours:library", workload, options),
        TORCH: Contender("nll_torch_contenders:training", workload, options),
        PYTHAE: Contender("nll_torch_contenders:pythae_training", workload, options),
        PRODUCTS: _products(length),
    }
    return in_turns(contenders, say)


def _products(length: Length) -> Contender:
    """As many products as take a moment; their rate is what counts."""
    return Contender("ours:matrix_products", _of_products(length))


def _of_products(length: Length) -> Workload:
    return Workload(epochs=length.turns, examples=80_000 if length.images >= 100 else 1000)


def _needed(length: Length) -> tuple[float, Workload]:
    """Floating-point operations of the decoder's products in a turn of the likelihood."""
    return 2.0 * _decoder() * length.samples * length.images, _of_products(length)


def _trained(length: Length) -> tuple[float, Workload]:
    """The same of an epoch of training: forward and two gradients."""
    return 6.0 * _decoder() * length.train_samples * length.examples, _of_products(length)


def _decoder() -> int:
    """Multiply-adds of one code."""
    return Workload().latent_dim * Workload().hidden + Workload().hidden * PIXELS


def _for_the_same_work(
    measured: Mapping[str, Any], needed: float, products: Workload
) -> dict[str, Any]:
    """The seconds of large products as of `needed` operations, at the rate that they have."""
    factor = needed / products.flops()
    alone = measured[PRODUCTS]
    scaled = {**alone, "seconds": [factor * seconds for seconds in alone["seconds"]]}
    return {**measured, PRODUCTS: scaled}


def _median(result: Mapping[str, Any]) -> float:
    return statistics.median(result["seconds"])
