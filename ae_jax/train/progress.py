"""How far a run or a fit is: a bar where somebody looks, plain lines elsewhere."""

import importlib.util
import math
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TextIO

from ae_jax.codecs import Progress
from ae_jax.nn import HEADS
from ae_jax.train import processes
from ae_jax.train.config import RunConfig
from ae_jax.train.grid import Member
from ae_jax.train.records import Listener, Record, is_look

# Notebooks draw a bar of their own with ipywidgets, and tqdm.auto warns where they have them not.
if importlib.util.find_spec("ipywidgets") is None:
    from tqdm import tqdm
else:
    from tqdm.auto import tqdm

# In nats per example: no density of bounded data is as large in earnest. Squares of real numbers in
# units of their own may be.
DIVERGED = 1e9


def ran_away(value: float, config: RunConfig) -> bool:
    """Whether a metric in nats is one that training diverged to."""
    if not math.isfinite(value):
        return True
    head = config.model.head
    return abs(value) >= DIVERGED and head in HEADS and HEADS.get(head).support.is_bounded


def reached(value: float, config: RunConfig, decimals: int = 2) -> str:
    """A metric in words for a terminal: digits, or that it ran away."""
    if ran_away(value, config):
        return "diverged"
    return f"{value:.{decimals}f}" if abs(value) < DIVERGED else f"{value:.6g}"


def is_shown(stream: TextIO) -> bool:
    """Whether a bar can be drawn: in a terminal or a notebook."""
    # Of a notebook by its class: its module is imported by others too.
    return stream.isatty() or type(stream).__module__.partition(".")[0] == "ipykernel"


@contextmanager
def progress(label: str, config: RunConfig, stream: TextIO | None = None) -> Iterator[Listener]:
    """A bar with rate and time left on a terminal; elsewhere a plain line for each look.

    What is shown is the headline of the objective. Of several processes the first one shows it.
    """
    epochs, headline = config.train.epochs, config.objective.headline
    stream = sys.stderr if stream is None else stream
    if not processes.is_first():
        yield lambda record: None
        return
    if not is_shown(stream):
        yield lambda record: _print_look(label, config, record, stream)
        return
    with tqdm(total=epochs, desc=label, unit="epoch", file=stream) as bar:

        def advance(record: Record) -> None:
            if bar.n == 0:  # a resumed run: what was done before took no time today
                bar.initial = bar.n = record["epoch"] - 1
            bar.update(record["epoch"] - bar.n)
            bar.set_postfix_str(f"{headline} {reached(record[f'running/{headline}'], config)}")

        yield advance


def member_progress(member: Member) -> AbstractContextManager[Listener]:
    """`progress` of a member of a grid, under its name."""
    return progress(member.name, member.config)


def _print_look(label: str, config: RunConfig, record: Record, stream: TextIO) -> None:
    if not is_look(record):
        return
    epochs, headline = config.train.epochs, config.objective.headline
    values = "  ".join(
        f"{split} {reached(record[f'{split}/{headline}'], config)}"
        for split in ("train", "valid", "test")
        if f"{split}/{headline}" in record
    )
    width = math.ceil(math.log10(epochs + 1))
    stream.write(
        f"{label}  epoch {record['epoch']:>{width}}/{epochs}  {headline}: {values}  "
        f"({record['seconds']:.1f} s, {record['examples_per_second']:,.0f} examples/s)\n"
    )
    stream.flush()


@contextmanager
def fit_progress(label: str, stream: TextIO | None = None) -> Iterator[Progress]:
    """As `progress`, for the iterations of a codec: a bar, or a plain line now and then."""
    stream = sys.stderr if stream is None else stream
    if not processes.is_first():
        yield lambda done, most, objective: None
        return
    if not is_shown(stream):

        def write(done: int, most: int, objective: float) -> None:
            stream.write(
                f"{label}  iteration {done} of at most {most}  objective {objective:.6g}\n"
            )
            stream.flush()

        yield write
        return
    with tqdm(desc=label, unit="iteration", file=stream) as bar:

        def advance(done: int, most: int, objective: float) -> None:
            bar.total = most
            bar.update(done - bar.n)
            bar.set_postfix_str(f"objective {objective:.6g}")

        yield advance
