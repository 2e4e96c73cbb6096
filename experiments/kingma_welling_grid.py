"""The search behind the latent-size grid: try every setting, carry on with the best ones."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ae_jax.cli.launch import Launcher, Local
from ae_jax.core.errors import TrainingDiverged
from ae_jax.data import DataSet
from ae_jax.train.grid import Member
from ae_jax.train.progress import member_progress
from ae_jax.train.records import Record, is_look
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
    also       those that are tried for the first round, to be compared with the paper's curves
               only, at the sizes that have one
    launcher   where they are trained
    method     "aevb" or "wake_sleep": whose published curves it is compared with
    """

    dataset: DataSet
    root: Path
    member: Callable[[int, float, float, int], Member]
    rounds: tuple[tuple[int, int], ...]
    settings: tuple[Setting, ...]
    seeds: tuple[int, ...]
    also: tuple[Setting, ...] = ()
    launcher: Launcher = Local()
    method: str = "aevb"

    def train(self, members: Sequence[Member], until: int | None = None) -> dict[str, list[Record]]:
        """The looks of members trained up to an epoch, by name, without those that diverged."""
        outcomes = self.launcher.train(
            members, self.dataset, self.root, until=until, listener_for=member_progress
        )
        return {
            name: [record for record in records if is_look(record)]
            for name, records in outcomes.items()
            if not isinstance(records, TrainingDiverged)
        }


@dataclasses.dataclass(frozen=True)
class Finding:
    """What the search found for a latent size.

    trials     looks of every setting up to the end of its trial; those that diverged are absent
    chosen     the setting that was best in the last round and stayed finite to the end
    runs       looks of the chosen setting to the end, by seed
    tracking   the setting closest to the paper's test curve in the first round of trials, None
               without a curve and where that round was too short to tell
    followed   looks of that setting to the end, if it was followed or is the chosen one
    method     as of the grid
    """

    size: int
    trials: dict[Setting, list[Record]]
    chosen: Setting
    runs: dict[int, list[Record]]
    tracking: Setting | None
    followed: list[Record] | None
    method: str = "aevb"

    @property
    def first(self) -> list[Record]:
        """The looks of the first seed."""
        return next(iter(self.runs.values()))

    @property
    def samples(self) -> np.ndarray:
        """Training samples at each look, [n]: the same of all seeds."""
        return np.array([look["samples"] for look in self.first])

    def bounds(self, split: str) -> np.ndarray:
        """The bound of a split at each look of each seed, nats per example, [S, n]."""
        return np.array([[look[f"{split}/elbo"] for look in looks] for looks in self.runs.values()])

    @property
    def end(self) -> tuple[float, dict[str, float]]:
        """Samples and the bounds by split at the end, as means over seeds."""
        bounds = {split: float(self.bounds(split)[:, -1].mean()) for split in ("train", "test")}
        return self.first[-1]["samples"], bounds

    def test_bound_after(self, samples: float) -> float:
        """The test bound after so many samples, between two looks too; the mean over seeds."""
        return float(self.test_bounds_after(samples).mean())

    def test_bounds_after(self, samples: float) -> np.ndarray:
        """The test bound of each seed after so many samples, between two looks too, [S]."""
        curves = (np.stack([self.samples, bounds], axis=1) for bounds in self.bounds("test"))
        return np.array([bound_at(curve, samples) for curve in curves])

    def published(self, paper: Curves, split: str, samples: float) -> float | None:
        """The published bound after so many samples, None where nothing was published.

        Runs of whole epochs may end up to one epoch past the last point of a curve.
        """
        curve = paper.get((self.size, self.method, split))
        if curve is None or samples < curve[0, 0]:
            return None
        return bound_at(curve, min(samples, curve[-1, 0]))


def search(grid: Grid, sizes: Sequence[int], paper: Curves, follow: bool) -> list[Finding]:
    """Tries every setting at every latent size, then trains the chosen ones to the end.

    All sizes are trained together in each of these steps, so that they can be stacked or spread.
    """
    candidates = _trials(grid, sizes)
    finished = _best_to_the_end(grid, candidates)
    curves = {size: paper.get((size, grid.method, "test")) for size in sizes}
    compared = {size: list(grid.also) for size in sizes if curves[size] is not None}
    tried = _looks(grid, compared, grid.rounds[0][0])
    trials = {size: candidates[size] | tried.get(size, {}) for size in sizes}
    tracking = {
        size: None if curve is None else _closest(comparable(trials[size]), curve)
        for size, curve in curves.items()
    }
    followed = {
        size: finished[size][1][grid.seeds[0]]
        for size in sizes
        if tracking[size] == finished[size][0]
    }
    if follow:
        beside = {s: [t] for s, t in tracking.items() if t is not None and s not in followed}
        ends = _looks(grid, beside)
        followed |= {size: looks for size, of in ends.items() for looks in of.values()}
    return [
        Finding(
            size, trials[size], *finished[size], tracking[size], followed.get(size), grid.method
        )
        for size in sizes
    ]


