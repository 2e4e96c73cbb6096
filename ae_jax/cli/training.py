"""What `ae-jax train` does, once its arguments are known: a configuration, and the run of it."""

import hashlib
import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import click
import jax

from ae_jax.api import Fitted, fitted, keeps_facts, load, prepare
from ae_jax.api.trackers import tracking
from ae_jax.cli.listeners import profile
from ae_jax.core.errors import UserError, shortened, warn
from ae_jax.core.files import (
    read_json,
)
from ae_jax.core.registry import user_files
from ae_jax.core.trust import check_all, choose, only_known_code
from ae_jax.data import DataSet
from ae_jax.data import load as load_data
from ae_jax.data.scales import advise
from ae_jax.models import parameter_counts
from ae_jax.train import loop, processes
from ae_jax.train.checkpoints import latest_step
from ae_jax.train.codec_fit import fit_codec, prepare_codec
from ae_jax.train.config import (
    AnyConfig,
    CodecConfig,
    RunConfig,
    from_dict,
    is_of_codec,
    method_name,
    override,
    to_dict,
)
from ae_jax.train.progress import fit_progress, progress, reached
from ae_jax.train.rundir import RunDirectory
from ae_jax.train.setup import Setup

_FLAGS = {
    "objective": "objective.name",
    "latent_dim": "model.latent_dim",
    "hidden": "model.hidden",
    "epochs": "train.epochs",
    "batch_size": "train.batch_size",
    "optimiser": "optim.name",
    "learning_rate": "optim.learning_rate",
    "seed": "train.seed",
    "precision": "train.precision",
}
# Of networks, and no part of their numbers.
_SWITCHES = ("track", "tensorboard", "profile", "distributed", "join_timeout")
_CODEC_FLAGS = {
    "codec": "codec.name",
    "latent_dim": "codec.latent_dim",
    "batch_size": "codec.batch_size",
    "seed": "train.seed",
}


def train(
    *,
    data: str | None,
    config_file: Path | None,
    assignments: tuple[str, ...],
    workdir: Path | None,
    start: Path | None,
    track: tuple[str, ...],
    use_tensorboard: bool,
    use_profiler: bool,
    distributed: bool,
    join_timeout: float | None,
    dry_run: bool,
    trust: bool,
    accept_code: bool,
    with_report: bool,
    flags: dict[str, Any],
) -> None:
    """Trains a run, or continues it."""
    on = (track, use_tensorboard, use_profiler, distributed, join_timeout is not None)
    switches = zip(_SWITCHES, on, strict=True)
    track = (*track, *(["tensorboard"] if use_tensorboard else ()))
    given = {name: value for name, value in flags.items() if value is not None}
    given |= {name: on for name, on in switches if on}
    _choose_typed(data, assignments, flags)
    with only_known_code(trust or config_file is None):
        config = _configured(data, config_file, assignments, given)
        if isinstance(config, CodecConfig):
            if start is not None:
                raise UserError("--start is for networks: a codec is fitted from nothing")
            _fit(config, workdir, dry_run, accept_code, with_report)
        else:
            processes.start(distributed, join_timeout)
            model = None if start is None else load(start, trust=trust)
            _train(config, workdir, model, track, use_profiler, dry_run, accept_code, with_report)


def configuration(
    *,
    data: str | None,
    config_file: Path | None,
    assignments: tuple[str, ...],
    trust: bool,
    flags: dict[str, Any],
) -> tuple[AnyConfig, DataSet]:
    """What is configured, and its data set. Raises UserError."""
    given = {name: value for name, value in flags.items() if value is not None}
    _choose_typed(data, assignments, flags)
    with only_known_code(trust or config_file is None):
        config = _configured(data, config_file, assignments, given)
        return config, _dataset(config)


def _choose_typed(data: str | None, assignments: tuple[str, ...], flags: dict[str, Any]) -> None:
    """What a file names is executed only where the user chose it before; what is typed, now."""
    typed = [data, *flags.values(), *(text.partition("=")[2] for text in assignments)]
    for path in user_files(typed):
        choose(path)


