"""Whatever is typed, read or handed over: an answer or one sentence."""

import io
import json
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis.extra.numpy import arrays

from ae_jax.api import configure
from ae_jax.core.errors import UserError
from ae_jax.data import from_array, load
from ae_jax.train.config import from_dict, override, to_dict
from faults.shared import Account, is_sentence, try_many

few_or_many = pytest.mark.parametrize("count", [60, pytest.param(3000, marks=pytest.mark.slow)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("wild")


PATHS = [
    f"{section}.{option}"
    for section, options in to_dict(configure(None, {})).items()
    for option in options
] + ["codec.latent_dim", "codec.name", "model", "x.y", ""]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(
        [10**320, -(10**320), 2**63, "9" * 5000, "1e999", "\0", "a.py:B", "~x/y.npz"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


@pytest.mark.slow_cases("dumps-60")
@few_or_many
@pytest.mark.parametrize("text", [json.dumps, str])
def test_any_value_of_any_option_is_taken_or_refused(text, count):
    settings_of = st.lists(st.tuples(st.sampled_from(PATHS), JSON), min_size=1, max_size=3)
    texts = settings_of.map(lambda some: [f"{path}={text(value)}" for path, value in some])
    try_many("--set", count, texts, lambda some: from_dict(override({}, some)))


@few_or_many
def test_any_json_is_a_configuration_or_refused(count):
    whole = JSON | JSON.map(lambda value: {"model": value, "train": {"epochs": value}})
    try_many("JSON", count, whole, from_dict)


@few_or_many
def test_any_array_is_a_data_set_or_refused(count):
    kinds = st.sampled_from(["f4", "f8", "u1", "i8", "b1", "c8", "U3", "M8[s]", "f2", ">f4"])
    shapes = st.lists(st.integers(0, 6), max_size=4).map(tuple)
    try_many("arrays", count, arrays(kinds, shapes), from_array)


@few_or_many
def test_any_bytes_are_a_data_set_or_refused(count, tmp_path):
    buffer = io.BytesIO()
    np.savez(buffer, x=np.zeros((30, 2), np.float32))
    whole, path = buffer.getvalue(), tmp_path / "x.npz"

    def use(given_):
        content, changed = given_
        place = len(content) * 7 % len(whole)
        path.write_bytes(whole[:place] + content + whole[place:] if changed else content)
        load(str(path))

    try_many("bytes of files", count, st.tuples(st.binary(max_size=400), st.booleans()), use)


def test_a_member_that_is_no_array_is_refused(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "x.npz", "w") as file:
        file.writestr("x", b"no array")
    with pytest.raises(UserError, match="damaged, cut short or no NumPy file"):
        load(str(tmp_path / "x.npz"))


ODD = [
    ("train", "digits", "--epochs", "9" * 320),
    ("train", "digits", "--set", f"train.batch_size={'9' * 320}"),
    ("train", "digits", "--learning-rate", "9" * 320),
    ("train", "digits", "--seed", "9" * 320),
    ("train", "digits", "--set", f"optim.learning_rate={'[' * 100_000}"),
    ("train", "digits", "--set", f"model.init_scale={'9' * 320}"),
    ("train", "digits", "--latent-dim", "9" * 18),
    ("train", "loop.npy"),
    ("train", "loop.py:it"),
    ("train", "loop"),
    ("train", "x" * 5000),
    ("train", "\0.npy"),
    ("train", "--config", "nested.json"),
    ("train", "--config", "."),
    ("evaluate", "loop"),
    ("evaluate", "nested.json"),
    ("encode", ".", "--out", "loop"),
    ("data", "info", "loop.npz"),
    ("list", "\0"),
]


def test_odd_arguments_end_with_a_sentence(command, folder):
    for name in ("loop", "loop.npy", "loop.npz", "loop.py"):
        (folder / name).symlink_to(name)
    (folder / "nested.json").write_text('{"a":' * 100_000)
    account = Account()
    for arguments in ODD:
        status, _, err = command(*arguments)
        fine = status == 2 and is_sentence(err)
        what = f"{[str(one)[:40] for one in arguments]}: {status} {err[:400]}"
        account.took(what, "answered" if fine else "tracebacks")
    account.settle("odd arguments")
