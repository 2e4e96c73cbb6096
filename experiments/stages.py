"""One training run at several epochs of its course."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from ae_jax.api import Fitted, restore
from ae_jax.api import fitted as fitted_of
from ae_jax.core.errors import TrainingDiverged, UserError
from ae_jax.data import DataSet
from ae_jax.lab import Lab
from ae_jax.train.grid import Member, prepare_members
from ae_jax.train.progress import member_progress
from ae_jax.train.rundir import RunDirectory


def stages(lab: Lab, member: Member, dataset: DataSet, epochs: Sequence[int]) -> dict[int, Fitted]:
    """The model before training, at 0, and after each of the `epochs`, in their order.

    A run keeps its latest state: what it was at an epoch is copied beside it, to NAME-epoch=E. What
    comes after a loss that is not finite is left out. Raises UserError where the run has passed an
    epoch of which there is no copy.
    """
    setup = prepare_members([member], dataset)[member.name]
    found = {0: fitted_of(setup, setup.initial_state(), [])}
    for epoch in sorted(set(epochs) - {0}):
        kept = lab.root / f"{member.name}-epoch={epoch}"
        if not kept.is_dir():
            outcomes = lab.launcher.train(
                [member], dataset, lab.root, until=epoch, listener_for=member_progress
            )
            outcome = outcomes[member.name]
            if isinstance(outcome, TrainingDiverged):
                break
            reached = outcome[-1]["epoch"]
            if reached > epoch:
                raise UserError(
                    f"{lab.root / member.name} is at epoch {reached} and its copy of epoch {epoch} "
                    "is gone: delete the run to train it again"
                )
            _copy(lab.root / member.name, kept)
        found[epoch] = restore(RunDirectory(kept), setup)
    return found


def _copy(source: Path, target: Path) -> None:
    """Whole or not at all."""
    part = target.with_name(f"{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(source, part)
    os.replace(part, target)
