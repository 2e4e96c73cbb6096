"""What the latent-size grid shows: the table, the claims, the figures and the report."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jax import Array

from ae_jax.api import Fitted
from ae_jax.eval.estimates import standard_error
from ae_jax.lab import Findings, Shown, restored
from ae_jax.objectives import Batch, Elbo
from ae_jax.objectives.base import BoundModel
from ae_jax.report import figures
from ae_jax.report.claims import Claim, at_least, same_order
from ae_jax.train.loop import Record
from experiments.evaluation import values_by_example
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
METHODS = {"aevb": "AEVB", "wake_sleep": "wake-sleep"}
MANIFOLD_SIDE = 20
SHOWN = 12
ERRORS = 2  # standard errors by which one bound is to be above another

# Of test bounds, over the examples, by latent size and method; nats.
StandardErrors = Mapping[tuple[int, str], float]


def report(
    grids: Mapping[str, Grid],
    findings: Sequence[Finding],
    paper: Curves,
    *,
    picture_sizes: Sequence[int],
    tolerance: float | None,
    protocol: str,
    note: str,
) -> Findings:
    """What the grids of the methods found, with figures; without a tolerance nothing is claimed."""
    fitted = _fitted(grids, findings)
    errors = {of: standard_error(_bounds_by_example(model)) for of, model in fitted.items()}
    models = {size: fitted[size, "aevb"] for size in picture_sizes}
    drawn = panels(findings, paper)
    bounds = figures.bound_curves(drawn, protocol, limits(drawn))
    samples = {size: model.sample(100, units="model") for size, model in models.items()}
    tables = {"Lower bounds": table(findings, paper, errors)}
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
        claims=[] if tolerance is None else claims(findings, paper, tolerance, errors),
        runs=run_rows(grids, findings),
        more={
            "curves": curve_values(findings, "aevb"),
            "wake_sleep_curves": curve_values(findings, "wake_sleep"),
        },
    )


def table(
    findings: Sequence[Finding], paper: Curves, errors: StandardErrors
) -> list[dict[str, Any]]:
    """One row a latent size and method: the step size and its bounds beside the paper's, nats."""
    rows = []
    for finding in sorted(findings, key=lambda finding: finding.size):  # methods in their order
        samples, train, test = _final(finding)
        row = {
            "latent size": finding.size,
            "method": METHODS[finding.method],
            "step size": finding.chosen[1],
            "samples": f"{samples:.3g}",
            "train bound": round(train, 1),
            "test bound": round(test, 1),
            "standard error": round(errors[finding.size, finding.method], 2),
        }
        for split in ("train", "test"):
            published = _at(paper.get((finding.size, finding.method, split)), samples)
            row[f"paper {split}"] = _rounded(published)
        # The loop ends with the test bound.
        row["test - paper"] = _rounded(None if published is None else test - published)
        rows.append(row)
    return rows


def tracking_table(findings: Sequence[Finding], paper: Curves) -> list[dict[str, Any]]:
    """One row a published curve of AEVB: the setting closest to it, the largest deviation, nats."""
    rows = []
    for finding in findings:
        if finding.tracking is None or finding.method != "aevb":
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


def claims(
    findings: Sequence[Finding], paper: Curves, tolerance: float, errors: StandardErrors
) -> list[Claim]:
    """Test bounds beside the paper's at the same number of samples, the order of the latent sizes,
    and AEVB above wake-sleep."""
    aevb = {finding.size: finding for finding in findings if finding.method == "aevb"}
    asleep = [finding for finding in findings if finding.method == "wake_sleep"]
    checked, ours, theirs = [], {}, {}
    for finding in aevb.values():
        samples, _, test = _final(finding)
        target = _at(paper.get((finding.size, "aevb", "test")), samples)
        if target is not None:
            ours[finding.size], theirs[finding.size] = test, target
            name = f"test bound at latent size {finding.size} after {samples:.3g} samples"
            error = errors.get((finding.size, "aevb"))
            checked.append(_not_below(name, test, target, tolerance, error))
    if ours:
        name = "latent sizes, sorted by test bound, come in the paper's order"
        checked.append(same_order(name, ours, theirs, "latent size", SOURCE))
    for finding in asleep:
        if finding.size in aevb:
            checked.append(_above(aevb[finding.size], finding, errors))
    for finding in asleep:
        samples, _, test = _final(finding)
        target = _at(paper.get((finding.size, "wake_sleep", "test")), samples)
        if target is not None:
            name = (
                f"test bound of wake-sleep at latent size {finding.size} after {samples:.3g} "
                "samples"
            )
            error = errors.get((finding.size, "wake_sleep"))
            checked.append(_not_below(name, test, target, tolerance, error))
    return checked


