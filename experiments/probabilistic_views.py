"""k-means and PCA as probabilistic autoencoders: what their variance goes to 0 in.

Claim   A mixture of spherical Gaussians goes to k-means as its variance s goes to 0: its loss, on
        the scale of squared errors, to that of k-means with the gap 2 s H, H the entropy of the
        sizes of the clusters; its responsibilities to one-hot codes and its centres to those of
        k-means at least as fast as s. Probabilistic PCA goes to PCA: its decoded posterior mean to
        the projection with the root mean square s sqrt(sum_j 1 / v_j), its loss to the squared
        error with the gap s sum_j (1 + log(v_j / s)), v_j the variances along the components.

Command python -m experiments.probabilistic_views --preset smoke|quick|standard [--workdir DIR]

        smoke     seconds; 300 of the 8x8 digits
        quick     all 8x8 digits; about a minute on two CPU cores
        standard  60,000 MNIST digits; about 10 minutes on two CPU cores

Protocol  Grey levels in [0, 1], training examples only, ten clusters and ten components. Mixtures
        are fitted by EM at a given variance, from where k-means ends: another start may lead to
        another optimum of both. Probabilistic PCA is the likeliest at a given variance, up to the
        fitted one. Variances are in units of the fitted ones: of k-means about its centres, of
        probabilistic PCA. Numbers are taken in float64 from the fitted codecs. Rates are slopes of
        log against log over the variances up to a tenth of the unit.

Figures figures/limits.png (both limits), reconstructions.png (soft to hard).
"""

import dataclasses

import numpy as np

from ae_jax.api import Fitted
from ae_jax.cli.shell import run_command
from ae_jax.codecs import CodecSpec, KMeans, Pca, ProbabilisticPca, SphericalMixture
from ae_jax.data import DataSet, load
from ae_jax.lab import Findings, Lab, experiment, fit_row
from experiments.baselines import rows_of
from experiments.limits import mixture_limit, pca_limit
from experiments.probabilistic_views_report import Limit, claims, pictures, table

CODE = 10
ITERATIONS = 200
PREPROCESS = "grey"


@dataclasses.dataclass(frozen=True)
class Preset:
    """Which examples, and at which variances, in units of the fitted ones, in falling order."""

    dataset: str
    limit: int | None = None
    variances: tuple[float, ...] = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)


PRESETS = {
    "smoke": Preset("digits", 300, (10.0, 1.0, 0.1, 0.01)),
    "quick": Preset("digits"),
    "standard": Preset("mnist"),
}


@experiment("probabilistic_views", PRESETS)
def main(preset: Preset, lab: Lab) -> Findings:
    """k-means and PCA as limits of probabilistic autoencoders."""
    dataset = load(preset.dataset, protocol="full", limit=preset.limit)
    x = rows_of(dataset, "train").astype(np.float64)
    spread = float(np.square(x - x.mean(axis=0, keepdims=True)).sum(axis=1).mean())
    clusters = to_kmeans(preset, lab, dataset, x)
    subspace = to_pca(preset, lab, dataset, x)
    return Findings(
        protocol=(
            f"{len(x):,} training examples of {preset.dataset}, grey levels in [0, 1], "
            f"{x.shape[1]} dimensions, {CODE} clusters and {CODE} components"
        ),
        note=(
            f"Variances s are multiples of the fitted ones, {clusters.unit:.4g} about the centres "
            f"of k-means and {subspace.unit:.4g} of probabilistic PCA. Losses are on the scale of "
            f"squared errors of an example, of which k-means has {error_of(clusters, x):.4g}, PCA "
            f"{error_of(subspace, x):.4g} and the mean {spread:.4g}; means over the training "
            "examples. What is predicted is computed from k-means and PCA alone."
        ),
        tables={
            "Mixture of spherical Gaussians, to k-means": table(clusters),
            "Probabilistic PCA, to PCA": table(subspace),
        },
        pictures=pictures(dataset, clusters, subspace, spread),
        claims=claims(clusters, subspace, spread),
        runs=[
            fit_row(f"{name} at variance {ratio:g}", model)
            for name, limit in (("mixture", clusters), ("probabilistic PCA", subspace))
            for ratio, model in limit.soft.items()
        ],
    )


def to_kmeans(preset: Preset, lab: Lab, dataset: DataSet, x: np.ndarray) -> Limit:
    """The mixture by variance, and k-means."""
    spec = KMeans(CODE, max_iterations=ITERATIONS, tolerance=0.0)
    hard = lab.fit("kmeans", spec, dataset, PREPROCESS)
    unit = float(hard.params.variance)
    specs = {
        ratio: SphericalMixture(
            CODE,
            variance=ratio * unit,
            start="kmeans",
            max_iterations=ITERATIONS,
            tolerance=0.0,
        )
        for ratio in preset.variances
    }
    soft = fitted(lab, "mixture", specs, dataset)
    rows = [mixture_limit(model.params, hard.params, x) for model in soft.values()]
    return Limit(unit, soft, hard, rows)


def to_pca(preset: Preset, lab: Lab, dataset: DataSet, x: np.ndarray) -> Limit:
    """Probabilistic PCA by variance, up to the fitted one, and PCA."""
    hard = lab.fit("pca", Pca(CODE), dataset, PREPROCESS)
    free = lab.fit("probabilistic_pca", ProbabilisticPca(CODE), dataset, PREPROCESS)
    unit = float(free.params.noise_variance)
    specs = {
        ratio: ProbabilisticPca(CODE, noise_variance=ratio * unit)
        for ratio in preset.variances
        if ratio <= 1
    }
    soft = fitted(lab, "probabilistic_pca", specs, dataset)
    rows = [pca_limit(model.params, hard.params, x) for model in soft.values()]
    return Limit(unit, soft, hard, rows)


def fitted(
    lab: Lab, name: str, specs: dict[float, CodecSpec], dataset: DataSet
) -> dict[float, Fitted]:
    return {
        ratio: lab.fit(f"{name}/variance={ratio:g}", spec, dataset, PREPROCESS)
        for ratio, spec in specs.items()
    }


def error_of(limit: Limit, x: np.ndarray) -> float:
    """Squared error of an example of k-means or PCA, mean over the training examples."""
    codec, x = limit.hard.params, x.astype(np.float32)
    return float(np.square(np.asarray(codec.residuals(x, codec.encode(x)))).sum(axis=1).mean())


if __name__ == "__main__":
    run_command(main)
