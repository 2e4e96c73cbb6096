"""A disk that fills up at any byte: one sentence, the last good state kept, and on with room."""

import subprocess
from pathlib import Path

import pytest

from ae_jax.train.checkpoints import latest_step
from faults.shared import Account, is_sentence, records_of, two_clusters

MANY = 2**24


def mount(folder: Path, size: int, again: bool = False) -> None:
    """A file system of so many bytes in memory."""
    options = f"size={max(size, 1)}" + (",remount" if again else "")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True
    )
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.decode().strip()}")


@pytest.fixture
def disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mount(folder, 4096)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


# Pages of 4 KiB, as files take them, that are free.
FEW = [0, 1, 2, 4, 6, 9, 13, 18, 24, 31, 40]
ALL = [pytest.param(range(60), marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("full")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["network", "codec"])
@pytest.mark.parametrize("pages", [FEW, *ALL], ids=["few", "all"])
def test_every_size_of_disk_is_enough_or_a_sentence(kind, pages, disk, command, folder):
    data, account, enough = two_clusters(folder / "x.npy"), Account(), 0
    of = ("--hidden", 4, "--epochs", 3) if kind == "network" else ("--codec", "kmeans")
    train = ("train", data, "--latent-dim", 2, *of, "--workdir")
    status, _, err = command(*train, folder / kind)
    assert status == 0, err
    for count in pages:
        subprocess.run(["umount", str(disk)], check=True)
        mount(disk, 4096 * max(count, 1))  # of no size there is no file system
        if not count:
            (disk / "full").write_bytes(bytes(4096))
        run = disk / "run"
        status, _, err = command(*train, run)
        if status != 0:
            fine = status == 2 and is_sentence(err) and "No space left on device" in err
            account.took(f"{count} pages: {status} {err}", "answered" if fine else "tracebacks")
            before = latest_step(run / "checkpoints") if run.exists() else 0
            mount(disk, MANY, again=True)
            status, _, err = command(*train, run)
            assert latest_step(run / "checkpoints") >= before
        else:
            enough += 1
        same = status == 0 and records_of(run) == records_of(folder / kind)
        account.took(f"{count} pages, with room: {status} {err}", "answered" if same else "lost")
    assert 0 < enough < len(pages)
    account.settle(f"full disks, {kind}")


def test_what_commands_write_to_a_full_disk_is_a_sentence(disk, command, folder, monkeypatch):
    data, account, run = two_clusters(folder / "x.npy"), Account(), folder / "pca"
    status, _, err = command("train", data, "--codec", "pca", "--latent-dim", 2, "--workdir", run)
    assert status == 0, err
    (disk / "full").write_bytes(bytes(4096))
    monkeypatch.setenv("AE_JAX_CACHE", str(disk / "cache"))
    for arguments in (
        ("encode", run, "--out", disk / "codes.npz"),
        ("reconstruct", run, "--out", disk / "reconstructions.npz"),
        ("export", run, "--out", disk / "model"),
        ("data", "prepare", "digits"),
    ):
        status, _, err = command(*arguments)
        fine = status == 2 and is_sentence(err) and "No space left on device" in err
        account.took(f"{arguments}: {status} {err}", "answered" if fine else "tracebacks")
    assert not list(disk.glob("*.npz"))
    account.settle("commands on a full disk")
