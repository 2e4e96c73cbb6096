"""The launcher for clusters: a Slurm job array through submitit, one task a group of members.

Tasks are queued again when they are preempted or out of time and go on from the directories of
their runs; so does the same command after anything else. The nodes have to share the folder of the
runs and find the data set by its name.
"""

import dataclasses
import hashlib
import json
import math
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

from ae_jax.api import beside
from ae_jax.cli.launch import ListenerFor, Outcomes, is_over, kept_records
from ae_jax.cli.shell import EXIT_USER_ERROR
from ae_jax.core.errors import Stopped, TrainingDiverged, UserError
from ae_jax.core.files import make_directory, read_json, write_json
from ae_jax.core.registry import unknown_name
from ae_jax.data import can_load, load
from ae_jax.data.base import DataSet
from ae_jax.train import processes
from ae_jax.train.config import RunConfig, from_dict, to_dict
from ae_jax.train.grid import (
    Member,
    by_program,
    finished,
    parts_of,
    prepare_members,
    train_grid,
)
from ae_jax.train.progress import member_progress
from ae_jax.train.rundir import RunDirectory
from ae_jax.train.setup import Setup

# Options of submitit for sbatch. Time is in minutes, as submitit counts it: when it is over, a task
# queues again, so it has to cover the longest stretch between two looks of a run, not a whole run.
SLURM_DEFAULTS: dict[str, Any] = {"job_name": "ae_jax", "time": 240}
TIMEOUTS = 100
# Seconds before the end of its time at which a task is told, and that it needs to start.
SIGNAL_DELAY, START_UP = 90, 120
# Seconds between questions to the queue, and for a shared file system to show what a task wrote.
POLL = {"slurm": 15.0, "local": 0.2}
GRACE = 15.0


