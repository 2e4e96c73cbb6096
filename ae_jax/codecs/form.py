"""The one form X = Z Phi, and what each codec makes of it: a table, in code so that it is tested.

Rows of X [N, D] are examples, rows of Phi [Z, D] are atoms, rows of Z [N, Z] are codes.
"""

import dataclasses
from typing import Literal

Constraint = Literal[
    "orthogonal atoms",
    "non-negative atoms",
    "unit atoms",
    "decorrelated codes",
    "unit variance codes",
    "one-hot codes",
    "codes that sum to one",
    "non-negative codes",
    "sparse codes",
]


@dataclasses.dataclass(frozen=True)
class Form:
    """How a codec fills the form in.

    atoms, codes   what Phi and Z are
    minimised      the objective, as `Fit.history` reports it: a mean over examples
    constraints    what holds of every fit, each tested in tests/test_codecs_conformance.py
    density        whether there are `log_prob`, `posterior` and `prior`
    """

    atoms: str
    codes: str
    minimised: str
    constraints: tuple[Constraint, ...]
    density: bool = False


FORMS: dict[str, Form] = {
    "pca": Form(
        "leading eigenvectors of the covariance",
        "coordinates of x - mean along them",
        "|x - z Phi - mean|^2",
        ("orthogonal atoms", "decorrelated codes"),
    ),
    "probabilistic_pca": Form(
        "leading eigenvectors, of length sqrt(variance - sigma^2)",
        "mean of p(z|x)",
        "-log N(x; mean, Phi^T Phi + sigma^2 I)",
        ("orthogonal atoms", "decorrelated codes"),
        density=True,
    ),
    "kmeans": Form(
        "cluster centres",
        "which centre is nearest",
        "|x - z Phi|^2",
        ("one-hot codes", "codes that sum to one"),
        density=True,
    ),
    "spherical_mixture": Form(
        "means of Gaussians of one variance",
        "p(k|x): how likely each is",
        "-log sum_k weights_k N(x; Phi_k, variance I)",
        ("non-negative codes", "codes that sum to one"),
        density=True,
    ),
    "nmf": Form(
        "parts",
        "how much of each part",
        "1/2 |x - z Phi|^2, or KL(x || z Phi)",
        ("non-negative atoms", "non-negative codes"),
    ),
    "ica": Form(
        "mixing directions",
        "sources, as independent as can be",
        "-sum_j (E G(z_j) - E G(v))^2, v normal",
        ("decorrelated codes", "unit variance codes"),
    ),
    "sparse_coding": Form(
        "an overcomplete dictionary",
        "few coefficients",
        "1/2 |x - z Phi|^2 + penalty |z|_1, or at most k coefficients",
        ("unit atoms", "sparse codes"),
    ),
}


def markdown() -> str:
    """The table for the README."""
    head = "| codec | Phi | Z | minimised | constrained |\n| --- | --- | --- | --- | --- |\n"
    cell = "| `{}` | {} | {} | {} | {} |\n"
    rows = [
        (name, form.atoms, form.codes, form.minimised, ", ".join(form.constraints))
        for name, form in FORMS.items()
    ]
    return head + "".join(cell.format(*(text.replace("|", r"\|") for text in row)) for row in rows)
