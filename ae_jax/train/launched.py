"""Which processes belong together: what launchers leave in the environment of each.

Nothing here starts or joins anything: an environment in, a `Group` or a refusal out.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from ae_jax.core.errors import UserError

# Said by the user, or by a manifest of Kubernetes.
ADDRESS, COUNT, INDEX = OWN = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
# Kubernetes numbers the pods of an indexed job; all else its pods are told is alike.
_POD_INDEX = "JOB_COMPLETION_INDEX"
# Of each launcher, what is there also where it started one process only.
_MARKS = (
    *(COUNT, "SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE"),
    *("TPU_WORKER_HOSTNAMES", "TPU_PROCESS_ADDRESSES", "MEGASCALE_NUM_SLICES"),
)
# Where JAX has its service on TPU hosts, and from where on it has it elsewhere.
_TPU_PORT, _FIRST_PORT, _PORTS = 8482, 61440, 4096

Environment = Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Group:
    """The processes that this one belongs to.

    `address` is HOST:PORT of the first one; `local_devices` are the numbers of the accelerators of
    this machine that this process takes, None for all that it sees.
    """

    address: str
    count: int
    index: int
    local_devices: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise UserError(
                f"a process is told that it is number {self.index} of {self.count}: numbers go "
                f"from 0 to {self.count - 1}"
            )
        _, colon, port = self.address.rpartition(":")
        if not (colon and port.isdigit() and 0 < int(port) < 2**16):
            raise UserError(
                f"the address of the first process, {self.address!r}, has no port: {ADDRESS} is "
                "HOST:PORT"
            )

    @property
    def host(self) -> str:
        return self.address.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])


def group_of(environment: Environment) -> Group | None:
    """The group that the environment names; None for a process on its own.

    Variables of one's own come first, then launchers: a Slurm step, Open MPI, PMI (MPICH, Intel
    MPI), hosts of TPUs and slices of them. With a launcher `JAX_COORDINATOR_ADDRESS` alone says
    where the first process listens. Raises UserError for what is partial or cannot be read.
    """
    launched = _launched(environment)
    own = {name: environment[name] for name in OWN if environment.get(name)}
    if launched is not None and set(own) <= {ADDRESS}:
        return launched
    if not own:
        return None
    if _POD_INDEX in environment:
        own.setdefault(INDEX, environment[_POD_INDEX])
    absent = [name for name in OWN if name not in own]
    if absent and COUNT in own and _number(own, COUNT) == 1:
        return None
    if absent:
        raise UserError(f"{', '.join(own)} set without {', '.join(absent)}: they go together")
    group = Group(own[ADDRESS], _number(own, COUNT), _number(own, INDEX))
    return group if group.count > 1 else None


def is_launched(environment: Environment) -> bool:
    """Whether the environment says how many processes there are, be it one."""
    return any(environment.get(name) for name in _MARKS)


def _launched(environment: Environment) -> Group | None:
    """The group of the first launcher that says it started several processes."""
    for launcher in (_slurm, _open_mpi, _pmi, _tpu):
        group = launcher(environment)
        if group is not None:
            return group
    return None


def _slurm(environment: Environment) -> Group | None:
    # In an allocation that runs no step yet there is nothing to wait for, so only a step counts.
    count = _number(environment, "SLURM_STEP_NUM_TASKS", 1)
    if count == 1:
        return None
    job, step = (_number(environment, f"SLURM_{name}") for name in ("JOB_ID", "STEP_ID"))
    nodes = environment.get("SLURM_STEP_NODELIST", "")
    on_node = _tasks_on_node(environment)
    return Group(
        # Steps of a job may run side by side.
        _address(environment, lambda: f"{_first_host(nodes)}:{_port(job + 97 * step)}"),
        count,
        _number(environment, "SLURM_PROCID"),
        local_devices(environment, _number(environment, "SLURM_LOCALID"), on_node),
    )


def _tasks_on_node(environment: Environment) -> int:
    """The entry of this node in `2(x3),1`: three nodes of two tasks and one of one."""
    listing = environment.get("SLURM_STEP_TASKS_PER_NODE", "")
    found = re.findall(r"(\d+)(?:\(x(\d+)\))?", listing)
    each = [int(tasks) for tasks, times in found for _ in range(int(times or 1))]
    node = _number(environment, "SLURM_NODEID", 0)
    if node >= len(each):
        raise UserError(f"SLURM_STEP_TASKS_PER_NODE={listing} says nothing of node {node}")
    return each[node]


def _first_host(nodes: str) -> str:
    """`gpu07` of `gpu[07-09,12],big1`."""
    found = re.match(r"([^\[,]+)(?:\[([^\-,\]]+)[^\]]*\]([^,\[]*))?", nodes)
    if found is None:
        raise UserError(f"SLURM_STEP_NODELIST={nodes} names no node")
    return "".join(part or "" for part in found.groups())


def _open_mpi(environment: Environment) -> Group | None:
    count = _number(environment, "OMPI_COMM_WORLD_SIZE", 1)
    if count == 1:
        return None
    local, on_node = (
        _number(environment, f"OMPI_COMM_WORLD_LOCAL_{name}") for name in ("RANK", "SIZE")
    )

    def address() -> str:
        # Up to version 4 the address of mpirun, next to which the first process is: JAX's own way.
        uri = environment.get("OMPI_MCA_orte_hnp_uri", "")
        found = re.match(r"(\d+)\..*?(?:tcp://([^,:]+)|tcp6://\[([^,\]]+))", uri)
        if found is not None:
            job, host, host6 = found.groups()
            return f"{host or f'[{host6}]'}:{_port(int(job) // 4096)}"
        job = environment.get("PMIX_NAMESPACE", "")
        return _on_one_machine("Open MPI", job, on_node == count)

    return Group(
        _address(environment, address),
        count,
        _number(environment, "OMPI_COMM_WORLD_RANK"),
        local_devices(environment, local, on_node),
    )


def _pmi(environment: Environment) -> Group | None:
    count = _number(environment, "PMI_SIZE", 1)
    if count == 1:
        return None
    on_node = _number(environment, "MPI_LOCALNRANKS", 0)
    return Group(
        _address(environment, lambda: _on_one_machine("MPICH", "", on_node == count)),
        count,
        _number(environment, "PMI_RANK"),
        local_devices(environment, _number(environment, "MPI_LOCALRANKID", 0), max(on_node, 1)),
    )


def _on_one_machine(launcher: str, job: str, all_here: bool) -> str:
    """An address on this machine, which launchers do not give, where all processes are here."""
    if not all_here:
        raise UserError(
            f"{launcher} does not say on which host its first process is: set {ADDRESS}=HOST:PORT "
            "of it for all of them"
        )
    return f"127.0.0.1:{_port(sum(ord(letter) * 31**i for i, letter in enumerate(job)))}"


def _tpu(environment: Environment) -> Group | None:
    """Hosts of a slice by name, or as HOST:PORT where several processes share a host; and slices.

    On Cloud TPU machines that name nothing in the environment, `--distributed` has JAX ask.
    """
    named = environment.get("TPU_PROCESS_ADDRESSES") or environment.get("TPU_WORKER_HOSTNAMES", "")
    hosts = [host for host in named.split(",") if host]
    slices = _number(environment, "MEGASCALE_NUM_SLICES", 1)
    if len(hosts) * slices <= 1 and slices == 1:
        return None
    each = max(1, len(hosts))
    worker = "TPU_WORKER_ID" if "TPU_WORKER_ID" in environment else "CLOUD_TPU_TASK_ID"
    index = _number(environment, worker, 0 if each == 1 else None)
    part = _number(environment, "MEGASCALE_SLICE_ID", 0 if slices == 1 else None)

    def address() -> str:
        leader = environment.get("MEGASCALE_COORDINATOR_ADDRESS") or (hosts[0] if hosts else "")
        if not leader or (slices > 1 and "MEGASCALE_COORDINATOR_ADDRESS" not in environment):
            raise UserError(
                f"{slices} slices of TPUs without MEGASCALE_COORDINATOR_ADDRESS: set it, or "
                f"{ADDRESS}=HOST:PORT of the first process, for all of them"
            )
        return f"{leader.partition(':')[0]}:{environment.get('JAX_COORDINATOR_PORT', _TPU_PORT)}"

    return Group(_address(environment, address), each * slices, index + part * each)


def local_devices(environment: Environment, index: int, count: int) -> tuple[int, ...] | None:
    """The GPUs of this machine for one of `count` processes on it; None for all that it sees.

    JAX takes one, whatever there is. Raises UserError where they do not divide.
    """
    given = environment.get("JAX_LOCAL_DEVICE_IDS")
    if given:
        return tuple(_whole("JAX_LOCAL_DEVICE_IDS", text) for text in given.split(","))
    visible = _visible_gpus(environment)
    if count == 1 or visible <= 1:  # none at all, or the launcher has given each its own
        return None
    on_node = environment.get("SLURM_GPUS_ON_NODE", "")
    if on_node.isdigit() and visible < int(on_node):
        return None  # a part already
    if visible % count:
        raise UserError(
            f"{visible} GPUs do not divide among {count} processes on a machine: start as many "
            "processes as divide them, or set JAX_LOCAL_DEVICE_IDS for each"
        )
    each = visible // count
    return tuple(range(index * each, (index + 1) * each))


def _visible_gpus(environment: Environment) -> int:
    listed = environment.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        return len([one for one in listed.split(",") if one])
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def _address(environment: Environment, otherwise: Callable[[], str]) -> str:
    return environment.get(ADDRESS) or otherwise()


def _port(number: int) -> int:
    return _FIRST_PORT + number % _PORTS


def _number(environment: Environment, name: str, default: int | None = None) -> int:
    text = environment.get(name)
    if not text:
        if default is None:
            raise UserError(f"{name} is not set, though its launcher started several processes")
        return default
    return _whole(name, text)


def _whole(name: str, text: str) -> int:
    if not re.fullmatch(r"\d{1,12}", text.strip()):
        raise UserError(f"{name}={text} is not a whole number")
    return int(text)
