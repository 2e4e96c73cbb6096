"""The profiler, which the command line has listen beside the bar."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax

from ae_jax.train.records import Listener, Record


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
