"""Where an experiment trains: members through a launcher, codecs here, and sweeps over options."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ae_jax.api import Fitted, fit, restore
from ae_jax.api.arguments import whole_number
from ae_jax.cli.launch import Launcher, Local
from ae_jax.codecs import CodecSpec
from ae_jax.core.errors import TrainingDiverged, UserError
from ae_jax.data import DataSet
from ae_jax.lab.sweeps import Sweep, paths_of
from ae_jax.train.checkpoints import Which
from ae_jax.train.config import CodecConfig, DataConfig, RunConfig
from ae_jax.train.grid import Member, prepare_members
from ae_jax.train.over import Over, members_over
from ae_jax.train.progress import fit_progress, member_progress
from ae_jax.train.rundir import RunDirectory


@dataclasses.dataclass(frozen=True)
class Lab:
    """Where an experiment trains: the folder of its runs, and the launcher.

    `fits` is off where nothing may be fitted, because only a plan is asked for.
    """

    root: Path
    launcher: Launcher = Local()
    fits: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root))

    def train(
        self, members: Sequence[Member], dataset: DataSet, which: Which = "latest"
    ) -> dict[str, Fitted]:
        """Trains members to their ends; fitted models by name, without those that diverged.

        `which` is the checkpoint that is taken: `best` is so on the validation split. Raises
        UserError for two members of one name.
        """
        names = [member.name for member in members]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise UserError(f"two members are called {twice[0]}: their runs would be one")
        outcomes = self.launcher.train(members, dataset, self.root, listener_for=member_progress)
        ended = [m for m in members if not isinstance(outcomes[m.name], TrainingDiverged)]
        diverged = {name for name in names if isinstance(outcomes[name], TrainingDiverged)}
        return Trained(restored(self.root, ended, dataset, which), diverged)

    def sweep(
        self,
        config: RunConfig,
        dataset: DataSet,
        over: Mapping[str, Sequence[Any]],
        seeds: int = 1,
        which: Which = "latest",
    ) -> Sweep:
        """Trains the configuration with all combinations of some options and so many seeds each.

        `over` names options as `ae_jax.fit` does: `{"latent_dim": (2, 10)}`. Raises UserError.
        """
        seeds = whole_number(seeds, "the number of seeds", 1)
        settings = members_over(config, Over(paths_of(config, over), seeds=seeds))
        members = [member for _, own in settings.values() for member in own]
        fitted = self.train(members, dataset, which)
        models = {
            name: {one.name: fitted[one.name] for one in own if one.name in fitted}
            for name, (_, own) in settings.items()
        }
        return Sweep({name: setting for name, (setting, _) in settings.items()}, models)

    def fit(self, name: str, codec: CodecSpec, dataset: DataSet, preprocess: str) -> Fitted:
        """A codec, fitted in this process and kept as the run `name`, or read back from there.

        Raises UserError for what is no codec.
        """
        if not isinstance(codec, CodecSpec):
            raise UserError(f"a codec is one of ae_jax.codecs with its options, not {codec!r}")
        workdir = self.root / name
        if not (self.fits or RunDirectory(workdir).checkpoints.is_dir()):
            raise WouldFit(name)
        config = CodecConfig(data=DataConfig.of(dataset, preprocess), codec=codec)
        with fit_progress(name) as listener:
            return fit(dataset, config=config, workdir=workdir, listeners=[listener])


def restored(
    root: Path, members: Sequence[Member], dataset: DataSet, which: Which = "latest"
) -> dict[str, Fitted]:
    """Trained members by name, from their latest or best checkpoints, on one copy of the data."""
    setups = prepare_members(members, dataset, root)
    return {
        name: restore(RunDirectory(root / name), setup, which) for name, setup in setups.items()
    }


class Trained(dict[str, Fitted]):
    """Models by name; to ask for one that diverged is refused in a sentence."""

    def __init__(self, models: Mapping[str, Fitted], diverged: Collection[str]):
        super().__init__(models)
        self._diverged = diverged

    def __missing__(self, name: str) -> Fitted:
        if name in self._diverged:
            raise TrainingDiverged(f"{name} diverged, and what it is compared with needs it")
        raise KeyError(name)


class WouldFit(Exception):
    """Ends a plan at a codec that has not been fitted yet."""
