"""A model as ONNX, for runtimes that know nothing of XLA; by jax2onnx, which is an extra.

`encode.onnx` maps raw examples [N, ...] float32 to posterior means [N, Z], `decode.onnx` codes
[N, Z] to means of p(x|z) in the units of the data, for any N; weights and preprocessing lie within.
"""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from ae_jax.api.export import decoder_of, encoder_of, weights_of
from ae_jax.api.fitted import Fitted
from ae_jax.core.errors import UserError
from ae_jax.core.files import make_directory, write_atomically
from ae_jax.train.own_files import refuse_over_run

# They warn of plugins for other libraries and of shapes that are not serialised.
_TALKERS = ("jax2onnx", "onnx_ir")


def export_onnx(model: Fitted, folder: str | Path) -> Path:
    """Writes encode.onnx and decode.onnx to a folder, and returns it.

    Raises UserError where the extra is missing, for a model that is conditioned, and for one with
    an operation that jax2onnx does not translate.
    """
    if model.condition_kind != "none":
        raise UserError(
            "ONNX is for models without a condition; StableHLO takes those that have one"
        )
    refuse_over_run(Path(folder))
    to_onnx = _translator()
    weights = {name: jnp.asarray(value) for name, value in weights_of(model).items()}
    programs = {}
    for name, function, each in (
        ("encode", encoder_of(model), model.setup.dataset.shape),
        ("decode", decoder_of(model), (model.setup.latent_dim,)),
    ):
        try:
            programs[name] = to_onnx(partial(function, weights), [("n", *each)])
        except (NotImplementedError, TypeError, ValueError, KeyError, RuntimeError) as error:
            raise UserError(
                f"jax2onnx does not translate the {name}r of this model: "
                f"{(str(error).splitlines() or [type(error).__name__])[0]}"
            ) from error
    folder = make_directory(Path(folder))
    for name, program in programs.items():
        write_atomically(folder / f"{name}.onnx", program.SerializeToString())
    return folder


def _translator() -> Callable[..., Any]:
    for name in _TALKERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        from jax2onnx import to_onnx
    except ImportError as error:
        raise UserError("exporting to ONNX needs the extra: pip install 'ae_jax[onnx]'") from error
    return to_onnx
