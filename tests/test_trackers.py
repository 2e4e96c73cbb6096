"""Trackers hear of the same numbers and pictures: from recording fakes, and from the real ones."""

import dataclasses
import importlib
import importlib.util
import json
import struct
import sys
import types
import warnings
from functools import partial

import numpy as np
import pytest

import ae_jax
from ae_jax.api import configure
from ae_jax.api.trackers import ENTRIES, TRACKERS, tracking
from ae_jax.cli.app import cli
from ae_jax.core.errors import UserError
from ae_jax.train.grid import Member, train_grid
from ae_jax.train.rundir import RunDirectory

OPTIONS = {"hidden": [4], "latent_dim": 2, "epochs": 3, "batch_size": 100, "eval__every": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("trackers")


@pytest.fixture(scope="module")
def pictures(image_set):
    return dataclasses.replace(image_set, splits={"train": image_set.splits["train"].head(200)})


def fitted(pictures, workdir, track, **more):
    return ae_jax.fit(pictures, workdir=workdir, track=track, progress=False, **OPTIONS | more)


def expected(model):
    """(name, value, samples) of every number of the records."""
    apart = ("epoch", "step", "samples")
    return [
        (name, value, record["samples"])
        for record in model.records
        for name, value in record.items()
        if name not in apart
    ]


class Recorder:
    """What stands in for a package: it writes down what its parts were called with."""

    def __init__(self, *parts: str):
        self.heard: list[tuple] = []
        for part in parts:
            setattr(self, part, self._part(part))

    def _part(self, name):
        def call(*given, **named):
            self.heard.append((name, given, named))
            return self

        return call

    def calls(self, name):
        return [(given, named) for part, given, named in self.heard if part == name]


def assert_pictures(found):
    """Of looks after two epochs of 200 and after three: reconstructions in two rows, samples."""
    assert [(name, place) for name, _, place in found] == [
        ("reconstructions", 400), ("samples", 400), ("reconstructions", 600), ("samples", 600),
    ]  # fmt: skip
    shapes = {"reconstructions": (16, 64, 3), "samples": (8, 64, 3)}
    for name, pixels, _ in found:
        assert (pixels.dtype, pixels.shape) == (np.uint8, shapes[name])
        assert pixels.max() > pixels.min()


def fake_tensorboard():
    fake = Recorder("SummaryWriter", "add_scalar", "add_image", "close")
    return fake


@pytest.mark.slow
def test_tensorboard_is_told(pictures, tmp_path, monkeypatch):
    fake = fake_tensorboard()
    monkeypatch.setitem(sys.modules, "tensorboardX", fake)
    model = fitted(pictures, tmp_path, "tensorboard")
    assert fake.calls("SummaryWriter") == [((str(tmp_path / "tensorboard"),), {})]
    assert [given for given, _ in fake.calls("add_scalar")] == expected(model)
    assert_pictures([given for given, _ in fake.calls("add_image")])
    assert fake.heard[-1][0] == "close"


def fake_wandb():
    fake = Recorder("init", "define_metric", "log", "finish")
    fake.Image = lambda pixels: ("image", pixels)
    fake.Error = type("Error", (Exception,), {})
    return fake


@pytest.mark.slow
def test_weights_and_biases_are_told_and_a_run_goes_on_in_its_entry(
    pictures, tmp_path, monkeypatch
):
    fake = fake_wandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    model = fitted(pictures, tmp_path / "run", ["wandb"])
    (_, begun), *_ = fake.calls("init")
    assert (begun["project"], begun["name"]) == ("bars", "run")
    assert begun["config"]["train"]["epochs"] == 3
    logged = [given[0] for given, _ in fake.calls("log")]
    numbers = [
        (name, value, entry["samples_seen"])
        for entry in logged
        for name, value in entry.items()
        if name != "samples_seen" and not isinstance(value, tuple)
    ]
    assert numbers == expected(model)
    assert_pictures(
        [
            (name, value[1], entry["samples_seen"])
            for entry in logged
            for name, value in entry.items()
            if isinstance(value, tuple)
        ]
    )
    assert fake.heard[-1][0] == "finish"
    fitted(pictures, tmp_path / "run", ["wandb"], epochs=4)
    (_, first), (_, second) = fake.calls("init")
    assert (
        first["id"] == second["id"] == json.loads((tmp_path / "run" / ENTRIES).read_text())["wandb"]
    )
    assert first["resume"] == "allow"


def test_weights_and_biases_that_do_not_begin_are_said_in_a_sentence(
    pictures, tmp_path, monkeypatch
):
    fake = fake_wandb()

    def refuse(**given):
        raise fake.Error("No API key configured.")

    fake.init = refuse
    monkeypatch.setitem(sys.modules, "wandb", fake)
    with pytest.raises(UserError, match=r"No API key configured\.\): .* WANDB_MODE=offline"):
        fitted(pictures, tmp_path, "wandb")


def fake_mlflow():
    fake = Recorder("create_run", "log_param", "log_batch", "log_image", "set_terminated")
    fake.info = types.SimpleNamespace(run_id="r1")
    fake.get_experiment_by_name = lambda name: None
    fake.create_experiment = lambda name: f"experiment {name}"
    fake.uris = []
    fake.MlflowClient = lambda tracking_uri: fake.uris.append(tracking_uri) or fake
    fake.MlflowException = type("MlflowException", (Exception,), {})
    fake.entities = types.SimpleNamespace(Metric=lambda *given: given)
    return fake


def test_mlflow_is_told(pictures, tmp_path, monkeypatch):
    fake = fake_mlflow()
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    model = fitted(pictures, tmp_path / "run", "mlflow")
    assert fake.uris == [(tmp_path / "run/mlflow").as_uri()]
    assert fake.calls("create_run") == [(("experiment bars",), {"run_name": "run"})]
    params = dict(given[1:] for given, _ in fake.calls("log_param"))
    assert params["train.epochs"] == 3 and params["optim.name"] == "adam"
    metrics = [one for _, named in fake.calls("log_batch") for one in named["metrics"]]
    assert [(name, value, step) for name, value, _, step in metrics] == expected(model)
    drawn = [(named["key"], given[1], named["step"]) for given, named in fake.calls("log_image")]
    assert_pictures(drawn)
    assert fake.heard[-1] == ("set_terminated", ("r1",), {})


@pytest.mark.parametrize("name", list(TRACKERS))
def test_a_missing_package_is_said_before_any_work(name, pictures, command, monkeypatch, folder):
    monkeypatch.setitem(sys.modules, TRACKERS.get(name).package, None)
    sentence = f"tracking by {name} needs the extra: pip install 'ae_jax[{name}]'"
    with pytest.raises(UserError, match=sentence.replace("[", r"\[")):
        fitted(pictures, folder / name, name)
    assert not (folder / name).exists()
    status, _, said = command("train", "digits", "--track", name, "--workdir", folder / name)
    assert (status, sentence in said) == (2, True)
    assert not (folder / name).exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"track": "tensorbord"}, "unknown tracker 'tensorbord': did you mean 'tensorboard'"),
        ({"track": "wandb", "workdir": None}, "keeps its files with the run: give a workdir"),
        ({"track": "wandb", "codec": "pca"}, "trackers are for networks"),
    ],
)
def test_what_cannot_be_tracked_is_refused(options, sentence, pictures, tmp_path):
    with pytest.raises(UserError, match=sentence):
        ae_jax.fit(pictures, **{"workdir": tmp_path / "run"} | options)


