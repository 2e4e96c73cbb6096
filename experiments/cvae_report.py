"""What the experiment on conditional VAEs shows: tables, claims and figures."""

import numpy as np

from ae_jax.lab import Claim, Estimate, Rows, Shown, claim
from ae_jax.report import comparisons, figures
from ae_jax.report.claims import at_least
from experiments.baselines import one_of_each
from experiments.cvae_labels import class_and_style, standard_error
from experiments.cvae_quadrants import (
    IMPORTANCE_SAMPLES,
    PARTICLES,
    Filled,
    Task,
    completions,
    entropy_floor,
)
from experiments.evaluation import with_error
from experiments.published import cvae_costs

# Nats by which the bound may miss the published one, by quadrants given.
TOLERANCE = {1: 1.5, 2: 1.5, 3: 1.0}
ESTIMATES = {
    "baseline": "baseline, cross-entropy",
    "bound": f"CVAE, mean bound of {PARTICLES} samples of q",
    "posterior": f"CVAE, {IMPORTANCE_SAMPLES} importance samples of q",
    "prior": f"CVAE, {IMPORTANCE_SAMPLES} samples of the prior",
    "kl": "of the bound: KL(q, prior)",
}
PUBLISHED = "Pyro's CVAE tutorial, after Sohn et al. 2015"
STYLES, SAMPLES = 10, 4  # that are shown


def entropy_of(filled: Filled) -> np.ndarray:
    """The entropy of the hidden grey levels of each test digit, nats, [N]."""
    return entropy_floor(filled.cvae.inputs(filled.dataset.splits["test"]), filled.task.share)


def quadrant_rows(filled: list[Filled], floors: dict[Task, np.ndarray], published: bool) -> Rows:
    """One row an estimator, one column a number of quadrants; published costs beside ours."""
    rows = []
    for key, label in ESTIMATES.items():
        values = {column(one): with_error(one.scores[key]) for one in filled}
        rows.append({"estimator": label, **values})
        if published and filled[0].task.pixels == "grey" and key in ("baseline", "bound"):
            theirs = cvae_costs("cvae" if key == "bound" else key)
            values = {column(one): f"{theirs[one.task.given]:g}" for one in filled}
            rows.append({"estimator": f"published, of the same kind: {label}", **values})
    if any(one.task in floors for one in filled):
        values = {column(one): with_error(floors[one.task]) for one in filled}
        rows.append({"estimator": "floor: entropy of the grey levels", **values})
    return rows


def column(filled: Filled) -> str:
    return f"{filled.task.given} given"


def quadrant_claims(filled: list[Filled], published: bool) -> list[Claim]:
    """The published costs reached, where training was as long, and the CVAE below the baseline."""
    found = []
    for one in filled:
        given, pixels = one.task.given, one.task.pixels
        what = f"{given} of 4 quadrants given, {pixels} pixels"
        baseline, bound = (one.scores[key] for key in ("baseline", "bound"))
        if published and pixels == "grey":
            for kind, value, allowed in (
                ("baseline", baseline, 1.0),
                ("cvae", bound, TOLERANCE[given]),
            ):
                label = ESTIMATES["bound" if kind == "cvae" else kind]
                target = cvae_costs(kind)[given]
                name = f"{what}: {label}, is no more than {allowed:g} nats above the published cost"
                how = {"at_most": target, "tolerance": allowed, "unit": "nats"}
                found.append(claim(name, Estimate.of(value), source=PUBLISHED, **how))
        name = f"{what}: {ESTIMATES['bound']}, less the baseline's cost"
        less, source = Estimate.of(bound - baseline), "the baseline of the same run"
        found.append(claim(name, less, at_most=0.0, errors=2, unit="nats", source=source))
    return found


def label_claim(by_kind: dict[str, np.ndarray]) -> Claim:
    """The bound given the label above the one without, by more than seeds differ."""
    plain, conditional = by_kind.values()
    error = float(np.hypot(standard_error(plain), standard_error(conditional)))
    return at_least(
        "the bound on test digits given the label less the one without it, beside twice its "
        "standard error over seeds",
        float(conditional.mean() - plain.mean()),
        2 * error,
        0.0,
        "nats",
        "the unconditional VAE of the same run",
        error,
    )


def pictures(filled: list[Filled], labelled: dict, shape: tuple[int, ...]) -> dict[str, Shown]:
    panels = class_and_style(labelled, STYLES)
    shown = {
        "class_and_style": Shown(
            comparisons.image_panels(panels, STYLES), "Class and style, and samples without labels"
        )
    }
    for one in filled:
        if one.task.pixels != "grey":
            continue
        places = one_of_each(one.dataset.splits["test"])
        rows = completions(one, places, SAMPLES)
        title = f"Test digits, {one.task.given} of 4 quadrants seen"
        rows = {name: images.reshape(-1, *shape) for name, images in rows.items()}
        shown[f"filled_{one.task.given}"] = Shown(
            figures.reconstructions(rows.pop("original"), rows),
            title,
            "What is not seen is grey. Samples: codes from the conditional prior.",
        )
    return shown
