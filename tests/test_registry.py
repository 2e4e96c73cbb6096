"""Names and files of parts, and what is said when there is no such thing."""

import sys
from pathlib import Path

import pytest

from ae_jax.core.errors import UserError
from ae_jax.core.registry import Registry, absolute_reference


@pytest.fixture
def shapes():
    return Registry("shape", {"circle": object(), "square": object()})


def test_an_unknown_name_is_answered_with_the_nearest_and_all_valid_ones(shapes):
    with pytest.raises(UserError) as caught:
        shapes.get("sqare")
    expected = "unknown shape 'sqare': did you mean 'square'? valid: circle, square"
    assert str(caught.value) == expected


@pytest.mark.parametrize("name", ["zzz", "zzz:Name", ""])
def test_a_name_like_none_is_answered_without_a_guess(shapes, name):
    with pytest.raises(UserError) as caught:
        shapes.get(name)
    assert str(caught.value) == f"unknown shape {name!r}: valid: circle, square"


def test_a_file_without_an_object_is_answered_with_the_form_of_the_name(shapes):
    with pytest.raises(UserError, match="shape 'mine.py' is a file: .* as mine.py:Name"):
        shapes.get("mine.py")


@pytest.mark.parametrize("name", ["Plain", "function", "derived"])
def test_what_is_no_class_of_the_kind_is_refused(name, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "import collections\n"
        "class Plain: pass\n"
        "def function(): pass\n"
        "class Derived(collections.OrderedDict): pass\n"
        "derived = Derived()\n"
    )
    kinds = Registry("kind", {}, base=dict)
    assert kinds.get(f"{file}:Derived").__name__ == "Derived"
    with pytest.raises(UserError, match=f":{name}' is no class derived from builtins.dict"):
        kinds.get(f"{file}:{name}")


def test_it_reads_like_a_mapping(shapes):
    assert list(shapes) == ["circle", "square"]
    assert "circle" in shapes
    assert "triangle" not in shapes
    assert [name for name, _ in shapes.items()] == ["circle", "square"]


def test_names_and_entries_go_both_ways(shapes):
    for name, entry in shapes.items():
        assert shapes.get(name) is entry
        assert shapes.name_of(entry) == name


def test_what_no_name_leads_to_is_refused_with_the_remedy(shapes):
    class Mine:
        pass

    sentence = "shape Mine has no name: register it, or put it in a file and name it as path/to/"
    with pytest.raises(UserError, match=sentence):
        shapes.name_of(Mine)
    with pytest.raises(UserError, match="shape 3 has no name"):
        shapes.name_of(3)


def test_registering_adds_a_name_once(shapes):
    entry = object()
    shapes.register("triangle", entry)
    assert shapes.get("triangle") is entry
    with pytest.raises(ValueError, match="shape 'triangle' is registered already"):
        shapes.register("triangle", object())
    assert shapes.get("triangle") is entry


def test_the_entries_given_are_copied():
    entries = {"circle": object()}
    Registry("shape", entries).register("square", object())
    assert list(entries) == ["circle"]


def _write(tmp_path, text, name="mine.py"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_a_file_is_a_name(shapes, tmp_path):
    path = _write(tmp_path, "class Mine:\n    pass\n\nclass Other:\n    pass\n")
    mine = shapes.get(f"{path}:Mine")
    assert mine.__name__ == "Mine"
    # Imported once: the same object at every call, and other objects of the same module.
    assert shapes.get(f"{path}:Mine") is mine
    assert shapes.get(f"{path}:Other").__module__ == mine.__module__
    assert shapes.name_of(mine) == f"{path}:Mine"
    assert shapes.get(shapes.name_of(mine)) is mine


def test_files_of_one_name_in_two_folders_are_two_modules(shapes, tmp_path):
    values = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        path = _write(tmp_path / folder, f"value = {folder!r}\n")
        values.append(shapes.get(f"{path}:value"))
    assert values == ["a", "b"]


def test_a_path_is_relative_to_where_the_program_runs(shapes, tmp_path, monkeypatch):
    _write(tmp_path, "value = 3\n")
    monkeypatch.chdir(tmp_path)
    assert shapes.get("mine.py:value") == 3


def test_a_missing_file_is_named(shapes, tmp_path):
    with pytest.raises(UserError, match="shape .*nothing.py:Mine: there is no such file"):
        shapes.get(f"{tmp_path}/nothing.py:Mine")


def test_a_missing_attribute_is_answered_with_the_public_ones(shapes, tmp_path):
    path = _write(tmp_path, "class Mine:\n    pass\n\n_hidden = 1\n")
    with pytest.raises(UserError) as caught:
        shapes.get(f"{path}:Mne")
    expected = f"unknown shape in {path} 'Mne': did you mean 'Mine'? valid: Mine"
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [("import no_such_module_at_all\n", "no_such_module_at_all"), ("class :\n", "SyntaxError")],
)
def test_a_file_that_fails_on_import_is_named_and_can_be_mended(shapes, tmp_path, text, reason):
    path = _write(tmp_path, text)
    before = set(sys.modules)
    with pytest.raises(UserError, match=f"shape file .*mine.py fails on import: .*{reason}"):
        shapes.get(f"{path}:Mine")
    assert not [name for name in set(sys.modules) - before if name.startswith("ae_jax_user_")]
    path.write_text("Mine = 'mended, and of another length'\n")
    assert shapes.get(f"{path}:Mine").startswith("mended")


@pytest.mark.parametrize(
    ("value", "tail"),
    [
        ("mine.py:Name", "mine.py:Name"),
        ("sub/../mine.py:Name", "mine.py:Name"),
        ("rows.npy", "rows.npy"),
        ("./rows.npz", "rows.npz"),
    ],
)
def test_references_to_files_are_made_whole_once(value, tail, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole = absolute_reference(value)
    assert whole == f"{tmp_path.resolve()}/{tail}"
    monkeypatch.chdir("/")
    assert absolute_reference(whole) == whole


def test_a_reference_may_start_from_the_home_folder():
    assert absolute_reference("~/mine.py:Name") == f"{Path.home().resolve()}/mine.py:Name"


@pytest.mark.parametrize("value", ["mnist", "a:b", "mine.py", "x.npy.gz", "", 3, 0.5, None, [1, 2]])
def test_what_is_no_reference_stays_as_it_is(value):
    assert absolute_reference(value) is value