def members(*sizes):
    base = {name: value for name, value in OPTIONS.items() if name != "latent_dim"}
    return [Member(f"z={z}/a", configure(None, base | {"latent_dim": z})) for z in sizes]


def looks_of(outcome):
    return [
        (name, value, record["samples"])
        for record in outcome.records
        for name, value in record.items()
        if name not in ("epoch", "step", "samples")
    ]


@pytest.mark.slow
@pytest.mark.parametrize("stack", ["never", "always"])
def test_each_member_of_a_grid_is_told_apart(stack, pictures, tmp_path, monkeypatch):
    root, told = tmp_path / "sizes", {}
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    for name, fake in (
        ("tensorboardX", fake_tensorboard()), ("mlflow", fake_mlflow()), ("wandb", fake_wandb())
    ):  # fmt: skip
        fake.set_tag = lambda *given: None
        monkeypatch.setitem(sys.modules, name, fake)
        told[name] = fake
    boards = {}

    def writer(path):
        boards[path] = fake_tensorboard()
        return boards[path]

    told["tensorboardX"].SummaryWriter = writer
    outcomes = train_grid(
        members(1, 2), pictures, root, stack=stack,
        trackers_for=partial(tracking, list(TRACKERS), grid=root),
    )  # fmt: skip
    for name, outcome in outcomes.items():
        board = boards[str(root / name / "tensorboard")]
        assert [given for given, _ in board.calls("add_scalar")] == looks_of(outcome)
        assert_pictures([given for given, _ in board.calls("add_image")])
        assert board.heard[-1][0] == "close"
    assert told["mlflow"].uris == [(root / "mlflow").as_uri()] * 2, "they share a store"
    assert [named["run_name"] for _, named in told["mlflow"].calls("create_run")] == [*outcomes]
    begun = [named for _, named in told["wandb"].calls("init")]
    assert [(one["name"], one["group"]) for one in begun] == [(n, "sizes") for n in outcomes]
    assert len({one["id"] for one in begun}) == 2
    assert {one["reinit"] for one in begun} == {"create_new"}
    assert len(told["wandb"].calls("finish")) == 2


