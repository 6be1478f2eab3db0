"""Shared fixtures: the real photographs where they are, a private cache, one thread a process."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

# Two test processes on two cores: more threads each would only fight.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True, scope="session")
def _private_cache(tmp_path_factory):
    os.environ["FUNDUS_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real photographs; skips where there is none."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("FUNDUS_REAL_DATA", beside))
    if not (folder / "odir" / "metadata.csv").is_file():
        pytest.skip("no real photographs here: set FUNDUS_REAL_DATA to their folder")
    return folder


@pytest.fixture
def ray_cluster():
    """A function that starts a Ray cluster on this machine, given the resources of its first node; it ends with the test."""
    pytest.importorskip("ray")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    started = []

    def start(**head):
        started.append(Cluster(initialize_head=True, head_node_args=head))
        return started[-1]

    yield start
    for cluster in started:
        cluster.shutdown()


@pytest.fixture
def kill_node():
    """A function that ends a node of a Ray cluster as a machine ends that loses its power: with all that works on it."""

    def kill(cluster, node) -> None:
        raylet = node.all_processes["raylet"][0].process.pid
        workers = _children(raylet)
        # What works there would otherwise finish what it has.
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        cluster.remove_node(node, allow_graceful=False)
        for pid in workers:
            os.kill(pid, signal.SIGKILL)

    return kill


@pytest.fixture
def slurm_cluster(tmp_path, monkeypatch):
    """A Slurm of one node on this machine (Debian's slurm-wlm and munge), which sbatch finds; it ends with the test."""
    if os.geteuid() or not all(map(shutil.which, ("munged", "slurmctld", "slurmd", "sbatch"))):
        pytest.skip("a Slurm for tests needs root, slurm-wlm and munge")
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # a socket's path must be short
    (folder / "key").write_bytes(os.urandom(1024))
    (folder / "key").chmod(0o400)
    host = socket.gethostname().partition(".")[0]
    (folder / "slurm.conf").write_text(_SLURM.format(folder=folder, host=host, control=_free_port(), node=_free_port()))
    monkeypatch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
    places = {"key-file": "key", "socket": "munge", "pid-file": "pid", "log-file": "munge.log", "seed-file": "seed"}
    munged = ["munged", "--foreground", "--force", *(f"--{name}={folder}/{file}" for name, file in places.items())]
    daemons = []
    try:
        for command in (munged, ["slurmctld", "-D"], ["slurmd", "-D"]):
            daemons.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
            time.sleep(1)
        subprocess.run(["srun", "--time=1", "true"], check=True, timeout=60)
        yield
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait(30)
        shutil.rmtree(folder)


_SLURM = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control}
SlurmdPort={node}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=1
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=1000
PartitionName=all Nodes={host} Default=YES
"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _children(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(words[1]) == pid:
            found.append(int(path.parent.name))
    return found
