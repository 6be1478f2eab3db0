"""Shared fixtures: the real photographs where they are, a private cache, one thread a process."""

from __future__ import annotations

import os
import signal
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
