import dataclasses
import json
import os
import re
import subprocess
import sys
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from ae_jax.api import configure
from ae_jax.core.commit import commit
from ae_jax.core.errors import RunWarning, UserError
from ae_jax.data import DataSet, Split
from ae_jax.train.config import RunConfig
from ae_jax.train.rundir import RunDirectory


def small_set(value: float = 0.0) -> DataSet:
    x = np.full((4, 2), value, np.float32)
    return DataSet("small", {"train": Split(x), "test": Split(x[:2])})


HOLD = """
import sys, time
from test_rundir import RunConfig, RunDirectory, small_set
with RunDirectory(sys.argv[1]).claim(RunConfig(), small_set()):
    print("held", flush=True)
    time.sleep(300)
"""


@pytest.mark.slow
def test_a_live_process_keeps_others_out_and_a_killed_one_does_not(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, env=environment
    )
    with holder:
        try:
            assert holder.stdout.readline() == b"held\n"
            directory = RunDirectory(tmp_path)
            with (
                pytest.raises(UserError, match="in use by a run that is still going on"),
                directory.claim(RunConfig(), small_set()),
            ):
                pass
        finally:
            holder.kill()
    with directory.claim(RunConfig(), small_set()):
        pass


def test_the_lock_is_released_after_an_error(tmp_path):
    directory = RunDirectory(tmp_path)
    with pytest.raises(ZeroDivisionError), directory.claim(RunConfig(), small_set()):
        raise ZeroDivisionError
    with directory.claim(RunConfig(), small_set()):
        pass


def claimed(path: Path, config: RunConfig | None = None, dataset: DataSet | None = None):
    directory = RunDirectory(path)
    with directory.claim(config or RunConfig(), dataset or small_set()):
        return directory


def test_another_configuration_is_refused_with_the_difference(tmp_path):
    directory = claimed(tmp_path)
    before = directory.config_file.read_bytes()
    other = configure(None, {"latent_dim": 7, "optim__name": "sgd", "learning_rate": 0.5})
    with pytest.raises(UserError) as caught:
        claimed(tmp_path, other)
    message = str(caught.value)
    for difference in (
        "model.latent_dim: 20 -> 7",
        'optim.name: "adam" -> "sgd"',
        "optim.learning_rate: 0.001 -> 0.5",
    ):
        assert difference in message
    assert "train." not in message and "sha256" not in message
    assert directory.config_file.read_bytes() == before


def test_changed_data_are_refused(tmp_path):
    directory = claimed(tmp_path)
    with pytest.raises(UserError, match=r"holds a run on other data \(data: sha256: "):
        claimed(tmp_path, dataset=small_set(1.0))
    with pytest.raises(UserError, match="the data of .* has changed: sha256: "):
        directory.check_data(small_set(1.0))
    directory.check_data(small_set())


def test_data_are_known_by_their_bytes_and_sizes_not_by_their_name(tmp_path):
    directory, data = claimed(tmp_path), small_set()
    renamed = dataclasses.replace(data, name="moved")
    directory.check_data(renamed)
    claimed(tmp_path, dataset=renamed)
    # One example more on one side, one fewer on the other.
    x = np.zeros((5, 2), np.float32)
    shifted = DataSet("small", {"train": Split(x), "test": Split(x[:1])})
    with pytest.raises(UserError, match="examples.test: 2 -> 1; examples.train: 4 -> 5; sha256"):
        directory.check_data(shifted)


def test_a_run_older_than_an_option_goes_on_with_its_default(tmp_path):
    directory = claimed(tmp_path)
    values = json.loads(directory.config_file.read_text())
    del values["eval"]["per_decade"], values["optim"]["eps"], values["model"]["init_scale"]
    directory.config_file.write_text(json.dumps(values))
    claimed(tmp_path)
    with pytest.raises(UserError, match="model.init_scale: 1.0 -> 0.5"):
        claimed(tmp_path, configure(None, {"model__init_scale": 0.5}))


def test_the_configuration_comes_back(tmp_path):
    config = configure(None, {"hidden": [3, 2], "objective__beta": 2.0, "optim__name": "adagrad"})
    assert claimed(tmp_path, config).config() == config


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot create the folder .*file/run: Not a directory"):
        claimed(tmp_path / "file" / "run")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="no permission to write"):
        claimed(tmp_path)


def test_a_folder_without_a_configuration_is_no_run(tmp_path):
    with pytest.raises(UserError, match="is not a run's directory: it has no config.json"):
        RunDirectory(tmp_path).config()


@pytest.mark.parametrize("content", ["", "{'model': 1}", '{"model": {'])
def test_a_damaged_configuration_is_refused(tmp_path, content):
    directory = claimed(tmp_path)
    directory.config_file.write_text(content)
    with pytest.raises(UserError, match=r"config\.json is not a JSON file"):
        directory.config()
    with pytest.raises(UserError, match=r"config\.json is not a JSON file"):
        claimed(tmp_path)


