"""A bound for data of which a few labels are known (Kingma et al. 2014)."""

import math
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array
from pydantic import Field

from ae_jax.core.errors import UserError
from ae_jax.core.ranges import Count, NonNegative
from ae_jax.numerics.noise import example_keys
from ae_jax.objectives.base import Batch, BoundModel, Terms, draw
from ae_jax.objectives.bound import Bound, kl_of
from ae_jax.objectives.networks import Mlp, Sizes

LABELLED_SEED = 20141
Share = Annotated[float, Field(gt=0, lt=1)]


@struct.dataclass
class SemiSupervised(Bound):
    """M2 of Kingma et al. 2014: p(y) p(z) p(x|y, z) with q(z|x, y) and a classifier q(y|x).

    Of an example whose label is shown, the bound on log p(x, y) (Eq. 6) and the classifier's
    cross-entropy; of one whose label is hidden, the bound on log p(x) (Eq. 7), in which every class
    is tried: a step costs as much as one on so many times the batch. p(y) is uniform.

    labelled            share of the examples whose label is shown, the same ones at every visit
    alpha               weight of the classifier: alpha / labelled for an example with its label,
                        which is Eq. 9 with 0.1 N for its alpha
    num_samples         codes an example and class
    classifier_hidden   sizes of the classifier's layers

    Metrics: `bound` on log p(x, y) or log p(x), with beta = 1; `classifier_loss`, -log q(y|x) over
    shown labels; `hidden_accuracy`, the classifier's over labels that are hidden.
    """

    labelled: Share = 0.1
    alpha: NonNegative = 0.1
    num_samples: Count = struct.field(pytree_node=False, default=1)
    classifier_hidden: Sizes = struct.field(pytree_node=False, default=(500,))

    of_kl: ClassVar[tuple[str, ...]] = (*Bound.of_kl, "num_samples")
    headline: ClassVar[str] = "bound"
    can_pad: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("labels", "model.condition=label")

    def init(self, key: Array, model: Any, batch: Batch) -> Any:
        """The parameters of the classifier. Raises UserError for a model without classes."""
        classes = getattr(model, "classes", None)
        if classes is None:
            raise UserError(f"{type(model).__name__} does not say how many classes there are")
        return Mlp(self.classifier_hidden, classes).init(key, batch["x"])["params"]

    def log_classifier(self, own: Any, x: Array) -> Array:
        """log q(y|x) of every class, nats, [B, C]."""
        classes = own["output"]["bias"].shape[0]
        logits: Any = Mlp(self.classifier_hidden, classes).apply({"params": own}, x)
        return jax.nn.log_softmax(logits)

    def __call__(self, model: BoundModel, batch: Batch, key: Array, step: Array) -> Terms:
        log_q = self.log_classifier(model.own, batch["x"]).T  # [C, B]
        classes = log_q.shape[0]
        draws = draw(model, under_every_label(batch, classes), key, self.num_samples)
        reconstruction = draws.log_likelihood.mean(axis=0).reshape(log_q.shape) - math.log(classes)
        divergence = kl_of(draws).reshape(log_q.shape)

        shown = shown_labels(batch["id"], self.labelled)  # [B]
        label = jax.nn.one_hot(batch["y"], classes, axis=0)  # [C, B]
        weight = jnp.where(shown[None], label, jnp.exp(log_q))
        entropy = jnp.where(shown, 0.0, -(jnp.exp(log_q) * log_q).sum(axis=0))
        surprise = -(label * log_q).sum(axis=0)

        paid = reconstruction - self.beta_at(step) * divergence
        loss = -(weight * paid).sum(axis=0) - entropy + self.parameter_cost(model)
        loss = loss + jnp.where(shown, self.alpha / self.labelled * surprise, 0.0)
        right = (jnp.argmax(log_q, axis=0) == batch["y"]).astype(loss.dtype)
        metrics = {
            "bound": (weight * (reconstruction - divergence)).sum(axis=0) + entropy,
            "classifier_loss": jnp.where(shown, surprise, 0.0),
            "hidden_accuracy": jnp.where(shown, 0.0, right),
        }
        among = shown.astype(loss.dtype)
        return Terms(
            loss, metrics, weights={"classifier_loss": among, "hidden_accuracy": 1.0 - among}
        )


def under_every_label(batch: Batch, classes: int) -> Batch:
    """The batch once for each class, as if all its labels were that: [classes * B, ...]."""
    repeated = {
        name: jnp.tile(value, (classes, *[1] * (value.ndim - 1))) for name, value in batch.items()
    }
    size = batch["mask"].shape[0]
    return {**repeated, "y": jnp.repeat(jnp.arange(classes, dtype=batch["y"].dtype), size)}


def shown_labels(ids: Array, share: Array | float) -> Array:
    """Which of the examples have a label that is shown, bool [B]: each with that probability."""
    keys = example_keys(jax.random.key(LABELLED_SEED), ids)
    return jax.vmap(jax.random.uniform)(keys) < share
