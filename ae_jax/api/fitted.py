"""A trained autoencoder: NumPy arrays in and out, compiled batches between."""

import dataclasses
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped

from ae_jax.api import compiled
from ae_jax.api.arguments import SEEDS, checked_codes, whole_number
from ae_jax.api.conditions import checked_conditions, checked_labels
from ae_jax.api.evaluating import evaluated, refuse_evaluators, takes_missing
from ae_jax.core.door import with_mask
from ae_jax.core.errors import UserError, present
from ae_jax.core.files import write_atomically
from ae_jax.core.registry import unknown_name
from ae_jax.data.arrays import new_examples
from ae_jax.data.base import Split
from ae_jax.data.objects import as_examples
from ae_jax.distributions import NoPrior, StandardNormal
from ae_jax.eval import EvaluationData, Evaluator
from ae_jax.eval.scores import NegativeLogLikelihood, Score, score_named
from ae_jax.train.codec_fit import CodecSetup
from ae_jax.train.config import AnyConfig
from ae_jax.train.records import Record
from ae_jax.train.setup import Setup

PriorChoice = Literal["model", "fitted"]
Units = Literal["data", "model"]
MIXTURE_COMPONENTS = 10


@dataclasses.dataclass(frozen=True, repr=False)
class Fitted:
    """A trained autoencoder or a fitted codec.

    `params` are the parameters of a network, or the fitted `Codec` with its atoms; `collections`
    what layers have written while they trained (batch statistics).

    Where examples are asked for, an array [N, ...] in the units of the training data is taken, or
    a `Split` of the data set, whose examples then meet their own noise (fixed binarisation). A
    model that is conditioned takes labels `y` [N], numbers or names of classes, or a `condition`
    [N, ...] with them; of a split, its own. What is decoded has the units of the training data, and
    what is made of examples their shape, so that `x - model.reconstruct(x)` is an error of the
    model; images that are decoded from codes alone have their channels. With `units="model"` it is
    what the model sees, after preprocessing.
    """

    setup: Setup | CodecSetup
    params: Any
    step: int
    records: list[Record]
    collections: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def config(self) -> AnyConfig:
        return self.setup.config

    @property
    def variables(self) -> dict[str, Any]:
        """What the module, `setup.architecture.model`, is applied to."""
        return {"params": self.params, **self.collections}

    @property
    def apply_fn(self) -> Any:
        """The module's `apply`, for JAX programs of your own: see `variables`, `inputs`.

        `apply_fn(variables, batch, method="encode")` gives q(z|x) of a batch
        {"x": [B, ...], "id": [B], "mask": [B]} in model units.
        """
        return self.setup.architecture.model.apply

    @property
    def reached(self) -> list[Record]:
        """The records up to this state: of a best checkpoint those after it are left out."""
        return [one for one in self.records if one["step"] <= self.step] or self.records

    def __repr__(self) -> str:
        """What it is, in a few lines."""
        from ae_jax.api.words import described  # which is of no use to what is run

        return described(self)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as the file of `save`: without examples, compiled programs or devices."""
        from ae_jax.api import saved

        return saved.unpickled, (saved.to_bytes(self),)

    def save(self, path: str | Path) -> Path:
        """Writes the model to one file, without its data; `ae_jax.load` reads it."""
        from ae_jax.api import saved

        path = Path(path)
        if path.is_dir():
            raise UserError(f"{path} is a folder: a model is saved to a file")
        return write_atomically(path, saved.to_bytes(self))

    def encode(
        self, x: np.ndarray | Split, y: Any = None, condition: np.ndarray | None = None
    ) -> Float[np.ndarray, "N Z"]:
        """Posterior means [N, Z] of raw examples.

        Where preprocessing draws, as to binarise, an example of an array is given noise of its own:
        it has the same code alone and among others, and one of a `Split` the noise of its id.
        """
        rows, first_id = self._examples(x, y, condition)
        return self._over_batches(compiled.encode, rows, first_id)

    def posterior(
        self, x: np.ndarray | Split, y: Any = None, condition: np.ndarray | None = None
    ) -> Any:
        """q(z|x) of raw examples: a distribution whose parameters are NumPy arrays, [N, ...].

        `mean()` and `stddev()` of it are [N, Z], where they have a closed form.
        """
        rows, first_id = self._examples(x, y, condition)
        return self._over_batches(compiled.posterior, rows, first_id, may_share=True)

    def decode(
        self,
        z: np.ndarray,
        y: Any = None,
        condition: Any = None,
        *,
        units: Units = "data",
    ) -> Shaped[np.ndarray, "N ..."]:
        """Means of p(x|z) for codes [N, Z]: [N, ...].

        A label or condition is one for each code, or one for all.
        """
        back = self._to(units)
        z = checked_codes(z, self.setup.latent_dim)
        rows = {"z": z, **self._given(len(z), y, condition)}
        return back(self._over_batches(compiled.decode, rows, 0))

    def reconstruct(
        self,
        x: np.ndarray | Split,
        y: Any = None,
        condition: np.ndarray | None = None,
        *,
        units: Units = "data",
    ) -> Shaped[np.ndarray, "N ..."]:
        """Decoded posterior means of raw examples: [N, ...], in the shape in which they are given.

        In model units they have the shape that the model knows, images with their channels.
        """
        back = self._to(units)
        rows, first_id = self._examples(x, y, condition)
        made = back(self._over_batches(compiled.reconstruct, rows, first_id), rows["x"])
        return made if units == "model" else self._as_given(made, x)

    def score(
        self,
        x: np.ndarray | Split,
        kind: str | Score = "reconstruction",
        y: Any = None,
        condition: np.ndarray | None = None,
        *,
        num_samples: int | None = None,
        seed: int = 0,
    ) -> Float[np.ndarray, " N"]:
        """Anomaly scores [N] of raw examples: the higher, the more anomalous.

        `kind` is one of `ae_jax.eval.SCORES`: `reconstruction`, `bound`, `log_likelihood` or
        `code`; those that draw codes take `num_samples` an example, by the noise of the `seed`.
        Raises UserError for a kind that the model does not have.
        """
        if num_samples is not None:
            num_samples = whole_number(num_samples, "num_samples", 1)
        scored = score_named(kind, num_samples) if isinstance(kind, str) else kind
        if not callable(scored):
            raise UserError(f"a score is a name or a function, not {kind!r}")
        if not isinstance(kind, str) and num_samples is not None:
            raise UserError("num_samples goes with the name of a score; this one has its own")
        rows, first_id = self._examples(x, y, condition)
        missing = rows["x"].dtype.kind == "f" and np.isnan(rows["x"]).any()
        if missing and not getattr(scored, "accepts_missing", False):
            raise UserError(
                f"the score {kind} needs complete examples, and some values are missing; "
                "reconstruction is taken over those that are there"
            )
        drawn_by = jnp.asarray(whole_number(seed, "seed", 0, SEEDS), jnp.uint32)
        function = partial(compiled.score, score=scored, seed=drawn_by)
        decoded = getattr(scored, "codes_at_once", 1)
        return self._over_batches(function, rows, first_id, at_once=decoded)

    def log_likelihood(
        self,
        x: np.ndarray | Split,
        y: Any = None,
        condition: np.ndarray | None = None,
        *,
        num_samples: int = 100,
        seed: int = 0,
    ) -> Float[np.ndarray, " N"]:
        """log p(x) of raw examples, [N], nats: of what the model sees, after preprocessing.

        Exact for a codec with a density; else by importance sampling with `num_samples` codes an
        example, which is a lower bound in expectation (Burda et al. 2016, Eq. 8). Raises UserError
        for a model without a density.
        """
        return -self.score(
            x,
            NegativeLogLikelihood(whole_number(num_samples, "num_samples", 1)),
            y,
            condition,
            seed=seed,
        )

    def inputs(self, x: np.ndarray | Split) -> Float[np.ndarray, "N ..."]:
        """Raw examples in model units, as the model sees them: [N, ...]."""
        rows, first_id = self._examples(x, check_condition=False)
        return self._over_batches(compiled.inputs, rows, first_id)

    def sample(
        self,
        count: int,
        seed: int = 0,
        *,
        y: Any = None,
        condition: Any = None,
        prior: PriorChoice = "model",
        units: Units = "data",
    ) -> Shaped[np.ndarray, "count ..."]:
        """Means of p(x|z) for codes drawn from the prior: [count, ...].

        A conditional model takes a label `y` or a `condition`, one for all or one for each sample.
        With `prior="fitted"` codes come from a mixture of Gaussians fitted to the codes of the
        training examples, which deterministic codes need. Raises UserError where there is no prior
        to draw from, or no condition that is needed.
        """
        codes = self.draw(count, seed, y=y, condition=condition, prior=prior)
        return self.decode(codes, y, condition, units=units)

    def interpolate(
        self,
        a: np.ndarray,
        b: np.ndarray,
        steps: int = 10,
        *,
        y: Any = None,
        condition: Any = None,
        units: Units = "data",
    ) -> Shaped[np.ndarray, "steps ..."]:
        """Decoded codes along the line from that of one example `a` to that of `b`: [steps, ...].

        The first and the last are their reconstructions. Raises UserError for fewer than two steps.
        """
        steps = whole_number(steps, "the number of steps, with both ends,", 2)
        first, last = (
            self.encode(with_mask(one)[None], _one(y), _one(condition))[0] for one in (a, b)
        )
        codes = np.linspace(first, last, steps, dtype=np.float32)
        made = self.decode(codes, y, condition, units=units)
        return made if units == "model" else self._as_given(made, np.asarray(a)[None])

    def traverse(
        self,
        x: np.ndarray,
        dim: int,
        values: Sequence[float],
        *,
        y: Any = None,
        condition: Any = None,
        units: Units = "data",
    ) -> Shaped[np.ndarray, "V ..."]:
        """Decodings of one example's code, of which one dimension takes these values: [V, ...]."""
        dim = whole_number(dim, "the dimension of the code", 0, self.setup.latent_dim)
        places = checked_codes(np.asarray(values)[:, None], 1) if np.ndim(values) == 1 else None
        if places is None:
            raise UserError("values of the dimension are a list of numbers")
        code = self.encode(with_mask(x)[None], _one(y), _one(condition))
        codes = np.repeat(code, len(places), axis=0)
        codes[:, dim] = places[:, 0]
        made = self.decode(codes, y, condition, units=units)
        return made if units == "model" else self._as_given(made, np.asarray(x)[None])

    def draw(
        self,
        count: int,
        seed: int = 0,
        *,
        y: Any = None,
        condition: Any = None,
        prior: PriorChoice = "model",
    ) -> Float[np.ndarray, "count Z"]:
        """The codes [count, Z] of `sample`."""
        count = whole_number(count, "the number of samples", 0)
        seed = whole_number(seed, "seed", 0, SEEDS)
        if prior not in ("model", "fitted"):
            raise unknown_name("prior to draw from", prior, ("model", "fitted"))
        given = self._given(count, y, condition)
        if prior == "fitted":
            return self._fitted_codes(count, seed)
        if not self.has_prior:
            raise UserError(
                "this model has no prior over codes to draw from; prior=fitted draws from a "
                "mixture of Gaussians that is fitted to the training codes"
            )
        rows = {"place": np.zeros(count, np.float32), **given}
        return self._over_batches(
            partial(compiled.drawn, seed=jnp.asarray(seed, jnp.uint32)), rows, 0
        )

    @property
    def has_prior(self) -> bool:
        """Whether there is a distribution of codes to draw from."""
        return not isinstance(self.setup.code_shapes()[1], NoPrior)

    @property
    def has_plane(self) -> bool:
        """Whether codes are of two dimensions under N(0, I), whose quantiles show all of it."""
        return self.setup.latent_dim == 2 and isinstance(
            self.setup.code_shapes()[1], StandardNormal
        )

    def evaluate(
        self, split: str = "test", evaluators: Sequence[str | Evaluator] = ()
    ) -> dict[str, float]:
        """The objective's metrics, the squared error and what the named evaluators say of a split.

        A codec with a density has its exact log p(x) for the former. An evaluator whose value has
        a name that is taken gives it under its own, as `bound/elbo`.
        Nats per example unless the name says otherwise. Raises UserError.
        """
        split = self.split_named(split)
        evaluators = (evaluators,) if isinstance(evaluators, str) else evaluators
        refuse_evaluators(self.setup, split, evaluators)
        data = self.evaluation_data(split)
        metrics = self.setup.own_metrics(self.variables, self.step, split)
        return evaluated(self.setup, self.variables, data, evaluators, metrics)

    def evaluation_data(self, split: str = "test") -> EvaluationData:
        """A split as evaluators take it. Raises UserError."""
        examples = self.setup.on_device(self.split_named(split))
        return EvaluationData(
            examples,
            self.setup.numbers.statistics,
            self.setup.architecture.preprocess,
            min(len(examples), self.config.eval.batch_size),
            self.setup.dataset.splits[split].factors,
        )

    def split_named(self, name: str) -> str:
        """The name itself. Raises UserError if the data set has no such split."""
        if not self.setup.splits:
            raise UserError(
                "the data of the model are not at hand, and this needs examples of them; a run "
                "finds them again where they are a file, or by ae_jax.load(RUN, data=x)"
            )
        if not isinstance(name, str):
            raise UserError(
                f"splits go by their names, {', '.join(self.setup.dataset.splits)}, and what was "
                "given is none; `score` takes examples of your own"
            )
        if name not in self.setup.dataset.splits:
            raise unknown_name("split", name, self.setup.dataset.splits)
        return name

    def _to(self, units: Units) -> Any:
        """The map of model outputs, with the raw examples that they are of, to such units."""
        if units not in ("data", "model"):
            raise unknown_name("units", str(units), ("data", "model"))
        if units == "model":
            return lambda outputs, raw=None: outputs
        return self._raw

    def _raw(self, outputs: np.ndarray, raw: np.ndarray | None = None) -> np.ndarray:
        statistics = jax.tree.map(np.asarray, self.setup.numbers.statistics)
        restored = self.setup.architecture.preprocess.restored(outputs, statistics, raw)
        # About a mean that is large, float32 would lose what the model says.
        precise = self.setup.architecture.preprocess.needs == "mean"
        restored = restored.astype(np.float64 if precise else np.float32)
        return np.moveaxis(restored, -1, 1) if self._is_channels_first else restored

    @property
    def _is_channels_first(self) -> bool:
        """Whether the user's images have their channels before height and width."""
        return self.config.data.layout == "channels_first" and self.setup.dataset.is_image

    def _as_given(self, made: np.ndarray, x: Any) -> np.ndarray:
        """What is made of examples, [M, ...], in the shape that those were given in.

        Without a channel axis, or flat; a `Split` holds its channels last. Columns are in the order
        that a data frame has them.
        """
        if isinstance(x, Split):
            return np.moveaxis(made, 1, -1) if self._is_channels_first else made
        known = self.setup.dataset.facts.feature_names
        if known and hasattr(x, "columns"):
            place = {name: column for column, name in enumerate(known)}
            return made[:, [place[str(name)] for name in x.columns if str(name) in place]]
        each = np.shape(x)[1:]
        return made.reshape(len(made), *each) if math.prod(each) == made[:1].size else made

    def _fitted_codes(self, count: int, seed: int) -> np.ndarray:
        """Codes drawn from a mixture of Gaussians that is fitted to those of training examples.

        They are brought into the range that codes can have; where codes are one of Z, those of
        training are drawn again.
        """
        from sklearn.mixture import GaussianMixture  # slow to import, and rarely used

        train = self.setup.dataset.splits[self.split_named("train")]
        codes = self.encode(train).astype(np.float64)
        rng = np.random.default_rng(seed)
        if np.isin(codes, (0, 1)).all() and (codes.sum(axis=1) == 1).all():  # one of Z
            return codes[rng.integers(len(codes), size=count)].astype(np.float32)
        components = min(MIXTURE_COMPONENTS, len(np.unique(codes, axis=0)))
        mixture = GaussianMixture(components, random_state=seed, reg_covar=1e-6).fit(codes)
        drawn, _ = mixture.sample(max(count, 1))
        drawn = drawn[rng.permutation(len(drawn))][:count]  # they come by component
        support = self.setup.code_shapes()[0].support
        low = max(support.low, 0.0 if codes.min() >= 0 else -math.inf)  # rectified codes, of NMF
        return np.clip(drawn, low, support.high).astype(np.float32)

    def _examples(
        self,
        x: np.ndarray | Split,
        y: Any = None,
        condition: Any = None,
        check_condition: bool = True,
    ) -> tuple[dict[str, np.ndarray], int]:
        """Raw examples in the shape of the data set with their conditions; the id of the first."""
        shape, first_id = self.setup.dataset.shape, compiled.UNNUMBERED
        if isinstance(x, Split):  # of a data set: its examples have come in by the same door
            raw = x.x
            first_id = compiled.UNNUMBERED if x.first_id is None else x.first_id
            if raw.shape[1:] != shape:
                raise UserError(
                    f"examples have shape {raw.shape[1:]}; the model was fitted on {shape}"
                )
            # A model that looks at no label takes none of those that a split has.
            y = x.y if y is None and self.condition_kind == "label" else y
            if condition is None and self.condition_kind == "input":
                condition = x.condition
        else:
            dataset = self.setup.dataset
            given = as_examples(x, dataset, self.config.data.layout)
            raw = new_examples(given, dataset, missing=takes_missing(self.setup))
            if not np.isnan(raw).all():  # something is there, and was observed
                self.setup.check_values(raw)
        beside = self._given(len(raw), y, condition) if check_condition else {}
        return {"x": raw, **beside}, first_id

    @property
    def condition_kind(self) -> str:
        """What the model is conditioned on: none, label or input."""
        return getattr(self.setup.architecture.model, "condition", "none")

    def _given(self, count: int, y: Any, condition: Any) -> dict[str, np.ndarray]:
        """The condition of so many examples. Raises UserError for one that is missing or unused."""
        kind = self.condition_kind
        if y is not None and kind != "label":
            raise UserError("labels are given, and the model is not conditioned on the label")
        if condition is not None and kind != "input":
            raise UserError("a condition is given, and the model is not conditioned on an input")
        if kind == "label":
            model: Any = self.setup.architecture.model
            names = self.setup.dataset.classes
            return {"y": checked_labels(y, count, model.classes, names)}
        if kind == "input":
            shape = present(self.setup.dataset.condition_shape, "condition_shape")
            return {"condition": checked_conditions(condition, count, shape)}
        return {}

    def _over_batches(
        self,
        function: Any,
        rows: dict[str, np.ndarray],
        first_id: int,
        may_share: bool = False,
        at_once: int = 1,
    ) -> Any:
        """What a compiled function gives for rows; batches are smaller where `at_once` codes of an
        example are decoded."""
        return compiled.over_batches(
            partial(function, architecture=self.setup.architecture),
            self.variables,
            rows,
            first_id,
            self.setup.numbers.statistics,
            # At least two, for a row to differ from what is shared.
            size=max(2, self.config.eval.batch_size // at_once),
            may_share=may_share,
        )


def _one(given: Any) -> Any:
    """A label or condition of one example as that of a batch of one."""
    return None if given is None else np.asarray(given)[None]
