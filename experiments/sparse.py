"""Sparse codes of MNIST: what they cost in reconstruction, and what they are good for.

Claim   Of 256 code units, the k highest leave exactly k alive; an L1 penalty and a KL divergence
        to a low rate leave less than half of those alive that a dense code uses. A linear
        classifier does at least as well on each kind of sparse code as on the dense one.

Command python -m experiments.sparse --preset smoke|quick|standard [--workdir DIR]
            [--launcher local|slurm [--slurm OPTION=VALUE ...]] [--print-only]

        smoke     seconds; the 8x8 digits
        quick     5 epochs; about 3 minutes on two CPU cores
        standard  50 epochs; about an hour on two CPU cores

Protocol  784-256-784, one layer on either side of the code, linear pixels, squared error; 60,000
        training digits in [0, 1], Adam with a cosine schedule, batches of 128. Dense: rectified
        units without a penalty. Sparse: rectified units with an L1 penalty, sigmoid units whose
        mean over the batch is drawn to a rate rho, and the k highest of linear units, each at
        three strengths; features and claims are of the middle one. A unit is active on an example
        where its code is above a threshold, 0 or, for sigmoids, which never reach 0, 0.1. Errors
        are of codes whose inactive units say nothing: each stands at its mean over the training
        examples on which it is inactive, which is 0 where inactive units are. The classifier is
        logistic regression on standardised codes of the first training examples, scored on the
        whole test split. PCA has as many components as the codes have units.

Figures figures/features_*.png (what a unit adds to the image), error_by_active_units.png.
"""

import dataclasses
import functools

import numpy as np

from ae_jax.api import Fitted
from ae_jax.cli.shell import run_command
from ae_jax.data import DataSet, load
from ae_jax.eval import CodeUse
from ae_jax.eval.codes import probe_accuracy
from ae_jax.lab import Findings, Lab, Shown, experiment, rounded, run_rows
from ae_jax.objectives import Objective, Reconstruction, Sparse, SparseKL, SparseL1
from ae_jax.report import comparisons, figures
from ae_jax.report.claims import Claim, at_least, at_most, equal_to
from ae_jax.train.config import DataConfig, EvalConfig, ModelConfig, RunConfig, TrainConfig
from ae_jax.train.grid import Member
from ae_jax.train.optimisers import Adam
from experiments.baselines import (
    first_components,
    pca_of,
    pca_reconstructions,
    rows_of,
    squared_error,
)


@dataclasses.dataclass(frozen=True)
class Kind:
    """One autoencoder: how its code is made sparse, and how strongly.

    threshold   above which the absolute value of a unit counts as active
    """

    family: str
    strength: str
    latent: str
    objective: Objective
    k: int = 1
    threshold: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.family}, {self.strength}" if self.strength else self.family

    @property
    def folder(self) -> str:
        return self.name.replace(", ", "/").replace(" ", "_")


SIGMOID_THRESHOLD = 0.1
KL_WEIGHT = 1.0
DENSE = Kind("dense", "", "relu", Reconstruction())


def l1(weight: float) -> Kind:
    return Kind("L1", f"weight {weight:g}", "relu", SparseL1(weight=weight))


def kl(rho: float) -> Kind:
    objective = SparseKL(weight=KL_WEIGHT, rho=rho, threshold=SIGMOID_THRESHOLD)
    return Kind("KL", f"rho {rho:g}", "sigmoid", objective, threshold=SIGMOID_THRESHOLD)


def top_k(k: int) -> Kind:
    return Kind("k highest", f"k {k}", "top_k", Sparse(), k=k)


