"""What `jets` finds of the scores: tables, and figures."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import rankdata, spearmanr

from ae_jax.api import Fitted
from ae_jax.eval.roc import Roc, bootstrapped, roc
from ae_jax.lab import Rows, Shown
from ae_jax.report import comparisons
from ae_jax.report.image_tables import image_table
from experiments.jets_methods import CALLED, GLUINO, NOISE, Method, Sample

EFFICIENCIES = (0.3, 0.5)
BIN = 10.0  # GeV, of mass, within which jets count as alike


@dataclasses.dataclass(frozen=True)
class Quality:
    """How well a method tells a class from QCD; the mean of the seeds.

    values       AUC and the background rejections at `EFFICIENCIES`, [3]
    replicates   the same of resampled jets, [R, 3], the same resamples for all methods
    matched      AUC where QCD jets are weighted to the masses of the others, and its [R]
    by_seed      AUC of each seed
    correlation  Spearman's, of score and mass among QCD jets
    """

    values: np.ndarray
    replicates: np.ndarray
    matched: float
    matched_replicates: np.ndarray
    by_seed: np.ndarray
    correlation: float

    @property
    def errors(self) -> np.ndarray:
        """Bootstrap standard errors of `values`, [3]; NaN where a resample leaves no background."""
        return standard_error(self.replicates)


def standard_error(replicates: np.ndarray) -> np.ndarray:
    """Standard deviations over the first axis; NaN where a replicate is infinite."""
    finite = np.isfinite(replicates).all(axis=0)
    return np.where(finite, np.std(np.where(finite, replicates, 0.0), axis=0, ddof=1), np.nan)


def statistics(curve: Roc) -> np.ndarray:
    """AUC and rejections, [..., 3]."""
    return np.stack([curve.auc(), *map(curve.rejection, EFFICIENCIES)], axis=-1)


def equal_mass_weights(mass: np.ndarray, anomalous: np.ndarray) -> np.ndarray:
    """Weights [N] with which the background has the masses of the anomalies, in bins of `BIN`.

    Bins without jets of either kind count for nothing.
    """
    bins = np.floor(mass / BIN).astype(int)
    background, signal = (
        np.bincount(bins[anomalous == kind], minlength=bins.max() + 1) for kind in (False, True)
    )
    both = (background > 0) & (signal > 0)
    ratio = np.divide(signal, background, out=np.zeros(len(both)), where=both)
    return np.where(anomalous, both[bins], ratio[bins])


def qualities(
    methods: Sequence[Method], sample: Sample, name: str, replicates: int
) -> dict[str, Quality]:
    """Of each method by name, against the sample of that `name`."""
    scores = {(m.name, i): v[name] for m in methods for i, v in enumerate(m.values)}
    weights = equal_mass_weights(sample.mass, sample.anomalous)
    again = bootstrapped(scores, sample.anomalous, statistics, replicates=replicates)
    matched = bootstrapped(
        scores, sample.anomalous, Roc.auc, weights=weights, replicates=replicates
    )
    found = {}
    for method in methods:
        keys = [(method.name, i) for i in range(len(method.values))]
        curves = [roc(scores[key], sample.anomalous) for key in keys]
        at_mass = [roc(scores[key], sample.anomalous, weights).auc() for key in keys]
        qcd = ~sample.anomalous
        found[method.name] = Quality(
            np.mean([statistics(curve) for curve in curves], axis=0),
            np.mean([again[key] for key in keys], axis=0),
            float(np.mean(at_mass)),
            np.mean([matched[key] for key in keys], axis=0),
            np.array([curve.auc() for curve in curves]),
            float(np.mean([spearmanr(scores[k][qcd], sample.mass[qcd])[0] for k in keys])),
        )
    return found


def difference(one: Quality, other: Quality) -> tuple[float, float]:
    """The difference of two AUCs and its paired bootstrap standard error."""
    spread = one.replicates[:, 0] - other.replicates[:, 0]
    return float(one.values[0] - other.values[0]), float(spread.std(ddof=1))


def _heads(method: Method) -> dict[str, object]:
    return {
        "method": method.kind,
        "score": "" if method.kind == "mass" else method.score.replace("_", " "),
        "images": CALLED.get(method.scaling, ""),
        "code": method.size,
    }


def _number(value: float, digits: int) -> float | None:
    return round(float(value), digits) if np.isfinite(value) else None


def quality_rows(methods: Sequence[Method], found: Mapping[str, Quality]) -> Rows:
    """One row a method: AUC, rejections at 30 % and 50 % of the signal, bootstrap errors."""
    rows = []
    for method in methods:
        quality = found[method.name]
        row = _heads(method) | {"seeds": len(method.values)}
        row |= {"AUC": _number(quality.values[0], 4), "±": _number(quality.errors[0], 4)}
        spread = quality.by_seed.std(ddof=1) if len(quality.by_seed) > 1 else np.nan
        row["SD of seeds"] = _number(spread, 4)
        for i, efficiency in enumerate(EFFICIENCIES, 1):
            row[f"1/εb at {efficiency:.0%}"] = _number(quality.values[i], 1)
            row[f"± at {efficiency:.0%}"] = _number(quality.errors[i], 1)
        rows.append(row)
    return rows


def mass_rows(methods: Sequence[Method], found: Mapping[str, Quality]) -> Rows:
    """One row a method: is the score the mass?"""
    return [
        _heads(method)
        | {
            "rank correlation with mass": _number(found[method.name].correlation, 3),
            "AUC": _number(found[method.name].values[0], 4),
            "AUC at equal mass": _number(found[method.name].matched, 4),
            "±": _number(standard_error(found[method.name].matched_replicates), 4),
        }
        for method in methods
    ]


def averages_picture(
    model: Fitted, samples: Mapping[str, Sample], scaling: str, size: int
) -> Shown:
    """Figure 3 of Farina et al.: averages of jets, of reconstructions, and of squared errors."""
    rows: dict[str, dict[str, np.ndarray]] = {"original": {}, "reconstruction": {}, "error": {}}
    for name, sample in samples.items():
        kinds = {name: sample.anomalous}
        if name == "top":
            kinds = {"QCD": ~sample.anomalous} | kinds
        for kind, chosen in kinds.items():
            raw = sample.split.x[chosen]
            inputs, outputs = model.inputs(raw), model.reconstruct(raw, units="model")
            rows["original"][kind] = inputs.mean(axis=0)
            rows["reconstruction"][kind] = outputs.mean(axis=0)
            rows["error"][kind] = np.square(outputs - inputs).mean(axis=0)
    rows["squared error"] = rows.pop("error")
    titles = {"QCD": "QCD", "top": "top", "gluino": r"gluino, $\tilde{g}$"}
    named = {
        row: {titles[kind]: image for kind, image in images.items()} for row, images in rows.items()
    }
    counts = ", ".join(f"{s.anomalous.sum():,} {name}" for name, s in samples.items())
    return Shown(
        image_table(named, decades=3.0),
        f"Averages of jets: as they are, reconstructed, and the squared error a pixel, "
        f"{CALLED[scaling]}, code of {size}",
        f"Test jets of QCD, {counts}; the autoencoder was trained on QCD alone.",
    )


def roc_picture(methods: Sequence[Method], sample: Sample, name: str) -> Shown:
    """Background rejection over signal efficiency."""
    efficiencies = np.linspace(0.1, 1.0, 91)
    lines = {}
    for method in methods:
        curve = roc(method.values[0][name], sample.anomalous)
        size = "" if method.size is None else f", code of {method.size}"
        lines[f"{method.kind}{size}"] = (
            efficiencies,
            np.array([float(curve.rejection(e)) for e in efficiencies]),
        )
    figure = comparisons.curves(
        lines,
        f"signal efficiency ({name})",
        "background rejection (1 / QCD efficiency)",
        log_y=True,
        markers=False,
    )
    return Shown(figure, f"Background rejection, {name} against QCD")


def size_picture(methods: Sequence[Method], found: Mapping[str, Quality]) -> Shown | None:
    """AUC over the size of the code, one panel a scaling; None where there is one size only."""
    panels: dict[str, dict] = {}
    for scaling in NOISE:
        lines = {}
        for kind in ("autoencoder", "PCA"):
            alike = [m for m in methods if (m.kind, m.scaling) == (kind, scaling)]
            alike = sorted((m for m in alike if m.size), key=lambda m: m.size)
            if len(alike) > 1:
                values = np.array([found[m.name].values[0] for m in alike])
                lines[kind] = np.array([m.size for m in alike]), values
        if len(lines) == 2:
            ends = np.array([min(x.min() for x, _ in lines.values()), 64.0])
            lines["mass alone"] = ends, np.full(2, found["mass"].values[0])
            panels[CALLED[scaling]] = lines
    if not panels:
        return None
    figure = comparisons.curve_panels(
        panels, dict.fromkeys(panels, "size of the code"), "AUC, top against QCD", log_x=True
    )
    return Shown(figure, "AUC by size of the code and scaling of the images")


def mass_picture(methods: Sequence[Method], sample: Sample, name: str) -> Shown:
    """How anomalous QCD jets of each mass are: the median rank of their scores among QCD jets."""
    qcd = ~sample.anomalous
    mass = sample.mass[qcd]
    edges = np.quantile(mass, np.linspace(0, 1, 13))
    places = np.clip(np.searchsorted(edges, mass, side="right") - 1, 0, 11)
    centres = np.array([np.median(mass[places == i]) for i in range(12)])
    lines = {}
    for method in methods:
        ranks = rankdata(method.values[0][name][qcd]) / len(mass)
        size = "" if method.size is None else f", code of {method.size}"
        lines[f"{method.kind}{size}"] = (
            centres,
            np.array([np.median(ranks[places == i]) for i in range(12)]),
        )
    figure = comparisons.curves(
        lines, "jet mass (GeV)", "median rank of the score among QCD jets", markers=False
    )
    return Shown(figure, "The score of QCD jets by their mass")


def gluino_note(source: str, dataset_name: str) -> str:
    """Where the third class is from."""
    if source == dataset_name:
        return ""
    return (
        f" Class {GLUINO}, gluino, is not in {dataset_name}: its jets, and the QCD jets that they "
        f"are told from, are those of {source}, simulated with the same cuts."
    )
