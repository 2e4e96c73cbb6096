"""What is measured of models that differ in their priors, and the claims about it."""

import dataclasses
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from ae_jax.api import Fitted
from ae_jax.eval import ImportanceSampledLikelihood
from ae_jax.eval.bounds import elbo_terms
from ae_jax.eval.estimates import standard_error
from ae_jax.eval.posteriors import aggregate_posterior, kl_by_dimension, variance_of_means
from ae_jax.lab import Claim, Rows
from ae_jax.report.claims import at_least, at_most
from experiments.evaluation import gain, kept, of_set, values_by_example
from experiments.priors_runs import Network, Row, published

ACTIVE = 0.01
ERRORS = 2  # standard errors by which a difference is to be above 0
TOLERANCE = 0.3  # nats above a reproduced figure
DIGITS = {"NLL": 2, "±": 2, "bound": 2, "KL": 2, "aggregate KL": 2, "aggregate ±": 2}
PAPER = "Tomczak & Welling 2018"


@dataclasses.dataclass(frozen=True)
class Measured:
    """Of one model over the test images, in nats.

    likelihoods   negative, by importance sampling, [N]
    bounds, kls   one sample each, [N]
    by_dimension  KL of each dimension [Z]; empty where the prior is no product of such
    variances     of each unit's posterior mean, [Z]
    aggregate     KL of the aggregate posterior from the prior, and its standard error
    """

    network: Network
    rate: float
    likelihoods: np.ndarray
    bounds: np.ndarray
    kls: np.ndarray
    by_dimension: np.ndarray
    variances: np.ndarray
    aggregate: tuple[float, float]

    @property
    def nll(self) -> float:
        return float(self.likelihoods.mean(dtype=np.float64))

    @property
    def active(self) -> int:
        return int((self.variances > ACTIVE).sum())


def measure(row: Row, folder: Path, samples: int) -> Measured:
    """Estimates with so many samples; they take minutes, and are kept beside the run."""
    model = row.model
    file = folder / f"{samples}-at-step-{model.step}-{row.rate:g}.npz"
    arrays = kept(file, lambda: _measured(row, samples))
    aggregate = tuple(float(value) for value in arrays.pop("aggregate"))
    return Measured(row.network, row.rate, aggregate=aggregate, **arrays)


def _measured(row: Row, samples: int) -> dict[str, np.ndarray]:
    model = row.model
    estimate = ImportanceSampledLikelihood(samples).values_of
    terms = values_by_example(model, "test", elbo_terms)
    aggregate = of_set(model, "test", aggregate_posterior)
    return {
        "likelihoods": -values_by_example(model, "test", estimate)["log_likelihood"],
        "bounds": terms["elbo"],
        "kls": terms["kl"],
        "by_dimension": _by_dimension(row.network, model),
        "variances": of_set(model, "test", variance_of_means),
        "aggregate": np.array([aggregate["aggregate_kl"], aggregate["aggregate_kl_se"]]),
    }


def _by_dimension(network: Network, model: Fitted) -> np.ndarray:
    """[Z]; of a mixture there is no KL a dimension: its dimensions depend on each other."""
    if network.prior != "standard_normal":
        return np.zeros(0)
    return np.array(list(of_set(model, "test", kl_by_dimension).values()))


def rows_of(found: list[Measured], beside_published: bool) -> Rows:
    """One row a model, beside what pythae and the paper have of these images."""
    rows = []
    for one in found:
        known = published().get(one.network.key, {}) if beside_published else {}
        kls = one.by_dimension
        rows.append(
            {
                "model": one.network.described,
                "step size": one.rate,
                "NLL": one.nll,
                "±": standard_error(one.likelihoods),
                "reproduced by pythae": known.get("reproduced", ""),
                "published": known.get("published", ""),
                "bound": float(one.bounds.mean(dtype=np.float64)),
                "KL": float(one.kls.mean(dtype=np.float64)),
                "largest KL of a dimension": round(float(kls.max()), 2) if len(kls) else "",
                "active units": one.active,
                "aggregate KL": one.aggregate[0],
                "aggregate ±": one.aggregate[1],
            }
        )
    return rows


def paired(found: list[Measured]) -> Rows:
    """Each pair of one network: log p(x) of the later less that of the earlier, same images."""
    gated = [one for one in found if one.network.gated]
    rows = []
    for than, of in combinations(gated, 2):
        by = gain(-of.likelihoods, -than.likelihoods)
        rows.append(
            {
                "log p(x) of": of.network.described,
                "less that of": than.network.described,
                "is (nats)": by.mean,
                "±": by.error,
                "images on which it is higher (%)": by.higher,
            }
        )
    return rows


def claims(found: list[Measured], pairs: Rows, samples: int, held_to_rows: bool) -> list[Claim]:
    """The paper's order of priors, and the rows of pythae's table where runs are held to them."""
    made = [_of_pair(row) for row in pairs if row["less that of"] == "gated, N(0, I)"]
    if held_to_rows:
        made += [_of_row(one, samples) for one in found if one.network.key in published()]
    return made


def _of_pair(row: dict[str, Any]) -> Claim:
    by, error = row["is (nats)"], row["±"]
    name = (
        f"log p(x) of {row['log p(x) of']} less that of {row['less that of']}, same images "
        f"(± {error:.2f}), is above 0 by {ERRORS} standard errors"
    )
    source = f"the order of {PAPER}"
    return at_least(name, by, ERRORS * error, 0.0, "nats", source, error)


def _of_row(one: Measured, samples: int) -> Claim:
    known = published()[one.network.key]
    error = standard_error(one.likelihoods)
    name = (
        f"{one.network.described}: NLL with {samples:,} samples (± {error:.2f}); theirs is with "
        f"{known['samples']:,}, and the published figure is {known['published']}"
    )
    source = "pythae, table of reproduced figures"
    return at_most(name, one.nll, known["reproduced"], TOLERANCE, "nats", source, error)