@dataclasses.dataclass(frozen=True)
class Slurm:
    """A job array of submitit's, one task for each group of members that share a program.

    `options` are submitit's for sbatch; `members_per_task` cuts groups into smaller ones, for
    nodes without an accelerator. Tasks are queued again when they are preempted or out of time.
    Jobs that an earlier start left in the queue are waited for instead of submitted again. Needs
    submitit, a folder that all nodes share, and data that is loaded by name.

    Raises UserError for what is missing and for options that submitit does not know. `cluster` is
    submitit's name for the executor: with `local`, tasks are processes on this machine.
    """

    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    members_per_task: int | None = None
    cluster: Literal["slurm", "local"] = "slurm"

    def __post_init__(self) -> None:
        submitit = _submitit()
        if self.cluster == "local":
            return
        for command in ("sbatch", "srun", "squeue"):
            if shutil.which(command) is None:
                raise UserError(
                    f"there is no {command} on the PATH: start this on a machine that submits jobs "
                    "to Slurm, or with --launcher local"
                )
        _check_options(self.options, submitit.SlurmExecutor._valid_parameters())
        _check_time(self.options)

    def train(
        self,
        members: Sequence[Member],
        dataset: DataSet,
        root: Path,
        *,
        until: int | None = None,
        listener_for: ListenerFor | None = None,
        track: Sequence[str] = (),
    ) -> Outcomes:
        """As `Launcher.train`; listeners stay unheard, progress is in the logs of the tasks.

        Trackers are told by the tasks.
        """
        if not can_load(dataset.name):
            raise UserError(
                f"the tasks of a cluster load their data by name, and {dataset.name!r} is none"
            )
        given = [member.name for member in members if member.start is not None]
        if given:
            raise UserError(
                f"the tasks of a cluster draw their own parameters, and {given[0]} starts from "
                "given ones: train it with --launcher local"
            )
        whole = _task(members, dataset, root, until, track)
        digest = hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:12]
        folder = root.absolute() / "slurm" / digest
        jobs = self._left_behind(folder)
        if not jobs:
            over = finished(members, dataset, root, until)
            setups = prepare_members(
                [one for one in members if one.name not in over], dataset, root
            )
            waiting = _unfinished(setups, root, until)
            groups = self._groups(waiting, setups)
            tasks = [_task(group, dataset, root, until, track) for group in groups]
            jobs = self._submit(folder, tasks)
        diverged = self._collected(jobs, folder)
        return {
            member.name: TrainingDiverged(diverged[member.name])
            if member.name in diverged
            else kept_records(root / member.name)
            for member in members
        }

    def parts(self, members: Sequence[Member], dataset: DataSet) -> list[list[Member]]:
        return self._groups(members, prepare_members(members, dataset))

    def _groups(self, members: Sequence[Member], setups: Mapping[str, Setup]) -> list[list[Member]]:
        """The members of each task: those of one program, as many as a task may have."""
        return [
            part
            for alike in by_program(members, setups)
            for part in parts_of(alike, self.members_per_task)
        ]

    def _executor(self, folder: Path) -> Any:
        submitit = _submitit()
        if self.cluster == "local":
            executor = submitit.LocalExecutor(folder)
            executor.update_parameters(**self.options)
            return executor
        executor = submitit.SlurmExecutor(folder, max_num_timeout=TIMEOUTS)
        options = SLURM_DEFAULTS | dict(self.options)
        more = {"requeue": True} | options.pop("additional_parameters", {})
        executor.update_parameters(**options, additional_parameters=more)
        return executor

    def _submit(self, folder: Path, tasks: Sequence[dict[str, Any]]) -> list[Any]:
        """One job of an array for each task. Raises UserError with Slurm's reason."""
        if not tasks:
            return []
        make_directory(folder)
        try:
            jobs = self._executor(folder).map_array(run_task, tasks)
        except _submitit().core.utils.FailedJobError as error:
            reason = str(error).strip().splitlines()[-1]
            raise UserError(f"Slurm refuses the job: {reason}") from error
        write_json(folder / "jobs.json", {"jobs": [job.job_id for job in jobs]})
        count = sum(len(task["members"]) for task in tasks)
        _say(f"{count} runs in {len(jobs)} tasks, job {_main_id(jobs)}; logs: {folder}")
        return jobs

    def _left_behind(self, folder: Path) -> list[Any]:
        """The jobs of an earlier start with the same tasks, if any of them is still queued."""
        listing = folder / "jobs.json"
        if self.cluster == "local" or not listing.exists():
            return []
        names = read_json(listing)["jobs"]
        jobs = [_submitit().SlurmJob(folder=folder, job_id=name) for name in names]
        if not _queued(jobs):
            return []
        _say(f"job {_main_id(jobs)} of an earlier start goes on; logs: {folder}")
        return jobs

    def _collected(self, jobs: Sequence[Any], folder: Path) -> dict[str, str]:
        """Waits for all jobs; why members diverged, by name. Raises UserError if tasks failed."""
        diverged: dict[str, str] = {}
        failed = []
        for number, job in enumerate(self._as_they_end(jobs), 1):
            result = _result(job)
            diverged |= result.get("diverged", {})
            if "error" in result:
                failed.append(f"task {job.job_id}: {result['error']}")
            _say(f"{number} of {len(jobs)} tasks ended ({job.job_id})")
        if failed:
            more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
            raise UserError(
                f"{failed[0]}{more}; logs: {folder}; what was saved is kept, and the same command "
                "continues"
            )
        return diverged

    def _as_they_end(self, jobs: Sequence[Any]) -> Iterator[Any]:
        waiting = list(jobs)
        while waiting:
            running = _queued(waiting)
            yield from (job for job in waiting if job.job_id not in running)
            waiting = [job for job in waiting if job.job_id in running]
            if waiting:
                time.sleep(POLL[self.cluster])


# Submitit pickles what it submits and what comes back. Both are plain data and the function below,
# by its name; user's files and checkpoints are never pickled, and no pickle but its own is read.
def run_task(task: dict[str, Any]) -> dict[str, Any]:
    """What a task of a job array does: trains its members, from where their directories stand.

    Returns `{"diverged": {name: why}}`, or `{"error": sentence}` for what the user can mend.
    """
    outcomes: Mapping[str, Any] = {}
    try:
        # Kept from the start of the task to the end of an epoch: a signal that meets the start-up
        # would queue the task again before it has done anything, and so each time.
        with processes.noted(_task_signal()):
            outcomes = _trained(task)
    except UserError as error:
        processes.part(EXIT_USER_ERROR)
        return {"error": str(error)}
    except Stopped as stop:
        _say(f"{stop}; the task is queued again")
        signal.raise_signal(_task_signal())  # submitit's turn: the first process ends
    return {
        "diverged": {
            name: str(end) for name, end in outcomes.items() if isinstance(end, TrainingDiverged)
        }
    }


def _trained(task: dict[str, Any]) -> Mapping[str, Any]:
    """The outcomes of the members of a task. Raises UserError and Stopped."""
    processes.start()  # a task of several processes trains as one
    dataset = load(**task["data"])
    if dataset.fingerprint != task["sha256"]:
        raise UserError(
            f"{dataset.name} on this node is not what it is where the job was submitted"
        )
    members = [
        Member(name, cast(RunConfig, from_dict(config))) for name, config in task["members"].items()
    ]
    root = Path(task["root"])
    return train_grid(
        members,
        dataset,
        root,
        until=task["until"],
        listener_for=member_progress,
        trackers_for=partial(beside, task["track"], root),
    )


