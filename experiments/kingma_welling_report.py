"""What the latent-size grid shows: the table, the claims, the figures and the report."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ae_jax.api import Fitted
from ae_jax.lab import Findings, Shown, restored
from ae_jax.report import figures
from ae_jax.report.claims import Claim, at_least, same_order
from ae_jax.train.loop import Record
from experiments.kingma_welling_grid import (
    TRACK_FROM,
    Curves,
    Finding,
    Grid,
    comparable,
    largest_deviation,
)
from experiments.published import bound_at

SOURCE = "Kingma & Welling 2014, arXiv:1312.6114, Fig. 2"
UNIT = "nats per example"
MANIFOLD_SIDE = 20
SHOWN = 12


def report(
    grid: Grid,
    findings: Sequence[Finding],
    paper: Curves,
    *,
    picture_sizes: Sequence[int],
    tolerance: float | None,
    protocol: str,
    note: str,
) -> Findings:
    """What the grid found, with figures; without a tolerance nothing is claimed."""
    models = _fitted(grid, [f for f in findings if f.size in picture_sizes])
    bounds = figures.bound_curves(panels(findings, paper), protocol)
    samples = {size: model.sample(100, units="model") for size, model in models.items()}
    tables = {"Lower bounds": table(findings, paper)}
    tracking = tracking_table(findings, paper)
    if tracking:
        # Of all settings tried, the one with the smallest of largest deviations, in nats.
        tables["Settings whose test curves are closest to the paper's"] = tracking
    return Findings(
        protocol=protocol,
        note=note,
        tables=tables,
        pictures={
            "lower_bound": Shown(bounds, "Lower bound against training samples"),
            "prior_samples": Shown(
                figures.prior_sample_panels(samples), "Samples from the prior", "Means of p(x|z)."
            ),
            "manifold": Shown(
                _manifold(models[2]), "The 2-D manifold", "Codes of equal prior probability."
            ),
            "reconstructions": Shown(_reconstructions(models), "Reconstructions of test examples"),
        },
        claims=[] if tolerance is None else claims(findings, paper, tolerance),
        runs=run_rows(grid, findings),
        more={"curves": curve_values(findings)},
    )


def table(findings: Sequence[Finding], paper: Curves) -> list[dict[str, Any]]:
    """One row a latent size: the chosen setting and its bounds beside the paper's, in nats."""
    rows = []
    for finding in findings:
        samples, train, test = _final(finding)
        row = {
            "latent size": finding.size,
            "init std": finding.chosen[0],
            "step size": finding.chosen[1],
            "samples": f"{samples:.3g}",
            "train bound": round(train, 1),
            "test bound": round(test, 1),
        }
        for split in ("train", "test"):
            published = _at(paper.get((finding.size, "aevb", split)), samples)
            row[f"paper {split}"] = _rounded(published)
        # The loop ends with the test bound.
        row["test - paper"] = _rounded(None if published is None else test - published)
        rows.append(row)
    return rows


def tracking_table(findings: Sequence[Finding], paper: Curves) -> list[dict[str, Any]]:
    """One row a published curve: the setting closest to it and the largest deviation, in nats."""
    rows = []
    for finding in findings:
        if finding.tracking is None:
            continue
        curve = paper[finding.size, "aevb", "test"]
        looks = finding.followed or finding.trials[finding.tracking]
        trial = comparable(finding.trials)[finding.tracking]
        trial_end = trial[-1]["samples"]
        rows.append(
            {
                "latent size": finding.size,
                "init std": finding.tracking[0],
                "step size": finding.tracking[1],
                f"largest deviation, {TRACK_FROM:.0e} to {trial_end:.3g} samples": round(
                    largest_deviation(trial, curve), 1
                ),
                "to the end": round(largest_deviation(looks, curve), 1),
                "end (samples)": f"{looks[-1]['samples']:.3g}",
            }
        )
    return rows


def claims(findings: Sequence[Finding], paper: Curves, tolerance: float) -> list[Claim]:
    """Test bounds beside the paper's at the same number of samples, and the order of sizes."""
    checked, ours, theirs = [], {}, {}
    for finding in findings:
        samples, _, test = _final(finding)
        target = _at(paper.get((finding.size, "aevb", "test")), samples)
        if target is None:
            continue
        ours[finding.size], theirs[finding.size] = test, target
        checked.append(
            at_least(
                f"test bound at latent size {finding.size} after {samples:.3g} samples is no more "
                f"than {tolerance:g} nats below the paper's",
                test,
                target,
                tolerance,
                UNIT,
                SOURCE,
            )
        )
    if ours:
        name = "latent sizes, sorted by test bound, come in the paper's order"
        checked.append(same_order(name, ours, theirs, "latent size", SOURCE))
    return checked


