"""A fitted model in one file, without its examples: it encodes, decodes and samples anywhere.

The file is an .npz archive of plain arrays: `header`, JSON as UTF-8 bytes, with the configuration,
the facts about the data that preprocessing needs, and the form of the values; `values`, the bytes
of all parameters; `sha256` of both. Nothing in it is executed, and nothing is unpickled.
"""

import dataclasses
import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ae_jax.api.fitted import Fitted
from ae_jax.codecs.model import CodecModel
from ae_jax.core.errors import UserError
from ae_jax.core.files import finite_or_none
from ae_jax.core.registry import code_of, user_files
from ae_jax.core.trust import check_all, only_known_code
from ae_jax.data.base import DataSet, Facts, Split
from ae_jax.data.preprocess import PREPROCESSING, Statistics
from ae_jax.train import seal
from ae_jax.train.codec_fit import CodecArchitecture, CodecNumbers, CodecSetup
from ae_jax.train.config import AnyConfig, CodecConfig, from_dict, to_dict
from ae_jax.train.identity import changed_files
from ae_jax.train.program import execution_for
from ae_jax.train.setup import Setup, assembled
from ae_jax.train.values import ValueRange

FORMAT = 1


def to_bytes(model: Fitted) -> bytes:
    """The file of a model."""
    own = {"step": model.step, "records": [finite_or_none(record) for record in model.records]}
    return _archive(model.setup, {"state": model.variables}, own)


def facts_of(setup: Setup | CodecSetup) -> bytes:
    """A file of all but the parameters: beside a run, it stands in for data that cannot be found
    again."""
    return _archive(setup, {}, {})


def _archive(setup: Setup | CodecSetup, tree: dict[str, Any], own: dict[str, Any]) -> bytes:
    """An archive of values, with what has to be known of the data for them to mean something."""
    dataset = setup.dataset
    statistics = jax.tree.map(np.asarray, setup.numbers.statistics)
    values, form = seal.packed({**tree, "statistics": statistics})
    train = dataset.splits["train"]
    config = to_dict(setup.config)
    header = {
        "format": FORMAT,
        "config": config,
        "code": code_of(config),
        **own,
        "data": {
            "name": dataset.name,
            "shape": list(dataset.shape),
            "type": train.x.dtype.str,
            "max_value": dataset.max_value,
            "protocol": dataset.protocol,
            "limit": dataset.limit,
            "classes": dataset.classes,
            "num_classes": dataset.num_classes,
            "condition": dataset.condition_shape,
            "examples": len(train) or getattr(setup, "num_train", 0),
            "facts": dataclasses.asdict(dataset.facts),
        },
        "inputs": None if isinstance(setup, CodecSetup) else dataclasses.asdict(setup.values),
        "form": form,
    }
    file = io.BytesIO()
    text = np.frombuffer(json.dumps(header, default=_plain).encode(), np.uint8)
    np.savez(file, header=text, values=values, sha256=_digest(text, values))
    return file.getvalue()


def from_bytes(content: bytes, name: str, *, trust: bool, accept_code: bool) -> Fitted:
    """The model in a file called so. Raises UserError for what is none, damaged or of edited code.

    Without `trust` it may name files of code only that this user has run before.
    """
    header, values = _parts(content, name)
    saved = header["config"]
    with only_known_code(trust):
        check_all(user_files(saved))
        edited = changed_files(header["code"], code_of(saved))
        if edited and not accept_code:
            raise UserError(
                f"{', '.join(edited)} was edited since the model in {name} was saved: it is loaded "
                "with the code as it is now by accept_code=True"
            )
        setup, tree = _opened(header, values, name, from_dict(saved), with_state=True)
    collections = {key: value for key, value in tree["state"].items() if key != "params"}
    params = tree["state"]["params"]
    return Fitted(setup, params, header["step"], header["records"], collections)


def setup_from(path: Path, config: AnyConfig, *, trust: bool) -> Setup | CodecSetup:
    """The setup of a run of this configuration from a file of `facts_of`, without its examples.

    Raises UserError. The code that it names is for the run to check.
    """
    header, values = _parts(path.read_bytes(), str(path))
    with only_known_code(trust):
        return _opened(header, values, str(path), config, with_state=False)[0]


