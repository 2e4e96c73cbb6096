"""Deep autoencoders trained layer by layer and then whole (Hinton & Salakhutdinov 2006).

Each layer is a shallow model of its own, an ordinary run on the codes of the layers before it: an
RBM, an autoencoder or a denoising one, as its objective says. Unrolled, the layers are what the
deep autoencoder starts from; fine-tuning it is an ordinary run too.
"""

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np

from ae_jax.api import Fitted, as_dataset, configure, fit
from ae_jax.core.errors import UserError
from ae_jax.data.base import DataSet, Split
from ae_jax.models.layers import Layer, autoencoder_layers, rbm_layer, unroll
from ae_jax.nn.tying import CODE_LAYERS, DATA_LAYERS, tie
from ae_jax.objectives import ContrastiveDivergence, Objective, Reconstruction
from ae_jax.train.config import DataConfig, EvalConfig, ModelConfig, RunConfig, TrainConfig
from ae_jax.train.grid import Member
from ae_jax.train.optimisers import Momentum, Optimiser
from ae_jax.train.prepare import prepare_run
from ae_jax.train.records import Listener
from ae_jax.train.setup import Setup

# The latent and the head of an inner layer that does what the activation does in the whole.
INNER = {"sigmoid": ("sigmoid", "bernoulli"), "linear": ("deterministic", "gaussian_fixed")}
# The name of the head's map.
DATA_MAPS = {"bernoulli": "logits", "gaussian_fixed": "mean"}
# Latents of one map and no noise; those of them that have a like among an RBM's hidden units.
CODES = ("deterministic", "relu", "sigmoid", "top_k")
RBM_UNITS = {"deterministic": "gaussian", "sigmoid": "sigmoid"}

WHOLE = "whole"
LOGISTIC = RunConfig(
    model=ModelConfig(activation="sigmoid", latent="deterministic"), objective=Reconstruction()
)

# Trains one layer, or the whole, on its data set, and gives the fitted model.
Train = Callable[[Member, DataSet], Fitted]


@dataclasses.dataclass(frozen=True)
class Layerwise:
    """How the layers are trained.

    objective       `ContrastiveDivergence` makes each an RBM, any other an autoencoder of one
                    layer: `Reconstruction`, `Denoising`, ...
    optim           the optimiser of each layer
    gaussian_optim  that of RBMs with Gaussian units on either side, which diverge at steps that
                    binary ones bear (Hinton & Salakhutdinov: 0.001 against 0.1); default: `optim`
    train, eval     epochs, batches and seed of each layer, and its looks
    init_scale      standard deviation of an RBM's first weights; autoencoders start as the whole
    """

    objective: Objective = ContrastiveDivergence(weight_decay=2e-4)
    optim: Optimiser = Momentum(0.1)
    gaussian_optim: Optimiser | None = Momentum(1e-3)
    train: TrainConfig = TrainConfig()
    eval: EvalConfig = EvalConfig()
    init_scale: float = 0.01

    @property
    def by_rbm(self) -> bool:
        return "model.name=rbm" in self.objective.needs


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """Layers that were trained one by one; `config` is that of the whole, with nothing open."""

    config: RunConfig
    stages: Sequence[Fitted]

    def params(self, depth: int | None = None) -> dict:
        """Parameters of the autoencoder that the first `depth` layers make, by default all."""
        layers = [layer for stage in self.stages[:depth] for layer in _layers(stage)]
        params = unroll(layers, data=DATA_MAPS[self.config.model.head])
        return tie(params) if self.config.model.tied else params

    def model(self, dataset: DataSet, depth: int | None = None) -> Fitted:
        """That autoencoder as it is before any training of its own, on the whole's data set."""
        config, params = first_layers(self.config, depth or len(self.stages)), self.params(depth)
        return Fitted(prepare_run(config, dataset, start=params), params, 0, [])


