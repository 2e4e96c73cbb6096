"""What is measured of a trained model of Burda et al. 2016, and the claims about it."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from ae_jax.api import Fitted
from ae_jax.core.files import make_directory
from ae_jax.eval import ImportanceSampledLikelihood
from ae_jax.eval.estimates import standard_error
from ae_jax.eval.posteriors import variance_of_means
from ae_jax.lab import Rows
from ae_jax.report.claims import Claim, at_least, at_most, close_to
from experiments.evaluation import gain, kept, of_set, values_by_example
from experiments.iwae_runs import SOURCE, Run, published

ACTIVE = 0.01
FIRST = 200


@dataclasses.dataclass(frozen=True)
class Measured:
    """Of one run: negative log-likelihoods of the test images [N], nats, and the variance of each
    unit's posterior mean over them, the layer nearest to the data first."""

    run: Run
    likelihoods: np.ndarray
    variances: tuple[np.ndarray, ...]

    @property
    def mean(self) -> float:
        return float(self.likelihoods.mean(dtype=np.float64))

    @property
    def active(self) -> list[int]:
        """Units in use, by layer."""
        return [int((variance > ACTIVE).sum()) for variance in self.variances]


def measure(run: Run, model: Fitted, folder: Path, samples: int) -> Measured:
    """Estimates with so many samples; they take minutes, and are kept beside the run."""
    estimate = ImportanceSampledLikelihood(samples).values_of
    file = make_directory(folder) / f"nll-{samples}-at-step-{model.step}.npz"
    found = kept(file, lambda: values_by_example(model, "test", estimate))
    likelihoods = -found["log_likelihood"]
    variance = of_set(model, "test", variance_of_means)
    # The code of a ladder is that of both layers, the lower first.
    layers = (variance,) if run.layers == 1 else (variance[:-50], variance[-50:])
    return Measured(run, likelihoods, layers)


def rows_of(found: list[Measured]) -> Rows:
    """One row a run, beside the published figure of the same method after the whole schedule."""
    rows = []
    for one in found:
        target, units = published(one.run.layers).get(one.run.method, (None, None))
        rows.append(
            {
                "stochastic layers": one.run.layers,
                "method": one.run.described,
                "epochs": one.run.all_epochs,
                "NLL": round(one.mean, 2),
                "±": round(standard_error(one.likelihoods), 2),
                f"of the first {FIRST}": round(float(one.likelihoods[:FIRST].mean()), 2),
                "active units": _units(one.active),
                "published NLL": target,
                "published active units": _units(units),
            }
        )
    return rows


def _units(counts: list[int] | None) -> str:
    return "" if not counts else " + ".join(map(str, counts))


def paired(found: list[Measured]) -> Rows:
    """Each run beside those of its length that it should be better than: differences on the same
    images. An IWAE is beside each before it, a VAE with the analytic KL beside the one without."""
    rows = []
    for place, better in enumerate(found):
        for worse in found[:place]:
            if better.run.improves(worse.run):
                by = gain(-better.likelihoods, -worse.likelihoods)
                rows.append(
                    {
                        "better": better.run.described,
                        "than": worse.run.described,
                        "stochastic layers": better.run.layers,
                        "epochs": better.run.all_epochs,
                        "by (nats)": by.mean,
                        "±": by.error,
                        "images on which it is better (%)": by.higher,
                    }
                )
    return rows


def claims(gate: tuple[float, float] | None, tolerance: float | None, found, pairs) -> list[Claim]:
    """Differences first: on the same images their error is a tenth of that of either side.

    gate        range in which k = 5 is better than k = 1, for a shortened schedule, if there is one
    tolerance   nats by which a likelihood may be worse than the published one, if it is held to it
    """
    whole = max(one.run.epochs for one in found)
    made = [_of_pair(row, gate, whole) for row in pairs]
    if tolerance is not None:
        longest = [one for one in found if one.run.all_epochs >= whole]
        made += [claim for one in longest for claim in _of_table(one, tolerance)]
    return made


def _of_pair(row: dict[str, Any], gate: tuple[float, float] | None, whole: int) -> Claim:
    name = (
        f"{row['stochastic layers']} stochastic layer(s), {row['epochs']} epochs: NLL of "
        f"{row['than']} less that of {row['better']}, same images (± {row['±']:.2f})"
    )
    first = row["than"] == "VAE, k = 1" and row["better"] == "IWAE, k = 5"
    if gate is not None and first and row["epochs"] == whole:
        target, tolerance = sum(gate) / 2, (gate[1] - gate[0]) / 2
        source = f"range of runs of this schedule; {SOURCE} has 1.22"
        return close_to(name, row["by (nats)"], target, tolerance, "nats", source, row["±"])
    source = f"the order of {SOURCE}"
    if row["better"].endswith("analytic KL"):
        source = "the same gradient in expectation, with less noise"
    return at_least(name, row["by (nats)"], 0.0, 0.0, "nats", source, row["±"])


def _of_table(one: Measured, tolerance: float) -> list[Claim]:
    known = published(one.run.layers).get(one.run.method)
    if known is None:
        return []
    target, units = known
    name = f"{one.run.layers} stochastic layer(s), {one.run.described}"
    error = standard_error(one.likelihoods)
    return [
        at_most(f"{name}: NLL (± {error:.2f})", one.mean, target, tolerance, "nats", SOURCE, error),
        *(  # of Table 2 no units are known
            close_to(f"{name}: active units of layer {layer}", ours, theirs, 3, "units", SOURCE)
            for layer, (ours, theirs) in enumerate(zip(one.active, units, strict=False), 1)
        ),
    ]