def _opened(
    header: dict[str, Any], values: np.ndarray, name: str, config: AnyConfig, *, with_state: bool
) -> tuple[Any, dict[str, Any]]:
    """The setup with its statistics, and all values. Raises UserError."""
    setup, state = _setup(config, _dataset(header["data"]), header)
    like = {"statistics": setup.numbers.statistics} | ({"state": state} if with_state else {})
    changes = seal.changes_of(header["form"], seal.form_of(like))
    if changes:
        raise UserError(f"the model in {name} has another form: {changes[0]}")
    tree = seal.unpacked(values, like)
    numbers = dataclasses.replace(setup.numbers, statistics=tree["statistics"])
    return dataclasses.replace(setup, numbers=numbers), tree


def _parts(content: bytes, name: str) -> tuple[dict[str, Any], np.ndarray]:
    broken = UserError(f"{name} is no saved model, or it is damaged")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as parts:
            text, values = parts["header"], parts["values"]
            known = np.array_equal(parts["sha256"], _digest(text, values))
        header = json.loads(text.tobytes())
        known = known and header["format"] == FORMAT
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise broken from error
    if not known:
        raise broken
    return header, values


def _plain(value: Any) -> Any:
    """A number or a list of NumPy, which facts about data may hold, as Python's own."""
    return np.asarray(value).tolist()


def _digest(text: np.ndarray, values: np.ndarray) -> np.ndarray:
    """sha256 of all that the file holds, 32 bytes."""
    return np.frombuffer(hashlib.sha256(text.tobytes() + values.tobytes()).digest(), np.uint8)


def _dataset(data: dict[str, Any]) -> DataSet:
    """A data set of that kind without examples."""
    condition = data["condition"]
    none = Split(
        np.empty((0, *data["shape"]), np.dtype(data["type"])),
        None if data["num_classes"] is None else np.empty(0, np.int32),
        condition=None if condition is None else np.empty((0, *condition), np.float32),
    )
    facts: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in data["facts"].items()
    }
    return DataSet(
        data["name"],
        {"train": none},
        data["max_value"],
        data["protocol"],
        data["limit"],
        None if data["classes"] is None else tuple(data["classes"]),
        Facts(**facts),
        data["num_classes"],
    )


def _setup(config: Any, dataset: DataSet, header: dict[str, Any]) -> tuple[Any, Any]:
    """The setup, and the form of what the model is applied to."""
    preprocess = PREPROCESSING.get(config.data.preprocess)
    shapes: dict[str, Any] = {
        name: jax.ShapeDtypeStruct(tuple(shape), np.dtype(kind))
        for name, shape, kind in header["form"]
        if name.startswith("statistics.")
    }
    fields = {f.name: shapes.get(f"statistics.{f.name}") for f in dataclasses.fields(Statistics)}
    statistics = Statistics(**fields)
    if isinstance(config, CodecConfig):
        architecture = CodecArchitecture(CodecModel.of(config.codec, dataset.shape), preprocess)
        fit = CodecSetup(config, dataset, architecture, CodecNumbers(statistics), {})
        return fit, jax.eval_shape(fit.initial_state).variables
    # Where it was trained does not matter: it is looked at on one device.
    setup = assembled(
        config.on_one_device(),
        dataset,
        preprocess,
        statistics,
        ValueRange(**header["inputs"]),
        {},
        execution_for("jit"),
        header["data"]["examples"],
    )
    return setup, setup.state_shapes().variables


def read(path: Path, *, trust: bool, accept_code: bool) -> Fitted:
    """The model in a file. Raises UserError."""
    return from_bytes(path.read_bytes(), str(path), trust=trust, accept_code=accept_code)


def unpickled(content: bytes) -> Fitted:
    """What `pickle` calls: to unpickle is to trust."""
    return from_bytes(content, "the pickled model", trust=True, accept_code=False)
