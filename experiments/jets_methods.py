"""What `jets` compares: the jets, the autoencoders and PCA that know QCD only, and their scores."""

import dataclasses
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from ae_jax.api import Fitted
from ae_jax.codecs import Pca
from ae_jax.codecs.pca import PcaCodec
from ae_jax.data import DataSet, Split, info, load
from ae_jax.data.sources.fetch import Unavailable, find_in_data_folder
from ae_jax.data.sources.jets import CLASSES, JETS_FILE, KINEMATICS, QCD
from ae_jax.lab import Lab
from ae_jax.objectives import Elbo, Reconstruction
from ae_jax.train.config import DataConfig, EvalConfig, ModelConfig, RunConfig, TrainConfig
from ae_jax.train.grid import Member
from ae_jax.train.optimisers import Adam
from experiments.baselines import first_components

TOP, GLUINO = 1, 2
MASS = KINEMATICS.index("mass")
# By scaling, about what reconstructions miss a pixel by: the fixed standard deviation of the
# autoencoders' likelihood, which sets the size of their gradients, and where that of a VAE starts.
NOISE = {"unit_sum": 0.005, "unit_sum_sqrt": 0.01, "unit_sum_log": 0.2}
SCALINGS = tuple(NOISE)
CALLED = {"unit_sum": "p", "unit_sum_sqrt": "square root of p", "unit_sum_log": "log(1 + 1000 p)"}
HIDDEN = {"dense": (128, 32), "vae": (128, 32), "conv": (8, 16, 32)}
METHODS = {"dense": "autoencoder", "conv": "convolutional autoencoder", "vae": "VAE"}
# Codes an example for the scores of a VAE.
SAMPLES = {"bound": 10, "log_likelihood": 10}


@dataclasses.dataclass(frozen=True)
class Network:
    """One training: `kind` is dense, conv or vae."""

    kind: str
    scaling: str
    size: int
    seed: int = 0

    @property
    def name(self) -> str:
        return f"{self.scaling}/{self.kind}/code={self.size}/seed={self.seed}"

    def member(self, dataset: DataSet, epochs: int) -> Member:
        """Rectified layers, mirrored; a Gaussian likelihood, whose scale a VAE learns."""
        is_vae, convolves = self.kind == "vae", self.kind == "conv"
        part = "conv" if convolves else "mlp"
        model = ModelConfig(
            encoder=part,
            decoder=part,
            hidden=HIDDEN[self.kind],
            activation="relu",
            init="glorot_uniform",
            latent="gaussian" if is_vae else "deterministic",
            latent_dim=self.size,
            head="gaussian_global" if is_vae else "gaussian_fixed",
            head_scale=NOISE[self.scaling],
        )
        config = RunConfig(
            data=DataConfig(dataset.name, dataset.protocol, self.scaling, dataset.limit),
            model=model,
            objective=Elbo() if is_vae else Reconstruction(),
            optim=Adam(learning_rate=2e-3, schedule="cosine"),
            train=TrainConfig(batch_size=128, epochs=epochs, seed=self.seed),
            eval=EvalConfig(every=epochs),
        )
        return Member(self.name, config)


@dataclasses.dataclass(frozen=True)
class Sample:
    """Jets to tell apart: raw images, which are `anomalous` [N], and their mass [N], GeV."""

    split: Split
    anomalous: np.ndarray
    mass: np.ndarray


def dataset_named(name: str, limit: int | None = None) -> DataSet:
    """A set that trains on QCD alone. In place of `jets_if_at_hand` it is `jets` where its file or
    its prepared form is, else `jets_small`."""
    if name == "jets_if_at_hand":
        name = "jets" if _has_jets() else "jets_small"
    return load(name, protocol="full", limit=limit)


def _has_jets() -> bool:
    try:
        return info("jets")["prepared"] or find_in_data_folder("jets", JETS_FILE) is not None
    except Unavailable:
        return False


def samples_of(dataset: DataSet, limit: int | None = None) -> tuple[dict[str, Sample], str]:
    """Test jets of QCD and each other class by its name; where the gluino jets are from.

    A set without gluino jets borrows those of `jets_small` with the QCD jets of its test split. Of
    each class there are the first `limit`.
    """
    sources = dict.fromkeys((TOP, GLUINO), dataset)
    if not (dataset.splits["test"].y == GLUINO).any():
        sources[GLUINO] = load("jets_small", protocol="full")
    found = {}
    for kind, source in sources.items():
        test = source.splits["test"]
        chosen = test.rows(np.sort(np.concatenate(
            [np.flatnonzero(test.y == label)[:limit] for label in (QCD, kind)]
        )))  # fmt: skip
        found[CLASSES[kind]] = Sample(chosen, chosen.y == kind, chosen.factors[:, MASS])
    return found, sources[GLUINO].name


@dataclasses.dataclass(frozen=True)
class Method:
    """Scores of each sample by its name, [N], of one method; one entry a seed.

    kind      what is shown: autoencoder, PCA, mass, ...
    score     the kind of score
    """

    kind: str
    scaling: str | None
    size: int | None
    score: str
    values: list[Mapping[str, np.ndarray]]

    @property
    def name(self) -> str:
        """What tells it from all others."""
        size = "" if self.size is None else f" {self.size}"
        other = "" if self.score == "reconstruction" else f", {self.score}"
        return f"{self.kind}{size}{other}, {CALLED.get(self.scaling, '')}".removesuffix(", ")


def scores_of(
    model: Fitted, samples: Mapping[str, Sample], kind: str = "reconstruction"
) -> dict[str, np.ndarray]:
    """Scores of one kind, [N] by sample."""
    drawn = SAMPLES.get(kind)
    return {name: model.score(s.split, kind, num_samples=drawn) for name, s in samples.items()}


def network_methods(
    fitted: Mapping[str, Fitted], networks: list[Network], samples: Mapping[str, Sample]
) -> list[Method]:
    """One a kind, scaling, size and score, with the seeds that did not diverge."""
    found = []
    for network in networks:
        if network.seed != 0:
            continue
        alike = [n for n in networks if dataclasses.replace(n, seed=0) == network]
        models = [fitted[n.name] for n in alike if n.name in fitted]
        kinds = ("reconstruction", "bound", "log_likelihood", "code")
        for kind in kinds if network.kind == "vae" else kinds[:1]:
            values = [scores_of(model, samples, kind) for model in models]
            if values:
                found.append(
                    Method(METHODS[network.kind], network.scaling, network.size, kind, values)
                )
    return found


def pca_methods(
    lab: Lab,
    dataset: DataSet,
    scaling: str,
    sizes: tuple[int, ...],
    samples: Mapping[str, Sample],
) -> list[Method]:
    """PCA of each size on one scaling, and of no component at all: the mean image."""
    largest = lab.fit(f"{scaling}/pca", Pca(max(sizes), solver="gram"), dataset, scaling)
    found = []
    for size in (0, *sizes):
        part = dataclasses.replace(largest, params=_first(largest.params, size))
        kind, shown = ("PCA", size) if size else ("mean image", None)
        scores = scores_of(part, samples)
        found.append(Method(kind, scaling, shown, "reconstruction", [scores]))
    return found


def _first(codec: PcaCodec, size: int) -> PcaCodec:
    """PCA with the first components of a larger one; with none, all codes are 0."""
    if size:
        return first_components(codec, size)
    return codec.replace(components=jnp.zeros_like(codec.components[:1]))


def mass_method(samples: Mapping[str, Sample]) -> Method:
    """The mass of the jet as the score."""
    masses = {name: sample.mass for name, sample in samples.items()}
    return Method("mass", None, None, "reconstruction", [masses])
