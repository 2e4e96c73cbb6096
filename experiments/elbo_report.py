"""What the identity of the bound shows: tables, claims and figures."""

from collections.abc import Mapping

import numpy as np

from ae_jax.lab import Rows, Shown
from ae_jax.report import comparisons
from ae_jax.report.claims import Claim, at_most, same_order
from ae_jax.report.planes import PosteriorInPlane, posterior_panels
from experiments.elbo_closed import Terms
from experiments.elbo_plane import Measured

Course = dict[int, Measured]
NATS = "nats per example"
IDENTITY = "Kingma & Welling 2014, Eq. 1"
BURDA = "Burda et al. 2016, theorem 1"


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """The mean of [N] and its standard error."""
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return float(values.mean()), float(error)


def with_error(values: np.ndarray) -> str:
    mean, error = mean_and_error(values)
    return f"{mean:.3f} ± {error:.3f}"


def closed_rows(closed: Mapping[tuple[str, str], Terms]) -> Rows:
    """One row a model and a q: the means of the terms, and what the identity leaves."""
    return [
        {
            "model": model,
            "q": q,
            "log p(x)": round(float(terms.log_p.mean()), 6),
            "ELBO": round(float(terms.elbo.mean()), 6),
            "KL(q, p(z|x))": round(float(terms.kl.mean()), 6),
            "largest residual": f"{terms.residual:.1e}",
        }
        for (model, q), terms in closed.items()
    ]


def course_rows(course: Course) -> Rows:
    """One row an epoch; estimates as what they are below log p(x)."""
    rows = []
    for epoch, found in course.items():
        row = {
            "epoch": epoch,
            "log p(x)": round(float(found.log_p.mean()), 3),
            "ELBO": round(float(found.elbo.mean()), 3),
            "KL(q, p(z|x))": with_error(found.kl_to_posterior),
        }
        for count, values in found.estimates.items():
            row[f"log p(x) - K={count}"] = with_error(found.log_p - values)
        row |= {
            "residual": f"{np.abs(found.residual).max():.1e}",
            "halving error": f"{found.halving_error.max():.1e}",
            "outer share": f"{found.outer_share.max():.1e}",
        }
        rows.append(row)
    return rows


def claims(closed: Mapping[tuple[str, str], Terms], course: Course) -> list[Claim]:
    """The identity in closed forms and along training, and the order of the bounds at the end."""
    found = [
        at_most(
            f"{model}, {q} q: the largest |log p(x) - ELBO - KL(q, p(z|x))|",
            terms.residual * 1e12,
            0.0,
            1.0,
            "1e-12 nats",
            IDENTITY,
        )
        for (model, q), terms in closed.items()
    ]
    last = course[max(course)]
    least = {count: float(values.mean()) for count, values in last.estimates.items()}
    most = max(least)
    mean, error = mean_and_error(last.log_p - last.estimates[most])
    return [
        *found,
        at_most(
            "autoencoder, all epochs: the largest |log p(x) - ELBO - KL(q, p(z|x))|",
            max(float(np.abs(one.residual).max()) for one in course.values()),
            0.0,
            0.01,
            NATS,
            IDENTITY,
        ),
        at_most(
            "autoencoder, all epochs: the largest error of log p(x), by halving the grid",
            max(float(one.halving_error.max()) for one in course.values()),
            0.0,
            0.01,
            NATS,
            "the rule converges",
        ),
        same_order(
            "autoencoder, last epoch: importance-weighted bounds rise with K",
            least,
            {count: float(count) for count in least},
            "order of K",
            BURDA,
        ),
        at_most(
            f"autoencoder, last epoch: log p(x) less the bound of K = {most} "
            f"(standard error {error:.3f})",
            mean,
            0.0,
            0.1,
            NATS,
            BURDA,
        ),
    ]


def pictures(
    course: Course, images: np.ndarray, posteriors: Mapping[str, list[PosteriorInPlane]]
) -> dict[str, Shown]:
    epochs = np.array(list(course))
    trained = [course[epoch] for epoch in epochs]
    counts = [count for count in trained[0].estimates if count > 1]

    def line(values) -> tuple[np.ndarray, np.ndarray]:
        return epochs, np.array([float(values(one).mean()) for one in trained])

    bounds = {"log p(x), by quadrature": line(lambda one: one.log_p)}
    gaps = {}
    for count in reversed(counts):
        name = f"importance-weighted, K = {count}"
        bounds[name] = line(lambda one, k=count: one.estimates[k])
        gaps[name] = line(lambda one, k=count: one.log_p - one.estimates[k])
    bounds["ELBO"] = line(lambda one: one.elbo)
    gaps |= {"ELBO: KL(q(z|x), p(z|x))": line(lambda one: one.kl_to_posterior)}
    return {
        "bounds": Shown(
            comparisons.curves(bounds, "epoch", NATS, log_x=True),
            "The evidence and its bounds along training",
        ),
        "gaps": Shown(
            comparisons.curves(
                gaps, "epoch", "log p(x) less the bound (nats)", log_x=True, log_y=True
            ),
            "What lies between the evidence and its bounds",
            "The gap of the ELBO is the divergence of q from the true posterior. A mean that is "
            "below 0, by the noise of its estimates, has no place on the axis.",
        ),
        "posteriors": Shown(
            posterior_panels(images, posteriors),
            "The true posterior and the encoder's, of test digits",
            "Each window has a scale of its own.",
        ),
    }
