"""What an experiment would train, before it trains anything: runs, steps and time."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import jax
import jax.numpy as jnp

from ae_jax.cli.launch import Launcher, ListenerFor, Outcomes, goal, is_over, kept_records
from ae_jax.data.base import DataSet
from ae_jax.data.batches import shuffled_order
from ae_jax.train.arithmetic import step_flops
from ae_jax.train.checkpoints import latest_step
from ae_jax.train.grid import Member, prepare_members
from ae_jax.train.prepare import prepare_run
from ae_jax.train.rundir import RunDirectory
from ae_jax.train.setup import Setup

# Steps of a measurement of the rate, after as many that compile the program.
MEASURED_STEPS = 50


@dataclasses.dataclass(frozen=True)
class PlannedRun:
    """A run, its data, the step at which it stands and the one that it would be trained to."""

    member: Member
    dataset: DataSet
    stands: int
    goal: int

    @property
    def steps(self) -> int:
        return max(0, self.goal - self.stands)


class _WouldTrain(Exception):
    def __init__(self, runs: list[PlannedRun]):
        super().__init__()
        self.runs = runs


class Planner:
    """A launcher that trains nothing: finished runs have their records, others end the search."""

    def train(
        self,
        members: Sequence[Member],
        dataset: DataSet,
        root: Path,
        *,
        until: int | None = None,
        listener_for: ListenerFor | None = None,
        track: Sequence[str] = (),
    ) -> Outcomes:
        runs = []
        for member in members:
            stands = stands_at(member, root)
            left = not is_over(member, dataset, root, until)
            end = goal(member, dataset, until) if left else stands
            runs.append(PlannedRun(member, dataset, stands, end))
        if any(run.steps for run in runs):
            raise _WouldTrain(runs)
        return {member.name: kept_records(root / member.name) for member in members}

    def parts(self, members: Sequence[Member], dataset: DataSet) -> list[list[Member]]:
        return [list(members)]


def stands_at(member: Member, root: Path) -> int:
    """The step from which a member would go on."""
    return latest_step(RunDirectory(root / member.name).checkpoints)


def next_runs(search: Callable[[Launcher], Any]) -> list[PlannedRun]:
    """The runs that a search would train together first, finished ones too; none if all are done.

    `search` trains by the launcher it is given. What it would train after these may depend on what
    they reach.
    """
    try:
        search(Planner())
    except _WouldTrain as stop:
        return stop.runs
    return []


@dataclasses.dataclass(frozen=True)
class Pace:
    """Examples a second of each member by name, and by what that is known."""

    rates: Mapping[str, float]
    source: str

    def seconds_a_step(self, member: Member) -> float:
        """Seconds that a step of the member takes."""
        return member.config.train.batch_size / self.rates[member.name]

    def __str__(self) -> str:
        low, high = (f"{bound(self.rates.values()):,.0f}" for bound in (min, max))
        return f"{low if low == high else f'{low} to {high}'} examples/s ({self.source})"


def pace_of(members: Sequence[Member], dataset: DataSet, root: Path) -> Pace:
    """The pace of members by what their records say, or else by a few steps of the largest.

    Members without records are taken to be as fast in arithmetic as the others in the middle.
    """
    setups = prepare_members(members, dataset)
    work = {
        member.name: step_flops(setups[member.name]) / member.config.train.batch_size
        for member in members
    }
    rates = {member.name: recorded_rate(root / member.name) for member in members}
    speeds = {name: rate * work[name] for name, rate in rates.items() if rate is not None}
    source = "by the records of runs here"
    if not speeds:
        largest = max(members, key=lambda member: work[member.name])
        speeds = {largest.name: measured_rate(setups[largest.name]) * work[largest.name]}
        source = "measured on this machine just now"
    middle = statistics.median(speeds.values())
    return Pace({name: speeds.get(name, middle) / each for name, each in work.items()}, source)


def recorded_rate(path: Path) -> float | None:
    """The median of examples per second over the records of a run, None without any.

    The first record is left out, as its time has the compilation in it.
    """
    rates = [record["examples_per_second"] for record in kept_records(path)[1:]]
    return statistics.median(rates) if rates else None


def measured_rate(setup: Setup) -> float:
    """Examples per second of a run alone on the devices at hand, over a few steps in memory.

    A set that would stream is cut to what these steps need.
    """
    if setup.streams:
        config = setup.config
        few = min(len(setup.splits["train"]), MEASURED_STEPS * config.train.batch_size)
        data = dataclasses.replace(config.data, memory_budget=None, limit=few)
        config = dataclasses.replace(config, data=data)
        setup = prepare_run(config, setup.dataset.limited(few))
    train, split = setup.config.train, setup.splits["train"]
    seed, epoch = jnp.asarray(train.seed, jnp.uint32), jnp.asarray(1, jnp.uint32)
    order = shuffled_order(seed, epoch, len(split), train.batch_size)
    order = jax.tree.map(lambda rows: rows[:MEASURED_STEPS], order)

    def run(state):
        state, _ = setup.execution.epoch(
            state, order, split, setup.numbers, architecture=setup.architecture
        )
        return jax.block_until_ready(state)

    state = run(setup.initial_state())
    start = time.perf_counter()
    run(state)
    return float(order.mask.sum()) / (time.perf_counter() - start)


def show(
    runs: Sequence[PlannedRun],
    root: Path,
    launcher: Launcher,
    *,
    whole: tuple[int, int],
    members: Sequence[Member],
) -> None:
    """Prints the runs, their steps and an estimate of the time.

    whole    the most runs and steps that the experiment takes from start to end
    members  all that it may train: what they have done counts, and their records tell the pace
    """
    done = sum(stands_at(member, root) for member in members)
    most_runs, most_steps = whole
    for run in runs:
        state = "finished" if not run.steps else f"from step {run.stands:,} to {run.goal:,}"
        click.echo(f"{run.member.name}  {state}")
    going = [run for run in runs if run.steps]
    if not going:
        click.echo(f"nothing to train; {done:,} steps are done")
        return
    pace = pace_of(members, going[0].dataset, root)
    seconds = {run.member.name: run.steps * pace.seconds_a_step(run.member) for run in going}
    parts = launcher.parts([run.member for run in going], going[0].dataset)
    longest = max(sum(seconds[member.name] for member in part) for part in parts)
    now = sum(run.steps for run in going)
    # Steps past what this plan takes are of any of the members.
    later = max(0, most_steps - done - now)
    each = statistics.mean(map(pace.seconds_a_step, members))
    at_once = f", in {len(parts)} tasks at once {_duration(longest)}" if len(parts) > 1 else ""
    click.echo(
        f"next: {len(going)} of {len(runs)} runs, {now:,} steps, "
        f"about {_duration(sum(seconds.values()))}{at_once}\n"
        f"to the end: at most {most_runs} runs, {most_steps:,} steps, of which {done:,} are done "
        f"and the others take about {_duration(sum(seconds.values()) + later * each)}\n"
        f"rate: {pace}; compilation and evaluation come on top"
    )


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
