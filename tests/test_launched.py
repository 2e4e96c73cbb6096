"""What launchers leave in the environment, as their manuals say and as they did on this system."""

import pytest

from ae_jax.core.errors import UserError
from ae_jax.train.launched import Group, group_of

OWN = {
    "JAX_COORDINATOR_ADDRESS": "train-0.train:1234",
    "JAX_NUM_PROCESSES": "4",
    "JAX_PROCESS_ID": "3",
}
SLURM = {
    "SLURM_JOB_ID": "4097",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "3",
    "SLURM_STEP_NODELIST": "gpu[07-08],big1",
    "SLURM_STEP_TASKS_PER_NODE": "1(x3)",
    "SLURM_PROCID": "2",
    "SLURM_NODEID": "2",
    "SLURM_LOCALID": "0",
}
OMPI = {
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
}
OMPI_4 = OMPI | {"OMPI_MCA_orte_hnp_uri": "89260032.0;tcp://192.0.2.2:47047;tcp6://[fd00::2]:42961"}
MPICH = {"PMI_SIZE": "2", "PMI_RANK": "1", "MPI_LOCALNRANKS": "2", "MPI_LOCALRANKID": "1"}
TPU = {"TPU_WORKER_HOSTNAMES": "t0,t1,t2", "TPU_WORKER_ID": "1"}
SLICES = {"MEGASCALE_NUM_SLICES": "2", "MEGASCALE_SLICE_ID": "1"}
LEADER = {"MEGASCALE_COORDINATOR_ADDRESS": "leader:8080"}
NO_GPUS = {"CUDA_VISIBLE_DEVICES": ""}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        (OWN, ("train-0.train:1234", 4, 3)),
        (
            {k: v for k, v in OWN.items() if "ID" not in k} | {"JOB_COMPLETION_INDEX": "2"},
            ("train-0.train:1234", 4, 2),
        ),
        ({"JAX_NUM_PROCESSES": "1"}, None),
        ({"JAX_NUM_PROCESSES": "1", "JAX_PROCESS_ID": "0"}, None),
        ({"SLURM_JOB_ID": "1", "SLURM_NTASKS": "4"}, None),  # an allocation that runs no step
        (SLURM | {"SLURM_STEP_NUM_TASKS": "1"}, None),
        (SLURM, ("gpu07:61441", 3, 2)),
        (SLURM | {"SLURM_STEP_ID": "1"}, ("gpu07:61538", 3, 2)),  # beside the first one
        (SLURM | {"SLURM_STEP_NODELIST": "n1,n2,n3"}, ("n1:61441", 3, 2)),
        (SLURM | {"JAX_COORDINATOR_ADDRESS": "10.0.0.1:99"}, ("10.0.0.1:99", 3, 2)),
        (OMPI_4, ("192.0.2.2:62752", 2, 1)),  # 89260032 / 4096 = 21792, modulo 4096 from 61440 on
        (OMPI | {"PMIX_NAMESPACE": "prterun-vm-7@1"}, ("127.0.0.1", 2, 1)),
        (MPICH, ("127.0.0.1:61440", 2, 1)),
        (TPU, ("t0:8482", 3, 1)),
        ({"TPU_WORKER_HOSTNAMES": "localhost", "TPU_WORKER_ID": "0"}, None),
        ({"TPU_PROCESS_ADDRESSES": "h:1,h:2", "CLOUD_TPU_TASK_ID": "1"}, ("h:8482", 2, 1)),
        (TPU | SLICES | LEADER, ("leader:8482", 6, 4)),
        # slices of single hosts
        ({"TPU_WORKER_HOSTNAMES": "localhost"} | SLICES | LEADER, ("leader:8482", 2, 1)),
    ],
)
def test_launchers_are_recognised(environment, expected):
    group = group_of(NO_GPUS | environment)
    if expected is None:
        assert group is None
    else:
        address, count, index = expected
        assert group.address.startswith(address)
        assert (group.count, group.index) == (count, index)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (OWN | {"JAX_COORDINATOR_ADDRESS": "train-0"}, "'train-0', has no port"),
        (OWN | {"JAX_COORDINATOR_ADDRESS": "h:123456"}, "has no port"),
        (OWN | {"JAX_NUM_PROCESSES": "two"}, "JAX_NUM_PROCESSES=two is not a whole number"),
        (OWN | {"JAX_NUM_PROCESSES": ""}, "set without JAX_NUM_PROCESSES"),
        (OWN | {"JAX_PROCESS_ID": "4"}, "number 4 of 4: numbers go from 0 to 3"),
        ({"JAX_COORDINATOR_ADDRESS": "a:1"}, "set without JAX_NUM_PROCESSES, JAX_PROCESS_ID"),
        ({"JAX_NUM_PROCESSES": "2"}, "set without JAX_COORDINATOR_ADDRESS, JAX_PROCESS_ID"),
        ({"JAX_PROCESS_ID": "0"}, "set without"),
        (SLURM | {"SLURM_PROCID": ""}, "SLURM_PROCID is not set, though"),
        (OMPI | {"OMPI_COMM_WORLD_LOCAL_SIZE": "1"}, "Open MPI does not say on which host"),
        (MPICH | {"MPI_LOCALNRANKS": "1"}, "MPICH does not say on which host"),
        (TPU | SLICES, "2 slices of TPUs without MEGASCALE_COORDINATOR_ADDRESS"),
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, "CLOUD_TPU_TASK_ID is not set"),
    ],
)
def test_what_is_partial_or_unreadable_is_refused(environment, message):
    with pytest.raises(UserError, match=message):
        group_of(NO_GPUS | environment)


@pytest.mark.parametrize(
    ("tasks", "local", "gpus", "expected"),
    [
        ("1", 0, {"CUDA_VISIBLE_DEVICES": "0,1,2,3,4,5,6,7"}, None),  # all eight, where JAX has one
        ("2", 1, {"CUDA_VISIBLE_DEVICES": "0,1,2,3,4,5,6,7"}, (4, 5, 6, 7)),
        ("8", 3, {"CUDA_VISIBLE_DEVICES": "0,1,2,3,4,5,6,7"}, (3,)),
        ("4", 2, {"CUDA_VISIBLE_DEVICES": "5,6", "SLURM_GPUS_ON_NODE": "8"}, None),  # its own two
        ("8", 3, {"CUDA_VISIBLE_DEVICES": "3"}, None),
        ("2", 1, {"CUDA_VISIBLE_DEVICES": "0,1", "JAX_LOCAL_DEVICE_IDS": "0,1"}, (0, 1)),
        ("2", 1, NO_GPUS, None),
    ],
)
def test_tasks_of_a_node_share_its_devices(tasks, local, gpus, expected):
    environment = SLURM | {
        "SLURM_STEP_NUM_TASKS": "16",
        "SLURM_STEP_TASKS_PER_NODE": f"{tasks}(x3)",
        "SLURM_LOCALID": str(local),
    }
    assert group_of(environment | gpus).local_devices == expected


def test_devices_that_tasks_cannot_share_are_refused():
    environment = SLURM | {"SLURM_STEP_TASKS_PER_NODE": "3(x3)", "CUDA_VISIBLE_DEVICES": "0,1"}
    with pytest.raises(UserError, match="2 GPUs do not divide among 3 processes"):
        group_of(environment)


def test_an_address_may_be_of_the_sixth_version():
    group = Group("[fd00::2]:99", 2, 0)
    assert (group.host, group.port) == ("fd00::2", 99)