def fit_layerwise(
    x: np.ndarray | DataSet,
    y: np.ndarray | None = None,
    config: RunConfig | None = None,
    how: Layerwise | None = None,
    *,
    workdir: str | Path | None = None,
    listener_for: Callable[[Member], AbstractContextManager[Listener]] | None = None,
    **options: Any,
) -> Fitted:
    """As `ae_jax.fit`, with each layer trained before the whole, as `how` says.

    The configuration is that of the whole, by default of logistic units with a linear code, trained
    by reconstruction; values that are not in [0, 1] have a Gaussian head of scale 1. With a
    `workdir` the layers are kept below it as layer_1, layer_2, ... and the fine-tuned model as
    whole; each is resumed.

    Raises UserError.
    """
    if "codec" in options:
        raise UserError("layer by layer networks are trained; a codec is fitted by fit")
    if how is not None and not isinstance(how, Layerwise):
        raise UserError(f"how layers are trained is a Layerwise, not {how!r}")
    configured = configure(config or LOGISTIC, options)
    if not isinstance(configured, RunConfig):
        raise UserError("layer by layer networks are trained: config is a RunConfig")
    dataset = as_dataset(x, y, configured.data)
    config = _with_head(configured, dataset)

    def train(member: Member, data: DataSet) -> Fitted:
        place = None if workdir is None else Path(workdir) / member.name
        with (listener_for or _silent)(member) as listener:
            return fit(
                data,
                config=member.config,
                workdir=place,
                listeners=[listener],
                start=member.start,
            )

    layers = pretrain(config, dataset, how or Layerwise(), train)
    return train(Member(WHOLE, layers.config, layers.params()), dataset)


def _with_head(config: RunConfig, dataset: DataSet) -> RunConfig:
    """The configuration with a head that layers can make, where it leaves that open."""
    if config.model.head != "auto":
        return config
    settled = prepare_run(config, dataset).config.model.head
    head = settled if settled in DATA_MAPS else "gaussian_fixed"
    return dataclasses.replace(config, model=dataclasses.replace(config.model, head=head))


def _silent(member: Member) -> AbstractContextManager[Listener]:
    return nullcontext(lambda record: None)


def pretrain(config: RunConfig, dataset: DataSet, how: Layerwise, train: Train) -> Pretrained:
    """Trains the layers of the deep autoencoder that `config` names, from the data inwards.

    `train` is called once a layer, with a member named layer_1, layer_2, ... Each layer stops
    where its own configuration says; what it hands on are the mean codes of its last state.
    Raises UserError for a whole that layers cannot make.
    """
    setup = prepare_run(config, dataset)
    config = setup.config
    _check(config.model)
    _check_params(setup)
    stages: list[Fitted] = []
    data = dataset
    for depth in range(1, len(_sizes(config.model)) + 1):
        if stages:
            data = codes_of(stages[-1], data, f"{dataset.name}, codes of layer {depth - 1}")
        member = Member(f"layer_{depth}", layer_config(config, how, depth))
        stages.append(train(member, data))
    return Pretrained(config, stages)


def codes_of(model: Fitted, dataset: DataSet, name: str) -> DataSet:
    """The mean codes [N, Z] of a data set's examples, with their labels and ids."""
    splits = {
        part: Split(model.encode(split), split.y, split.first_id)
        for part, split in dataset.splits.items()
    }
    return dataclasses.replace(dataset, name=name, splits=splits, max_value=None)


def layer_config(config: RunConfig, how: Layerwise, depth: int) -> RunConfig:
    """The run of one layer, counted from 1 at the data, of the whole that `config` names."""
    sizes = _sizes(config.model)
    is_first, is_last = depth == 1, depth == len(sizes)
    latent, head = INNER[config.model.activation]
    model = dataclasses.replace(
        config.model, hidden=(), decoder_hidden=None, latent_dim=sizes[depth - 1]
    )
    if not is_last:
        model = _with_part(model, "latent", latent, latent_k=ModelConfig().latent_k)
    if not is_first:
        model = _with_part(model, "head", head, head_scale=ModelConfig().head_scale)
    optim: Optimiser = how.optim
    if how.by_rbm:
        model = _machine(model, how.init_scale)
        has_gaussian_units = model.latent == "gaussian" or model.head == "gaussian_fixed"
        optim = (has_gaussian_units and how.gaussian_optim) or how.optim
    inner_data = DataConfig(preprocess="identity", memory_budget=config.data.memory_budget)
    return RunConfig(
        data=config.data if is_first else inner_data,
        model=model,
        objective=how.objective,
        optim=optim,
        train=how.train,
        eval=how.eval,
    )


