"""The bar that Python shows by default, in terminals and notebooks."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ae_jax.train.codec_fit import CodecSetup
from ae_jax.train.progress import fit_progress, is_shown, progress
from ae_jax.train.setup import Setup


@contextmanager
def shown(setup: Setup | CodecSetup, wanted: bool | None) -> Iterator[tuple[Any, ...]]:
    """Listeners that show how far a run is: none where it is not wanted, or nobody would see it.

    wanted   None for a bar where there is a place for one; True for lines elsewhere too
    """
    if wanted is None:
        wanted = is_shown(sys.stderr)
    if not wanted:
        yield ()
        return
    name = setup.dataset.name
    if isinstance(setup, CodecSetup):
        with fit_progress(name) as listener:
            yield (listener,)
        return
    with progress(name, setup.config) as listener:
        yield (listener,)
