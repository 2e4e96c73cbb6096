"""The topic models of the experiment `topics`: how they are configured, fitted, and asked."""

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from ae_jax.api import Fitted
from ae_jax.core.files import make_directory, write_atomically
from ae_jax.data import DataSet
from ae_jax.eval import DocumentCompletion, TopicQuality
from ae_jax.eval.perplexity import seen_words
from ae_jax.eval.topics import diversity, topic_coherence, topics_of
from ae_jax.objectives import Elbo
from ae_jax.train.config import DataConfig, EvalConfig, ModelConfig, RunConfig, TrainConfig
from ae_jax.train.optimisers import Adam

LDA = "LDA"
# What TensorFlow adds to variances, and so the authors' code. With 1e-5 topics were less coherent.
EPSILON = 1e-3
NORMALISED = (("head.batch_norm", True), ("head.batch_norm_epsilon", EPSILON))
CORNER = 60.0  # a code whose softmax is one topic, in float32
INDEPENDENT = 0.0  # the score of pairs that never meet under the other rule that is shown


@dataclasses.dataclass(frozen=True)
class Kind:
    """One model with an encoder: ProdLDA, NVLDA or NVDM.

    dropout   of the last hidden layer and of the shares of topics, where the model has such
    """

    family: str
    epochs: int
    dropout: float | None = None
    shown_dropout: bool = False

    @property
    def name(self) -> str:
        return f"{self.family}, dropout {self.dropout:g}" if self.shown_dropout else self.family

    @property
    def folder(self) -> str:
        return self.name.lower().replace(", ", "/").replace(" ", "=")

    @property
    def mixes(self) -> bool:
        """Whether its codes stand for shares of topics."""
        return self.family != "NVDM"


def configured(kind: Kind, dataset: DataSet, topics: int, batch_size: int, seed: int) -> RunConfig:
    """ProdLDA and NVLDA as in the code of Srivastava & Sutton, NVDM as in Miao et al. 2016."""
    if kind.mixes:
        model = ModelConfig(
            hidden=(100, 100),
            activation="softplus",
            latent_dim=topics,
            prior="dirichlet",
            decoder="softmax",
            head="multinomial" if kind.family == "ProdLDA" else "topic_mixture",
            options=(
                ("decoder.dropout", kind.dropout),
                ("encoder.dropout", kind.dropout),
                ("encoder.dropout_after", "last"),
                *(NORMALISED if kind.family == "ProdLDA" else ()),
                ("latent.batch_norm", True),
                ("latent.batch_norm_epsilon", EPSILON),
            ),
        )
        optimiser = Adam(learning_rate=2e-3, b1=0.99)
    else:
        model = ModelConfig(
            hidden=(500,),
            decoder_hidden=(),
            activation="tanh",  # with rectified units, which are not bounded, the bound ran away
            latent_dim=topics,
            head="multinomial",
        )
        optimiser = Adam(learning_rate=1e-3)
    return RunConfig(
        data=DataConfig(dataset.name, protocol="full"),
        model=model,
        objective=Elbo(),
        optim=optimiser,
        train=TrainConfig(batch_size=batch_size, epochs=kind.epochs, seed=seed),
        eval=EvalConfig(every=kind.epochs),
    )


@dataclasses.dataclass(frozen=True)
class Topics:
    """What one fitted model says.

    weights         of words in topics, [K, V]
    distributions   the topics as distributions over words, [K, V], where they are such
    scores          by the names of the columns of the table
    """

    weights: np.ndarray
    distributions: np.ndarray | None
    scores: dict[str, float]


def of_network(kind: Kind, model: Fitted) -> Topics:
    """The topics of a trained network and its scores."""
    train = model.evaluate("train", [TopicQuality()])
    test = model.evaluate("test", ["perplexity_bound", DocumentCompletion()])
    weights = topics_of(model.setup.architecture.model, model.variables)
    # The mean of p(x|z) where a text is all of one topic.
    corners = model.decode(CORNER * np.eye(len(weights)), units="model") if kind.mixes else None
    counts = model.setup.dataset.splits["train"].x
    scores = {
        "NPMI": train["topic_coherence"],
        "diversity": train["topic_diversity"],
        "NPMI, unmet 0": float(topic_coherence(weights, counts, unmet=INDEPENDENT).mean()),
        "bound": test["perplexity_bound"],
        "completion": test["completion_perplexity"],
    }
    return Topics(weights, corners, scores)


def of_lda(dataset: DataSet, topics: int, passes: int, seed: int, folder: Path) -> Topics:
    """scikit-learn's online variational Bayes; what was found is kept in `folder`."""
    options = {"learning_method": "online", "batch_size": 200, "learning_offset": 50.0}
    # Shares of a document to 1e-2: less time than by scikit-learn's 1e-3, and no worse topics.
    options |= {"max_doc_update_iter": 20, "mean_change_tol": 1e-2}
    options |= {"max_iter": passes, "random_state": seed}
    asked = json.dumps([dataset.name, dataset.facts.origin, dataset.shape, topics, options])
    file = make_directory(folder) / f"seed={seed}.npz"
    found = _kept(file, asked)
    if found is None:
        found = _fitted_lda(dataset, topics, options)
        content = io.BytesIO()
        np.savez(content, asked=asked, weights=found.weights, scores=json.dumps(found.scores))
        write_atomically(file, content.getvalue())
    return found


def _kept(file: Path, asked: str) -> Topics | None:
    """What was found before, if that was asked for."""
    if not file.exists():
        return None
    with np.load(file, allow_pickle=False) as archive:
        if archive["asked"].item() != asked:
            return None
        weights = archive["weights"]
        return Topics(weights, _normalised(weights), json.loads(archive["scores"].item()))


def _fitted_lda(dataset: DataSet, topics: int, options: dict[str, Any]) -> Topics:
    from scipy import sparse
    from sklearn.decomposition import LatentDirichletAllocation

    splits = dataset.splits
    train, test = (sparse.csr_matrix(splits[part].x.astype(float)) for part in ("train", "test"))
    model = LatentDirichletAllocation(topics, **options).fit(train)
    weights = model.components_
    x = splits["test"].x
    # The same words are seen as the networks see: those of the examples' ids.
    ids = splits["test"].first_id + jnp.arange(len(x))
    seen = np.asarray(seen_words(jnp.asarray(x), ids))
    words = model.transform(sparse.csr_matrix(seen.astype(float))) @ _normalised(weights)
    unseen = x - seen
    scores = {
        "NPMI": float(topic_coherence(weights, train).mean()),
        "diversity": diversity(weights),
        "NPMI, unmet 0": float(topic_coherence(weights, train, unmet=INDEPENDENT).mean()),
        "bound": float(model.perplexity(test)),
        "completion": float(np.exp(-(unseen * np.log(words)).sum() / unseen.sum())),
    }
    return Topics(weights, _normalised(weights), scores)


def _normalised(weights: np.ndarray) -> np.ndarray:
    return weights / weights.sum(axis=1, keepdims=True)