def first_layers(config: RunConfig, depth: int) -> RunConfig:
    """The autoencoder of the first `depth` layers of the whole, with the code after the last."""
    sizes = _sizes(config.model)
    is_whole = depth == len(sizes)
    model = dataclasses.replace(
        config.model, hidden=sizes[: depth - 1], decoder_hidden=None, latent_dim=sizes[depth - 1]
    )
    if not is_whole:
        latent = INNER[config.model.activation][0]
        model = _with_part(model, "latent", latent, latent_k=ModelConfig().latent_k)
    return dataclasses.replace(config, model=model)


def _with_part(model: ModelConfig, part: str, name: str, **fields: Any) -> ModelConfig:
    """The model with another part, without the options that belonged to the one before."""
    options = tuple(one for one in model.options if one[0].partition(".")[0] != part)
    changes: dict[str, Any] = {"options": options, part: name, **fields}
    return dataclasses.replace(model, **changes)


def _machine(model: ModelConfig, init_scale: float) -> ModelConfig:
    """The RBM in the place of an autoencoder of one layer. Raises UserError."""
    if model.latent not in RBM_UNITS:
        raise UserError(
            f"RBMs make a code that is {' or '.join(RBM_UNITS)}, and model.latent is {model.latent}"
        )
    return dataclasses.replace(
        model,
        name="rbm",
        latent=RBM_UNITS[model.latent],
        init="normal",
        init_scale=init_scale,
        tied=False,
        activation=ModelConfig().activation,
    )


def _sizes(model: ModelConfig) -> tuple[int, ...]:
    """Units of each layer, from the first hidden one to the code."""
    return (*model.hidden, model.latent_dim)


def _layers(stage: Fitted) -> list[Layer]:
    is_machine = cast(RunConfig, stage.config).model.name == "rbm"
    return [rbm_layer(stage.params)] if is_machine else autoencoder_layers(stage.params)


def _check(model: ModelConfig) -> None:
    """Raises UserError for a whole that is not made of dense layers that fit each other."""
    wanted = {
        "name": ("autoencoder",),
        "encoder": ("mlp",),
        "decoder": ("mlp",),
        "activation": tuple(INNER),
        "latent": CODES,
        "head": tuple(DATA_MAPS),
    }
    for option, known in wanted.items():
        if getattr(model, option) not in known:
            raise UserError(
                f"layer by layer, model.{option} is {' or '.join(known)}, not "
                f"{getattr(model, option)}"
            )
    if model.mirrored_hidden != model.hidden[::-1]:
        raise UserError("layer by layer, the decoder mirrors the encoder: no model.decoder_hidden")
    if model.condition != "none":
        raise UserError(f"layer by layer, model.condition is none, not {model.condition}")


def _check_params(setup: Setup) -> None:
    """Raises UserError for a whole with parameters that no dense layer has."""
    lost = [
        jax.tree_util.keystr(path[:2], simple=True, separator=".")
        for path, _ in jax.tree_util.tree_leaves_with_path(setup.state_shapes().params)
        if path[0].key not in ("encoder", "latent", "decoder", "head")
        or path[-1].key not in ("kernel", "bias")
        or not path[1].key.startswith(("dense_", *CODE_LAYERS, *DATA_LAYERS))
    ]
    if lost:
        raise UserError(
            f"layer by layer, the whole has parameters that no layer makes: {', '.join(lost)}"
        )
