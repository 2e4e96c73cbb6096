"""Learned manifolds of two dimensions: Frey faces and digits (Kingma & Welling 2014, figure 4).

Claim   A variational autoencoder with two latents lays faces and digits out on the plane: the codes
        of unseen examples fill the prior, so that a grid of equal prior probability shows all of
        them; neighbours on the grid look alike; and the plane reconstructs unseen examples with a
        smaller squared error than two principal components do.

Command AE_JAX_DATA=FOLDER python -m experiments.manifolds --preset smoke|quick|standard
            [--workdir DIR] [--launcher local|slurm [--slurm OPTION=VALUE ...]] [--print-only]

        smoke     seconds; the 8x8 digits alone
        quick     1,000 epochs of Frey faces, 15 of MNIST; about 4 minutes on two CPU cores
        standard  5,000 and 200; about 40 minutes on two CPU cores

        The faces are `frey_rawface.mat` or `freyface.npz` in the folder named by AE_JAX_DATA.

Protocol  As in figure 2 there but for the optimiser: one hidden layer of tanh units on either side;
        digits 500 units, grey targets in [0, 1] of Bernoulli pixels; faces 200 units, Gaussian
        pixels with the mean in (0, 1) and a variance of their own. Here Adam at 1e-3, batches of
        100. The paper names no split of the faces, whose neighbouring frames are nearly equal:
        parts are held out at random, so that bounds stand beside the paper's and claim nothing.

Figures figures/manifolds.png (means of p(x|z) over codes of equal prior probability).
"""

import dataclasses
from typing import Any

import numpy as np

from ae_jax.data import load
from ae_jax.lab import (
    Claim,
    Findings,
    Lab,
    Member,
    Shown,
    claim,
    experiment,
    network,
    run_command,
    run_rows,
)
from ae_jax.report import figures
from ae_jax.report.style import display_name
from experiments.evaluation import ratio
from experiments.manifold_plane import CODE, SIDE, Plane
from experiments.published import bound_at, load_curves

PUBLISHED = ("frey_face", "mnist")  # what the figure with the bounds shows


@dataclasses.dataclass(frozen=True)
class Images:
    """What figure 2 of the paper does with a data set, and for how long here."""

    hidden: int
    head: str
    epochs: int


PRESETS: dict[str, dict[str, Images]] = {
    "smoke": {"digits": Images(50, "bernoulli", 60)},
    "quick": {
        "frey_face": Images(200, "gaussian_sigmoid", 1000),
        "mnist": Images(500, "bernoulli", 15),
    },
    "standard": {
        "frey_face": Images(200, "gaussian_sigmoid", 5000),
        "mnist": Images(500, "bernoulli", 200),
    },
}


@experiment("manifolds", PRESETS)
def main(preset: dict[str, Images], lab: Lab) -> Findings:
    """Two-dimensional manifolds of faces and digits."""
    planes = {name: plane(lab, name, how) for name, how in preset.items()}
    return Findings(
        protocol="; ".join(
            f"{name}, {np.prod(planes[name].dataset.shape)}-{how.hidden}-2-{how.hidden}-"
            f"{np.prod(planes[name].dataset.shape)} tanh, {how.head}, {how.epochs} epochs of "
            f"{len(planes[name].dataset.splits['train']):,} examples"
            for name, how in preset.items()
        ),
        note=(
            "Bounds are nats per example with one sample each, on the test split. Squared errors "
            "are of test examples in [0, 1], summed over pixels, from mean codes and from two "
            f"principal components. The grid has {SIDE} x {SIDE} codes at the quantiles of the "
            "prior. Unevenness is the Kolmogorov-Smirnov distance of the prior probabilities of "
            "test codes, one drawn from each posterior, from uniform ones."
        ),
        tables={"Manifolds": [row(name, one) for name, one in planes.items()]},
        pictures=pictures(planes),
        claims=[said for name, one in planes.items() for said in claims(name, one)],
        runs=run_rows({name: one.model for name, one in planes.items()}),
    )


def plane(lab: Lab, name: str, how: Images) -> Plane:
    dataset = load(name)
    form = {"hidden": (how.hidden,), "latent_dim": CODE, "head": how.head}
    config = network(dataset, "grey", epochs=how.epochs, per_decade=4, **form)
    model = lab.train([Member(name, config)], dataset)[name]
    posterior = model.posterior(dataset.splits["test"])
    noise = np.random.default_rng(0).normal(size=np.shape(posterior.loc))
    codes = np.asarray(posterior.loc) + np.exp(np.asarray(posterior.log_scale)) * noise
    return Plane(
        dataset, model, model.decode(figures.manifold_coordinates(SIDE), units="model"), codes
    )


def row(name: str, one: Plane) -> dict[str, Any]:
    last = one.model.records[-1]
    return {
        "data": name,
        "training samples": last["samples"],
        "test bound": round(last["test/elbo"], 1),
        "paper's": published_bound(name, last["samples"]),
        "squared error": round(float(one.errors.mean()), 3),
        "PCA": round(float(one.pca_errors.mean()), 3),
        "unevenness of codes": round(one.unevenness, 3),
        "neighbours over any two": round(one.apart, 3),
    }


def published_bound(name: str, samples: int) -> float | None:
    """The paper's test bound of two latents after so many samples, where it shows one."""
    curve = load_curves(name).get((CODE, "aevb", "test")) if name in PUBLISHED else None
    if curve is None or not curve[0, 0] <= samples <= curve[-1, 0]:
        return None
    return round(bound_at(curve, samples), 1)


def claims(name: str, one: Plane) -> list[Claim]:
    source = "Kingma & Welling 2014, Fig. 4"
    linear = f"{name}: squared error of two codes over that of two principal components"
    filled = f"{name}: test codes fill the prior"
    alike = f"{name}: neighbours on the grid look alike"
    over, in_closed_form = "ratio, test examples", "PCA in closed form"
    near = {"at_most": 0.0, "tolerance": 0.1, "source": source}
    distance, squares = "Kolmogorov-Smirnov distance", "squared difference over that of any two"
    error = ratio(one.errors, one.pca_errors)
    return [
        claim(linear, error, at_most=1.0, errors=2, unit=over, source=in_closed_form),
        claim(filled, one.unevenness, unit=distance, **near),
        claim(alike, one.apart, unit=squares, **near),
    ]


def pictures(planes: dict[str, Plane]) -> dict[str, Shown]:
    grids = {display_name(name): one.grid for name, one in planes.items()}
    return {
        "manifolds": Shown(
            figures.manifold_panels(grids, SIDE),
            "Learned manifolds of two dimensions",
            "Means of p(x|z) over codes of equal prior probability.",
        ),
    }


if __name__ == "__main__":
    run_command(main)
