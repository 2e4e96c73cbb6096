"""Autoencoders from Python: fit an array, load a run, encode, decode, sample, evaluate."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from ae_jax.api import saved
from ae_jax.api.fitted import Fitted
from ae_jax.api.options import by_path, in_json
from ae_jax.api.progress import shown
from ae_jax.api.trackers import tracking
from ae_jax.core.errors import UserError, warn
from ae_jax.core.files import write_atomically
from ae_jax.core.trust import Untrusted, only_known_code
from ae_jax.data import DATA_SETS, absolute_name, can_load, from_object
from ae_jax.data import load as load_data
from ae_jax.data.arrays import admitted, refuse_channels_first
from ae_jax.data.base import DataSet
from ae_jax.data.scales import advise
from ae_jax.train.checkpoints import Checkpoints
from ae_jax.train.codec_fit import CodecSetup, fit_codec, prepare_codec
from ae_jax.train.config import (
    AnyConfig,
    CodecConfig,
    DataConfig,
    RunConfig,
    from_dict,
    override,
    to_dict,
)
from ae_jax.train.loop import train
from ae_jax.train.prepare import prepare_run
from ae_jax.train.processes import is_first
from ae_jax.train.records import Record
from ae_jax.train.rundir import RunDirectory
from ae_jax.train.setup import Setup
from ae_jax.train.start import check_form

IN_MEMORY = "array"  # the name of data that came as an array

__all__ = ["Fitted", "as_dataset", "configure", "fit", "fitted", "load", "prepare", "restore"]


def fit(
    x: np.ndarray | DataSet,
    y: np.ndarray | None = None,
    config: AnyConfig | None = None,
    *,
    workdir: str | Path | None = None,
    listeners: Sequence[Callable[..., None]] = (),
    start: Any = None,
    accept_code: bool = False,
    progress: bool | None = None,
    track: str | Sequence[str] = (),
    **options: Any,
) -> Fitted:
    """Trains an autoencoder on an array [N, ...], with labels [N] or without, or on a data set.

    Data frames, texts and data sets of other packages are taken too: see `ae_jax.data.from_object`.

    With `codec="kmeans"` (or another of `ae_jax.codecs.CODECS`) that is fitted instead, without
    backprop; its options are `latent_dim`, `batch_size`, `max_iterations` and `codec__NAME`.

    Options override the configuration by name, with `__` for the dot: `model__latent_dim=2`,
    `train__epochs=5`. The first word may be left out where one section has an option of that name,
    or it is that of a part of the model: `epochs=5`, `objective="sparse_l1"`, `head="gaussian"`,
    `optimiser="sgd"`, and then the options of those by their own names: `beta=4`.

    With a `workdir` the run is kept there and resumed; without one nothing is written. What is
    given back is the state at the end, also where `train.patience` ended it: the best by the
    validation split is `load(workdir, which="best")`. `start` are parameters to begin with, those
    of another model of this form (`Fitted`, or its `params`), in place of drawn ones. A run whose
    own files of code were edited since it began goes on only with `accept_code`.

    A bar shows the `progress` in terminals and notebooks; True says it elsewhere too, in a line a
    look, and False nowhere. `listeners` are called with the record of each epoch, a dict such as
    {"epoch": 1, "step": 600, "running/loss": ...}; those of a codec with the iterations done, the
    most there can be, and the objective. `track` names trackers that are given the same and
    pictures: `tensorboard`, `wandb`, `mlflow` (see `ae_jax.api.trackers`).

    Raises UserError, and TrainingDiverged for a loss that does not stay finite.
    """
    deaf = [one for one in listeners if not callable(one)]
    if deaf:
        raise UserError(f"listeners are called with each record, and {deaf[0]!r} is no function")
    _check_kind(config)
    if options:
        _refuse_other_data(config, options, x)
    config = configure(config, options)
    directory = None if workdir is None else RunDirectory(workdir)
    begins = directory is None or not directory.holds_run
    setup = prepare(config, as_dataset(x, y, config.data), start, begins=begins)
    run: Any = fit_codec if isinstance(setup, CodecSetup) else train
    names = [track] if isinstance(track, str) else track
    if names and isinstance(setup, CodecSetup):
        raise UserError("trackers are for networks: a codec is fitted without them")
    if names and directory is None:
        raise UserError(f"track={track!r} keeps its files with the run: give a workdir")
    with shown(setup, progress) as bar, tracking(names, setup, directory) as trackers:
        keeps = keeps_facts(setup, directory)
        # First: what others do with a record may end the run.
        heard = (*keeps, *listeners, *trackers, *bar)
        outcome = run(setup, directory, listeners=heard, accept_code=accept_code)
    for keep in keeps:  # of a fit that was over before
        keep()
    return fitted(setup, outcome.state, outcome.records)


def _refuse_other_data(config: AnyConfig | None, options: dict[str, Any], given: Any) -> None:
    """Raises UserError for options that ask for other data, or another protocol, than are given.

    What a configuration says of them is of the data that it was made for.
    """
    asked = by_path({} if config is None else to_dict(config), options)
    own = {"data.name": IN_MEMORY}
    if isinstance(given, DataSet):
        own = {"data.name": given.name, "data.protocol": given.protocol}
    for option, value in own.items():
        wanted = asked.get(option, value)
        if option == "data.name" and isinstance(wanted, str):
            wanted = absolute_name(wanted)
        if wanted != value:
            raise UserError(
                f"{option} of the data given is {value}, not {asked[option]}: leave it out"
            )


def keeps_facts(
    setup: Setup | CodecSetup, directory: RunDirectory | None
) -> list[Callable[..., None]]:
    """A listener that leaves the facts of a user's own data with the run, once; none for others.

    Data of a user's may be gone or changed when the run is used: see `load`.
    """
    if directory is None or not is_first() or setup.dataset.name in DATA_SETS:
        return []
    file, kept = directory.facts_file, False

    def keep(*_: Any) -> None:
        nonlocal kept
        if not kept:
            write_atomically(file, saved.facts_of(setup))
        kept = True

    return [keep]


@contextmanager
def beside(
    track: Sequence[str], grid: Path, setup: Setup, directory: RunDirectory
) -> Iterator[tuple[Callable[..., None], ...]]:
    """What is written beside a member of a `grid`: its facts, and trackers by name. As listeners.

    Raises UserError for what trackers lack.
    """
    with tracking(track, setup, directory, grid) as trackers:
        yield (*keeps_facts(setup, directory), *trackers)


def prepare(
    config: AnyConfig, dataset: DataSet, start: Any = None, *, begins: bool = True
) -> Setup | CodecSetup:
    """Everything that a run of this configuration needs. Raises UserError.

    `start` is a model of the same form, or the parameters of one. One that `begins` is refused
    options that change nothing; what was trained before is opened with them.
    """
    if isinstance(config, RunConfig):
        if not isinstance(start, Fitted):
            return prepare_run(config, dataset, start=start, begins=begins)
        setup = prepare_run(config, dataset, start=start.params, begins=begins)
        check_form(cast(RunConfig, start.config).model, setup.config.model)
        return setup
    if start is not None:
        raise UserError("a codec is fitted from nothing: parameters to start from are for networks")
    return prepare_codec(config, dataset, begins=begins)


def configure(config: AnyConfig | None, options: dict[str, Any]) -> AnyConfig:
    """The configuration with Python keyword options applied. Raises UserError."""
    _check_kind(config)
    if not options:
        return config or RunConfig()
    base = {} if config is None else to_dict(config)
    found = by_path(base, options)
    return from_dict(override(base, [f"{path}={in_json(path, v)}" for path, v in found.items()]))


def _check_kind(config: Any) -> None:
    if config is not None and not isinstance(config, RunConfig | CodecConfig):
        raise UserError(
            f"config is a RunConfig or a CodecConfig, not {type(config).__name__}: of a dict of "
            "sections, ae_jax.train.config.from_dict makes one"
        )


def as_dataset(data: np.ndarray | DataSet, y: np.ndarray | None, source: DataConfig) -> DataSet:
    """A data set as it is, an array split as the configuration says; limited in either case."""
    if isinstance(data, DataSet):
        if y is not None:
            raise UserError("the labels of a DataSet are in its splits: leave y out")
        dataset = admitted(data)
    else:
        dataset = from_object(
            data, y, name=IN_MEMORY, protocol=source.protocol, layout=source.layout
        )
        refuse_channels_first(dataset)
        advise(dataset, source.preprocess)
    if source.limit is None or source.limit == dataset.limit:
        return dataset
    return dataset.limited(source.limit)


def load(
    workdir: str | Path,
    which: Literal["latest", "best"] = "latest",
    data: np.ndarray | DataSet | None = None,
    y: np.ndarray | None = None,
    *,
    trust: bool = False,
    accept_code: bool = False,
) -> Fitted:
    """The latest or best checkpoint of a run, with its data; or a model that was saved to a file.

    Raises UserError.

    `data` (and `y`, if there were labels) are the examples, where no file or name leads to them:
    without, the run encodes, decodes, samples and scores as a saved model does. So it does, with a
    warning, where a file has other examples than it had.

    A run may name Python files, which to load it executes: those that this user has run before on
    this machine, and any with `trust`. Where they were edited since the run was trained, it is
    loaded only with `accept_code`.
    """
    if Path(workdir).is_file():
        if data is not None or y is not None:
            raise UserError(
                f"{workdir} was saved without data and opens without: give examples to encode, "
                "reconstruct, score or log_likelihood"
            )
        if which != "latest":
            raise UserError(
                f"{workdir} is one saved model: which={which} is for the runs of a folder"
            )
        return saved.read(Path(workdir), trust=trust, accept_code=accept_code)
    if data is None and y is not None:
        raise UserError("labels are given without examples: give data beside y")
    directory = RunDirectory(workdir)
    trust |= directory.check_code(accept_code=accept_code)
    config = directory.config(trust=trust)
    kept = data is None and directory.facts_file.is_file()
    if data is None and not can_load(config.data.name):
        if kept:
            return _without_data(directory, config, which, trust)
        raise UserError(
            f"the data of {workdir} ({config.data.name}) is not at hand: give it as data, "
            "ae_jax.load(RUN, data=x)"
        )
    try:
        named = config.data
        dataset = _data_again(named, trust) if data is None else as_dataset(data, y, named)
        directory.check_data(dataset)
    except Untrusted:
        raise
    except UserError as error:
        if not kept:
            raise
        warn(f"{error}: the run is used without its examples")
        return _without_data(directory, config, which, trust)
    with only_known_code(trust):
        return restore(directory, prepare(config.on_one_device(), dataset, begins=False), which)


def _data_again(source: DataConfig, trust: bool) -> DataSet:
    """The data that a run names. Raises UserError."""
    with only_known_code(trust):
        return load_data(
            source.name, protocol=source.protocol, limit=source.limit, layout=source.layout
        )


def _without_data(
    directory: RunDirectory, config: AnyConfig, which: Literal["latest", "best"], trust: bool
) -> Fitted:
    """A run by what it has kept of its data."""
    return restore(directory, saved.setup_from(directory.facts_file, config, trust=trust), which)


def restore(
    directory: RunDirectory, setup: Setup | CodecSetup, which: Literal["latest", "best"] = "latest"
) -> Fitted:
    """A checkpoint of a run whose setup is at hand. Raises UserError."""
    if not directory.checkpoints.is_dir():
        raise UserError(f"{directory.path} holds no checkpoint yet")
    with Checkpoints(
        directory.checkpoints,
        setup.headline,
        setup.maximise,
        read_only=True,
        run=directory.identity(setup.dataset if setup.splits else None),
    ) as checkpoints:
        state, sealed = checkpoints.load(setup.initial_state(), which)
    last = None if sealed is None else sealed.record
    records = directory.records()
    if last is not None:  # within an epoch, that of the one before
        records = directory.with_last(records, last["step"], last)
    return fitted(setup, state, records)


def fitted(setup: Setup | CodecSetup, state: Any, records: list[Record]) -> Fitted:
    """What a state of a run is, for those who use it."""
    params = state.variables["params"]  # which is the average of them, where one is kept
    return Fitted(setup, params, int(state.step), records, state.collections)