def _not_below(
    name: str, test: float, target: float, tolerance: float, error: float | None
) -> Claim:
    name = f"{name} is no more than {tolerance:g} nats below the paper's"
    return at_least(name, test, target, tolerance, UNIT, SOURCE, error)


def _above(aevb: Finding, wake_sleep: Finding, errors: StandardErrors) -> Claim:
    """AEVB above wake-sleep after as many samples as the shorter of the two has seen.

    The errors are taken for independent. They are of the same test examples: of their difference
    the error is smaller.
    """
    size = aevb.size
    samples = min(_final(finding)[0] for finding in (aevb, wake_sleep))
    above, below = (_test_bound_after(finding, samples) for finding in (aevb, wake_sleep))
    error = float(np.hypot(errors[size, "aevb"], errors[size, "wake_sleep"]))
    return at_least(
        f"AEVB's test bound minus that of wake-sleep at latent size {size} after {samples:.3g} "
        f"samples is at least {ERRORS} standard errors",
        above - below,
        ERRORS * error,
        0.0,
        UNIT,
        SOURCE,
        error,
    )


def panels(findings: Sequence[Finding], paper: Curves) -> list[figures.Panel]:
    """Our curves over the paper's, one panel a latent size; ours alone where it published none."""
    published = {size for size, _, _ in paper}
    drawn = []
    for size in sorted({finding.size for finding in findings}):
        of_method = {f.method: f for f in findings if f.size == size}
        curves = []
        for place, (method, name) in enumerate(METHODS.items()):
            splits = [(split, f"{name} {split}") for split in ("test", "train")]
            if method in of_method:
                looks = _first_run(of_method[method])
                samples = np.array([look["samples"] for look in looks])
                for split, label in splits:
                    values = np.array([look[f"{split}/elbo"] for look in looks])
                    curves.append(figures.Curve(label, samples, values, f"ours_{split}", place))
            for split, label in splits if size in published else ():
                theirs = paper[size, method, split].T
                curves.append(figures.Curve(f"{label}, paper", *theirs, f"paper_{split}", place))
        drawn.append(figures.Panel(f"latent size {size}", tuple(curves)))
    return drawn


def limits(drawn: Sequence[figures.Panel]) -> tuple[float, float] | None:
    """The y range without the first updates of test bounds; None where training ends before."""
    later = [
        curve.values[curve.samples >= TRACK_FROM]
        for panel in drawn
        for curve in panel.curves
        if curve.role.endswith("test")
    ]
    values = np.concatenate(later)
    return (values.min(), figures.bound_limits(drawn)[1]) if len(values) else None


def curve_values(findings: Sequence[Finding], method: str) -> dict[str, dict[str, list[float]]]:
    """The curves of the chosen runs of a method, by latent size."""
    return {
        str(finding.size): {
            name: [round(look[name], 3) for look in _first_run(finding)]
            for name in ("samples", "train/elbo", "test/elbo")
        }
        for finding in findings
        if finding.method == method
    }


def run_rows(grids: Mapping[str, Grid], findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """One row a run: what it was, how far it went, where it ended and how long it took."""
    rows = []
    for finding in findings:
        grid = grids[finding.method]
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


def _fitted(
    grids: Mapping[str, Grid], findings: Sequence[Finding]
) -> dict[tuple[int, str], Fitted]:
    """The first seed's model of each latent size and method."""
    found = {}
    for method, grid in grids.items():
        members = {
            finding.size: grid.member(finding.size, *finding.chosen, grid.seeds[0])
            for finding in findings
            if finding.method == method
        }
        models = restored(grid.root, list(members.values()), grid.dataset)
        found |= {(size, method): models[member.name] for size, member in members.items()}
    return found


def _bounds_by_example(model: Fitted) -> np.ndarray:
    """The bound of each test example with one sample, nats, [N]."""
    return values_by_example(model, "test", _bound)["elbo"]


def _bound(model: BoundModel, batch: Batch, key: Array) -> dict[str, Array]:
    return {"elbo": Elbo()(model, batch, key, 0).metrics["elbo"]}


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


def _test_bound_after(finding: Finding, samples: float) -> float:
    """The test bound after so many samples, between two looks too; the mean over seeds."""
    runs = finding.runs.values()
    curves = (np.array([[look["samples"], look["test/elbo"]] for look in run]) for run in runs)
    return float(np.mean([bound_at(curve, samples) for curve in curves]))


def _at(curve: np.ndarray | None, samples: float) -> float | None:
    """The published bound after so many samples, None where nothing was published.

    Runs of whole epochs may end up to one epoch past the last point of a curve.
    """
    if curve is None or samples < curve[0, 0]:
        return None
    return bound_at(curve, min(samples, curve[-1, 0]))


def _rounded(value: float | None) -> float | str:
    return "" if value is None else round(value, 1)