@pytest.mark.parametrize("content", ["[]", "3", '["model"]', '{"model": 3}'])
def test_a_configuration_of_another_form_is_refused(tmp_path, content):
    directory = claimed(tmp_path)
    directory.config_file.write_text(content)
    with pytest.raises(UserError, match="table"):
        directory.config()
    with pytest.raises(UserError, match="table"):
        claimed(tmp_path)


def record(step: int) -> dict:
    return {"epoch": step // 4, "step": step, "seconds": 0.1}


def test_records_are_appended_and_rewound(tmp_path):
    directory = claimed(tmp_path)
    assert directory.records() == []
    assert directory.rewind(0) == []
    assert not directory.metrics_file.exists()
    for step in (4, 8, 12):
        directory.append(record(step))
    assert directory.records() == [record(4), record(8), record(12)]
    assert directory.rewind(8) == [record(4), record(8)]
    directory.append(record(12))
    lines = directory.metrics_file.read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [4, 8, 12]


def test_a_line_that_a_crash_cut_short_is_left_out_at_every_length(tmp_path):
    directory = claimed(tmp_path)
    directory.append(record(4))
    whole = directory.metrics_file.read_text()
    last = json.dumps(record(8))
    for length in range(len(last)):
        directory.metrics_file.write_text(whole + last[:length])
        assert directory.records() == [record(4)]
    directory.rewind(4)
    assert directory.metrics_file.read_text() == whole


def test_what_is_not_finite_is_null_in_the_records(tmp_path):
    directory = claimed(tmp_path)
    directory.append(record(4) | {"nan": float("nan"), "up": float("inf"), "down": -float("inf")})

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    (line,) = directory.metrics_file.read_text().splitlines()
    expected = record(4) | {"nan": None, "up": None, "down": None}
    written = json.loads(line, parse_constant=refuse)
    assert written.pop("check") and written == expected
    assert directory.rewind(4) == [expected]


@pytest.mark.filterwarnings("ignore:.*is damaged in line 1")
@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe{}\n", b"[1]\n", b'{"epoch": 1}\n', b'{"epoch": 2', b"[" * 99999]
)
def test_a_lost_record_of_the_checkpoint_is_said(tmp_path, content):
    directory = RunDirectory(tmp_path)
    directory.metrics_file.write_bytes(content)
    assert directory.records() == []
    assert directory.rewind(0) == []
    with pytest.raises(UserError, match=r"metrics\.jsonl is damaged: the record of step 8"):
        directory.rewind(8)


def test_the_record_of_the_checkpoint_stands_in_for_a_lost_one(tmp_path):
    directory = claimed(tmp_path)
    for step in (4, 8):
        directory.append(record(step))
    directory.metrics_file.write_text(directory.metrics_file.read_text()[:-9])
    with pytest.warns(RunWarning, match="lacks the record of step 8: that of its checkpoint"):
        assert directory.rewind(8, record(8)) == [record(4), record(8)]
    assert directory.records() == [record(4), record(8)]


def test_no_flipped_bit_of_a_record_is_silently_another_record(tmp_path):
    directory = claimed(tmp_path)
    written = [record(4) | {"train/elbo": -101.25}, record(8), record(12)]
    for one in written:
        directory.append(one)
    content, left_out = directory.metrics_file.read_bytes(), 0
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        directory.metrics_file.write_bytes(damaged)
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            found = directory.records()
        left_out += len(found) < 3
        assert all(one in written for one in found)
        assert len(found) == 3 or heard or place > content[:-1].rindex(b"\n")
    assert left_out > 0.9 * len(content)


def test_a_run_may_be_given_more_epochs_and_not_fewer(tmp_path):
    claimed(tmp_path, configure(None, {"epochs": 3}))
    longer = claimed(tmp_path, configure(None, {"epochs": 5}))
    assert longer.config().train.epochs == 5
    assert json.loads(longer.provenance_file.read_text())["changes"] == [{"epochs": [3, 5]}]
    with pytest.raises(UserError, match="train.epochs: 5 -> 4"):
        claimed(tmp_path, configure(None, {"epochs": 4}))
    with pytest.raises(UserError, match="train.epochs: 5 -> 9; train.seed: 0 -> 1"):
        claimed(tmp_path, configure(None, {"epochs": 9, "seed": 1}))


@pytest.mark.parametrize(
    "options",
    [
        {"optim__schedule": "cosine"},
        {"optim__warmup": 0.1},
        {"groups__decoder__schedule": "linear"},
    ],
)
def test_more_epochs_are_said_to_differ_where_the_step_size_follows_the_length(tmp_path, options):
    claimed(tmp_path, configure(None, {"epochs": 3, **options}))
    with pytest.warns(RunWarning, match="differs from a run of 5 in one go"):
        claimed(tmp_path, configure(None, {"epochs": 5, **options}))


@pytest.mark.parametrize("fact, before", [("jax", "0.1.2"), ("device", "TPU v2")])
def test_other_versions_and_devices_are_said_and_noted(fact, before, tmp_path):
    directory = claimed(tmp_path)
    table = json.loads(directory.provenance_file.read_text())
    now = table["environment"][fact]
    table["environment"] |= {fact: before}
    directory.provenance_file.write_text(json.dumps(table))
    with pytest.warns(RunWarning, match=re.escape(f"was trained with {fact} {before} -> {now}")):
        claimed(tmp_path)
    (change,) = json.loads(directory.provenance_file.read_text())["changes"]
    assert change["environment"][fact] == before
    claimed(tmp_path)  # said once


def test_a_run_says_its_headline_and_one_that_began_without_does_when_it_goes_on(tmp_path):
    directory = claimed(tmp_path)
    assert directory.headline() == "elbo"
    table = json.loads(directory.provenance_file.read_text())
    del table["headline"]
    directory.provenance_file.write_text(json.dumps(table))
    assert directory.headline() is None
    assert claimed(tmp_path).headline() == "elbo"


DAMAGES = {
    "nothing": b"",
    "no JSON": b"{'sha256': 1",
    "a list": b"[1, 2]",
    "another table": b'{"a": 1}',
    "a number": b"3",
    "no text": b"\xff\xfe\x00",
    "nested": b"[" * 100_000,
    "long number": b'{"sha256": ' + b"9" * 5000 + b"}",
    "wrong types": b'{"sha256": [], "environment": 3, "code": 4, "model": 3}',
}


@pytest.mark.filterwarnings("ignore::ae_jax.core.errors.RunWarning")
@pytest.mark.parametrize("name", ["data", "start", "config", "provenance"])
@pytest.mark.parametrize("damage", [*DAMAGES, "folder", "absent", "link"])
def test_damage_to_a_small_file_is_a_sentence(tmp_path, name, damage):
    directory = RunDirectory(tmp_path)
    with directory.claim(RunConfig(), small_set(), "00"):
        pass
    file = getattr(directory, f"{name}_file")
    file.unlink()
    if damage == "folder":
        file.mkdir()
    elif damage == "link":
        file.symlink_to(file)
    elif damage != "absent":
        file.write_bytes(DAMAGES[damage])

    def claim_again():
        with RunDirectory(tmp_path).claim(RunConfig(), small_set(), "00"):
            pass

    for use in (directory.config, lambda: directory.check_data(small_set()), claim_again):
        try:
            use()
        except UserError as error:
            assert "\n" not in str(error)


def test_of_results_that_cannot_be_mended_it_is_said_what_to_delete(tmp_path):
    directory = claimed(tmp_path)
    directory.results_file.write_text('{"runs": [3]}')
    with pytest.raises(UserError, match=r"results\.json is damaged.*; delete it"):
        directory.evaluated()


def test_a_lock_that_is_a_folder_is_a_sentence(tmp_path):
    (tmp_path / ".lock").mkdir()
    with pytest.raises(UserError, match="cannot lock .*[.]lock: Is a directory"):
        claimed(tmp_path)


def test_when_and_at_which_commit_a_run_was_trained_is_kept(tmp_path, monkeypatch):
    """Each claim that adds records is a start; one that only reads is none."""
    for now, records in (("one", (1, 2)), ("two", ()), ("three", (3,))):
        monkeypatch.setattr("ae_jax.train.rundir.commit", lambda now=now: now)
        directory = RunDirectory(tmp_path)
        with directory.claim(RunConfig(), small_set()):
            for step in records:
                directory.append({"step": step})
    starts = RunDirectory(tmp_path).trained()
    assert [start["commit"] for start in starts] == ["one", "three"]
    for start in starts:
        began = datetime.strptime(start["at"], "%Y-%m-%d %H:%M %Z").replace(tzinfo=UTC)
        assert abs(datetime.now(UTC) - began) < timedelta(minutes=5)


@pytest.mark.parametrize("provenance", ["{", '{"environment": {}, "code": {}}', None])
def test_what_was_trained_before_its_start_was_kept_is_unknown(provenance, tmp_path):
    """Also once it went on: what is known then is not all of it."""
    lost = {"at": "unknown", "commit": "unknown"}
    with RunDirectory(tmp_path).claim(RunConfig(), small_set()):
        assert RunDirectory(tmp_path).trained() == []
    directory = RunDirectory(tmp_path)
    directory.append({"step": 1})
    if provenance is None:
        values = json.loads(directory.provenance_file.read_text())
        values["trained"] = [{"at": None, "commit": "one"}]
        provenance = json.dumps(values)
    directory.provenance_file.write_text(provenance)
    assert directory.trained() == [lost]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RunWarning)  # of what is begun anew
        with directory.claim(RunConfig(), small_set()):
            directory.note_training()
            directory.append({"step": 2})
    first, second = directory.trained()
    assert first == lost and second["commit"] == commit()
