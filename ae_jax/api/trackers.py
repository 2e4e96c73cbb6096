"""Runs in the trackers that people keep them in: TensorBoard, Weights & Biases, MLflow.

Each is an extra whose package is imported where it is asked for. All are given the same: every
number of every record over training samples, and at each look reconstructions of examples and
samples of the prior, where these are pictures. A run that continues goes on in its own entry.
"""

import importlib
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np

from ae_jax.api.fitted import Fitted
from ae_jax.core.errors import UserError, present
from ae_jax.core.files import read_json, write_json
from ae_jax.core.registry import Registry
from ae_jax.train.config import flat, to_dict
from ae_jax.train.records import Listener, Record
from ae_jax.train.rundir import RunDirectory
from ae_jax.train.setup import Setup
from ae_jax.train.step import TrainState

SHOWN = 8  # reconstructions, and samples
NOT_NUMBERS = ("epoch", "step", "samples")
SEEN = "samples_seen"  # the axis, where it has to have a name beside that of the picture
ENTRIES = "trackers.json"  # in the run's directory: by what trackers know it


class Tracker:
    """One run in one tracker. Raises UserError where its package is missing.

    `open` comes with the first record, when the run has claimed its directory; then `numbers` and
    `picture`, and `close` at the end. Samples seen in training are the axis of all. `grid` is the
    folder of the grid that the run is a member of: several may be open at once.
    """

    name: ClassVar[str]
    package: ClassVar[str]

    def __init__(self, setup: Setup, directory: RunDirectory, grid: Path | None = None):
        self.setup, self.directory, self.grid = setup, directory, grid
        self.library: Any = self.imported()

    @classmethod
    def imported(cls) -> Any:
        """The package. Raises UserError where it is missing."""
        try:
            return importlib.import_module(cls.package)
        except ImportError as error:
            raise UserError(
                f"tracking by {cls.name} needs the extra: pip install 'ae_jax[{cls.name}]'"
            ) from error

    @property
    def run_name(self) -> str:
        """The folder of the run; of a member, what is special about it."""
        path = self.directory.path
        return path.name if self.grid is None else path.relative_to(self.grid).as_posix()

    def open(self) -> None:
        raise NotImplementedError(f"{type(self).__name__} does not define open")

    def numbers(self, values: Mapping[str, float], samples: int) -> None:
        raise NotImplementedError(f"{type(self).__name__} does not define numbers")

    def picture(self, name: str, pixels: np.ndarray, samples: int) -> None:
        """`pixels` are uint8 [H, W, 3]."""
        raise NotImplementedError(f"{type(self).__name__} does not define picture")

    def close(self) -> None:
        raise NotImplementedError(f"{type(self).__name__} does not define close")

    @property
    def project(self) -> str:
        """What runs on the same data have in common: the name of those."""
        return Path(self.setup.dataset.name.partition(".py:")[0]).stem

    def entry(self) -> str | None:
        """What the tracker knows the run by; None before it does."""
        file = self.directory.path / ENTRIES
        return read_json(file).get(self.name) if file.is_file() else None

    def keep_entry(self, entry: str) -> None:
        file = self.directory.path / ENTRIES
        known = read_json(file) if file.is_file() else {}
        write_json(file, {**known, self.name: entry})


class TensorBoard(Tracker):
    """Event files in the folder `tensorboard` of the run."""

    name, package = "tensorboard", "tensorboardX"

    def open(self) -> None:
        self._writer = self.library.SummaryWriter(str(self.directory.path / "tensorboard"))

    def numbers(self, values: Mapping[str, float], samples: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, samples)

    def picture(self, name: str, pixels: np.ndarray, samples: int) -> None:
        self._writer.add_image(name, pixels, samples, dataformats="HWC")

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases(Tracker):
    """A run of the project that is named like the data, or WANDB_PROJECT; its files lie in the run.

    Members of a grid are a group of the grid's name.
    WANDB_MODE=offline writes it without a network, for `wandb sync` later.
    """

    name, package = "wandb", "wandb"

    def open(self) -> None:
        entry = self.entry() or secrets.token_hex(4)
        try:
            self._run = self.library.init(
                project=os.environ.get("WANDB_PROJECT", self.project),
                name=self.run_name,
                group=None if self.grid is None else self.grid.name,
                dir=str(self.directory.path),
                config=to_dict(self.setup.config),
                id=entry,
                resume="allow",
                reinit="create_new",  # beside other members of a grid
            )
        except self.library.Error as error:
            raise UserError(
                f"Weights & Biases does not begin a run ({str(error).splitlines()[0]}): `wandb "
                "login` once, or WANDB_MODE=offline"
            ) from error
        self.keep_entry(entry)
        self._run.define_metric("*", step_metric=SEEN)

    def numbers(self, values: Mapping[str, float], samples: int) -> None:
        self._run.log({**values, SEEN: samples})

    def picture(self, name: str, pixels: np.ndarray, samples: int) -> None:
        self._run.log({name: self.library.Image(pixels), SEEN: samples})

    def close(self) -> None:
        self._run.finish()


