"""Jets: an autoencoder that has seen QCD jets only tells those of tops and gluinos from them.

Claim   Trained on QCD jets alone, an autoencoder reconstructs those of tops worse, and tells them
        apart by its squared error (Farina, Nakai & Shih 2018, arXiv:1808.08992, figure 3). On
        images divided by their sum it does so better than PCA of the same code size, by more than
        the bootstrap error of the paired difference. On their square roots it does better than the
        mass of the jet alone, and at equal mass it still does. Of gluinos nothing is claimed.

Command python -m experiments.jets --preset smoke|quick|standard [--workdir DIR]
            [--launcher local|slurm [--slurm OPTION=VALUE ...]] [--print-only]

        smoke     seconds; 1,000 jets of each kind, two epochs, and no claim
        quick     12 epochs, one seed, no convolutions; about 2 minutes on two CPU cores
        standard  and three seeds, convolutions, sizes of the code; about 40 minutes on one core

        `quick` takes the set `jets` where its file is in the folder named by AE_JAX_DATA, else
        `jets_small`, which is embedded; `standard` takes `jets`, from the file or simulated anew
        with the extra ae_jax[jets].

Protocol  Images 40 x 40 of transverse momentum, each divided by its sum (p), or of these the square
        roots, or log(1 + 1000 p). Trained on three quarters of the QCD jets; tested on the rest
        and all others. Networks 1600-128-32-z and mirrored, rectified, squared error, Adam with a
        cosine schedule, batches of 128; convolutions of 8, 16 and 32 channels; a VAE with a learned
        scale. The score is the squared error summed over pixels; of the VAE also the negative
        bound, -log p(x) by importance sampling with 10 codes, and the distance of the code.
        Background rejection is 1 over the QCD efficiency at a signal efficiency of 30 % and 50 %;
        errors are of 500 bootstrap samples of test jets, the same for all methods; those of seeds
        are beside them. Nothing was chosen by the test jets.

Figures figures/averages.png (figure 3 of the source), roc_top.png, roc_gluino.png,
        score_by_mass.png, auc_by_size.png.
"""

import dataclasses
from collections.abc import Mapping

from ae_jax.cli.shell import run_command
from ae_jax.data import DataSet
from ae_jax.lab import Findings, Lab, Shown, experiment, run_rows
from ae_jax.report.claims import Claim, at_least
from experiments.jets_methods import (
    SCALINGS,
    Method,
    Network,
    Sample,
    dataset_named,
    mass_method,
    network_methods,
    pca_methods,
    samples_of,
)
from experiments.jets_report import (
    Quality,
    averages_picture,
    difference,
    gluino_note,
    mass_picture,
    mass_rows,
    qualities,
    quality_rows,
    roc_picture,
    size_picture,
)

SIZE, LARGE = 8, 64
PLAIN, ROOTS = "unit_sum", "unit_sum_sqrt"
SOURCE = "Farina, Nakai & Shih 2018; plain scripts on the same jets"
AUC = "0.001 AUC"


@dataclasses.dataclass(frozen=True)
class Preset:
    """How far to go; `limit` is of training jets and of test jets of a class, None for all."""

    dataset: str
    epochs: int
    networks: tuple[Network, ...]
    pca_sizes: tuple[int, ...]
    scalings: tuple[str, ...] = SCALINGS
    replicates: int = 500
    limit: int | None = None
    claimed: bool = True


def standard_networks() -> tuple[Network, ...]:
    """Three seeds of each kind on plain images and of the dense one on all; sizes of the code."""
    found = [Network("dense", scaling, SIZE, seed) for scaling in SCALINGS for seed in range(3)]
    found += [Network(kind, PLAIN, SIZE, seed) for kind in ("vae", "conv") for seed in range(3)]
    found += [Network(kind, scaling, SIZE) for kind in ("vae", "conv") for scaling in SCALINGS[1:]]
    return (*found, *(Network("dense", scaling, z) for scaling in SCALINGS for z in (2, 32)))


QUICK = (
    *(Network("dense", scaling, SIZE) for scaling in SCALINGS),
    Network("vae", PLAIN, SIZE),
)
SMOKE = tuple(Network(kind, PLAIN, SIZE) for kind in ("dense", "vae"))
PRESETS = {
    "smoke": Preset("jets_small", 2, SMOKE, (SIZE,), (PLAIN,), 20, 1000, claimed=False),
    "quick": Preset("jets_if_at_hand", 12, QUICK, (SIZE, LARGE)),
    "standard": Preset("jets", 12, standard_networks(), (2, SIZE, 32, LARGE)),
}