@dataclasses.dataclass(frozen=True)
class Preset:
    """How far to go.

    kinds    the sparse autoencoders, three of each family, the middle one its representative
    probe    training examples that the classifier is fitted on
    """

    dataset: str
    latent_dim: int
    epochs: int
    kinds: tuple[Kind, ...]
    probe: int

    @property
    def representatives(self) -> tuple[Kind, ...]:
        """The middle strength of each family."""
        families = dict.fromkeys(kind.family for kind in self.kinds)
        members = [[k for k in self.kinds if k.family == family] for family in families]
        return tuple(alike[len(alike) // 2] for alike in members)


KINDS = (
    *(l1(weight) for weight in (0.03, 0.1, 0.3)),
    *(kl(rho) for rho in (0.02, 0.05, 0.1)),
    *(top_k(k) for k in (10, 25, 50)),
)
PRESETS = {
    "smoke": Preset("digits", 48, 40, (l1(0.1), kl(0.05), top_k(4), top_k(8)), 800),
    "quick": Preset("mnist", 256, 5, KINDS, 3000),
    "standard": Preset("mnist", 256, 50, KINDS, 20_000),
}
ERROR = "squared error per image"
CODE_DIGITS = {
    "active units": 2,
    "mean activation": 4,
    "squared error": 3,
    "of the whole code": 3,
    "accuracy": 4,
}
FEATURES = 64  # units shown
RESTING = 10_000  # training examples that tell where inactive units rest


def member(preset: Preset, dataset: DataSet, kind: Kind) -> Member:
    config = RunConfig(
        data=DataConfig(dataset.name, protocol="full", preprocess="grey"),
        model=ModelConfig(
            hidden=(),
            latent=kind.latent,
            latent_dim=preset.latent_dim,
            latent_k=kind.k,
            head="gaussian_fixed",
        ),
        objective=kind.objective,
        optim=Adam(learning_rate=2e-3, schedule="cosine"),
        train=TrainConfig(batch_size=128, epochs=preset.epochs),
        eval=EvalConfig(every=preset.epochs),
    )
    return Member(kind.folder, config)


@dataclasses.dataclass(frozen=True)
class Coder:
    """A trained autoencoder and what its codes are like on the test split."""

    kind: Kind
    model: Fitted

    def active(self, codes: np.ndarray) -> np.ndarray:
        """Which units are active, [N, Z] bool."""
        return np.abs(codes) > self.kind.threshold

    @functools.cached_property
    def resting(self) -> np.ndarray:
        """The mean of each unit over the training examples on which it is inactive, [Z]."""
        codes = self.model.encode(self.model.setup.dataset.splits["train"].head(RESTING).x)
        idle = ~self.active(codes)
        return np.where(idle, codes, 0.0).sum(axis=0) / np.maximum(idle.sum(axis=0), 1)

    def codes(self, x: np.ndarray) -> np.ndarray:
        """Codes [N, Z] of raw examples, inactive units at rest."""
        codes = self.model.encode(x)
        return np.where(self.active(codes), codes, self.resting[None])

    @functools.cached_property
    def use(self) -> dict[str, float]:
        """L0, dead units and mean activation on the test split (`CodeUse`)."""
        return self.model.evaluate("test", [CodeUse(self.kind.threshold)])

    @functools.cached_property
    def error(self) -> float:
        """Test squared error per image, decoded from what the active units say."""
        dataset = self.model.setup.dataset
        decoded = self.model.decode(self.codes(dataset.splits["test"].x), units="model")
        return squared_error(rows_of(dataset, "test"), decoded)

    def accuracy(self, count: int) -> float:
        """Of the classifier, fitted on the codes of the first `count` training examples."""
        splits = self.model.setup.dataset.splits
        fit = splits["train"].head(count)
        return probe_accuracy(
            (self.codes(fit.x), fit.y), (self.codes(splits["test"].x), splits["test"].y)
        )

    @property
    def features(self) -> np.ndarray:
        """What each unit adds to the image, [Z, D], the most often active units first."""
        size = self.model.config.model.latent_dim
        decoded = self.model.decode(
            np.concatenate([np.zeros((1, size)), np.eye(size)]), units="model"
        )
        x = self.model.setup.dataset.splits["test"].x
        order = np.argsort(-self.active(self.model.encode(x)).mean(axis=0), kind="stable")
        return (decoded[1:] - decoded[:1])[order]


@experiment("sparse", PRESETS)
def main(preset: Preset, lab: Lab) -> Findings:
    """Sparse codes of three kinds beside a dense one: error, active units, and a classifier.

    Interrupted and started again, it continues; what is finished is reused.
    """
    dataset = load(preset.dataset, protocol="full")
    kinds = (DENSE, *preset.kinds)
    members = {kind: member(preset, dataset, kind) for kind in kinds}
    fitted = lab.train(list(members.values()), dataset)
    coders = {
        kind: Coder(kind, fitted[one.name]) for kind, one in members.items() if one.name in fitted
    }
    rows = {kind: code_row(coder, preset.probe) for kind, coder in coders.items()}
    dim = int(np.prod(dataset.shape))
    return Findings(
        protocol=(
            f"{preset.dataset}, grey levels in [0, 1], {dim}-{preset.latent_dim}-{dim}, squared "
            f"error, {len(dataset.splits['train']):,} training examples, Adam, {preset.epochs} "
            "epochs"
        ),
        note=(
            f"{ERROR.capitalize()} on the test split, inactive units at their mean while inactive "
            "in training, or of the whole code as it is; active units are means over it, dead ones "
            "are active on none of it. Accuracy is that of logistic regression fitted on the codes "
            f"of {preset.probe:,} training examples; on the pixels it is "
            f"{pixel_accuracy(dataset, preset.probe):.4f}. A sigmoid unit counts as active above "
            f"{SIGMOID_THRESHOLD:g}, others above 0; the KL has weight {KL_WEIGHT:g}."
        ),
        tables={
            "Codes on the test split": rounded(
                [*rows.values(), pca_row(preset, dataset)], CODE_DIGITS
            )
        },
        pictures=pictures(preset, coders, dataset),
        claims=claims(preset, rows),
        runs=run_rows(fitted),
    )


def code_row(coder: Coder, probe: int) -> dict:
    return {
        "code": coder.kind.name,
        "active units": coder.use["l0"],
        "dead units": int(coder.use["dead_units"]),
        "mean activation": coder.use["mean_activation"],
        "squared error": coder.error,
        "of the whole code": coder.model.records[-1]["test/squared_error"],
        "accuracy": coder.accuracy(probe),
    }


def pca_row(preset: Preset, dataset: DataSet) -> dict:
    """What as many principal components do, none of which is ever inactive."""
    codec = pca_of(dataset, min(preset.latent_dim, int(np.prod(dataset.shape))))
    x, test = rows_of(dataset, "train")[: preset.probe], rows_of(dataset, "test")
    codes = np.asarray(codec.encode(test))
    error = squared_error(test, pca_reconstructions(codec, test))
    return {
        "code": "PCA",
        "active units": codes.shape[1],
        "dead units": 0,
        "mean activation": float(codes.mean()),
        "squared error": error,
        "of the whole code": error,
        "accuracy": probe_accuracy(
            (np.asarray(codec.encode(x)), dataset.splits["train"].y[: preset.probe]),
            (codes, dataset.splits["test"].y),
        ),
    }


def pixel_accuracy(dataset: DataSet, count: int) -> float:
    """What the classifier does on the pixels themselves."""
    train, test = dataset.splits["train"], dataset.splits["test"]
    x = rows_of(dataset, "train")[:count]
    return probe_accuracy((x, train.y[:count]), (rows_of(dataset, "test"), test.y))


def claims(preset: Preset, rows: dict[Kind, dict]) -> list[Claim]:
    """Exactly k alive; few alive under a penalty; codes as good for a classifier as dense ones."""
    found = [
        equal_to(
            f"active units of the {kind.k} highest",
            row["active units"],
            kind.k,
            "units per example",
            "the definition of the code",
        )
        for kind, row in rows.items()
        if kind.latent == "top_k"
    ]
    dense = rows[DENSE]
    for kind in preset.representatives:
        if kind not in rows:
            continue
        found.append(
            at_most(
                f"{kind.name}: active units are less than half of those of the dense code",
                rows[kind]["active units"],
                dense["active units"] / 2,
                0.0,
                "units per example",
                "the claim of this experiment",
            )
        )
        found.append(
            at_least(
                f"{kind.name}: a linear classifier is at least as good as on the dense code",
                100 * rows[kind]["accuracy"],
                100 * dense["accuracy"],
                0.0,
                "% of test digits",
                "the claim of this experiment",
            )
        )
    return found


def pictures(preset: Preset, coders: dict[Kind, Coder], dataset: DataSet) -> dict[str, Shown]:
    """Features of the dense code and of each family, and one curve of error over active units."""
    shown = {}
    for kind in (DENSE, *preset.representatives):
        if kind not in coders:
            continue
        side = int(np.sqrt(min(FEATURES, preset.latent_dim)))
        images = coders[kind].features[: side**2].reshape(-1, *dataset.shape)
        name = kind.family.replace(" ", "_").lower()
        shown[f"features_{name}"] = Shown(
            figures.image_grid(about_grey(images), side, side, title=kind.name),
            f"Features: {kind.name}",
            "What a unit adds to the image, the most often active units first: grey is nothing, "
            "white and black are the most that any pixel of the unit gains or loses.",
        )
    shown["error_by_active_units"] = Shown(
        comparisons.curves(
            error_curves(coders, dataset),
            "active units per example",
            f"test {ERROR}",
            log_x=True,
            log_y=True,
        ),
        "Reconstruction against active units",
        "PCA uses all its components on every example, here as many as there are active units.",
    )
    return shown


def about_grey(images: np.ndarray) -> np.ndarray:
    """Each image [N, ...] scaled by its largest magnitude, 0 shown as 0.5."""
    largest = np.abs(images).max(axis=tuple(range(1, images.ndim)), keepdims=True)
    return 0.5 + 0.5 * images / np.where(largest > 0, largest, 1.0)


def error_curves(
    coders: dict[Kind, Coder], dataset: DataSet
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Active units and test error of each family, and of PCA with so many components."""
    points: dict[str, list[tuple[float, float]]] = {}
    for kind, coder in coders.items():
        points.setdefault(kind.family, []).append((coder.use["l0"], coder.error))
    lines = {family: np.array(sorted(pairs)).T for family, pairs in points.items()}
    every = [l0 for pairs in points.values() for l0, _ in pairs]
    sizes = np.unique(np.geomspace(max(1, min(every)), max(every), 8).round().astype(int))
    test, components = rows_of(dataset, "test"), pca_of(dataset, int(sizes[-1]))
    errors = [
        squared_error(test, pca_reconstructions(first_components(components, size), test))
        for size in sizes.tolist()
    ]
    return {family: (line[0], line[1]) for family, line in lines.items()} | {
        "PCA": (sizes, np.array(errors))
    }


if __name__ == "__main__":
    run_command(main)
