"""The contract of an objective, and what most of them compute first.

To add one: a frozen dataclass (`flax.struct.dataclass`) that derives from `Objective`, in a file
of this folder with a line in `__init__.py`, or in a file of your own that is named as
`path/to/file.py:Name`. Numbers (float fields) are traced, so that runs which differ in them share
one compiled program; whatever decides shapes or branches is declared with
`struct.field(pytree_node=False)`.
"""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self, cast

import jax.numpy as jnp
from flax import struct
from jax import Array

from ae_jax.core.errors import UserError
from ae_jax.data.batches import weighted
from ae_jax.models import Batch, BoundModel, Draws, draw, score

__all__ = ["Batch", "BoundModel", "Draws", "Objective", "Revision", "Terms", "draw", "score"]


WHOLE = ""  # in the place of a group's name, where one loss trains all parameters


def sum_of(terms: Iterable[Array]) -> Array:
    """The sum of at least one array: that of none would be the number 0."""
    return cast(Array, sum(terms))


@struct.dataclass
class Terms:
    """What an objective says of a batch.

    `loss` [B] is differentiated and minimised; `metrics` are reported, each [B], in nats unless
    the name says otherwise. The two are apart on purpose: a surrogate need not be a bound.

    Where groups of parameters have losses of their own, `loss` is {group: [B]} with the names of
    `Objective.groups`; what is reported as loss is their sum.

    `weights` [B] by the name of a metric say how much each example counts in its mean, where they
    do not count alike: a metric of examples with a label is weighed by whether there is one.

    `memory` is what an objective that has an `init_memory` remembers of this batch: a tree like
    that, the same on all devices.
    """

    loss: Array | dict[str, Array]
    metrics: dict[str, Array]
    memory: Any = None
    weights: dict[str, Array] = struct.field(default_factory=dict)

    def reported(self) -> dict[str, Array]:
        """The loss and the metrics as they are added up over examples (`data.batches.Totals`)."""
        values = {"loss": self.total(), **self.metrics}
        for name, weights in self.weights.items():
            values |= weighted(name, values[name], weights)
        return values

    def losses(self) -> dict[str, Array]:
        """The loss of each group; that of all parameters together under the name `WHOLE`."""
        return self.loss if isinstance(self.loss, dict) else {WHOLE: self.loss}

    def total(self) -> Array:
        """What is reported as loss, [B]."""
        return sum_of(self.loss.values()) if isinstance(self.loss, dict) else self.loss


@struct.dataclass
class Revision:
    """What an objective makes of the parameters by other means than their gradient.

    changed   truth values like the parameters: of these the optimiser forgets what it remembers
    memory    as of `Terms`
    """

    params: Any
    changed: Any
    memory: Any = None


