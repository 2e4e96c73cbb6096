"""What the latent-size grid shows: the table, the claims, the figures and the report."""

from collections.abc import Mapping, Sequence

import numpy as np
from jax import Array

from ae_jax.api import Fitted
from ae_jax.eval.estimates import standard_error
from ae_jax.lab import Claim, Findings, Rows, Shown, reconstructed, restored, same_order, shown
from ae_jax.objectives import Batch, Elbo
from ae_jax.objectives.base import BoundModel
from ae_jax.report import figures
from ae_jax.report.claims import at_least
from experiments.evaluation import values_by_example
from experiments.kingma_welling_grid import (
    TRACK_FROM,
    Curves,
    Finding,
    Grid,
    comparable,
    largest_deviation,
)
from experiments.kingma_welling_runs import Protocol

SOURCE = "Kingma & Welling 2014, arXiv:1312.6114, Fig. 2"
UNIT = "nats per example"
METHODS = {"aevb": "AEVB", "wake_sleep": "wake-sleep"}
MANIFOLD_SIDE = 20
SHOWN = 12
ERRORS = 2  # standard errors by which one bound is to be above another
DEVIATION = "deviation of test/elbo over seeds"
TRIALS = "Training bounds of the trials, by standard deviation of the initial weights and step size"

# Of test bounds, over the examples, by latent size and method; nats.
StandardErrors = Mapping[tuple[int, str], float]


def report(
    grids: Mapping[str, Grid],
    findings: Sequence[Finding],
    paper: Curves,
    protocol: Protocol,
    tolerance: float | None,
    note: str,
    deviations: Mapping[int, float],
) -> Findings:
    """What the grids of the methods found, with figures; without a tolerance nothing is claimed.

    `deviations` are as of `claims`.
    """
    fitted = _fitted(grids, findings)
    errors = {of: standard_error(_bounds_by_example(model)) for of, model in fitted.items()}
    tables = {"Lower bounds": table(findings, paper, errors)}
    tables[TRIALS] = trial_table(findings)
    tracking = tracking_table(findings, paper)
    if tracking:
        # Of all settings tried, the one with the smallest of largest deviations, in nats.
        tables["Settings whose test curves are closest to the paper's"] = tracking
    curves = {"aevb": "curves", "wake_sleep": "wake_sleep_curves"}
    models = {size: fitted[size, "aevb"] for size in protocol.picture_sizes}
    return Findings(
        protocol=protocol.description,
        note=note,
        tables=tables,
        pictures=pictures(panels(findings, paper), models, protocol.description),
        claims=(
            [] if tolerance is None else claims(findings, paper, tolerance, errors, deviations)
        ),
        runs=run_rows(grids, findings),
        more={name: curve_values(findings, method) for method, name in curves.items()},
    )


def pictures(
    drawn: Sequence[figures.Panel], models: Mapping[int, Fitted], protocol: str
) -> dict[str, Shown]:
    """Bounds, and what the models of some latent sizes draw and reconstruct."""
    samples = {size: model.sample(100, units="model") for size, model in models.items()}
    plane = models[2].decode(figures.manifold_coordinates(MANIFOLD_SIDE), units="model")
    test = models[2].setup.dataset.splits["test"].head(SHOWN)
    return {
        "lower_bound": shown(
            "bound_curves", "Lower bound against training samples", drawn, protocol, limits(drawn),
            caption=caption(drawn),
        ),
        "prior_samples": Shown(
            figures.prior_sample_panels(samples), "Samples from the prior", "Means of p(x|z)."
        ),
        "manifold": shown(
            "manifold", "The 2-D manifold", plane, MANIFOLD_SIDE,
            caption="Codes of equal prior probability.",
        ),
        "reconstructions": reconstructed(
            test, {f"{size}-D": model for size, model in models.items()},
            "Reconstructions of test examples",
        ),
    }  # fmt: skip