def _train(
    config: RunConfig,
    workdir: Path | None,
    start: Any,
    track: tuple[str, ...],
    use_profiler: bool,
    dry_run: bool,
    accept_code: bool,
    with_report: bool,
) -> None:
    """Trains a network, or goes on, and says where it stands."""
    dataset = _dataset(config)
    processes.check_runs({"train": config}, dataset)
    begins = workdir is None or not RunDirectory(workdir).holds_run
    setup = cast(Setup, prepare(config, dataset, start=start, begins=begins))
    if dry_run:
        _show_plan(setup)
        return
    directory = RunDirectory(workdir or Path("checkpoints") / _default_name(setup.config))
    heard: list[Any] = []
    with ExitStack() as stack:
        listeners = _listeners(setup, directory, stack, track, use_profiler)
        keeps = keeps_facts(setup, directory)
        outcome = loop.train(
            setup, directory, listeners=[*keeps, heard.append, *listeners], accept_code=accept_code
        )
    if not processes.is_first():
        return
    for keep in keeps:  # of a run that was over before
        keep()
    if not heard:
        done, epochs = outcome.records[-1]["epoch"], setup.config.train.epochs
        why = "all of them" if done >= epochs else "train.patience ended it"
        click.echo(f"nothing to train: {done} of {epochs} epochs are done ({why})", err=True)
    from ae_jax.report.courses import is_in_nats  # figures are slow to import

    last, headline = outcome.last_look, setup.numbers.objective.headline
    for name in setup.splits:
        value = reached(last[f"{name}/{headline}"], setup.config, decimals=3)
        unit = " nats per example" if is_in_nats(headline, headline) else ""
        click.echo(f"{name:>5}: {headline} {value}{unit}")
    click.echo(f"run: {directory.path}")
    if with_report and jax.process_count() > 1:
        click.echo(f"figures and report: ae-jax report {directory.path}")
    elif with_report:
        _leave_report(fitted(setup, outcome.state, outcome.records), directory)


def _fit(
    config: CodecConfig, workdir: Path | None, dry_run: bool, accept_code: bool, with_report: bool
) -> None:
    """Fits a codec, or reads a finished fit back, and says how it ended."""
    begins = workdir is None or not RunDirectory(workdir).holds_run
    setup = prepare_codec(config, _dataset(config), begins=begins)
    if dry_run:
        click.echo(json.dumps(to_dict(setup.config), indent=2))
        return
    directory = RunDirectory(workdir or Path("checkpoints") / _default_name(setup.config))
    label = f"{setup.dataset.name.rpartition('/')[2]} {to_dict(setup.config)['codec']['name']}"
    keeps = keeps_facts(setup, directory)
    with fit_progress(label) as listener:
        outcome = fit_codec(setup, directory, listeners=[*keeps, listener], accept_code=accept_code)
    for keep in keeps:  # of a fit that was over before
        keep()
    last = outcome.records[-1]
    ended = (
        "converged" if outcome.converged else "did NOT converge: more codec.max_iterations may help"
    )
    click.echo(
        f"train: objective {last['objective']:.6g} after {last['step']} iterations "
        f"({last['seconds']:.1f} s); {ended}"
    )
    click.echo(f"run: {directory.path}")
    if with_report:
        _leave_report(fitted(setup, outcome.state, outcome.records), directory)


def _leave_report(model: Fitted, directory: RunDirectory) -> None:
    """Writes figures and report, unless they are younger than the last record of the run.

    The run is whole without them: what cannot be written is said, and no failure of the command.
    """
    from ae_jax.report import write

    try:
        page, records = directory.report_file, directory.metrics_file
        if page.is_file() and page.stat().st_mtime >= records.stat().st_mtime:
            return
        click.echo(f"report: {write(model, directory)}")
    except (UserError, OSError) as error:
        warn(f"the run is kept, its report is not: {error}")


def _dataset(config: AnyConfig) -> DataSet:
    source = config.data
    dataset = load_data(
        source.name, protocol=source.protocol, limit=source.limit, layout=source.layout
    )
    advise(dataset, source.preprocess)
    return dataset


def _listeners(
    setup: Setup,
    directory: RunDirectory,
    stack: ExitStack,
    track: tuple[str, ...],
    use_profiler: bool,
) -> list[loop.Listener]:
    """Who hears of a run: nobody in the other processes of a job."""
    if not processes.is_first():
        return []
    label = setup.dataset.name.rpartition("/")[2]  # of a file its name alone
    opened = [progress(label, setup.config)]
    if use_profiler:
        done = latest_step(directory.checkpoints) // setup.steps_per_epoch
        opened.append(profile(directory.path / "profile", setup.config.train.epochs - done))
    trackers = stack.enter_context(tracking(track, setup, directory))
    return [*trackers, *(stack.enter_context(listener) for listener in opened)]