class MLflow(Tracker):
    """A run of the experiment that is named like the data, at MLFLOW_TRACKING_URI.

    Where that is not set, in the folder `mlflow` of the run, or of the grid for all its members:
    `mlflow ui --backend-store-uri` shows it.
    """

    name, package = "mlflow", "mlflow"

    def open(self) -> None:
        given = os.environ.get("MLFLOW_TRACKING_URI")
        if given is None:
            # Its authors would have a data base instead, which the small package has not.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        folder = self.grid or self.directory.path
        uri = given or (folder / "mlflow").absolute().as_uri()
        try:
            self._client = self.library.MlflowClient(tracking_uri=uri)
            self._entry = self.entry() or self._begun()
        except self.library.MlflowException as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"MLflow does not begin a run at {uri}: {reason}") from error
        self.keep_entry(self._entry)

    def _begun(self) -> str:
        client = self._client
        run = client.create_run(self._experiment(), run_name=self.run_name).info.run_id
        if self.grid is not None:
            client.set_tag(run, "grid", self.grid.name)
        for name, value in flat(to_dict(self.setup.config)).items():
            client.log_param(run, name, value)
        return run

    def _experiment(self) -> str:
        """The id of the experiment, which another process may be making at the same time."""
        client = self._client
        found = client.get_experiment_by_name(self.project)
        if found is None:
            try:
                return client.create_experiment(self.project)
            except self.library.MlflowException:
                found = client.get_experiment_by_name(self.project)
                if found is None:
                    raise
        return found.experiment_id

    def numbers(self, values: Mapping[str, float], samples: int) -> None:
        metric, now = self.library.entities.Metric, int(1000 * time.time())
        metrics = [metric(name, value, now, samples) for name, value in values.items()]
        self._client.log_batch(self._entry, metrics=metrics)

    def picture(self, name: str, pixels: np.ndarray, samples: int) -> None:
        self._client.log_image(self._entry, pixels, key=name, step=samples)

    def close(self) -> None:
        self._client.set_terminated(self._entry)


TRACKERS = Registry[type[Tracker]](
    "tracker",
    {one.name: one for one in (MLflow, TensorBoard, WeightsAndBiases)},
    base=Tracker,
)


class Tracked:
    """The listener of all trackers of a run, which are given its pictures at looks too."""

    def __init__(self, setup: Setup, trackers: Sequence[Tracker]):
        self._setup, self._trackers = setup, trackers
        self._opened: list[Tracker] = []

    def __call__(self, record: Record) -> None:
        for tracker in self._trackers[len(self._opened) :]:
            tracker.open()
            self._opened.append(tracker)
        values = {name: value for name, value in record.items() if name not in NOT_NUMBERS}
        for tracker in self._opened:
            tracker.numbers(values, record["samples"])

    def look(self, state: TrainState, record: Record) -> None:
        """As the loop calls it with the state at each look."""
        # One process alone cannot decode what lies on the devices of all.
        if jax.process_count() > 1:
            return
        for name, pixels in pictures(self._setup, state).items():
            for tracker in self._opened:
                tracker.picture(name, pixels, record["samples"])

    def close(self) -> None:
        for tracker in self._opened:
            tracker.close()


def check_trackers(names: Sequence[str]) -> None:
    """Raises UserError for a tracker that there is not, or whose package is missing."""
    for name in names:
        TRACKERS.get(name).imported()


@contextmanager
def tracking(
    names: Sequence[str] | None,
    setup: Any,
    directory: RunDirectory | None,
    grid: Path | None = None,
) -> Iterator[tuple[Listener, ...]]:
    """The listener of trackers by name, if there are any, of a run alone or a member of a `grid`.

    Raises UserError for what is missing.
    """
    if not names:
        yield ()
        return
    place = present(directory, "the folder of the run")
    trackers = [TRACKERS.get(name)(setup, place, grid) for name in dict.fromkeys(names)]
    listener = Tracked(setup, trackers)
    try:
        yield (listener,)
    finally:
        listener.close()


def pictures(setup: Setup, state: TrainState) -> dict[str, np.ndarray]:
    """Examples above their reconstructions, and samples, as uint8 [H, W, 3]; {} of no pictures.

    The examples are the first of the test split. Samples of a model that is conditioned on a label
    are of one class after another.
    """
    dataset = setup.dataset
    if not dataset.is_picture:
        return {}
    # Training may have them on several devices.
    params, collections = jax.device_get((state.variables["params"], state.collections))
    model = Fitted(setup, params, int(state.step), [], collections)
    first = dataset.splits["test" if "test" in dataset.splits else "train"].head(SHOWN)
    pair = np.stack([model.inputs(first), model.reconstruct(first, units="model")])
    found = {"reconstructions": _sheet(pair)}
    if model.has_prior and model.condition_kind != "input":
        of_label = model.condition_kind == "label"
        y = np.arange(SHOWN) % setup.architecture.model.classes if of_label else None
        found["samples"] = _sheet(model.sample(SHOWN, y=y, units="model")[None])
    return found


def _sheet(images: np.ndarray) -> np.ndarray:
    """Pictures [R, N, H, W, C] of values in [0, 1] in R rows, uint8 [R * H, N * W, 3]."""
    rows, count, height, width, channels = images.shape
    sheet = images.swapaxes(1, 2).reshape(rows * height, count * width, channels)
    grey = np.rint(255 * np.clip(np.nan_to_num(sheet), 0, 1)).astype(np.uint8)
    return np.broadcast_to(grey, (*grey.shape[:2], 3)).copy()
