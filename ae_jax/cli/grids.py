"""`ae-jax grid`: many runs, one table and one figure."""

import hashlib
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from matplotlib.figure import Figure

from ae_jax.api.options import by_path
from ae_jax.api.trackers import check_trackers
from ae_jax.cli.launch import Launcher, goal, plan
from ae_jax.cli.training import configuration, set_by_hand
from ae_jax.core.errors import TrainingDiverged, UserError
from ae_jax.core.files import read_json, write_atomically
from ae_jax.core.registry import user_files
from ae_jax.core.trust import choose, only_known_code
from ae_jax.data import DataSet
from ae_jax.report import comparisons
from ae_jax.report.claims import environment
from ae_jax.report.courses import with_unit
from ae_jax.report.pages import (
    AWAY,
    Shown,
    Table,
    configuration_table,
    csv_table,
    environment_table,
    kept_pictures,
    markdown_table,
    write_report,
)
from ae_jax.report.style import display_name
from ae_jax.train import processes
from ae_jax.train.config import RunConfig, to_dict
from ae_jax.train.grid import Member
from ae_jax.train.over import Over, Setting, members_over, read_values, short_names
from ae_jax.train.progress import member_progress, ran_away
from ae_jax.train.records import Record, is_look, selection_metric
from ae_jax.train.rundir import RunDirectory

_LOG_FROM = 20  # a range of so many times its start is drawn in logarithms

Settings = dict[str, tuple[Setting, list[Member]]]
Looks = dict[str, list[Record]]


def grid(
    *,
    over: Sequence[str],
    zipped: Sequence[str],
    listed: Path | None,
    seeds: int,
    halve: Sequence[int],
    workdir: Path | None,
    track: Sequence[str],
    where: Launcher,
    print_only: bool,
    **given: Any,
) -> None:
    """Trains the members, and writes the table and the figure of what they reached."""
    check_trackers(track)
    base, dataset = configuration(**given)
    if not isinstance(base, RunConfig):
        raise UserError("a grid trains networks, and a codec is fitted without training")
    if not (over or zipped or listed) and seeds == 1:
        raise UserError(
            "nothing varies in this grid: --over OPTION=A,B says what does, and --seeds how often; "
            "one run is what train is for"
        )
    by_hand = {"over": _axes(over, base), "zip": _axes(zipped, base)}
    # A file may name code, as a configuration does.
    with only_known_code(given["trust"] or listed is None):
        varied = Over(by_hand["over"], by_hand["zip"], _listed(listed, base), seeds)
        settings = members_over(base, varied)
    _refuse_fixed(varied, set_by_hand(given["assignments"], given["flags"]))
    _check_halving(halve, varied, base, settings)
    root = workdir or Path("checkpoints") / _default_name(base, dataset, varied)
    if print_only:
        runs = plan.next_runs(lambda planner: _train(planner, settings, halve, dataset, root))
        members = [member for _, own in settings.values() for member in own]
        steps = sum(goal(member, dataset, None) for member in members)
        plan.show(runs, root, where, whole=(len(members), steps), members=members)
        return
    looks = _train(where, settings, halve, dataset, root, track)
    if processes.is_first():
        _publish(settings, looks, dataset, root)


def _axes(texts: Sequence[str], base: RunConfig) -> dict[str, list[Any]]:
    axes: dict[str, list[Any]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if not (equals and name):
            raise UserError(f"{text!r} is not of the form OPTION=VALUES, as latent_dim=2,5,10")
        found = read_values(values)
        for file in user_files(found):
            choose(file)
        path = _path(name, found[0], base)
        if path in axes:
            raise UserError(f"{path} varies in two ways at once")
        axes[path] = found
    return axes


def _refuse_fixed(varied: Over, fixed: Mapping[str, str]) -> None:
    """Raises UserError for an option that varies over the grid and is set for all of it too.

    A setting that is listed without an option takes what is set.
    """
    listed = set.intersection(*map(set, varied.listed)) if varied.listed else set()
    for path in (*varied.crossed, *varied.zipped, *sorted(listed)):
        if path in fixed:
            raise UserError(f"{path} varies over the grid, and {fixed[path]} sets it: give one")


def _path(name: str, value: Any, base: RunConfig) -> str:
    return next(iter(by_path(to_dict(base), {name.replace(".", "__"): value})))


def epochs_in(text: str | None) -> list[int]:
    """`2,4,8` as numbers. Raises UserError."""
    try:
        return [] if text is None else [int(part) for part in text.split(",")]
    except ValueError as error:
        raise UserError(f"--halve takes epochs, as 2,4,8, not {text!r}") from error


def _listed(path: Path | None, base: RunConfig) -> list[Setting]:
    """The settings of a JSON file. Raises UserError."""
    if path is None:
        return []
    rows = read_json(path)
    if not (isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows)):
        raise UserError(f"{path} holds no list of tables, as [{{'latent_dim': 2}}, ...]")
    return [
        by_path(to_dict(base), {name.replace(".", "__"): value for name, value in row.items()})
        for row in rows
    ]