@experiment("jets", PRESETS)
def main(preset: Preset, lab: Lab) -> Findings:
    """Jets: autoencoders trained on QCD tell tops and gluinos by their reconstruction error."""
    dataset = dataset_named(preset.dataset, preset.limit)
    samples, gluinos = samples_of(dataset, preset.limit)
    networks = list(preset.networks)
    fitted = lab.train([one.member(dataset, preset.epochs) for one in networks], dataset)
    methods = [mass_method(samples)]
    for scaling in preset.scalings:
        methods += pca_methods(lab, dataset, scaling, preset.pca_sizes, samples)
    methods += network_methods(fitted, networks, samples)
    found = {
        name: qualities(methods, sample, name, preset.replicates)
        for name, sample in samples.items()
    }
    tables = {f"{n} against QCD": quality_rows(methods, q) for n, q in found.items()}
    tables["Is the score the mass? top against QCD"] = mass_rows(methods, found["top"])
    return Findings(
        protocol=protocol(preset, dataset, samples),
        note=(
            "Higher scores are more anomalous; p is the share of a pixel in the transverse "
            "momentum of its image. ± is one standard error over bootstrap samples of the test "
            "jets, paired between methods; SD of seeds is that of trainings; the mean image is PCA "
            "of no component. 1/εb at 30% is the background rejection at a signal efficiency of "
            "30%. At equal mass, QCD jets are weighted to the masses of the others in bins of "
            "10 GeV; the rank correlation is Spearman's, among QCD jets."
            + gluino_note(gluinos, dataset.name)
        ),
        tables=tables,
        pictures=pictures(fitted, methods, samples, found["top"]),
        claims=claims(found["top"]) if preset.claimed else [],
        runs=run_rows(fitted),
    )


def protocol(preset: Preset, dataset: DataSet, samples: Mapping[str, Sample]) -> str:
    top = samples["top"].anomalous
    return (
        f"{dataset.name} (Pythia 8, 14 TeV, anti-kT 0.8, pT 550 to 650 GeV, no detector), trained "
        f"on {len(dataset.splits['train']):,} QCD jets, tested on {(~top).sum():,} others and "
        f"{top.sum():,} top and {samples['gluino'].anomalous.sum():,} gluino jets, 1600-128-32-z "
        f"and its mirror, Adam, {preset.epochs} epochs"
    )


def claims(found: Mapping[str, Quality]) -> list[Claim]:
    """The autoencoder above PCA at equal size and above the mass; a larger PCA draws level."""
    plain, roots = found[f"autoencoder {SIZE}, p"], found[f"autoencoder {SIZE}, square root of p"]
    gain, error = difference(plain, found[f"PCA {SIZE}, p"])
    larger, larger_error = difference(found[f"PCA {LARGE}, p"], plain)
    over_mass, mass_error = difference(roots, found["mass"])
    matched_error = plain.matched_replicates.std(ddof=1)
    compared = (
        ("p: AUC of the autoencoder less that of PCA of its code size, above its error", gain,
         error, 0.0, error),
        (f"p: AUC of PCA of {LARGE} less that of the autoencoder, no lower than two errors below "
         "it", larger, 0.0, 2 * larger_error, larger_error),
        ("square root of p: AUC of the autoencoder less that of the mass, above its error",
         over_mass, mass_error, 0.0, mass_error),
        ("p: AUC of the autoencoder at equal mass less one half, above two errors",
         plain.matched - 0.5, 2 * matched_error, 0.0, matched_error),
    )  # fmt: skip
    return [
        at_least(
            f"{name} (code of {SIZE})",
            *(1000 * number for number in (value, target, slack)),
            AUC,
            SOURCE,
            1000 * spread,
        )
        for name, value, target, slack, spread in compared
    ]


def pictures(fitted, methods: list[Method], samples, found) -> dict[str, Shown]:
    """The averages of the source, rejection curves, and what the score has to do with mass."""
    shown = [
        m
        for m in methods
        if m.scaling in (PLAIN, None) and m.size in (SIZE, LARGE, None)
        and m.score == "reconstruction"
    ]  # fmt: skip
    drawn = {"roc_top": roc_picture(shown, samples["top"], "top"),
             "roc_gluino": roc_picture(shown, samples["gluino"], "gluino"),
             "score_by_mass": mass_picture(shown, samples["top"], "top")}  # fmt: skip
    dense = Network("dense", PLAIN, SIZE)
    if dense.name in fitted:
        averages = averages_picture(fitted[dense.name], samples, PLAIN, SIZE)
        drawn = {"averages": averages} | drawn
    by_size = size_picture(methods, found)
    return drawn if by_size is None else drawn | {"auc_by_size": by_size}


if __name__ == "__main__":
    run_command(main)