def table(findings: Sequence[Finding], paper: Curves, errors: StandardErrors) -> Rows:
    """One row a latent size and method: the step size and its bounds beside the paper's, nats."""
    rows = []
    several = any(len(finding.runs) > 1 for finding in findings)
    for finding in sorted(findings, key=lambda finding: finding.size):  # methods in their order
        samples, bounds = finding.end
        published = {split: finding.published(paper, split, samples) for split in bounds}
        test, theirs = bounds["test"], published["test"]
        rows.append(
            {
                "latent size": finding.size,
                "method": METHODS[finding.method],
                "step size": finding.chosen[1],
                "samples": f"{samples:.3g}",
                **{f"{split} bound": round(bound, 1) for split, bound in bounds.items()},
                "standard error": round(errors[finding.size, finding.method], 2),
                **({"deviation over seeds": _deviation(finding)} if several else {}),
                **{f"paper {split}": _rounded(bound) for split, bound in published.items()},
                "test - paper": _rounded(None if theirs is None else test - theirs),
            }
        )
    return rows


def _deviation(finding: Finding) -> float | str:
    """Of the test bound at the end over seeds, nats; a blank of one seed."""
    ends = finding.bounds("test")[:, -1]
    return round(float(ends.std(ddof=1)), 2) if len(ends) > 1 else ""


def trial_table(findings: Sequence[Finding]) -> Rows:
    """One row a latent size and method: the training bound of every setting, where all stood, nats.

    Blank where a setting was not tried or diverged.
    """
    settings = sorted({setting for finding in findings for setting in finding.trials})
    rows = []
    for finding in sorted(findings, key=lambda finding: finding.size):
        trials = comparable(finding.trials)
        row = {
            "latent size": finding.size,
            "method": METHODS[finding.method],
            "samples": f"{next(iter(trials.values()))[-1]['samples']:.3g}",
        }
        for scale, step in settings:
            looks = trials.get((scale, step))
            bound = None if looks is None else looks[-1]["train/elbo"]
            row[f"{scale:g}, {step:g}"] = _rounded(bound)
        rows.append(row)
    return rows


def tracking_table(findings: Sequence[Finding], paper: Curves) -> Rows:
    """One row a published curve of AEVB: the setting closest to it, the largest deviation, nats."""
    rows = []
    for finding in findings:
        if finding.tracking is None or finding.method != "aevb":
            continue
        curve = paper[finding.size, "aevb", "test"]
        looks = finding.followed or finding.trials[finding.tracking]
        trial = comparable(finding.trials)[finding.tracking]
        scale, step = finding.tracking
        span = f"{TRACK_FROM:.0e} to {trial[-1]['samples']:.3g} samples"
        rows.append(
            {
                "latent size": finding.size,
                "init std": scale,
                "step size": step,
                f"largest deviation, {span}": round(largest_deviation(trial, curve), 1),
                "to the end": round(largest_deviation(looks, curve), 1),
                "end (samples)": f"{looks[-1]['samples']:.3g}",
            }
        )
    return rows


def claims(
    findings: Sequence[Finding],
    paper: Curves,
    tolerance: float,
    errors: StandardErrors,
    deviations: Mapping[int, float] | None = None,
) -> list[Claim]:
    """Test bounds beside the paper's at the same number of samples, the order of the latent sizes,
    and AEVB above wake-sleep.

    `deviations` are those of a run of AEVB over seeds, by size, where they are known and it is of
    one seed: two of them are allowed for beside the tolerance.
    """
    aevb = {finding.size: finding for finding in findings if finding.method == "aevb"}
    asleep = [finding for finding in findings if finding.method == "wake_sleep"]
    checked, ours, theirs = [], {}, {}
    for finding in aevb.values():
        samples, bounds = finding.end
        target = finding.published(paper, "test", samples)
        if target is not None:
            ours[finding.size], theirs[finding.size] = bounds["test"], target
            allowed = (deviations or {}).get(finding.size, 0.0)
            checked.append(_not_below(finding, target, tolerance, errors, allowed))
    if ours:
        name = "latent sizes, sorted by test bound, come in the paper's order"
        checked.append(same_order(name, ours, theirs, "latent size", SOURCE))
    checked += [_above(aevb[one.size], one, errors) for one in asleep if one.size in aevb]
    for finding in asleep:
        target = finding.published(paper, "test", finding.end[0])
        if target is not None:
            checked.append(_not_below(finding, target, tolerance, errors))
    return checked


