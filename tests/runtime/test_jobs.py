"""The same list of jobs here, in processes, by submitit and on Ray: same results, nothing repeated, the killed begun again."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from fundus_synth.runtime.errors import JobError, UserError
from fundus_synth.runtime.job_table import JobTable
from fundus_synth.runtime.jobs import ATTEMPTS, Job, run_jobs
from fundus_synth.runtime.local_jobs import visible_gpus
from fundus_synth.runtime.slurm_jobs import parse_options

# What the jobs of these tests do, in a module that every runner's processes can import.
WORK = '''
import os, signal, time
from pathlib import Path

def begun(folder, name):
    """Note that `name` is begun, and say how often it was before."""
    path = Path(folder) / f"{name}.begun"
    with open(path, "a") as stream:
        stream.write("x")
    (Path(folder) / f"{os.getpid()}.child").write_text(str(os.getppid()))
    return len(path.read_text()) - 1

def add(folder, name, numbers, seconds=0, quiet=False):
    begun(folder, name)
    time.sleep(seconds)
    total = sum(numbers)
    (Path(folder) / f"{name}.ended").touch()
    return {"sum": total, "name": name}

def die(folder, name, times):
    if begun(folder, name) < times:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"survived": name}

def environment(folder, name):
    begun(folder, name)
    time.sleep(0.5)
    return {key: os.environ.get(key) for key in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")}

def not_json():
    return {"set": {1}}

def no_number():
    return {"nan": float("nan"), "pair": (1, 2)}
'''


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A folder for the jobs of `WORK`, which is importable as fundus_jobs_for_tests."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "fundus_jobs_for_tests.py").write_text(WORK)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.delitem(sys.modules, "fundus_jobs_for_tests", raising=False)
    return folder


def job(function: str, work: Path, name: str, **more) -> Job:
    return Job(name, f"fundus_jobs_for_tests:{function}", {"folder": str(work), "name": name, **more})


def sums(work: Path, count: int, **more) -> list[Job]:
    return [job("add", work, f"job-{i}", numbers=[i, 0.1], **more) for i in range(count)]


def expected(count: int) -> list[tuple[str, dict]]:
    return [(f"job-{i}", {"sum": i + 0.1, "name": f"job-{i}"}) for i in range(count)]


def times_begun(work: Path) -> dict[str, int]:
    return {path.stem: len(path.read_text()) for path in work.glob("*.begun")}


RUNNERS = [{"workers": 1}, {"workers": 2}, {"workers": 1, "cores": 1}, {"slurm": "local"}]


@pytest.mark.parametrize("how", RUNNERS, ids=str)
def test_results_in_the_list_s_order_and_nothing_finished_is_repeated(work, tmp_path, how):
    if "slurm" in how:
        pytest.importorskip("submitit")
    jobs = sums(work, 3)
    first = run_jobs(jobs[::-1], tmp_path / "jobs", **how, quiet=True)
    assert list(first.items()) == expected(3)[::-1]
    assert run_jobs(jobs, tmp_path / "jobs", **how, quiet=True) == first
    more = run_jobs([*jobs, *sums(work, 4)[3:]], tmp_path / "jobs", **how, quiet=True)
    assert list(more.items()) == expected(4)
    assert set(times_begun(work).values()) == {1}


# submitit waits 15 s for the answer of a process that died.
@pytest.mark.parametrize("how", [{"workers": 2}, pytest.param({"slurm": "local"}, marks=pytest.mark.slow)], ids=str)
def test_a_killed_job_is_begun_again_and_one_that_always_dies_is_named(work, tmp_path, how, capsys):
    if "slurm" in how:
        pytest.importorskip("submitit")
    survives, good = job("die", work, "once", times=1), sums(work, 1)[0]
    assert run_jobs([survives, good], tmp_path / "jobs", **how) == {"once": {"survived": "once"}, **dict(expected(1))}
    assert times_begun(work) == {"once": 2, "job-0": 1}
    assert "once: its process" in capsys.readouterr().err
    if "slurm" in how:
        return
    with pytest.raises(JobError, match=rf"job never failed \(its process died {ATTEMPTS} times.*SIGKILL"):
        run_jobs([job("die", work, "never", times=99), *sums(work, 2)[1:]], tmp_path / "jobs", **how, quiet=True)
    assert times_begun(work)["never"] == ATTEMPTS
    assert (tmp_path / "jobs" / "job-1.json").exists() and (tmp_path / "jobs" / "never.log").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failing_job_does_not_stop_the_others(work, tmp_path, workers):
    jobs = [job("add", work, "bad", numbers=["a"]), *sums(work, 1)]
    with pytest.raises(JobError, match=r"job bad failed \(TypeError: .*bad\.log"):
        run_jobs(jobs, tmp_path / "jobs", workers, quiet=True)
    assert (tmp_path / "jobs" / "job-0.json").exists()
    assert "Traceback" in (tmp_path / "jobs" / "bad.log").read_text()
    with pytest.raises(JobError, match="not JSON serializable"):
        run_jobs([Job("set", "fundus_jobs_for_tests:not_json")], tmp_path / "jobs", workers, quiet=True)


@pytest.mark.parametrize("workers", [1, 2])
def test_user_errors_come_through_and_the_mended_job_runs(tmp_path, workers):
    path = tmp_path / "none.json"
    jobs = [Job(f"{i}", "fundus_synth.runtime.files:read_json", {"path": str(path)}) for i in range(2)]
    with pytest.raises(UserError, match=r"none\.json: no such file"):
        run_jobs(jobs, tmp_path / "jobs", workers, quiet=True)
    path.write_text('{"a": 1}')
    assert run_jobs(jobs, tmp_path / "jobs", workers, quiet=True) == {"0": {"a": 1}, "1": {"a": 1}}
    assert not list((tmp_path / "jobs").glob("*.log"))


def test_kept_result_of_other_arguments_is_refused(work, tmp_path):
    kept = run_jobs(sums(work, 1), tmp_path / "jobs", quiet=True)
    assert run_jobs(sums(work, 1, quiet=True), tmp_path / "jobs", quiet=True) == kept
    assert times_begun(work) == {"job-0": 1}
    with pytest.raises(UserError, match="other options"):
        run_jobs([job("add", work, "job-0", numbers=[7])], tmp_path / "jobs", quiet=True)


def test_a_result_is_the_same_when_it_is_read_again(work, tmp_path):
    jobs = [Job("a", "fundus_jobs_for_tests:no_number")]
    first = run_jobs(jobs, tmp_path / "jobs", quiet=True)
    assert first == run_jobs(jobs, tmp_path / "jobs", quiet=True) == {"a": {"nan": None, "pair": [1, 2]}}


def test_names_must_be_file_names():
    for name in ("", "a/b", "..", "a b", ".hidden"):
        with pytest.raises(ValueError, match="name of a file"):
            Job(name, "os:getcwd")


def test_each_process_sees_one_gpu_and_its_share_of_threads(work, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 5")
    jobs = [job("environment", work, f"job-{i}") for i in range(2)]
    results = run_jobs(jobs, tmp_path / "jobs", None, cores=1, quiet=True)
    assert sorted(result["CUDA_VISIBLE_DEVICES"] for result in results.values()) == ["3", "5"]
    assert {result["OMP_NUM_THREADS"] for result in results.values()} == {"1"}
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3, 5", "this process's own environment is as before"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []


def test_processes_end_when_the_list_is_left(work, tmp_path):
    """Ctrl-C (any exception) in the middle: nothing goes on working in a run folder that somebody will continue."""
    from fundus_synth.runtime.local_jobs import run_in_processes

    table = JobTable(2, "jobs", quiet=True)
    answers = run_in_processes([*sums(work, 1), job("add", work, "slow", numbers=[], seconds=20)], table, 2)
    next(answers)
    children = {int(where.removeprefix("process ")) for where, _ in table._running.values()}
    answers.close()
    assert children and not any(Path(f"/proc/{pid}").exists() for pid in children)
    assert not (work / "slow.ended").exists(), "it is ended, not waited for"


def test_slurm_options():
    assert parse_options("partition=gpu, time=240,gpus=1,mem=16,parallel=8,account=eyes") == {
        "timeout_min": 240, "slurm_partition": "gpu", "gpus_per_node": 1, "mem_gb": 16, "slurm_array_parallelism": 8,
        "slurm_additional_parameters": {"account": "eyes"},
    }  # fmt: skip
    assert parse_options("") == {"timeout_min": 60}
    for bad in ("gpu", "time=soon", "time=0", "partition="):
        with pytest.raises(UserError, match="--slurm"):
            parse_options(bad)


def test_what_is_not_there_is_said_in_one_line(work, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="both given"):
        run_jobs([], tmp_path, ray="auto", slurm="local")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "submitit", None)
        with pytest.raises(UserError, match=r"fundus-synth\[slurm\]"):
            run_jobs(sums(work, 1), tmp_path, slurm="local", quiet=True)
        patch.setitem(sys.modules, "ray", None)
        with pytest.raises(UserError, match=r"fundus-synth\[ray\]"):
            run_jobs(sums(work, 1), tmp_path, ray="auto", quiet=True)
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="no Slurm here"):
        run_jobs(sums(work, 1), tmp_path, slurm="partition=gpu", quiet=True)


def test_the_table_on_a_terminal(monkeypatch):
    from rich.console import Console

    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", screen)
    with JobTable(3, "trainings", done=1) as table:
        table.started("a[b]", "GPU 1")
        table.again("c", "was killed")
        page = Console(file=io.StringIO(), width=100)
        page.print(table._renderable())
        table.finished("a[b]")
    text = page.file.getvalue()
    assert "trainings: 1/3 jobs" in text and "a[b]" in text and "GPU 1" in text
    assert "c: its process was killed; it is begun again" in screen.getvalue()


@pytest.mark.slow
def test_a_ray_cluster_that_loses_a_machine_gives_the_same_results(work, tmp_path, ray_cluster, kill_node):
    """Twelve jobs on two nodes; the one that is not ours is killed while it works."""
    jobs = sums(work, 12, seconds=2)
    here = run_jobs(sums(work, 12), tmp_path / "here", workers=2, cores=1, quiet=True)
    for note in [*work.glob("*.begun"), *work.glob("*.ended")]:
        note.unlink()
    cluster = ray_cluster(num_cpus=1)
    second = cluster.add_node(num_cpus=1)
    kept = []

    def kill() -> None:
        # One core each: with two jobs in work both machines are at it.
        while len(kept) < 3 or len(times_begun(work)) < len(list(work.glob("*.ended"))) + 2:
            time.sleep(0.02)
            kept[:] = (tmp_path / "there").glob("job-*.json")
        kill_node(cluster, second)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    there = run_jobs(jobs, tmp_path / "there", ray=cluster.address, quiet=True)
    thread.join()
    assert 3 <= len(kept) < 11, "the machine must die while there is work left"
    assert list(there.items()) == list(here.items()) == expected(12)
    for name, result in here.items():
        assert json.loads((tmp_path / "there" / f"{name}.json").read_text())["result"] == result
    begun = times_begun(work)
    assert set(begun) == set(there) and 12 < sum(begun.values()) <= 14, "only what was lost is done twice"


@pytest.mark.slow
def test_on_ray_errors_come_through_and_what_always_dies_is_named(work, tmp_path, ray_cluster):
    cluster = ray_cluster(num_cpus=2)
    bad = [job("add", work, "bad", numbers=["a"]), *sums(work, 1)]
    with pytest.raises(JobError, match=r"job bad failed \(TypeError"):
        run_jobs(bad, tmp_path / "jobs", ray=cluster.address, quiet=True)
    assert (tmp_path / "jobs" / "job-0.json").exists()
    with pytest.raises(JobError, match=f"job never failed .its process died {ATTEMPTS} times"):
        run_jobs([job("die", work, "never", times=99)], tmp_path / "jobs", ray=cluster.address, quiet=True)
    assert times_begun(work)["never"] == ATTEMPTS


@pytest.mark.slow
def test_a_slurm_that_kills_a_job_gives_the_same_results(work, tmp_path, slurm_cluster):
    """Twelve jobs as a real array; one of them is killed."""
    pytest.importorskip("submitit")
    here = run_jobs(sums(work, 12), tmp_path / "here", workers=2, cores=1, quiet=True)
    for note in [*work.glob("*.begun"), *work.glob("*.child")]:
        note.unlink()

    def kill() -> None:
        while not times_begun(work) or not list(work.glob("*.child")):
            time.sleep(0.05)
        # As a node does that runs out of memory.
        os.kill(min(int(note.stem) for note in work.glob("*.child")), signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    there = run_jobs(sums(work, 12, seconds=5), tmp_path / "there", slurm="time=5", cores=1, quiet=True)
    thread.join(5)
    assert list(there.items()) == list(here.items()) == expected(12)
    begun = times_begun(work)
    assert set(begun) == set(there) and sum(begun.values()) == 13, "only what was lost is done twice"
    assert run_jobs(sums(work, 12, seconds=5), tmp_path / "there", slurm="time=5", quiet=True) == there