def test_an_experiment_that_another_process_makes_at_the_same_time_is_used(
    pictures, tmp_path, monkeypatch
):
    fake = fake_mlflow()
    theirs = types.SimpleNamespace(experiment_id="theirs")
    answers = iter([None, theirs])
    fake.get_experiment_by_name = lambda name: next(answers)

    def refuse(name):
        raise fake.MlflowException("there is one already")

    fake.create_experiment = refuse
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    fitted(pictures, tmp_path / "run", "mlflow", epochs=1)
    assert fake.calls("create_run") == [(("theirs",), {"run_name": "run"})]


def test_a_missing_package_ends_a_grid_before_any_work(command, monkeypatch, folder):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    words = ("grid", "digits", "--over", "latent_dim=1,2", "--workdir", folder / "grid")
    status, _, said = command(*words, "--track", "mlflow")
    assert (status, "pip install 'ae_jax[mlflow]'" in said) == (2, True)
    assert not (folder / "grid").exists()


@pytest.mark.slow
def test_vectors_have_numbers_alone(vector_set, tmp_path, monkeypatch):
    fake = fake_tensorboard()
    monkeypatch.setitem(sys.modules, "tensorboardX", fake)
    fitted(vector_set, tmp_path, "tensorboard", epochs=1)
    assert fake.calls("add_scalar") and not fake.calls("add_image")


def real(name):
    """A tracker's package, whose own warnings are not ours."""
    return pytest.mark.skipif(
        importlib.util.find_spec(name) is None, reason=f"{name} is not installed"
    )


@pytest.mark.slow
@real("tensorboardX")
def test_event_files_hold_it(pictures, tmp_path):
    model = fitted(pictures, tmp_path, "tensorboard")
    events = importlib.import_module("tensorboardX.proto.event_pb2")
    (file,) = (tmp_path / "tensorboard").glob("events.*")
    data, place, numbers, images = file.read_bytes(), 0, [], []
    while place < len(data):
        (size,) = struct.unpack("<Q", data[place : place + 8])
        event = events.Event.FromString(data[place + 12 : place + 12 + size])
        place += 16 + size
        for value in event.summary.value:
            if value.HasField("image"):
                images.append((value.tag, event.step, value.image.height, value.image.width))
            else:
                numbers.append((value.tag, value.simple_value, event.step))
    for ours, (name, value, samples) in zip(numbers, expected(model), strict=True):
        assert ours == (name, np.float32(value), samples)
    assert images[:2] == [("reconstructions", 400, 16, 64), ("samples", 400, 8, 64)]


