"""The search behind the latent-size grid: try every setting, carry on with the best ones."""

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from ae_jax.data import DataSet
from ae_jax.errors import TrainingDiverged
from ae_jax.train.grid import Member, train_grid
from ae_jax.train.listeners import progress
from ae_jax.train.loop import Listener, Record, is_look
from experiments.published import bound_at

# (latent size, "aevb" or "wake_sleep", "train" or "test") -> [n, 2]: samples seen, bound in nats.
Curves = dict[tuple[int, str, str], np.ndarray]
Setting = tuple[float, float]  # standard deviation of the initial weights, step size

# The paper's curves start at 1e5 samples; before this many, ours and theirs depend on details of
# the first updates more than on the method.
TRACK_FROM = 3e5


@dataclasses.dataclass(frozen=True)
class Grid:
    """The runs that a search may train; `member(size, scale, step, seed)` names and configures.

    rounds     (epochs, settings kept): see `_trials`
    settings   those that the training bound chooses from
    also       those that are tried for as long as all rounds and compared with the paper only
    """

    dataset: DataSet
    root: Path
    member: Callable[[int, float, float, int], Member]
    rounds: tuple[tuple[int, int], ...]
    settings: tuple[Setting, ...]
    also: tuple[Setting, ...]
    seeds: tuple[int, ...]

    def train(self, members: Sequence[Member], until: int | None = None) -> dict[str, list[Record]]:
        """The looks of members trained up to an epoch, by name, without those that diverged."""
        outcomes = train_grid(
            members, self.dataset, self.root, until=until, listener_for=self._listener
        )
        return {
            name: [record for record in outcome.records if is_look(record)]
            for name, outcome in outcomes.items()
            if not isinstance(outcome, TrainingDiverged)
        }

    def _listener(self, member: Member) -> AbstractContextManager[Listener]:
        return progress(member.name, member.config.train.epochs, "elbo")


@dataclasses.dataclass(frozen=True)
class Finding:
    """What the search found for a latent size.

    trials     looks of every setting up to the end of its trial; those that diverged are absent
    chosen     the setting that was best in the last round and stayed finite to the end
    runs       looks of the chosen setting to the end, by seed
    tracking   the setting closest to the paper's test curve in the trials, None without a curve
               and where some trial was too short to tell
    followed   looks of that setting to the end, if it was followed or is the chosen one
    """

    size: int
    trials: dict[Setting, list[Record]]
    chosen: Setting
    runs: dict[int, list[Record]]
    tracking: Setting | None
    followed: list[Record] | None


def search(grid: Grid, sizes: Sequence[int], paper: Curves, follow: bool) -> list[Finding]:
    """Tries every setting at every latent size, then trains the chosen ones to the end."""
    candidates = {size: _trials(grid, size) for size in sizes}
    finished = {size: _best_to_the_end(grid, size, candidates[size]) for size in sizes}
    findings = []
    for size in sizes:
        chosen, runs = finished[size]
        trials = candidates[size] | _tried_only(grid, size)
        curve = paper.get((size, "aevb", "test"))
        tracking = None if curve is None else _closest(trials, curve)
        followed = runs[grid.seeds[0]] if tracking == chosen else None
        if follow and tracking not in (None, chosen):
            member = grid.member(size, *tracking, grid.seeds[0])
            followed = grid.train([member]).get(member.name)
        findings.append(Finding(size, trials, chosen, runs, tracking, followed))
    return findings


def _trials(grid: Grid, size: int) -> dict[Setting, list[Record]]:
    """Successive halving: in each round the settings kept so far train on, and the best stay.

    Returns the looks of all settings up to where each stopped.
    """
    members = {setting: grid.member(size, *setting, grid.seeds[0]) for setting in grid.settings}
    going, trials = list(members), {}
    for epochs, kept in grid.rounds:
        looks_of = grid.train([members[setting] for setting in going], epochs)
        going = [setting for setting in going if members[setting].name in looks_of]
        for setting in going:
            looks = looks_of[members[setting].name]
            trials[setting] = [look for look in looks if look["epoch"] <= epochs]
        going.sort(key=lambda setting: trials[setting][-1]["train/elbo"], reverse=True)
        going = going[:kept]
    return trials


def _tried_only(grid: Grid, size: int) -> dict[Setting, list[Record]]:
    """The looks of the settings that cannot be chosen, over as many epochs as all rounds."""
    members = {setting: grid.member(size, *setting, grid.seeds[0]) for setting in grid.also}
    epochs = grid.rounds[-1][0]
    looks_of = grid.train(list(members.values()), epochs)
    return {
        setting: [look for look in looks_of[member.name] if look["epoch"] <= epochs]
        for setting, member in members.items()
        if member.name in looks_of
    }


def _best_to_the_end(
    grid: Grid, size: int, trials: dict[Setting, list[Record]]
) -> tuple[Setting, dict[int, list[Record]]]:
    """The setting that came furthest with the best training bound, and its looks by seed.

    Where a run diverges later, the next best setting takes its place.
    """

    def rank(setting: Setting) -> tuple[int, float]:
        last = trials[setting][-1]
        return last["epoch"], last["train/elbo"]

    for setting in sorted(trials, key=rank, reverse=True):
        members = {seed: grid.member(size, *setting, seed) for seed in grid.seeds}
        looks_of = grid.train(list(members.values()))
        if len(looks_of) == len(members):
            return setting, {seed: looks_of[member.name] for seed, member in members.items()}
    raise TrainingDiverged(f"every setting diverged at latent size {size}")


def _closest(trials: dict[Setting, list[Record]], curve: np.ndarray) -> Setting | None:
    """The setting nearest to a published curve; None unless every trial went far enough to tell."""
    deviations = {setting: largest_deviation(looks, curve) for setting, looks in trials.items()}
    if not all(np.isfinite(deviation) for deviation in deviations.values()):
        return None
    return min(deviations, key=deviations.get)


def largest_deviation(looks: Sequence[Record], curve: np.ndarray) -> float:
    """Largest |test bound - paper| at looks from TRACK_FROM samples on, nats; inf without any."""
    gaps = [
        abs(look["test/elbo"] - bound_at(curve, look["samples"]))
        for look in looks
        if TRACK_FROM <= look["samples"] <= curve[-1, 0]
    ]
    return max(gaps, default=float("inf"))