def _not_below(
    finding: Finding,
    target: float,
    tolerance: float,
    errors: StandardErrors,
    deviation: float = 0.0,
) -> Claim:
    samples, bounds = finding.end
    of = "" if finding.method == "aevb" else f" of {METHODS[finding.method]}"
    name = (
        f"test bound{of} at latent size {finding.size} after {samples:.3g} samples is no more than "
        f"{tolerance:g} nats below the paper's"
    )
    if deviation:
        name += f", and {ERRORS} deviations of {deviation:.2f} over seeds"
        tolerance += ERRORS * deviation
    error = errors.get((finding.size, finding.method))
    return at_least(name, bounds["test"], target, tolerance, UNIT, SOURCE, error)


def _above(aevb: Finding, wake_sleep: Finding, errors: StandardErrors) -> Claim:
    """AEVB above wake-sleep after as many samples as the shorter of the two has seen.

    The errors are taken for independent. They are of the same test examples: of their difference
    the error is smaller.
    """
    size, samples = aevb.size, min(one.end[0] for one in (aevb, wake_sleep))
    above = aevb.test_bound_after(samples) - wake_sleep.test_bound_after(samples)
    error = float(np.hypot(errors[size, "aevb"], errors[size, "wake_sleep"]))
    name = (
        f"AEVB's test bound minus that of wake-sleep at latent size {size} after {samples:.3g} "
        f"samples is at least {ERRORS} standard errors"
    )
    return at_least(name, above, ERRORS * error, 0.0, UNIT, SOURCE, error)


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
                ours = of_method[method]
                curves += [
                    figures.Curve(label, ours.samples, ours.bounds(split), f"ours_{split}", place)
                    for split, label in splits
                ]
            for split, label in splits if size in published else ():
                theirs = paper[size, method, split].T
                curves.append(figures.Curve(f"{label}, paper", *theirs, f"paper_{split}", place))
        drawn.append(figures.Panel(f"latent size {size}", tuple(curves)))
    return drawn


def caption(drawn: Sequence[figures.Panel]) -> str:
    """How many seeds a band is of, where there is one."""
    seeds = {len(c.values) for panel in drawn for c in panel.curves if c.band is not None}
    counts = " or ".join(str(count) for count in sorted(seeds))
    return f"Bands are one standard deviation over {counts} seeds wide." if seeds else ""


def limits(drawn: Sequence[figures.Panel]) -> tuple[float, float] | None:
    """The y range without the first updates of test bounds; None where training ends before."""
    later = [
        curve.mean[curve.samples >= TRACK_FROM]
        for panel in drawn
        for curve in panel.curves
        if curve.role.endswith("test")
    ]
    values = np.concatenate(later)
    return (values.min(), figures.bound_limits(drawn)[1]) if len(values) else None


def curve_values(findings: Sequence[Finding], method: str) -> dict[str, dict[str, list[float]]]:
    """The curves of the chosen runs of a method, by latent size: means over seeds.

    With several seeds their standard deviation at each look is beside the mean of the test bound.
    """
    curves = {}
    for finding in findings:
        if finding.method != method:
            continue
        curve = {f"{split}/elbo": finding.bounds(split).mean(axis=0) for split in ("train", "test")}
        if len(finding.runs) > 1:
            curve[DEVIATION] = finding.bounds("test").std(axis=0, ddof=1)
        curves[str(finding.size)] = {"samples": finding.samples.tolist()} | {
            name: np.round(values, 3).tolist() for name, values in curve.items()
        }
    return curves


def deviations_over_seeds(
    curves: Mapping[str, Mapping[str, list[float]]], samples: float
) -> dict[int, float]:
    """The standard deviation of a test bound over seeds after so many samples, by size, nats.

    `curves` are those of `curve_values`; sizes of one seed are absent.
    """
    return {
        int(size): float(np.interp(np.log(samples), np.log(curve["samples"]), curve[DEVIATION]))
        for size, curve in curves.items()
        if DEVIATION in curve
    }


def run_rows(grids: Mapping[str, Grid], findings: Sequence[Finding]) -> Rows:
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


def _rounded(value: float | None) -> float | str:
    return "" if value is None else round(value, 1)
