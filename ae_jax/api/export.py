"""A model as programs that run without this library: StableHLO, weights, and its configuration.

`encode.stablehlo` maps raw examples [N, ...] float32 to posterior means [N, Z], `decode.stablehlo`
codes [N, Z] to means of p(x|z) in the units of the data, for any N; preprocessing is part of them.
Both take the weights first, a table of arrays by name as `weights.safetensors` holds them, and,
last, the labels [N] int32 or the condition [N, ...] of a model that has one. `config.json` says
what the model is.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ae_jax.api import compiled
from ae_jax.api.fitted import Fitted
from ae_jax.core.errors import UserError, present
from ae_jax.core.files import make_directory, write_atomically, write_json
from ae_jax.train.config import to_dict
from ae_jax.train.own_files import refuse_over_run
from ae_jax.train.seal import name_of

PLATFORMS = ("cpu", "cuda", "tpu")
FILES = ("encode.stablehlo", "decode.stablehlo", "weights.safetensors", "config.json")

Weights = dict[str, Array]


def export(model: Fitted, folder: str | Path) -> Path:
    """Writes the four files to a folder, and returns it. Raises UserError.

    The programs are for the platforms cpu, cuda and tpu.
    """
    try:
        import flatbuffers as _flatbuffers
        from safetensors.numpy import save
    except ImportError as error:
        raise UserError(
            f"exporting needs the package {error.name}: pip install 'ae_jax[export]'"
        ) from error
    del _flatbuffers  # which jax.export asks for
    refuse_over_run(Path(folder))
    config = {**to_dict(model.config), "inputs": _inputs(model)}
    weights, programs = weights_of(model), programs_of(model)
    folder = make_directory(Path(folder))
    for name, program in programs.items():
        write_atomically(folder / f"{name}.stablehlo", bytes(program.serialize()))
    arrays = {name: np.asarray(value, order="C") for name, value in weights.items()}
    write_atomically(folder / "weights.safetensors", save(arrays))
    write_json(folder / "config.json", config)
    return folder


def weights_of(model: Fitted) -> dict[str, np.ndarray]:
    """All parameters by name, as `params.encoder.dense_0.kernel`."""
    leaves = jax.tree_util.tree_leaves_with_path(model.variables)
    return {name_of(path): np.asarray(leaf) for path, leaf in leaves}


def programs_of(model: Fitted) -> dict[str, jax.export.Exported]:
    """`encode` and `decode`, for any number of examples."""
    (size,) = jax.export.symbolic_shape("n")
    weights = {
        name: jax.ShapeDtypeStruct(value.shape, value.dtype)
        for name, value in weights_of(model).items()
    }
    shape, dim = model.setup.dataset.shape, model.setup.latent_dim
    extra = _condition(model, size)
    programs = {}
    for name, function, each in (
        ("encode", encoder_of(model, hold=jax.lax.optimization_barrier), shape),
        ("decode", decoder_of(model), (dim,)),
    ):
        main = jax.ShapeDtypeStruct((size, *each), jnp.float32)
        lowered = jax.export.export(jax.jit(function), platforms=PLATFORMS)
        try:
            programs[name] = lowered(weights, main, *extra)
        except (TypeError, jax.errors.JAXTypeError, ValueError) as error:
            raise UserError(
                f"the {name}r of this model is no program for any number of examples: "
                f"{str(error).splitlines()[0]}"
            ) from error
    return programs


def _variables(model: Fitted) -> Callable[[Weights], Any]:
    leaves, structure = jax.tree_util.tree_flatten_with_path(model.variables)
    names = [name_of(path) for path, _ in leaves]
    return lambda weights: jax.tree.unflatten(structure, [weights[name] for name in names])


def encoder_of(
    model: Fitted, hold: Callable[[Any], Any] = lambda statistics: statistics
) -> Callable[..., Array]:
    """From weights, examples [N, ...] and their condition, if any, to posterior means [N, Z].

    `hold` keeps a compiler from adding up the two parts of a mean, which are constants here and
    have together more digits than float32.
    """
    tree, setup = _variables(model), model.setup
    statistics = jax.tree.map(np.asarray, setup.numbers.statistics)

    def encode(weights: Weights, x: Array, *condition: Array) -> Array:
        rows = _rows(model, "x", x, condition)
        ids = compiled.UNNUMBERED + jnp.arange(x.shape[0], dtype=jnp.int32)
        held = hold(statistics)
        return compiled.encode(tree(weights), rows, ids, held, architecture=setup.architecture)

    return encode


def decoder_of(model: Fitted) -> Callable[..., Array]:
    """From weights, codes [N, Z] and their condition, if any, to means in units of the data."""
    tree, setup = _variables(model), model.setup
    statistics = jax.tree.map(np.asarray, setup.numbers.statistics)
    inverse = setup.architecture.preprocess.inverse

    def decode(weights: Weights, z: Array, *condition: Array) -> Array:
        rows, ids = _rows(model, "z", z, condition), jnp.arange(z.shape[0], dtype=jnp.int32)
        means = compiled.decode(
            tree(weights), rows, ids, statistics, architecture=setup.architecture
        )
        back: Any = means if inverse is None else inverse(means, statistics, None)
        return back.astype(jnp.float32)

    return decode


def _rows(
    model: Fitted, name: str, values: Array, condition: tuple[Array, ...]
) -> dict[str, Array]:
    rows = {name: values}
    if condition:
        rows["y" if model.condition_kind == "label" else "condition"] = condition[0]
    return rows


def _condition(model: Fitted, size: Any) -> list[jax.ShapeDtypeStruct]:
    if model.condition_kind == "label":
        return [jax.ShapeDtypeStruct((size,), jnp.int32)]
    if model.condition_kind == "input":
        shape = present(model.setup.dataset.condition_shape, "condition_shape")
        return [jax.ShapeDtypeStruct((size, *shape), jnp.float32)]
    return []


def _inputs(model: Fitted) -> dict[str, Any]:
    """What the programs take, for those who have only the files."""
    dataset = model.setup.dataset
    return {
        "examples": ["n", *dataset.shape],
        "codes": ["n", model.setup.latent_dim],
        "condition": model.condition_kind,
        "largest raw value": dataset.max_value,
        "arguments": "weights by name, then examples or codes, then labels or condition",
    }
