"""What an experiment is made of: a command with presets, a place to train, and its findings.

`experiment` makes a function of (preset, lab) a command, `Lab` trains and resumes, `Findings` are
what results.json, figures and report.html are written from. `network` and `autoencoder` configure
by one call, `Lab.sweep` and `Estimate` measure over options and seeds, `claim` judges, `protocol`
says what was done, `shown` and `reconstructed` draw, of lines that are `along` a run or a `level`.
The experiments of this repository are made of nothing else.
"""

from ae_jax.cli.shell import run_command
from ae_jax.lab.claims import claim
from ae_jax.lab.command import experiment
from ae_jax.lab.drawing import FIGURES, along, level, reconstructed, shown
from ae_jax.lab.findings import Findings, Rows, fit_row, publish, rounded, run_rows
from ae_jax.lab.sweeps import Estimate, Sweep
from ae_jax.lab.training import Lab, WouldFit, restored
from ae_jax.lab.words import autoencoder, network, protocol
from ae_jax.report.claims import Claim, same_order
from ae_jax.report.pages import Shown
from ae_jax.train.grid import Member

__all__ = [
    "FIGURES",
    "Claim",
    "Estimate",
    "Findings",
    "Lab",
    "Member",
    "Rows",
    "Shown",
    "Sweep",
    "WouldFit",
    "along",
    "autoencoder",
    "claim",
    "experiment",
    "fit_row",
    "level",
    "network",
    "protocol",
    "publish",
    "reconstructed",
    "restored",
    "rounded",
    "run_command",
    "run_rows",
    "same_order",
    "shown",
]
