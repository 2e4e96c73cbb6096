import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from ae_jax.cli.shell import run_command
from ae_jax.core import commit as commit_module
from ae_jax.core.commit import commit
from ae_jax.core.errors import TrainingDiverged, UserError
from ae_jax.core.files import write_json
from ae_jax.report.claims import (
    at_least,
    at_most,
    close_to,
    environment,
    equal_to,
    origin,
    same_order,
    write_results,
)


@pytest.mark.parametrize(
    ("value", "holds"),
    [(-90.0, True), (-99.5, True), (-100.0, True), (-101.0, True), (-101.001, False)],
)
def test_at_least_holds_down_to_the_tolerance_below_the_target(value, holds):
    claim = at_least("bound", value, -100.0, 1.0, "nats", "paper")
    assert claim.holds is holds
    assert (claim.value, claim.target, claim.tolerance) == (value, -100.0, 1.0)


def test_at_least_judges_before_it_rounds():
    assert not at_least("bound", 0.99996, 1.0, 0.0, "", "").holds
    assert not at_least("bound", float("nan"), 1.0, 0.0, "", "").holds


@pytest.mark.parametrize(
    ("value", "holds"), [(13.865, True), (13.875, True), (13.864, False), (13.876, False)]
)
def test_close_to_holds_within_the_tolerance_on_either_side(value, holds):
    claim = close_to("error", value, 13.87, 0.0051, "squared error", "paper")
    assert claim.holds is holds
    assert not close_to("error", float("nan"), 13.87, 1.0, "", "").holds


def test_claims_say_in_which_direction_and_how_sure():
    numbers = 1.0, 2.0, 0.5, "nats", "paper", 0.12345
    for claim, direction in ((at_least, "at least"), (at_most, "at most"), (close_to, "close to")):
        made = claim("bound", *numbers)
        assert (made.direction, made.standard_error) == (direction, 0.123)
        assert claim("bound", *numbers[:-1]).standard_error is None
    assert equal_to("count", 2, 2, "units", "paper").direction == "equal to"
    assert same_order("order", {}, {}, "size", "paper").direction == "in the order of"


def test_same_order_compares_keys_sorted_by_value():
    targets = {3: -120.0, 5: -110.0, 10: -100.0}
    right = same_order("order", {3: -12.0, 5: -11.0, 10: -10.0}, targets, "size", "paper")
    assert right.holds and right.value == right.target == [3, 5, 10]
    wrong = same_order("order", {3: -12.0, 5: -9.0, 10: -10.0}, targets, "size", "paper")
    assert not wrong.holds and wrong.value == [3, 10, 5]


def test_results_come_back_as_they_were_written(tmp_path):
    claim = at_least("bound", -99.12345, -100.0, 1.0, "nats", "paper")
    runs = [{"run": "a", "samples": 100}]
    results = write_results(tmp_path / "results.json", [claim], runs, table=[{"size": 2}])
    read = json.loads((tmp_path / "results.json").read_text())
    assert read == results
    assert set(read) == {"claims", "environment", "runs", "table"}
    assert read["runs"] == runs and read["table"] == [{"size": 2}]
    assert read["claims"] == [
        {
            "name": "bound",
            "value": -99.123,
            "target": -100.0,
            "tolerance": 1.0,
            "unit": "nats",
            "source": "paper",
            "holds": True,
            "direction": "at least",
            "standard_error": None,
        }
    ]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_json_does_not_have_are_refused_and_the_old_file_stays(tmp_path, value):
    path = tmp_path / "results.json"
    write_json(path, {"value": 1.5})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"value": value})
    assert json.loads(path.read_text()) == {"value": 1.5}
    assert list(tmp_path.iterdir()) == [path]


def test_the_environment_names_versions_device_and_commit():
    import jax

    facts = environment()
    assert facts["jax"] == jax.__version__
    assert facts["device"] == "8 x cpu"
    assert facts["python"] == sys.version.split()[0]
    assert all(isinstance(value, str) and value for value in facts.values())


