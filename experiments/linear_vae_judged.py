"""What is measured of a trained linear VAE, and the claims about it."""

import numpy as np

from ae_jax.api import Fitted
from ae_jax.codecs.probabilistic_pca import ProbabilisticPcaCodec
from ae_jax.data import DataSet
from ae_jax.eval.bounds import elbo_terms
from ae_jax.eval.estimates import standard_error
from ae_jax.lab import Rows
from ae_jax.report.claims import Claim, at_most, close_to, equal_to
from experiments import linear_vae_theory as theory
from experiments.baselines import rows_of
from experiments.evaluation import values_by_example

ALIVE = 0.01
CLOSED = "probabilistic PCA in closed form (Tipping & Bishop 1999)"
DIGITS = {
    "noise variance": 6,
    "noise variance, PPCA": 6,
    **{
        f"{what}, {split}": 2
        for what in ("bound", "log p(x)", "log p(x), PPCA")
        for split in ("train", "test")
    },
    "bound lacks": 2,
    "±": 2,
}


def learned_row(
    size: int, model: Fitted, optimum: ProbabilisticPcaCodec, dataset: DataSet
) -> dict[str, float]:
    """The trained model beside the optimum, on both splits."""
    row = {
        "latents": size,
        "noise variance": theory.noise_variance(model),
        "noise variance, PPCA": float(optimum.noise_variance),
    }
    own = theory.as_codec(model)
    lacks = {}
    for split in ("train", "test"):
        x = rows_of(dataset, split)
        bound = values_by_example(model, split, elbo_terms)["elbo"]
        exact, best = (np.asarray(codec.log_prob(x), np.float64) for codec in (own, optimum))
        lacks[split] = best - bound
        row |= {
            f"bound, {split}": float(bound.mean(dtype=np.float64)),
            f"log p(x), {split}": float(exact.mean()),
            f"log p(x), PPCA, {split}": float(best.mean()),
        }
    error = standard_error(lacks["train"])
    return row | {"bound lacks": float(lacks["train"].mean()), "±": error}


def claims(dataset: str, rows: Rows, counted: Rows) -> list[Claim]:
    """Nothing is computed apart for the 8x8 digits."""
    if dataset != "mnist":
        return []
    known, found = theory.targets(), []
    for row in rows:
        size, target = row["latents"], known.probabilistic_pca[row["latents"]]
        found += [
            close_to(
                f"{size} latents: log p(x) of probabilistic PCA, training images",
                row["log p(x), PPCA, train"],
                target["train"],
                0.02,
                "nats",
                "closed form, computed apart",
            ),
            close_to(
                f"{size} latents: learned noise variance over that of probabilistic PCA",
                row["noise variance"] / target["sigma2"],
                1.0,
                0.01,
                "ratio",
                CLOSED,
            ),
            at_most(
                f"{size} latents: what the bound lacks of log p(x) of probabilistic PCA "
                f"(± {row['±']:.2f})",
                row["bound lacks"],
                0.0,
                1.0,
                "nats",
                CLOSED,
                row["±"],
            ),
        ]
    for row in counted:
        noise = row["fixed noise variance"]
        found += [
            equal_to(
                f"noise variance {noise:g}: eigenvalues of the covariance above it",
                row["eigenvalues above it"],
                known.alive[noise],
                "dimensions",
                "closed form, computed apart",
            ),
            close_to(
                f"noise variance {noise:g}: dimensions alive after training",
                row["alive after training"],
                known.alive[noise],
                3,
                "dimensions",
                "Lucas et al. 2019: those with an eigenvalue above the noise",
            ),
        ]
    return found
