"""Every figure that papers report, and what the committed results have beside it, if anything.

One row a published number, whether or not it was reached, or even tried: a table of those alone
that came out well would say little.
"""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ae_jax.core.files import read_json
from ae_jax.report.pages import markdown_table
from experiments.iwae_runs import PAPER_STAGES, Run
from experiments.published import TARGETS, bound_at, cvae_costs, load_curves

Results = Mapping[str, Any]
NUMBER = re.compile(r"-?[\d.]+(?:e[+-]?\d+)?")


@dataclasses.dataclass(frozen=True)
class Ours:
    """Where a number is: the column of the only row of a table of results with these entries.

    `error` is the column of its standard error; a cell such as `1.2 ± 0.1` holds both. `short`
    says how ours differs, beside what the protocol of the results says.
    """

    results: str
    table: str
    row: Mapping[str, Any]
    column: str
    error: str | None = None
    short: str = ""


@dataclasses.dataclass(frozen=True)
class Figure:
    """A published number and ours, or why there is none."""

    source: str
    what: str
    theirs: float
    unit: str
    ours: Ours | str


def value_and_error(ours: Ours, results: Mapping[str, Results]) -> tuple[float, float | None]:
    """What the results say. Raises ValueError where there is not exactly one such row."""
    rows = results[ours.results]["tables"][ours.table]
    found = [row for row in rows if all(row.get(key) == value for key, value in ours.row.items())]
    if len(found) != 1:
        raise ValueError(f"{ours.results}, {ours.table}: {len(found)} rows with {dict(ours.row)}")
    (row,) = found
    numbers = [float(one) for one in NUMBER.findall(str(row[ours.column]))]
    error = numbers[1] if len(numbers) > 1 else None
    if ours.error is not None and row[ours.error] != "":
        error = float(row[ours.error])
    return numbers[0], error


def _burda() -> Iterator[Figure]:
    target = read_json(TARGETS / "iwae.json")
    table, whole = "Likelihood of test images", Run("vae", 1, PAPER_STAGES).epochs
    kept = {
        "vae-1": ("iwae/standard", 364),
        "iwae-5": ("iwae/standard", 364),
        "iwae-50": ("iwae/quick", 4),
    }
    for layers, rows in target["table_1"].items():
        for name, (nll, units) in rows.items():
            bound, _, samples = name.partition("-")
            method = f"{bound.upper()}, k = {samples}"
            what = f"{method}, {layers} stochastic layer{'s' if layers == '2' else ''}"
            source = "Burda et al. 2016, Table 1"
            ours: dict[str, Ours | str] = dict.fromkeys(("NLL", "active units"), "not run")
            if layers == "1" and name in kept:
                results, epochs = kept[name]
                row = {"stochastic layers": 1, "method": method, "epochs": epochs}
                short = f"{epochs} of {whole:,} epochs"
                ours = {
                    "NLL": Ours(results, table, row, "NLL", "±", short=short),
                    "active units": Ours(results, table, row, "active units", short=short),
                }
            yield Figure(source, f"{what}: NLL", nll, "nats", ours["NLL"])
            for place, count in enumerate(units, 1):
                label = f"{what}: active units" + (f" of layer {place}" if len(units) > 1 else "")
                yield Figure(source, label, count, "units", ours["active units"])
    for name, (_, after) in target["table_2"].items():
        yield Figure("Burda et al. 2016, Table 2", f"{name}: NLL", after, "nats", "not run")