def most_epochs(grid: Grid, sizes: Sequence[int], compared: int, follow: bool) -> tuple[int, int]:
    """The most runs, and epochs over all of them, of a search in which none diverges.

    `compared` is the number of sizes with a curve; at these, the setting that tracks it may go on
    to the end too, if it is followed.
    """
    ends = [grid.member(z, *grid.settings[0], grid.seeds[0]).config.train.epochs for z in sizes]
    first, more_seeds = grid.rounds[0][0], len(grid.seeds) - 1
    trials, before, going = 0, 0, len(grid.settings)
    for epochs, kept in grid.rounds:
        trials += going * (epochs - before)
        before, going = epochs, kept
    each = sum(trials + end - before + more_seeds * end for end in ends)
    runs = (len(grid.settings) + more_seeds) * len(sizes) + len(grid.also) * compared
    beside = len(grid.also) * first + (max(ends) - first if follow else 0)
    return runs, each + beside * compared


def _trials(grid: Grid, sizes: Sequence[int]) -> dict[int, dict[Setting, list[Record]]]:
    """Successive halving: in each round the settings kept so far train on, and the best stay.

    Returns the looks of all settings at each size, up to where each stopped.
    """
    going = {size: list(grid.settings) for size in sizes}
    trials: dict[int, dict[Setting, list[Record]]] = {size: {} for size in sizes}
    for epochs, kept in grid.rounds:
        looks_of = _looks(grid, going, epochs)
        for size in sizes:
            trials[size] |= looks_of[size]
            going[size] = sorted(
                looks_of[size],
                key=lambda setting, of=looks_of[size]: of[setting][-1]["train/elbo"],
                reverse=True,
            )[:kept]
    return trials


def _looks(
    grid: Grid, settings: dict[int, list[Setting]], epochs: int | None = None
) -> dict[int, dict[Setting, list[Record]]]:
    """Looks up to an epoch, or to the end, by size and setting, without those that diverged."""
    members = {
        (size, setting): grid.member(size, *setting, grid.seeds[0])
        for size, chosen in settings.items()
        for setting in chosen
    }
    looks_of = grid.train(list(members.values()), epochs)
    found: dict[int, dict[Setting, list[Record]]] = {size: {} for size in settings}
    for (size, setting), member in members.items():
        if member.name in looks_of:
            looks = looks_of[member.name]
            found[size][setting] = looks if epochs is None else _up_to(epochs, looks)
    return found


def _up_to(epoch: int, looks: list[Record]) -> list[Record]:
    return [look for look in looks if look["epoch"] <= epoch]


def _best_to_the_end(
    grid: Grid, candidates: dict[int, dict[Setting, list[Record]]]
) -> dict[int, tuple[Setting, dict[int, list[Record]]]]:
    """At each size the setting that came furthest with the best bound, and its looks by seed.

    Where a run diverges later, the next best setting takes its place.
    """

    def rank(size: int, setting: Setting) -> tuple[int, float]:
        last = candidates[size][setting][-1]
        return last["epoch"], last["train/elbo"]

    ranked = {
        size: sorted(trials, key=lambda setting, size=size: rank(size, setting), reverse=True)
        for size, trials in candidates.items()
    }
    finished: dict[int, tuple[Setting, dict[int, list[Record]]]] = {}
    while len(finished) < len(ranked):
        members = {}
        for size in ranked:
            if size in finished:
                continue
            if not ranked[size]:
                raise TrainingDiverged(f"every setting diverged at latent size {size}")
            setting = ranked[size].pop(0)
            members[size, setting] = [grid.member(size, *setting, seed) for seed in grid.seeds]
        looks_of = grid.train([member for group in members.values() for member in group])
        for (size, setting), group in members.items():
            if all(member.name in looks_of for member in group):
                runs = zip(grid.seeds, group, strict=True)
                finished[size] = setting, {seed: looks_of[one.name] for seed, one in runs}
    return finished


def comparable(trials: dict[Setting, list[Record]]) -> dict[Setting, list[Record]]:
    """The looks up to where the shortest trial ended."""
    end = min((looks[-1]["epoch"] for looks in trials.values()), default=0)
    return {setting: _up_to(end, looks) for setting, looks in trials.items()}


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