def _check_halving(halve: Sequence[int], over: Over, base: RunConfig, settings: Settings) -> None:
    if halve and over.seeds > 1:
        raise UserError("--halve compares single runs: leave out --seeds")
    if halve and len({type(ms[0].config.objective) for _, ms in settings.values()}) > 1:
        raise UserError("--halve compares runs of one objective, and these have several")
    members = [member for _, own in settings.values() for member in own]
    most = min((one.config.train.epochs for one in members), default=base.train.epochs)
    if [*halve] != sorted(set(halve)) or any(not 0 < e < most for e in halve):
        raise UserError(
            f"--halve names epochs in rising order below train.epochs={most}, of the shortest, not "
            f"{','.join(map(str, halve))}"
        )


def _train(
    where: Launcher,
    settings: Settings,
    halve: Sequence[int],
    dataset: DataSet,
    root: Path,
    track: Sequence[str] = (),
) -> Looks:
    """The looks of all members by name, those that diverged without any.

    Successive halving (Jamieson & Talwalkar 2016): at each epoch of `halve` the worse half of the
    members that are left ends, by what the run selects its checkpoints by: never test examples.
    """
    going = [member for _, members in settings.values() for member in members]
    found: Looks = {member.name: [] for member in going}
    for until in (*halve, None):
        outcomes = where.train(
            going, dataset, root, until=until, listener_for=member_progress, track=track
        )
        for name, records in outcomes.items():
            seen = [] if isinstance(records, TrainingDiverged) else records
            found[name] = [one for one in seen if is_look(one)]
        if until is not None:
            going = _better_half(going, found, dataset, until)
    return found


def _better_half(
    going: Sequence[Member], looks: Looks, dataset: DataSet, until: int
) -> list[Member]:
    """Those that were better at an epoch: of a grid that is run again some have gone on since."""
    scores: dict[str, float] = {}
    for member in going:
        own = looks[member.name]
        then = [look for look in own if look["epoch"] <= until] or own[:1]
        if then:
            objective = member.config.objective
            sign = 1.0 if objective.maximise else -1.0
            metric = selection_metric(objective, dataset.splits)
            scores[member.name] = sign * then[-1][metric]
    if not scores:
        raise TrainingDiverged("the loss of no member stayed finite")
    kept = sorted(scores, key=scores.__getitem__, reverse=True)[: math.ceil(len(going) / 2)]
    return [member for member in going if member.name in kept]


def _publish(settings: Settings, looks: Looks, dataset: DataSet, root: Path) -> None:
    base = next(iter(settings.values()))[1][0].config
    headline = _common_headline(settings)
    chosen_by = f"{'valid' if 'valid' in dataset.splits else 'train'}/{headline}"
    shown = f"test/{headline}" if "test" in dataset.splits else chosen_by
    names = _names(settings)
    rows = [
        _row(setting, [looks[m.name] for m in members], names, (chosen_by, shown))
        for setting, members in settings.values()
    ]
    told = [
        row | {name: AWAY for name in (chosen_by, shown) if _is_away(row.get(name), members)}
        for row, (_, members) in zip(rows, settings.values(), strict=True)
    ]
    directory = RunDirectory(root)
    heading = f"{display_name(headline)} of {len(settings)} settings"
    caption = "Where runs ended early, what they had reached."
    if max(len(members) for _, members in settings.values()) > 1:
        caption = f"Mean over seeds, with their standard deviation. {caption}"
    figure = _figure(settings, looks, names, shown)
    pictures = kept_pictures(directory.figures, {"grid": Shown(figure, heading, caption)})
    note = (
        f"{headline} at the last look, nats per example unless it is an error; {chosen_by} is what "
        "runs are compared by. Plus and minus, and the bars of the figure: one standard deviation "
        "over the seeds of a setting. Seconds of training: a run's share of its program's, "
        "and of compiling it where it was the first of those that share one."
    )
    write_report(
        directory.report_file,
        f"Grid on {dataset.name}",
        note,
        [
            Table("Settings", told),
            *pictures,
            configuration_table(to_dict(base)),
            environment_table(environment()),
        ],
    )
    table = root / "settings.csv"
    write_atomically(table, csv_table(rows).encode())
    click.echo(f"\n{markdown_table(told)}\n\n{note}\n\ntable:  {table}")
    click.echo(f"figure: {directory.figures / 'grid.png'}\nreport: {directory.report_file}")