def _kingma_welling() -> Iterator[Figure]:
    methods = {"aevb": "AEVB", "wake_sleep": "wake-sleep", "mcem": "Monte Carlo EM"}
    source = "Kingma & Welling 2014, Fig. 2 (digitised, about 0.2)"
    for data, results, ends in (
        ("mnist", "kingma_welling/standard", {"aevb": "1e+07", "wake_sleep": "2e+06"}),
        ("frey_face", "kingma_welling/frey_face", {"aevb": "1e+06", "wake_sleep": "1e+06"}),
    ):
        for (size, method, split), curve in load_curves(data).items():
            row = {"latent size": size, "method": methods[method], "samples": ends[method]}
            error = "standard error" if split == "test" else None
            ours = Ours(results, "Lower bounds", row, f"{split} bound", error)
            place = f"{data}, {methods[method]}, latent size {size}, {split} bound"
            reached, last = float(ends[method]), curve[-1, 0]
            for samples, known in ((reached, ours), (last, f"run to {_power(reached)}")):
                theirs = round(bound_at(curve, samples), 2)
                yield Figure(source, f"{place} at {_power(samples)}", theirs, "nats", known)
    source = "Kingma & Welling 2014, Fig. 3 (digitised)"
    figure = read_json(TARGETS / "kingma_welling_fig3.json")
    for digits, curves in figure["curves"].items():
        for method, points in curves.items():
            for samples, point in zip(figure["samples"], points, strict=True):
                if point is None:  # the figure does not show it
                    continue
                for split, value in zip(("train", "test"), point, strict=True):
                    what = (
                        f"{int(digits):,} digits, {methods[method]}, {split} log p(x) at "
                        f"{_power(samples)}"
                    )
                    yield Figure(source, what, value, "nats", "not run so far")


def _power(samples: float) -> str:
    """`1e7` for 1e+07."""
    return f"{samples:.0e}".replace("e+0", "e")


def _codes_of_30() -> Iterator[Figure]:
    target = read_json(TARGETS / "hinton_salakhutdinov.json")
    rows = {
        "autoencoder": {"method": "autoencoder, pretrained by RBM"},
        "logistic PCA": {"method": "logistic PCA"},
        "PCA": {"method": "PCA"},
    }
    source, unit = target["source"], "squared error per image"
    for name, row in rows.items():
        ours = Ours("deep_digits/standard", "Test error", row, "test error", "±")
        yield Figure(source, f"digits, 30 numbers, {name}", target["mnist"][name], unit, ours)
    for name in ("autoencoder", "PCA"):
        row, short = {"method": name}, "other patches: how theirs were drawn is not known"
        ours = Ours("deep_faces/standard", "Test error", row, "test error", "±", short=short)
        yield Figure(source, f"faces, 30 numbers, {name}", target["olivetti"][name], unit, ours)


def _quadrants() -> Iterator[Figure]:
    source = read_json(TARGETS / "cvae_quadrants.json")["source"]
    table = "Hidden quadrants, grey pixels: nats a test digit"
    for key, name in (
        ("baseline", "baseline, cross-entropy"),
        ("cvae", "CVAE, mean bound of 10 samples of q"),
    ):
        for given, value in cvae_costs(key).items():
            ours = Ours("cvae/standard", table, {"estimator": name}, f"{given} given")
            what = f"{given} of 4 quadrants given: {name}"
            yield Figure(source, what, value, "nats", ours)


def _priors() -> Iterator[Figure]:
    target, table = read_json(TARGETS / "priors.json"), "Likelihood of test images"
    for key, name in (("vae", "VAE, 400 units"), ("vamp", "gated, VampPrior")):
        ours = Ours("priors", table, {"model": name}, "NLL", "±", short="a few epochs")
        row = target["rows"][key]
        paper = "Rezende & Mohamed 2015" if key == "vae" else "Tomczak & Welling 2018"
        yield Figure(paper, f"binarised digits, {name}: NLL", row["published"], "nats", ours)
        what = f"binarised digits, {name}: NLL by {row['samples']:,} samples"
        yield Figure("pythae, its reproduction", what, row["reproduced"], "nats", ours)