def _configured(
    data: str | None, config_file: Path | None, assignments: tuple[str, ...], flags: dict[str, Any]
) -> AnyConfig:
    """The configuration of a file with flags and assignments; `flags` holds those given."""
    values = {} if config_file is None else read_json(config_file)
    if not isinstance(values, dict):
        raise UserError(f"{config_file} does not hold a configuration")
    check_all(user_files(values))
    of_codec = "codec" in flags or is_of_codec(values, assignments)
    paths = _CODEC_FLAGS if of_codec else _FLAGS
    given = []
    for name, value in flags.items():
        if name in _SWITCHES and not of_codec:
            continue
        if name not in paths:
            raise UserError(
                f"--{name.replace('_', '-')} is for networks; of a codec, --set codec.OPTION=VALUE "
                "sets everything beside --latent-dim, --batch-size and --seed"
            )
        value = _sizes(value) if name == "hidden" else value
        given.append(f"{paths[name]}={json.dumps(value)}")
        _refuse_twice(f"--{name.replace('_', '-')}", paths[name], assignments)
    if data is not None:
        if not data:
            raise UserError("the name of the data is empty")
        given.append(f"data.name={json.dumps(data)}")
        _refuse_twice("DATA", "data.name", assignments)
    elif config_file is None:
        raise UserError("name the data to train on, or give --config")
    paths_set = [*map(_path_in, assignments)]
    twice = next((path for path in paths_set if paths_set.count(path) > 1), None)
    if twice is not None:
        raise UserError(f"--set {twice} is given twice")
    return from_dict(override(values, [*given, *assignments]))


def _path_in(assignment: str) -> str:
    return assignment.partition("=")[0].strip()


def set_by_hand(assignments: tuple[str, ...], flags: dict[str, Any]) -> dict[str, str]:
    """The options of networks that are set by flags and `--set`: their paths, and by which."""
    return {
        path: f"--{name.replace('_', '-')}"
        for name, path in _FLAGS.items()
        if flags.get(name) is not None
    } | {path: f"--set {path}" for path in map(_path_in, assignments)}


def _refuse_twice(flag: str, path: str, assignments: tuple[str, ...]) -> None:
    """Raises UserError where `--set` sets what a flag sets."""
    if path in map(_path_in, assignments):
        raise UserError(f"{flag} and --set {path} set the same: give one of them")


def _sizes(text: str) -> list[int]:
    """`500,200` as numbers. Raises UserError."""
    try:
        return [int(size) for size in text.split(",")]
    except ValueError as error:
        raise UserError(
            f"--hidden takes sizes such as 500,200, not {shortened(text)!r}; --set model.hidden=[] "
            "is a network without hidden layers"
        ) from error


def _default_name(config: AnyConfig) -> str:
    """A folder name that tells runs apart: what they are, and a hash of the rest.

    Given more epochs, a run goes on; one whose steps follow its length would be another.
    """
    values = to_dict(config)
    if not config.follows_its_length:
        values["train"].pop("epochs", None)
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
    data = Path(values["data"]["name"].partition(".py:")[0]).stem
    method = method_name(config).rpartition(":")[2]
    return f"{data}-{method}-z{config.latent_dim}-{digest}"


def _show_plan(setup: Setup) -> None:
    click.echo(json.dumps(to_dict(setup.config), indent=2))
    counts = parameter_counts(setup.state_shapes().params)
    click.echo(
        f"parameters: {counts['total']:,} in all, {counts['weights']:,} of them in weight matrices"
    )
    sizes = ", ".join(f"{name} {len(split):,}" for name, split in setup.splits.items())
    epochs, an_epoch, updates = setup.config.train.epochs, setup.steps_per_epoch, []
    for name, one in {"": setup.config.optim, **dict(setup.config.groups)}.items():
        if one.accumulate is not None:
            of = f" of {name}" if name else ""
            updates.append(f"; {one.updates_in(an_epoch) * epochs:,} updates{of}")
    click.echo(f"examples: {sizes}; {setup.total_steps:,} steps{''.join(updates)}")
