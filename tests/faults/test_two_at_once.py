"""Two processes that want the same directory: one has it, the other says so."""

import json
import threading
from pathlib import Path

import pytest

from ae_jax.cli.commands import _keep_row
from ae_jax.train.rundir import RunDirectory
from faults.shared import Account, is_sentence, records_of, start, two_clusters

OPTIONS = ("--latent-dim", 2, "--hidden", 4, "--batch-size", 16, "--epochs", 300)


@pytest.mark.slow
def test_of_two_that_train_in_one_directory_one_does(tmp_path):
    data, account = two_clusters(tmp_path / "x.npy"), Account()
    whole = start(tmp_path, "train", data, *OPTIONS, "--workdir", "whole")
    _, err = whole.communicate()
    assert whole.returncode == 0, err
    for turn in range(20):
        run = tmp_path / f"run {turn}"
        both = [start(tmp_path, "train", data, *OPTIONS, "--workdir", run) for _ in range(2)]
        said = [process.communicate()[1] for process in both]
        statuses = sorted(process.returncode for process in both)
        refused = [text for process, text in zip(both, said, strict=True) if process.returncode]
        fine = statuses in ([0, 2], [0, 0]) and all(
            is_sentence(text) and "in use by a run" in text for text in refused
        )
        account.took(f"turn {turn}: {statuses} {said}", "answered" if fine else "tracebacks")
        same = records_of(run) == records_of(tmp_path / "whole")
        account.took(f"turn {turn}", "answered" if same else "lost")
    account.settle("two at once")


def test_of_two_that_evaluate_neither_loses_its_row(tmp_path):
    directory, rounds = RunDirectory(tmp_path), 25

    def add(name: str) -> None:
        for number in range(rounds):
            _keep_row(directory, {"split": f"{name} {number}", "checkpoint": "latest"})

    both = [threading.Thread(target=add, args=(name,)) for name in ("one", "other")]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    rows = json.loads(Path(directory.results_file).read_text())["runs"]
    assert len({row["split"] for row in rows}) == len(rows) == 2 * rounds