def _linear() -> Iterator[Figure]:
    target = read_json(TARGETS / "linear_vae.json")
    for variance, count in target["alive"].items():
        row = {"fixed noise variance": float(variance)}
        ours = Ours("linear_vae/standard", "Noise variance fixed", row, "alive after training")
        what = f"linear VAE, noise variance {variance}: dimensions alive"
        yield Figure("Lucas et al. 2019, in closed form", what, count, "dimensions", ours)
    for size, exact in target["probabilistic_pca"].items():
        row, table = {"latents": int(size)}, "Noise variance learned"
        source = "probabilistic PCA in closed form"
        ours = Ours("linear_vae/standard", table, row, "noise variance")
        what = f"linear VAE, {size} latents: noise variance"
        yield Figure(source, what, exact["sigma2"], "", ours)
        ours = Ours("linear_vae/standard", table, row, "log p(x), test")
        yield Figure(
            source, f"linear VAE, {size} latents: test log p(x)", exact["test"], "nats", ours
        )


def _topics() -> Iterator[Figure]:
    target, table = read_json(TARGETS / "others.json"), "20newsgroups, 50 topics"
    ours = Ours("topics/standard", table, {"model": "ProdLDA"}, "NPMI", "± ", short="fewer epochs")
    one, paper = target["prodlda_output"], target["prodlda_paper"]
    yield Figure(one["source"], "20 Newsgroups, ProdLDA: NPMI", one["ProdLDA"], "", ours)
    for name, values in paper.items():
        if name == "source":
            continue
        row = {"model": name if name in ("ProdLDA", "NVLDA", "NVDM") else "LDA"}
        short = "" if row["model"] == name else "variational"
        ours = Ours("topics/standard", table, row, "NPMI", "± ", short=short)
        yield Figure(paper["source"], f"20 Newsgroups, {name}: NPMI", values[0], "", ours)
        ours = Ours("topics/standard", table, row, "bound", short=short)
        what = f"20 Newsgroups, {name}: perplexity"
        yield Figure(paper["source"], what, values[1], "", ours)


def _not_tried() -> Iterator[Figure]:
    target = read_json(TARGETS / "others.json")
    vae = target["vae"]
    what = "binarised digits, VAE of 500 units and 20 latents, 10 epochs: negative bound"
    yield Figure(vae["source"], what, vae["loss"], "nats", "not run")
    for key in ("contractive", "k_sparse"):
        for name, value in target[key].items():
            if name != "source":
                what = f"digits, classifier on {name}: test error"
                yield Figure(target[key]["source"], what, value, "%", "not run")


PAPERS: tuple[tuple[str, Callable[[], Iterator[Figure]]], ...] = (
    ("Auto-encoding variational Bayes", _kingma_welling),
    ("Importance weighted autoencoders", _burda),
    ("Learned priors", _priors),
    ("Conditional VAE", _quadrants),
    ("Codes of 30 numbers", _codes_of_30),
    ("Linear VAE", _linear),
    ("Topic models", _topics),
    ("Others", _not_tried),
)


def markdown(
    results: Mapping[str, Results], page_of: Mapping[str, str], where: Callable[[Results], str]
) -> str:
    """A heading a subject, one row a published number, and where ours come from."""
    parts = []
    for title, figures in PAPERS:
        found = list(figures())
        rows = [row_of(figure, results, page_of) for figure in found]
        used = sorted({one.ours.results for one in found if isinstance(one.ours, Ours)})
        parts += [f"### {title}", "", markdown_table(rows), ""]
        parts += [f"- [{name}]({page_of[name]}): {where(results[name])}" for name in used]
        parts += [""] if used else []
    return "\n".join(parts)


def row_of(
    figure: Figure, results: Mapping[str, Results], page_of: Mapping[str, str]
) -> dict[str, str]:
    row = {
        "source": figure.source,
        "figure": figure.what,
        "theirs": f"{figure.theirs:g}",
        "ours": "",
        "difference": "",
        "standard error": "",
        "unit": figure.unit,
    }
    if isinstance(figure.ours, str):
        return {**row, "our run": figure.ours}
    value, error = value_and_error(figure.ours, results)
    name = figure.ours.results
    link = f"[{name}]({page_of[name]})"
    return {
        **row,
        "ours": f"{value:g}",
        "difference": f"{value - figure.theirs:+.4g}",
        "standard error": "" if error is None else f"{error:g}",
        "our run": f"{link}: {figure.ours.short}" if figure.ours.short else link,
    }