def _again(task: dict[str, Any]) -> Any:
    """What submitit queues when a task is out of time: the same task, which finds its runs."""
    return _submitit().helpers.DelayedSubmission(run_task, task)


run_task.checkpoint = _again  # type: ignore[attr-defined]  # submitit's protocol


def _task(
    members: Sequence[Member],
    dataset: DataSet,
    root: Path,
    until: int | None,
    track: Sequence[str] = (),
) -> dict[str, Any]:
    """Plain data from which another process trains the same members."""
    layout = members[0].config.data.layout
    return {
        "members": {member.name: to_dict(member.config) for member in members},
        "data": {
            "name": dataset.name,
            "protocol": dataset.protocol,
            "limit": dataset.limit,
            # Left out where it is the common one, so that tasks keep their names.
            **({} if layout == "channels_last" else {"layout": layout}),
        },
        "sha256": dataset.fingerprint,
        "root": str(root.absolute()),
        "until": until,
        "track": [*track],
    }


def _unfinished(setups: Mapping[str, Setup], root: Path, until: int | None) -> list[Member]:
    """Members that are not where they shall be. Every directory is checked to be that run's."""
    waiting = []
    for name, setup in setups.items():
        directory = RunDirectory(root / name)
        member = Member(name, setup.config)
        with directory.claim(setup.config, setup.dataset):
            if not is_over(member, setup.dataset, root, until):
                waiting.append(member)
    return waiting


def _queued(jobs: Sequence[Any]) -> set[str]:
    """Ids of the jobs that wait or run; of all of them when Slurm does not answer.

    Asks squeue, which every cluster has: submitit asks sacct, and never learns of the end of a
    killed job where accounting is off.
    """
    if not isinstance(jobs[0], _submitit().SlurmJob):
        return {job.job_id for job in jobs if not job.done()}
    command = ["squeue", "--me", "--noheader", "--array", "--format=%i"]
    done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603  words of ours
    ours = {job.job_id for job in jobs}
    return ours if done.returncode else ours & set(done.stdout.split())


def _result(job: Any) -> dict[str, Any]:
    """What `run_task` returned in a job that has ended, or why it did not return."""
    job = job.task(0)  # of several processes the first
    path, start = job.paths.result_pickle, time.monotonic()
    while not path.exists():
        if time.monotonic() - start > GRACE:
            return {"error": f"ended without a result, see {job.paths.stderr}"}
        time.sleep(0.5)
    error = job.exception()
    if error is None:
        return job.result()
    # The last line of the traceback, which submitit puts between two rules.
    lines = [line for line in str(error).split("-" * 22)[-2].splitlines() if line.strip()]
    return {"error": lines[-1]}


def _main_id(jobs: Sequence[Any]) -> str:
    return jobs[0].job_id.partition("_")[0]


def _task_signal() -> int:
    """The signal by which submitit has Slurm announce the end of a task's time."""
    return _submitit().core.job_environment.JobEnvironment._usr_sig()


def _submitit() -> Any:
    try:
        import submitit
    except ImportError as error:
        raise UserError(
            "the slurm launcher needs the extra: pip install 'ae_jax[slurm]'"
        ) from error
    return submitit


def _check_options(options: Mapping[str, Any], valid: set[str]) -> None:
    for name, value in options.items():
        if name not in valid:
            raise unknown_name("Slurm option", name, valid)
        if name == "time" and (not isinstance(value, int) or value < 1):
            raise UserError(f"Slurm option time is in whole minutes, not {value!r}")
        if name == "signal_delay_s" and (not isinstance(value, int) or value < 1):
            raise UserError(f"Slurm option signal_delay_s is in whole seconds, not {value!r}")
        if name in ("setup", "teardown", "srun_args") and not isinstance(value, list):
            raise UserError(f"Slurm option {name} is a JSON list of texts, not {value!r}")


def _check_time(options: Mapping[str, Any]) -> None:
    """A task that is told to stop before it has started is queued again for ever."""
    delay, minutes = options.get("signal_delay_s", SIGNAL_DELAY), options.get("time")
    least = math.ceil((delay + START_UP) / 60)
    if minutes is not None and minutes < least:
        raise UserError(
            f"Slurm option time={minutes} is too short: a task is told {delay} s before its end "
            f"(signal_delay_s), and needs {START_UP} s to start; time={least} is the least"
        )


def _say(line: str) -> None:
    print(line, file=sys.stderr)