def panels(findings: Sequence[Finding], paper: Curves) -> list[figures.Panel]:
    """Our curves over the paper's for each latent size; ours alone where it published none."""
    sizes = {size for size, _, _ in paper}
    drawn = []
    for finding in findings:
        published = finding.size in sizes
        looks = _first_run(finding)
        samples = np.array([look["samples"] for look in looks])
        curves = []
        if published:
            wake_sleep = paper[finding.size, "wake_sleep", "test"]
            curves.append(figures.Curve("wake-sleep (paper)", *wake_sleep.T, role="baseline"))
        for split in ("train", "test"):
            values = np.array([look[f"{split}/elbo"] for look in looks])
            curves.append(figures.Curve(f"AEVB {split}", samples, values, f"ours_{split}"))
        for split in ("train", "test") if published else ():
            theirs = paper[finding.size, "aevb", split]
            label = f"AEVB {split} (paper)"
            curves.append(figures.Curve(label, *theirs.T, role=f"paper_{split}"))
        drawn.append(figures.Panel(f"latent size {finding.size}", tuple(curves)))
    return drawn


def curve_values(findings: Sequence[Finding]) -> dict[str, dict[str, list[float]]]:
    """The curves of the chosen runs, by latent size."""
    return {
        str(finding.size): {
            name: [round(look[name], 3) for look in _first_run(finding)]
            for name in ("samples", "train/elbo", "test/elbo")
        }
        for finding in findings
    }


def run_rows(grid: Grid, findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """One row a run: what it was, how far it went, where it ended and how long it took."""
    rows = []
    for finding in findings:
        looks_of = {(*setting, grid.seeds[0]): looks for setting, looks in finding.trials.items()}
        looks_of |= {(*finding.chosen, seed): looks for seed, looks in finding.runs.items()}
        if finding.followed:
            looks_of[*finding.tracking, grid.seeds[0]] = finding.followed
        for (scale, step, seed), looks in looks_of.items():
            last = looks[-1]
            rows.append(
                {
                    "run": grid.member(finding.size, scale, step, seed).name,
                    "samples": last["samples"],
                    "train bound": round(last["train/elbo"], 2),
                    "test bound": round(last["test/elbo"], 2),
                    "training seconds": round(last["seconds"], 1),
                }
            )
    return rows


def _fitted(grid: Grid, findings: Sequence[Finding]) -> dict[int, Fitted]:
    """The first seed's model of each latent size."""
    members = {f.size: grid.member(f.size, *f.chosen, grid.seeds[0]) for f in findings}
    models = restored(grid.root, list(members.values()), grid.dataset)
    return {size: models[member.name] for size, member in members.items()}


def _manifold(model: Fitted):
    images = model.decode(figures.manifold_coordinates(MANIFOLD_SIDE), units="model")
    return figures.manifold(images, MANIFOLD_SIDE)


def _reconstructions(models: dict[int, Fitted]):
    first = next(iter(models.values()))
    examples = first.setup.dataset.splits["test"].head(SHOWN)
    rows = {
        f"{size}-D": model.reconstruct(examples, units="model") for size, model in models.items()
    }
    return figures.reconstructions(first.inputs(examples), rows)


def _first_run(finding: Finding) -> list[Record]:
    return next(iter(finding.runs.values()))


def _final(finding: Finding) -> tuple[float, float, float]:
    """Samples, train and test bound at the end, the bounds as means over seeds."""
    ends = [looks[-1] for looks in finding.runs.values()]
    return (
        ends[0]["samples"],
        float(np.mean([end["train/elbo"] for end in ends])),
        float(np.mean([end["test/elbo"] for end in ends])),
    )


def _at(curve: np.ndarray | None, samples: float) -> float | None:
    """The published bound after so many samples, None where nothing was published.

    Runs of whole epochs may end up to one epoch past the last point of a curve.
    """
    if curve is None or samples < curve[0, 0]:
        return None
    return bound_at(curve, min(samples, curve[-1, 0]))


def _rounded(value: float | None) -> float | str:
    return "" if value is None else round(value, 1)