@struct.dataclass
class Objective:
    """Base of all objectives; the instance holds the hyper-parameters.

    `headline` names the metric by which checkpoints are compared, `maximise` its direction.
    `whole_batch` declares that an example's terms depend on the rest of its batch: the step then
    passes `axis_name`, the mapped axis over which batch means must be taken (or None).
    `can_pad` declares that dimensions of the code which are 0 and switched off change nothing:
    runs with codes of different sizes may then share a program. `accepts_missing` declares that
    NaN in the data is a missing value to it. `needs` names that without which the objective has no
    meaning: configuration assignments (`model.name=rbm`), or `labels` of the data; `instead` says
    by path what does as well. `revises` declares that it changes parameters by itself at times.
    `through_draws` says that the encoder learns by the gradient of drawn codes, which those that
    are whole (one of Z) do not have; false of what trains it in another way.

    `groups` divides the parameters where several losses train them: {group: parts of the model},
    the parts being `encoder`, `latent`, `prior_part`, `decoder`, `head`, and `objective` for those
    of the objective's own, which `init` makes. A loss changes the parameters of its group only.
    """

    headline: ClassVar[str] = "loss"
    maximise: ClassVar[bool] = False
    whole_batch: ClassVar[bool] = False
    can_pad: ClassVar[bool] = False
    accepts_missing: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ()
    instead: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    revises: ClassVar[bool] = False
    through_draws: ClassVar[bool] = True
    groups: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    def init(self, key: Array, model: Any, batch: Batch) -> Any:
        """Parameters of the objective's own, as a tree; None, the default, where it has none.

        `model` is the module, `batch` a batch of zeros with one example. In `__call__` they are
        `model.own`.
        """
        del key, model, batch
        return None

    def init_memory(self, key: Array, model: Any, batch: Batch) -> Any:
        """What it remembers from step to step, as a tree; None, the default, where it does not.

        Arguments as of `init`. In `__call__` it is `model.memory`, and goes on as `Terms.memory`.
        """
        del key, model, batch
        return None

    def is_due(self, step: Array) -> Array:
        """Whether the parameters are revised at the end of a step, for objectives that do so."""
        del step
        return jnp.asarray(False)

    def revise(
        self, model: BoundModel, batch: Batch, key: Array, axis_name: str | None = None
    ) -> Revision:
        """The parameters after a step in which `is_due`; the model is as the step leaves it."""
        raise NotImplementedError(f"{type(self).__name__} does not define revise")

    def bind(self, num_examples: int) -> Self:
        """The objective for a training set of that size; most do not depend on it."""
        del num_examples
        return self

    def check(self, posterior: Any, prior: Any) -> None:
        """Raises UserError for distributions of codes that the objective is not defined on.

        They are as `encode` and `prior` of the model give them, with shapes in place of arrays.
        """

    def check_idle(self, posterior: Any, prior: Any) -> None:
        """Raises UserError for options that change nothing; a run is asked when it begins.

        Arguments as of `check`.
        """

    def check_layers(self, collections: Mapping[str, Any]) -> None:
        """Raises UserError for layers with a state that the objective has no meaning with.

        `collections` are what the layers of the model keep, as `batch_stats`, with shapes in place
        of arrays; a run is asked when it begins.
        """

    def check_missing(self) -> None:
        """Raises UserError for options that do not go with data of which some values are missing.

        Of objectives that say `accepts_missing`.
        """

    def __call__(self, model: BoundModel, batch: Batch, key: Array, step: Array) -> Terms:
        """Terms of a batch: x [B, ...], id [B], mask [B]; `key` is the noise of this step."""
        raise NotImplementedError(f"{type(self).__name__} does not define __call__")


def check_draws(objective: Objective, posterior: Any) -> None:
    """Raises UserError where the encoder would learn by a gradient that its codes do not have."""
    flows = getattr(posterior, "is_reparameterised", not posterior.support.integer)
    if objective.through_draws and not flows:
        raise UserError(
            f"the codes of this model are {posterior.support.description}, through whose draws no "
            f"gradient gets to the encoder, and objective {type(objective).__name__} trains it by "
            "that: wake_sleep and reweighted_wake_sleep do not (an objective of your own says so "
            "by through_draws = False)"
        )


def check_needs(objective: Objective, config: Any, labels: bool) -> None:
    """Raises UserError where a `RunConfig`, or the data, lack what an objective needs.

    A part of the user's own stands for any: the objective itself looks at what it gives.
    """
    name = type(objective).__name__
    for need in objective.needs:
        if need == "labels":
            if not labels:
                raise UserError(f"objective {name} needs labels, and the data have none")
            continue
        path, _, wanted = need.partition("=")
        section, _, option = path.partition(".")
        # By attribute: an objective or an optimiser of no registry has no name to be written by.
        found = getattr(getattr(config, section, None), option, None)
        found = list(found) if isinstance(found, tuple) else found
        others = objective.instead.get(path, ())
        if str(found) not in (wanted, *others) and ".py:" not in str(found):
            ways = " or ".join([need, *others])
            raise UserError(f"objective {name} needs {ways}, and {path} is {found}")