def _common_headline(settings: Settings) -> str:
    """The headline of all members; the loss, where they have different ones."""
    found = {member.config.objective.headline for _, ms in settings.values() for member in ms}
    return found.pop() if len(found) == 1 else "loss"


def _names(settings: Settings) -> dict[str, str]:
    """What tables and figures call the options that vary, by path."""
    paths = list({path: None for setting, _ in settings.values() for path in setting})
    return dict(zip(paths, short_names(paths), strict=True))


def _row(
    setting: Setting,
    runs: Sequence[Sequence[Record]],
    names: Mapping[str, str],
    metrics: Sequence[str],
) -> dict[str, Any]:
    """What the runs of a setting reached: its options, then means over those that stayed finite."""
    row = {names[path]: _cell(value) for path, value in setting.items()}
    ended = [looks[-1] for looks in runs if looks]
    row |= {"runs": len(runs), "diverged": len(runs) - len(ended)}
    if not ended:
        return row
    epochs = [look["epoch"] for look in ended]  # patience may end seeds at different ones
    row["epochs"] = epochs[0] if len(set(epochs)) == 1 else statistics.fmean(epochs)
    for name in dict.fromkeys(metrics):
        values = [look[name] for look in ended]
        row[name] = statistics.fmean(values)
        if len(values) > 1:
            row[f"± {name}"] = statistics.stdev(values)
    return row | {"training seconds": statistics.fmean(look["seconds"] for look in ended)}


def _is_away(mean: float | None, members: Sequence[Member]) -> bool:
    return mean is not None and ran_away(mean, members[0].config)


def _cell(value: Any) -> Any:
    return "-".join(map(str, value)) if isinstance(value, list | tuple) else value


def _figure(settings: Settings, looks: Looks, names: Mapping[str, str], metric: str) -> Figure:
    """A metric over the option with the most numbers; over epochs, where none has two."""
    split, _, headline = metric.partition("/")
    y_label = f"{with_unit(headline, headline)}, {split} examples"
    axis = _longest_axis([setting for setting, _ in settings.values()])
    if axis is None:
        over_epochs = {
            name: _over_epochs([looks[member.name] for member in members], metric)
            for name, (_, members) in settings.items()
        }
        courses = {label: line for label, line in over_epochs.items() if line is not None}
        return comparisons.curves(courses, "epoch", y_label, markers=False)
    points: dict[str, dict[float, list[float]]] = {}
    for setting, members in settings.values():
        rest = ", ".join(
            f"{display_name(names[path])} {_cell(value)}"
            for path, value in setting.items()
            if path != axis
        )
        values = [looks[m.name][-1][metric] for m in members if looks[m.name]]
        if values:
            points.setdefault(rest or headline, {})[float(setting[axis])] = values
    lines = {label: _over_axis(found) for label, found in points.items()}
    places = [at for found in points.values() for at in found]
    return comparisons.curves(
        lines,
        display_name(names[axis]),
        y_label,
        log_x=bool(places) and min(places) > 0 and max(places) / min(places) >= _LOG_FROM,
    )


def _longest_axis(settings: Sequence[Setting]) -> str | None:
    counts: dict[str, int] = {}
    for path in settings[0]:
        values = {one[path] for one in settings if _is_number(one.get(path))}
        if len(values) > 1 and all(_is_number(one.get(path)) for one in settings):
            counts[path] = len(values)
    return max(counts, key=counts.__getitem__) if counts else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _over_axis(found: Mapping[float, Sequence[float]]) -> tuple[np.ndarray, np.ndarray]:
    at = sorted(found)
    seeds = max(len(values) for values in found.values())
    table = np.full((seeds, len(at)), np.nan)
    for column, place in enumerate(at):
        table[: len(found[place]), column] = found[place]
    return np.asarray(at), table[0] if seeds == 1 else table


def _over_epochs(
    runs: Sequence[Sequence[Record]], metric: str
) -> tuple[np.ndarray, np.ndarray] | None:
    whole = [looks for looks in runs if looks]
    if not whole:
        return None
    # Up to where the first of the seeds ended, if patience ended some early: a mean of all.
    epochs = np.asarray([look["epoch"] for look in min(whole, key=len)])
    values = np.asarray([[look[metric] for look in looks[: len(epochs)]] for looks in whole])
    return epochs, values[0] if len(values) == 1 else values


def _default_name(base: RunConfig, dataset: DataSet, over: Over) -> str:
    values = [to_dict(base), over.settings(), over.seeds]
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
    return f"{Path(dataset.name.partition('.py:')[0]).stem}-grid-{digest}"
