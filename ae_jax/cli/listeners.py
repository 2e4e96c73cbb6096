"""Listeners of the command line beside the bar: TensorBoard, and the profiler."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import jax

from ae_jax.core.errors import UserError
from ae_jax.train.loop import Listener, Record


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
