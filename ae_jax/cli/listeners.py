"""What to do with the records of a run as they come: show them, or pass them on."""

import math
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

import jax
from tqdm import tqdm

from ae_jax.codecs import Progress
from ae_jax.core.errors import UserError
from ae_jax.train import processes
from ae_jax.train.loop import Listener, Record, is_look


@contextmanager
def progress(
    label: str, epochs: int, headline: str, stream: TextIO | None = None
) -> Iterator[Listener]:
    """A bar with rate and time left on a terminal; elsewhere a plain line for each look.

    Of several processes the first one shows it.
    """
    stream = sys.stderr if stream is None else stream
    if not processes.is_first():
        yield lambda record: None
        return
    if not stream.isatty():
        yield lambda record: _print_look(label, epochs, headline, record, stream)
        return
    with tqdm(total=epochs, desc=label, unit="epoch", file=stream) as bar:

        def advance(record: Record) -> None:
            if bar.n == 0:  # a resumed run: what was done before took no time today
                bar.initial = bar.n = record["epoch"] - 1
            bar.update(record["epoch"] - bar.n)
            bar.set_postfix_str(f"{headline} {record[f'running/{headline}']:.2f}")

        yield advance


def _print_look(label: str, epochs: int, headline: str, record: Record, stream: TextIO) -> None:
    if not is_look(record):
        return
    values = "  ".join(
        f"{split} {record[f'{split}/{headline}']:.2f}"
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
    if not stream.isatty():

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


@contextmanager
def tensorboard(folder: Path) -> Iterator[Listener]:
    """Writes every number of every record as a TensorBoard scalar over training samples."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise UserError(
            "TensorBoard logs need the extra: pip install 'ae_jax[tensorboard]'"
        ) from error
    with ExitStack() as stack:
        writers: list[SummaryWriter] = []

        def write(record: Record) -> None:
            if not writers:  # not before the run has claimed its directory
                writers.append(stack.enter_context(SummaryWriter(str(folder))))
            for name, value in record.items():
                if name not in ("epoch", "step", "samples"):
                    writers[0].add_scalar(name, value, record["samples"])

        yield write


@contextmanager
def profile(folder: Path, epochs: int) -> Iterator[Listener]:
    """Traces the second epoch (the first compiles), or the only one, for TensorBoard or Perfetto.

    `epochs` is how many are left to train.
    """
    tracing = False

    def switch(on: bool) -> None:
        nonlocal tracing
        if on and not tracing:
            jax.profiler.start_trace(str(folder), create_perfetto_trace=True)
        elif tracing and not on:
            jax.profiler.stop_trace()
        tracing = on

    heard = 0

    def listen(record: Record) -> None:
        nonlocal heard
        heard += 1
        switch(heard == 1 and epochs > 1)

    switch(epochs == 1)
    try:
        yield listen
    finally:
        switch(False)