@real("wandb")
@pytest.mark.slow
def test_weights_and_biases_write_it_without_a_network(pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted(pictures, tmp_path / "run", "wandb")
        importlib.import_module("wandb").teardown()  # its own process has written it all
    (written,) = (tmp_path / "run/wandb").glob("offline-run-*")
    entry = json.loads((tmp_path / "run" / ENTRIES).read_text())["wandb"]
    content = (written / f"run-{entry}.wandb").read_bytes()
    for name in (b"running/loss", b"train/elbo", b"reconstructions", b"latent_dim"):
        assert name in content
    images = {file.name.partition("_")[0] for file in written.rglob("files/media/images/*.png")}
    assert images == {"reconstructions", "samples"}


@real("mlflow")
@pytest.mark.slow
def test_mlflow_keeps_it_in_files(pictures, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = fitted(pictures, tmp_path / "run", "mlflow")
        fitted(pictures, tmp_path / "run", "mlflow", epochs=4)  # which goes on in its entry
        client = importlib.import_module("mlflow").MlflowClient((tmp_path / "run/mlflow").as_uri())
        experiment = client.get_experiment_by_name("bars").experiment_id
        (run,) = client.search_runs([experiment])
        history = client.get_metric_history(run.info.run_id, "running/loss")
        images = [one.path for one in client.list_artifacts(run.info.run_id, "images")]
    told = [record["running/loss"] for record in model.records]
    assert [one.value for one in history][:3] == pytest.approx(told)
    assert [one.step for one in history] == [200, 400, 600, 800]
    assert run.data.params["model.latent_dim"] == "2"
    assert any("samples" in path for path in images) and any("reconstr" in path for path in images)


GRID = [
    "grid", "digits", "--over", "latent_dim=1,2", "--hidden", "4", "--epochs", "2",
    "--set", "data.limit=400",
]  # fmt: skip


@real("mlflow")
@real("tensorboardX")
@pytest.mark.slow
def test_a_grid_is_a_run_a_member_in_files(command, folder, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kept = ("--track", "mlflow", "--track", "tensorboard", "--workdir", "sizes")
        status, _, said = command(*GRID, *kept)
        assert status == 0, said
        client = importlib.import_module("mlflow").MlflowClient((folder / "sizes/mlflow").as_uri())
        experiment = client.get_experiment_by_name("digits").experiment_id
        runs = {one.data.tags["mlflow.runName"]: one for one in client.search_runs([experiment])}
        told = {
            name: [one.value for one in client.get_metric_history(run.info.run_id, "test/elbo")]
            for name, run in runs.items()
        }
    assert {*runs} == {"latent_dim=1", "latent_dim=2"}
    for name, run in runs.items():
        records = RunDirectory(folder / "sizes" / name).records()
        assert told[name] == pytest.approx([r["test/elbo"] for r in records if "test/elbo" in r])
        assert (run.data.tags["grid"], run.info.status) == ("sizes", "FINISHED")
        assert [*(folder / "sizes" / name / "tensorboard").glob("events.*")]


@real("wandb")
@pytest.mark.slow
def test_members_that_train_at_once_are_each_a_run_of_weights_and_biases(
    pictures, tmp_path, monkeypatch
):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trackers_for = partial(tracking, ["wandb"], grid=tmp_path)
        train_grid(members(1, 2), pictures, tmp_path, stack="always", trackers_for=trackers_for)
        importlib.import_module("wandb").teardown()
    for size in (1, 2):
        (written,) = (tmp_path / f"z={size}/a/wandb").glob("offline-run-*")
        entry = json.loads((tmp_path / f"z={size}/a" / ENTRIES).read_text())["wandb"]
        content = (written / f"run-{entry}.wandb").read_bytes()
        for name in (f"z={size}/a".encode(), b"running/loss", b"train/elbo", b"samples"):
            assert name in content


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train", "grid"])
def test_the_command_line_offers_all_trackers(name):
    (option,) = (one for one in cli.commands[name].params if one.name == "track")
    assert list(option.type.choices) == sorted(TRACKERS)
