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
    """The runs that a search may train; `member(size, scale, step, seed)` names and configures."""

    dataset: DataSet
    root: Path
    member: Callable[[int, float, float, int], Member]
    trial_epochs: int
    settings: tuple[Setting, ...]
    seeds: tuple[int, ...]

    def train(self, member: Member, until: int | None = None) -> list[Record] | None:
        """The looks of a member trained up to an epoch; None if its loss did not stay finite."""
        try:
            outcomes = train_grid(
                [member], self.dataset, self.root, until=until, listener_for=self._listener
            )
        except TrainingDiverged:
            return None
        return [record for record in outcomes[member.name].records if is_look(record)]

    def _listener(self, member: Member) -> AbstractContextManager[Listener]:
        return progress(member.name, member.config.train.epochs, "elbo")


@dataclasses.dataclass(frozen=True)
class Finding:
    """What the search found for a latent size.

    trials     looks of every setting up to the end of the trial; those that diverged are absent
    chosen     the setting with the best training bound at the end of the trial
    runs       looks of the chosen setting to the end, by seed
    tracking   the setting closest to the paper's test curve in the trial, None without a curve
    followed   looks of that setting to the end, if it was followed
    """

    size: int
    trials: dict[Setting, list[Record]]
    chosen: Setting
    runs: dict[int, list[Record]]
    tracking: Setting | None
    followed: list[Record] | None


def search(
    grid: Grid,
    sizes: Sequence[int],
    paper: Curves,
    follow: bool,
) -> list[Finding]:
    """Tries every setting at every latent size, then trains the chosen ones to the end."""
    trials = {size: _trials(grid, size) for size in sizes}
    runs, chosen = {}, {}
    for size in sizes:
        chosen[size] = max(trials[size], key=lambda s: trials[size][s][-1]["train/elbo"])
        runs[size] = {
            seed: _surviving(grid, grid.member(size, *chosen[size], seed)) for seed in grid.seeds
        }
    findings = []
    for size in sizes:
        curve = paper.get((size, "aevb", "test"))
        tracking = None if curve is None else _closest(trials[size], curve)
        followed = None
        if follow and tracking is not None:
            followed = _surviving(grid, grid.member(size, *tracking, grid.seeds[0]))
        findings.append(Finding(size, trials[size], chosen[size], runs[size], tracking, followed))
    return findings


def _trials(grid: Grid, size: int) -> dict[Setting, list[Record]]:
    trials = {}
    for scale, step in grid.settings:
        looks = grid.train(grid.member(size, scale, step, grid.seeds[0]), grid.trial_epochs)
        if looks is not None:
            trials[scale, step] = [r for r in looks if r["epoch"] <= grid.trial_epochs]
    if not trials:
        raise TrainingDiverged(f"every setting diverged at latent size {size}")
    return trials


def _surviving(grid: Grid, member: Member) -> list[Record]:
    looks = grid.train(member)
    if looks is None:
        raise TrainingDiverged(f"{grid.root / member.name} diverged after its trial")
    return looks


def _closest(trials: dict[Setting, list[Record]], curve: np.ndarray) -> Setting:
    deviations = {setting: largest_deviation(looks, curve) for setting, looks in trials.items()}
    return min(deviations, key=deviations.get)


def largest_deviation(looks: Sequence[Record], curve: np.ndarray) -> float:
    """Largest |test bound - paper| at looks from TRACK_FROM samples on, nats; inf without any."""
    gaps = [
        abs(look["test/elbo"] - bound_at(curve, look["samples"]))
        for look in looks
        if TRACK_FROM <= look["samples"] <= curve[-1, 0]
    ]
    return max(gaps, default=float("inf"))
