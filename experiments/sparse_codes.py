"""Sparse autoencoders and what their codes are like: active units, errors, a linear classifier."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from ae_jax.api import Fitted
from ae_jax.data import DataSet, Split
from ae_jax.eval import CodeUse
from ae_jax.eval.codes import probe_accuracy
from ae_jax.lab import Lab, Member, Shown, autoencoder, shown
from ae_jax.objectives import Objective, Reconstruction, Sparse, SparseKL, SparseL1
from ae_jax.report.dictionaries import scaled
from experiments.baselines import first_components, pca_error, pca_of, rows_of, squared_error
from experiments.subspaces import spans_of

ERROR = "squared error per image"
FEATURES = 64  # units shown


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


RESTING = 10_000  # training examples that tell where inactive units rest


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

    @property
    def features(self) -> np.ndarray:
        """What each unit adds to the image, [Z, D], the most often active units first."""
        x = self.model.setup.dataset.splits["test"].x
        order = np.argsort(-self.active(self.model.encode(x)).mean(axis=0), kind="stable")
        return spans_of(self.model)[order]

    def row(self, probe: int) -> dict:
        """One line of the table; the classifier is fitted on so many codes."""
        return {
            "code": self.kind.name,
            "active units": self.use["l0"],
            "dead units": int(self.use["dead_units"]),
            "mean activation": self.use["mean_activation"],
            "squared error": self.error,
            "of the whole code": self.model.records[-1]["test/squared_error"],
            "accuracy": accuracy(self.model.setup.dataset, probe, lambda part: self.codes(part.x)),
        }


def train_all(
    preset: Preset, lab: Lab, dataset: DataSet
) -> tuple[dict[Kind, Coder], dict[str, Fitted]]:
    """The dense autoencoder and all sparse ones, by kind and by the names of their runs."""
    size, epochs = preset.latent_dim, preset.epochs
    how = {"epochs": epochs, "learning_rate": 2e-3, "batch_size": 128, "head": "gaussian_fixed"}
    form = {"hidden": (), "latent_dim": size}
    members = [
        Member(
            kind.folder,
            autoencoder(
                dataset, "grey", objective=kind.objective, latent=kind.latent, latent_k=kind.k,
                **form, **how,
            ),
        )
        for kind in (DENSE, *preset.kinds)
    ]  # fmt: skip
    fitted = lab.train(members, dataset)
    kinds = [kind for kind in (DENSE, *preset.kinds) if kind.folder in fitted]
    return {kind: Coder(kind, fitted[kind.folder]) for kind in kinds}, fitted


def accuracy(dataset: DataSet, count: int, codes_of: Callable[[Split], np.ndarray]) -> float:
    """Of the classifier on the test split, fitted on the codes of the first `count` examples."""
    fit, test = dataset.splits["train"].head(count), dataset.splits["test"]
    return probe_accuracy((codes_of(fit), fit.y), (codes_of(test), test.y))


def pca_row(preset: Preset, dataset: DataSet) -> dict:
    """What as many principal components do, none of which is ever inactive."""
    codec = pca_of(dataset, min(preset.latent_dim, int(np.prod(dataset.shape))))
    test = rows_of(dataset, "test")
    codes, error = np.asarray(codec.encode(test)), pca_error(codec, test)
    return {
        "code": "PCA",
        "active units": codes.shape[1],
        "dead units": 0,
        "mean activation": float(codes.mean()),
        "squared error": error,
        "of the whole code": error,
        "accuracy": accuracy(
            dataset, preset.probe, lambda part: np.asarray(codec.encode(rows_of(dataset, part)))
        ),
    }


def pixel_accuracy(dataset: DataSet, count: int) -> float:
    """What the classifier does on the pixels themselves."""
    return accuracy(dataset, count, lambda part: rows_of(dataset, part))


def pictures(preset: Preset, coders: dict[Kind, Coder], dataset: DataSet) -> dict[str, Shown]:
    """Features of the dense code and of each family, and one curve of error over active units."""
    made = {}
    for kind in (DENSE, *preset.representatives):
        if kind not in coders:
            continue
        side = int(np.sqrt(min(FEATURES, preset.latent_dim)))
        images = coders[kind].features[: side**2].reshape(-1, *dataset.shape)
        made[f"features_{kind.family.replace(' ', '_').lower()}"] = shown(
            "image_grid", f"Features: {kind.name}",
            scaled(images, signed=True), side, side, title=kind.name,
            caption="What a unit adds to the image, the most often active units first: grey is "
            "nothing, white and black are the most that any pixel of the unit gains or loses.",
        )  # fmt: skip
    made["error_by_active_units"] = shown(
        "curves", "Reconstruction against active units",
        error_curves(coders, dataset), "active units per example", f"test {ERROR}",
        log_x=True, log_y=True,
        caption="PCA uses all its components on every example, here as many as there are active "
        "units.",
    )  # fmt: skip
    return made


def error_curves(
    coders: dict[Kind, Coder], dataset: DataSet
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Active units and test error of each family, and of PCA with so many components."""
    points: dict[str, list[tuple[float, float]]] = {}
    for kind, coder in coders.items():
        points.setdefault(kind.family, []).append((coder.use["l0"], coder.error))
    lines = {family: tuple(np.array(sorted(pairs)).T) for family, pairs in points.items()}
    every = np.concatenate([active for active, _ in lines.values()])
    sizes = np.unique(np.geomspace(max(1, every.min()), every.max(), 8).round().astype(int))
    test, components = rows_of(dataset, "test"), pca_of(dataset, int(sizes[-1]))
    errors = [pca_error(first_components(components, size), test) for size in sizes.tolist()]
    return lines | {"PCA": (sizes, np.array(errors))}
