"""The one training loop: epochs, looks, checkpoints and records.

Every run goes through `train_together`, alone or stacked with others. What a method needs beyond
it is an objective; what a user wants to see beyond it is a listener.
"""

import dataclasses
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NoReturn

import jax
import jax.numpy as jnp

from ae_jax.core import interrupts
from ae_jax.core.errors import Stopped, TrainingDiverged, UserError, warn
from ae_jax.train import processes
from ae_jax.train.arithmetic import step_flops
from ae_jax.train.checkpoints import Checkpoints
from ae_jax.train.devices import matrix_rate
from ae_jax.train.engines import Engine, Single, Stacked, epoch_of, steps_into_epoch
from ae_jax.train.part import Part, part_in
from ae_jax.train.records import (
    Listener,
    Record,
    check_finite,
    is_look,
    is_out_of_patience,
    look_of,
    record_of,
    selection_metric,
)
from ae_jax.train.rundir import RunDirectory
from ae_jax.train.schedule import look_epochs
from ae_jax.train.setup import Setup
from ae_jax.train.step import StepReport, TrainState, written_inside
from ae_jax.train.streamed import Streamed

# A run that is looked at seldom does not begin anew when it is killed.
SAVE_SECONDS = 300.0
# One that is looked at often does not spend its time on writing.
LOOK_SECONDS = 10.0
# Runs whose checkpoints are written at the same time: each takes threads and open files.
_AT_ONCE = 32


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The state after the last epoch and one record an epoch."""

    state: TrainState
    records: list[Record]

    @property
    def last_look(self) -> Record:
        """The newest record that holds an evaluation of every split."""
        return [record for record in self.records if is_look(record)][-1]


@dataclasses.dataclass(frozen=True)
class Run:
    """What is to be trained, where it is kept, and who hears of it."""

    setup: Setup
    directory: RunDirectory | None = None
    listeners: tuple[Listener, ...] = ()
    accept_code: bool = False


def train(
    setup: Setup,
    directory: RunDirectory | None = None,
    *,
    until: int | None = None,
    listeners: Sequence[Listener] = (),
    accept_code: bool = False,
) -> Outcome:
    """Trains up to epoch `until`, by default to the end of the run, from where it stands.

    With a directory, the run continues from its latest checkpoint. It saves one at every look
    (those within `LOOK_SECONDS` of the last that was written are held in memory) and at the end of
    an epoch when `SAVE_SECONDS` have gone by, and trains on while it is written; records go to
    metrics.jsonl. A record holds epoch, step, samples (seen in training), seconds (of training so
    far), `running/...` (means over the epoch while it changed the parameters) and at a look
    `train/...`, `valid/...`, `test/...`: nats per example unless the metric says otherwise.

    Listeners are called with each record. One that has a method `look(state, record)` is given the
    state too where the run looks at itself; it may keep no array of it, as the next step takes its
    memory.

    A run whose directory knows other code of the user's files is refused unless `accept_code`.

    Raises TrainingDiverged at the first loss that is not finite; what was saved stays. Raises
    UserError, in several processes, for a run that stays within one and for processes that do not
    run the same, and Stopped where one of them was told to stop.
    """
    processes.check_mode(setup.config.train.parallel)
    run = Run(setup, directory, tuple(listeners), accept_code)
    (outcome,) = train_together([run], until=until)
    if isinstance(outcome, TrainingDiverged):
        raise outcome
    return outcome


def train_together(
    runs: Sequence[Run], *, until: int | None = None, devices_each: int = 1
) -> list[Outcome | TrainingDiverged]:
    """Trains runs as one program, each with its own directory, records, checkpoints and end.

    All must share a program (`grid.shared_program`). Runs that stand further along wait, in the
    program, until the others have caught up. The seconds of a record are a share of the time of
    those that train. A run that diverges or runs out of patience ends there; the others go on.
    """
    # Asked to end by a signal, it finishes the epoch and saves.
    with interrupts.deferred(), ExitStack() as stack:
        places = [stack.enter_context(_placed(run)) for run in runs]
        setups = [run.setup for run in runs]
        engine = _engine_for(places, devices_each)
        last = setups[0].config.train.epochs if until is None else until
        with processes.stoppable():
            _run(places, engine, last)
        return [place.error or Outcome(place.state, place.records) for place in places]


def _engine_for(places: Sequence["_Place"], devices_each: int) -> Engine:
    """What drives the runs. Raises UserError, in several processes, for one that streams in one."""
    setups, states = [place.run.setup for place in places], [place.state for place in places]
    (first, *others), parallel = setups, setups[0].config.train.parallel
    if first.streams:
        processes.check_mode(parallel)
        return Streamed(first, states[0], places[0].part)
    # A run of one device is a member like any other where several processes train it.
    if not (others or (jax.process_count() > 1 and parallel == "jit")):
        return Single(first, states[0], places[0].part)
    for place in places:
        directory = place.run.directory
        if directory is not None and steps_into_epoch(place.run.setup, place.state):
            raise UserError(
                f"{directory.path} was stopped within an epoch, as its examples streamed "
                "from the host: it goes on alone, or with the data.memory_budget it had"
            )
    return Stacked(setups, states, devices_each)


@dataclasses.dataclass
class _Place:
    """A run in the loop: its state when it last was saved or ended, its records, its files."""

    run: Run
    state: TrainState
    records: list[Record]
    saved: Checkpoints | None = None
    error: TrainingDiverged | None = None
    # Of an epoch that is not over: what it has summed up, and the seconds it took.
    part: Part = dataclasses.field(default_factory=Part)
    spent: float = 0.0

    def keep_part(self, part: Part, seconds: float, epoch: int) -> None:
        """Saves the state within an epoch. Raises TrainingDiverged where it is not finite."""
        check_finite(self.run.setup, part.report(), epoch, self.is_kept)
        if self.saved is not None and _all_finite(self.state.params):
            last = self.records[-1] if self.records else None
            if self.run.directory is not None and processes.is_first():
                self.run.directory.note_training()
            self.saved.save(self.state, record=last, part=part.as_table(seconds))
        elif self.saved is not None:
            self.saved.write()

    def keep(self, record: Record, save: bool, write: bool) -> None:
        """Adds the record of an epoch, to the files and for the listeners too.

        Saves the state if it is time to. No look has told whether it is finite where the record
        holds none: then it must be, or what is held is written without it. What is not written now
        is held.
        """
        self.records.append(record)
        if self.run.directory is not None and processes.is_first():
            self.run.directory.append(record)
        if self.saved is not None and save:
            if is_look(record):
                headline = self.run.setup.numbers.objective.headline
                metrics = {headline: record[_selection_metric(self.run.setup)]}
                self.saved.save(self.state, metrics, record, now=write)
            elif _all_finite(self.state.params):
                self.saved.save(self.state, record=record, now=write)
            elif write:
                warn(f"the state at step {record['step']} is not finite, and is not saved")
                self.saved.write()
        for listener in self.run.listeners if processes.is_first() else ():
            listener(record)
            if is_look(record) and hasattr(listener, "look"):
                listener.look(self.state, record)

    def end(self, error: TrainingDiverged | None = None) -> None:
        """Writes what is held, and why the run is over: the others may go on for long."""
        self.error = error
        if self.saved is not None:
            self.saved.write()
            self.saved.wait()
        if error and self.run.directory is not None and processes.is_first():
            self.run.directory.note_divergence(str(error))

    @property
    def holds(self) -> bool:
        """Whether something waits to be written."""
        return self.saved is not None and self.saved.holds

    def is_kept(self) -> bool:
        """Whether there is a checkpoint, written or waiting to be."""
        return self.saved is not None and (self.holds or self.saved.step() is not None)

    def record(self, report: StepReport, epoch: int, elapsed: float, work: float) -> Record:
        """What an epoch left, see `record_of`. Raises TrainingDiverged for a loss not finite."""
        setup = self.run.setup
        check_finite(setup, report, epoch, self.is_kept)
        seconds = (self.records[-1]["seconds"] if self.records else 0.0) + elapsed
        return record_of(setup, report, epoch, seconds, elapsed, work)


@contextmanager
def _placed(run: Run) -> Iterator[_Place]:
    """The run with its directory claimed and its latest checkpoint, or at its start."""
    setup, directory = run.setup, run.directory
    state = setup.initial_state()
    if directory is None:
        yield _Place(run, state, [])
        return
    objective = setup.numbers.objective
    with ExitStack() as stack:
        known_by = None if setup.start is None else setup.start.fingerprint
        claim = partial(
            directory.claim, setup.config, setup.dataset, known_by, accept_code=run.accept_code
        )
        stack.enter_context(processes.held_by_first(claim))
        processes.check_folder(directory.path)
        saved = stack.enter_context(
            Checkpoints(
                directory.checkpoints,
                objective.headline,
                objective.maximise,
                run=directory.identity(setup.dataset),
            )
        )
        last = part = None
        if saved.step() is not None:
            state, sealed = saved.load(state)
            if sealed is not None:
                last, part = sealed.record, sealed.part
        processes.check_alike(_starting_point(state, known_by))
        # Within an epoch, the records end with the one before.
        step = int(state.step) - steps_into_epoch(setup, state)
        if processes.is_first():
            records = directory.rewind(step, last)
        else:
            records = directory.with_last(directory.records(step), step, last)
        sums, spent = part_in(part)
        yield _Place(run, state, records, saved, part=sums, spent=spent)


def _starting_point(state: TrainState, known_by: str | None) -> dict[str, Any]:
    """What processes must agree on before the first step; nothing where there is one."""
    if jax.process_count() == 1:
        return {}
    return {
        "restored step": int(state.step),
        "given parameters": known_by,
        "parameters": processes.digest_of(state.params),
        "state of the optimiser": processes.digest_of(state.opt_state),
    }


def _run(places: Sequence[_Place], engine: Engine, last: int) -> None:
    """Epochs up to the last one, for as long as some run goes on."""
    interrupts.end_if_asked()
    setup = places[0].run.setup
    looks = {*look_epochs(setup.config), last}
    going = {i: place for i, place in enumerate(places) if not _is_out_of_patience(place)}
    stands = {i: epoch_of(place.run.setup, place.state) for i, place in going.items()}
    work: dict[int, float] = {}
    pause = _Pause(places, engine, last)

    for epoch in range(min(stands.values(), default=last) + 1, last + 1):
        active = {i: place for i, place in going.items() if stands[i] < epoch}
        if not active:
            continue
        start = time.perf_counter() - places[0].spent
        places[0].spent = 0.0
        try:
            reports = engine.epoch(epoch, partial(pause.within, start, epoch))
        except TrainingDiverged as error:  # within an epoch, of the only run
            places[0].end(error)
            return
        except jax.errors.UnexpectedTracerError as error:
            raise written_inside(setup.numbers.objective) from error
        elapsed = (time.perf_counter() - start) / len(active)
        if not work:  # not before the first epoch, whose start is waited for
            rate = engine.devices * matrix_rate(setup.config.train.precision)
            work = {
                i: step_flops(place.run.setup) * setup.steps_per_epoch / rate
                for i, place in going.items()
            }
        looked = engine.look() if epoch in looks else None
        stop = processes.stop_requested(interrupts.asked())
        waits = looked is not None or any(place.holds for place in active.values())
        write = stop or epoch == last or processes.agree(pause.is_due(waits))
        save = write or looked is not None
        if write:
            pause.saved_at = time.monotonic()
        if epoch == last and len(places) > 1:
            _write_all(list(active.values()))  # a grid that is killed now knows who were together
        for i, place in active.items():
            try:
                record = place.record(reports[i], epoch, elapsed, work[i])
                if looked is not None:
                    record |= look_of(place.run.setup, looked[i], epoch, place.is_kept)
            except TrainingDiverged as error:
                place.end(error)
                del going[i]
                continue
            if save:  # there is a look at the end
                place.state = engine.state(i)
            place.keep(record, save, write)
            if write and len(active) > _AT_ONCE and place.saved is not None:
                place.saved.wait()
            if _is_out_of_patience(place):
                place.end()
                _say_why_it_stops(place, epoch)
                del going[i]
        if stop and going and epoch < last:
            _stop(places, f"epoch {epoch} of {last} is over and saved")


def _write_all(places: Sequence[_Place]) -> None:
    """Writes what is held, to the end."""
    for start in range(0, len(places), _AT_ONCE):
        kept = [each.saved for each in places[start : start + _AT_ONCE] if each.saved is not None]
        for saved in kept:
            saved.write()
        for saved in kept:
            saved.wait()


class _Pause:
    """When the runs were saved last, and what happens between the chunks of an epoch."""

    def __init__(self, places: Sequence[_Place], engine: Engine, last: int):
        self._places, self._engine, self._last = places, engine, last
        self._chunks = processes.Chunks()
        self.saved_at = time.monotonic()

    def is_due(self, waits: bool = False) -> bool:
        """Whether it is time to write again; a look that `waits` makes it sooner."""
        passed = time.monotonic() - self.saved_at
        return passed >= SAVE_SECONDS or (waits and passed >= LOOK_SECONDS)

    def within(self, start: float, epoch: int, so_far: Callable[[], Part]) -> None:
        """After a chunk of examples, where an epoch takes several: for the only run there is."""
        if not self._chunks.is_time():
            return
        if jax.process_count() > 1:
            so_far()  # they must not meet at two places at once
        stop, save = self._chunks.ask(interrupts.asked(), self.is_due())
        if not (stop or save):
            return
        (place,) = self._places
        part, place.state = so_far(), self._engine.state(0)
        place.keep_part(part, time.perf_counter() - start, epoch)
        self.saved_at = time.monotonic()
        if stop:
            step = int(place.state.step)
            _stop(self._places, f"step {step}, within epoch {epoch} of {self._last}, is saved")


def _stop(places: Sequence[_Place], how_far: str) -> NoReturn:
    """Ends training once all is saved."""
    for place in places:
        if place.saved is not None:
            place.saved.wait()
    if jax.process_count() == 1:
        interrupts.end_if_asked()
    raise Stopped(how_far)


@jax.jit
def _all_finite(tree: Any) -> jax.Array:
    return jnp.all(jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]))


def _is_out_of_patience(place: _Place) -> bool:
    setup = place.run.setup
    return is_out_of_patience(setup.config, setup.splits, place.records)


def _say_why_it_stops(place: _Place, epoch: int) -> None:
    setup = place.run.setup
    if processes.is_first():
        print(
            f"stopped after epoch {epoch} of {setup.config.train.epochs}: "
            f"{_selection_metric(setup)} has not improved for {setup.config.train.patience} looks"
            + ("" if place.saved is None else "; its best state is the checkpoint `best`"),
            file=sys.stderr,
        )


def _selection_metric(setup: Setup) -> str:
    return selection_metric(setup.numbers.objective, setup.splits)