def test_the_commit_is_unknown_where_git_is_not(monkeypatch):
    def no_git(*arguments, **options):
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", no_git)
    commit.cache_clear()
    assert environment()["commit"] == "unknown"
    commit.cache_clear()


def test_the_commit_is_none_of_somebody_elses(tmp_path, monkeypatch):
    """An installed library lies in the repository of a user, and a hook names one of its own."""

    def git(*words: str) -> None:
        identity = ["-c", "user.name=n", "-c", "user.email=e"]
        command = ["git", "-C", str(tmp_path), *identity, *words]
        subprocess.run(command, check=True, capture_output=True)

    git("init")
    git("commit", "--allow-empty", "-m", "theirs")
    place = tmp_path / "venv" / "ae_jax" / "core" / "commit.py"
    place.parent.mkdir(parents=True)
    place.write_text(Path(commit_module.__file__).read_text())
    code = "import runpy, sys; print(runpy.run_path(sys.argv[1])['commit']())"

    def said(**more: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code, str(place)],
            capture_output=True, text=True, check=True, env=os.environ | more,
        )  # fmt: skip
        return done.stdout.strip()

    assert said() == "unknown"
    git("add", ".")
    git("commit", "-m", "ours")
    found = said(GIT_DIR=str(tmp_path / "nowhere"))
    assert found not in ("unknown", "") and not found.endswith("-dirty")
    (place.parent / "new.py").write_text("")
    assert said() == f"{found}-dirty"


def test_what_was_trained_and_what_was_written_are_told_apart():
    facts = {"date": "2026-11-30 08:00 UTC", "commit": "ccc"}
    results = {"environment": facts, "runs": [{"run": "a"}]}
    written = "written 2026-11-30 08:00 UTC at commit ccc"
    assert origin(results) == f"{written}; when it was trained was not kept"
    day, next_day = "2026-11-28 10:00 UTC", "2026-11-29 10:00 UTC"
    once = {"first": day, "last": day, "commits": ["aaa"]}
    assert origin(results | {"trained": once}) == f"training begun {day} at commit aaa; {written}"
    twice = {"first": day, "last": next_day, "commits": ["aaa", "bbb"]}
    assert origin(results | {"trained": twice}) == (
        f"training begun {day} to {next_day} at commits aaa, bbb; {written}"
    )


def command(error: BaseException | None) -> click.Command:
    @click.command()
    @click.option("--count", type=int)
    def run(count: int | None) -> None:
        if error is not None:
            raise error

    return run


@pytest.mark.parametrize(
    ("error", "arguments", "status", "message"),
    [
        (UserError("no such data set"), [], 2, "Error: no such data set\n"),
        (TrainingDiverged("not finite at step 7"), [], 3, "Diverged: not finite at step 7\n"),
        (KeyboardInterrupt(), [], 130, "Interrupted; the same command continues.\n"),
        (None, ["--count", "many"], 2, "'many' is not a valid integer"),
        (None, ["--nonesuch"], 2, "No such option"),
        (None, ["surplus"], 2, "unexpected extra argument"),
        # Of these click itself would make status 1.
        (click.ClickException("no such thing"), [], 2, "Error: no such thing\n"),
        (click.FileError("a.json", "is a folder"), [], 2, "a.json"),
        (click.Abort(), [], 130, "Interrupted"),
        (MemoryError(), [], 2, "Error: the machine has not enough memory for this\n"),
        (
            RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\nmore"),
            [],
            2,
            "Error: the device has not enough memory: Out of memory allocating 9 bytes.\n",
        ),
    ],
)
def test_commands_end_with_a_sentence_and_a_status(
    error, arguments, status, message, monkeypatch, capsys
):
    monkeypatch.setattr(sys, "argv", ["command", *arguments])
    with pytest.raises(SystemExit) as caught:
        run_command(command(error))
    assert caught.value.code == status
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err and captured.out == ""


def test_a_command_that_works_says_nothing(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["command", "--count", "3"])
    run_command(command(None))
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("fault", [ZeroDivisionError, RuntimeError])
def test_faults_of_the_program_keep_their_traceback(fault, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["command"])
    with pytest.raises(fault):
        run_command(command(fault()))
