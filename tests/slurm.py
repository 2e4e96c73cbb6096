"""A Slurm of one node, alone in a folder, from what Debian's packages slurm-wlm and munge install.

The daemons run as the present user on free ports and are gone with the test. The partition `high`
preempts the default one `low`: what ran there is queued again.
"""

import getpass
import os
import platform
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol")
SEARCH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])

# Without accounting, as on many small clusters. The short life of credentials is also the time that
# a preempted job waits before it starts again.
CONFIGURATION = """
ClusterName=test
SlurmctldHost={node}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=5
SlurmctldPort={controller_port}
SlurmdPort={node_port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_min_interval=1000
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=2
NodeName={node} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=low Nodes={node} Default=YES MaxTime=60 PriorityTier=1 PreemptMode=REQUEUE
PartitionName=high Nodes={node} MaxTime=60 PriorityTier=10 PreemptMode=OFF
"""


def missing() -> list[str]:
    """The programs that are not installed."""
    return [name for name in PROGRAMS if shutil.which(name, path=SEARCH) is None]


@contextmanager
def running(folder: Path) -> Iterator[None]:
    """Slurm as long as the context lasts, for commands that find SLURM_CONF in the environment."""
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    configuration = folder / "slurm.conf"
    configuration.write_text(
        CONFIGURATION.format(
            node=platform.node().partition(".")[0],
            user=getpass.getuser(),
            folder=folder,
            cpus=os.cpu_count(),
            controller_port=_free_port(),
            node_port=_free_port(),
        )
    )
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(configuration)
    munge = {"key-file": "key", "socket": "sock", "pid-file": "pid", "seed-file": "seed"}
    places = [f"--{option}={folder}/munge.{ending}" for option, ending in munge.items()]
    try:
        with ExitStack() as stack:
            # --force: the folder lies below one that everybody may write to.
            stack.enter_context(_daemon(folder, "munged", "--foreground", "--force", *places))
            _wait_for(lambda: (folder / "munge.sock").exists(), "munged", folder)
            stack.enter_context(_daemon(folder, "slurmctld", "-D"))
            stack.enter_context(_daemon(folder, "slurmd", "-D"))
            _wait_for(_is_idle, "slurmd", folder)
            yield
            subprocess.run(["scancel", "--me"], check=False)
    finally:
        os.environ.pop("SLURM_CONF")
        if before is not None:
            os.environ["SLURM_CONF"] = before


def _is_idle() -> bool:
    done = subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, text=True)
    return done.returncode == 0 and set(done.stdout.split()) == {"idle"}


@contextmanager
def _daemon(folder: Path, name: str, *arguments: str) -> Iterator[None]:
    program = shutil.which(name, path=SEARCH)
    with (folder / f"{name}.log").open("w") as log:
        process = subprocess.Popen([program, *arguments], stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(holds, name: str, folder: Path, seconds: float = 120.0) -> None:
    start = time.monotonic()
    while not holds():
        if time.monotonic() - start > seconds:
            log = (folder / f"{name}.log").read_text()
            raise TimeoutError(f"{name} did not come up in {seconds:g} s: {log[-2000:]}")
        time.sleep(0.2)


def _free_port() -> int:
    with closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
