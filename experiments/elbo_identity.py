"""ELBO = log p(x) - KL(q(z|x) || p(z|x)), term by term, and the gap along training.

Claim   In a linear Gaussian and in a discrete model, where every term has a formula of its own,
        log p(x) = ELBO + KL(q || p(z|x)) to rounding, for a right q and for a wrong one. In a
        variational autoencoder with two latents the three terms, each by another quadrature, add
        up at every epoch to a hundredth of a nat; and the bounds of K = 1, 10, 100 and 1000
        importance weights rise with K (Burda et al. 2016), to log p(x) within a tenth of a nat.

Command python -m experiments.elbo_identity --preset smoke|quick|standard [--workdir DIR]

        smoke     seconds; the 8x8 digits
        quick     20 epochs of MNIST, 24 test digits; about 4 minutes on two CPU cores
        standard  200 epochs, 200 test digits; about 40 minutes on two CPU cores

Protocol  Pixels are 1 above half of the largest grey level, else 0 (which flatters a Bernoulli
        bound: these numbers compare with no others), 784-200-2-200-784 tanh, Adam at 1e-3,
        batches of 100. log p(x) is a sum over a grid of the plane of codes, with the difference
        from half of the grid as its error; the ELBO is taken by 20 x 20 Gauss-Hermite nodes; the
        KL from the posterior by a sum over a grid about q, with the normaliser of the posterior by
        a grid about that. Of each K the mean over up to 50
        estimates with at least 1000 samples in all. Examples are the first of the test split;
        standard errors are over them, of differences from log p(x) on the same example.

Figures figures/bounds.png, gaps.png (over epochs), posteriors.png (p(z|x) and q(z|x)).
"""

import dataclasses

import numpy as np

from ae_jax.api import Fitted
from ae_jax.data import DataSet, load
from ae_jax.eval import PlaneQuadrature
from ae_jax.lab import Findings, Lab, Member, experiment, network, run_command, run_rows
from ae_jax.report.planes import PosteriorInPlane
from experiments.baselines import one_of_each
from experiments.elbo_closed import closed_form_terms
from experiments.elbo_plane import measured, seen
from experiments.elbo_report import Course, claims, closed_rows, course_rows, pictures
from experiments.stages import stages

SAMPLES = (1, 10, 100, 1000)
CLOSED_EXAMPLES = 200
SHOWN = 4  # digits whose posteriors are drawn


@dataclasses.dataclass(frozen=True)
class Preset:
    """How far to go: epochs at which all terms are measured, on how many test examples."""

    dataset: str
    hidden: int
    epochs: tuple[int, ...]
    examples: int
    points: int
    samples: tuple[int, ...] = SAMPLES


PRESETS = {
    "smoke": Preset("digits", 16, (1, 20), 6, 95, (1, 10, 100)),
    "quick": Preset("mnist", 200, (1, 2, 5, 10, 20), 24, 351),
    "standard": Preset("mnist", 200, (1, 2, 5, 10, 20, 50, 100, 200), 200, 501),
}
REACH = 7.0


@experiment("elbo_identity", PRESETS)
def main(preset: Preset, lab: Lab) -> Findings:
    """The bound, the evidence and what lies between, term by term and along training."""
    closed = closed_form_terms(CLOSED_EXAMPLES)
    dataset = load(preset.dataset)
    models = stages(lab, member(preset, dataset), dataset, preset.epochs)
    quadrature = PlaneQuadrature(preset.points, REACH)
    examples = dataset.splits["test"].head(preset.examples)
    course: Course = {
        epoch: measured(model, examples, quadrature, preset.samples)
        for epoch, model in models.items()
        if epoch > 0
    }
    return Findings(
        protocol=(
            f"{preset.dataset}, pixels above half of the largest grey level, "
            f"{np.prod(dataset.shape)}-{preset.hidden}-2-{preset.hidden}-"
            f"{np.prod(dataset.shape)}, Bernoulli, {len(dataset.splits['train']):,} training "
            f"examples, Adam, up to {max(preset.epochs)} epochs; {len(examples)} test examples"
        ),
        note=(
            "Nats an example, summed over pixels; ± is one standard error over the test examples, "
            "of the difference from log p(x) on the same example. log p(x) by quadrature on "
            f"{preset.points} x {preset.points} codes up to {REACH:g}; the "
            "residual is the largest |log p(x) - ELBO - KL| of an example."
        ),
        tables={
            "The identity along training": course_rows(course),
            "The identity where all terms are known": closed_rows(closed),
        },
        pictures=pictures(course, *drawn(models, dataset, quadrature)),
        claims=claims(closed, course),
        runs=run_rows({"variational autoencoder": models[max(models)]}),
    )


def member(preset: Preset, dataset: DataSet) -> Member:
    form = {"hidden": (preset.hidden,), "latent_dim": 2, "head": "bernoulli"}
    last = max(preset.epochs)
    config = network(dataset, "threshold", epochs=last, every=last, **form)
    return Member("vae", config)


def drawn(
    models: dict[int, Fitted], dataset: DataSet, quadrature: PlaneQuadrature
) -> tuple[np.ndarray, dict[str, list[PosteriorInPlane]]]:
    """Test digits as the encoder sees them, and their posteriors after the first and last epoch."""
    test = dataset.splits["test"]
    chosen = one_of_each(test)[:: len(np.unique(test.y)) // SHOWN][:SHOWN]
    first, last = sorted(models)[1], max(models)
    rows = {
        f"epoch {epoch}": [
            seen(models[epoch], test.rows(np.array([place])), quadrature) for place in chosen
        ]
        for epoch in dict.fromkeys((first, last))
    }
    return models[last].inputs(test.x[chosen]), rows


if __name__ == "__main__":
    run_command(main)
