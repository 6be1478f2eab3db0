"""Jobs in this process, or each in a process of its own: what one leaves behind or dies of does not touch the others."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait

from .job_table import JobTable
from .jobs import ATTEMPTS, Job, lost, perform
from .workers import available_cores, leave_with_parent

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def run_here(jobs: Sequence[Job], table: JobTable) -> Iterator[tuple[Job, dict]]:
    """One after the other in this process, with all its threads."""
    for job in jobs:
        table.started(job.name, "here")
        yield job, perform(job)


def run_in_processes(
    jobs: Sequence[Job], table: JobTable, workers: int, cores: int | None = None, gpus: Sequence[str] = ()
) -> Iterator[tuple[Job, dict]]:
    """Up to `workers` side by side, each in a freshly started interpreter; all end when this process ends.

    Args:
        cores: threads of each; by default its share of the cores.
        gpus: ids of the GPUs to deal out, one for each process; those that share one when there are more processes.
    """
    workers = min(workers, len(jobs))
    cores = cores or max(1, available_cores() // workers)
    places = deque(gpus[i % len(gpus)] if gpus else "" for i in range(workers))
    waiting, begun, running = deque(jobs), Counter(), {}
    try:
        while waiting or running:
            while waiting and places:
                task = _start(waiting.popleft(), places.popleft(), cores)
                begun[task.job.name] += 1
                running[task.connection] = task
                table.started(task.job.name, task.where)
            for connection in wait(list(running)):
                task = running.pop(connection)
                answer = task.answer()
                places.append(task.gpu)
                if answer is not None:
                    yield task.job, answer
                elif begun[task.job.name] < ATTEMPTS:
                    table.again(task.job.name, task.cause())
                    waiting.appendleft(task.job)
                else:
                    yield task.job, lost(task.cause())
    finally:
        for task in running.values():
            task.process.kill()
            task.process.join()


def visible_gpus() -> list[str]:
    """Ids of the GPUs that this process may use, for CUDA_VISIBLE_DEVICES."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [part.strip() for part in chosen.split(",") if part.strip()]
    import torch

    return [str(i) for i in range(torch.cuda.device_count())]


def limit_threads(cores: int) -> None:
    """Let this process, and those that it starts, use so many threads; without this they would fight each other."""
    os.environ.update(dict.fromkeys(_THREADS, str(cores)))
    for name, limit in (("torch", "set_num_threads"), ("cv2", "setNumThreads")):
        if name in sys.modules:
            getattr(sys.modules[name], limit)(cores)


@dataclass(eq=False)
class _Task:
    """A job under way."""

    job: Job
    gpu: str
    process: multiprocessing.Process
    connection: Connection

    @property
    def where(self) -> str:
        return f"process {self.process.pid}" + (f", GPU {self.gpu}" if self.gpu else "")

    def answer(self) -> dict | None:
        """What the process says at its end; None when it dies without a word."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            return None
        finally:
            self.process.join()
            self.connection.close()

    def cause(self) -> str:
        code = self.process.exitcode or 0
        if code >= 0:
            return f"ended with exit code {code}"
        name = signal.Signals(-code).name
        return f"was killed ({name}; out of memory?)" if name == "SIGKILL" else f"crashed ({name})"


def _start(job: Job, gpu: str, cores: int) -> _Task:
    ours, theirs = multiprocessing.Pipe(duplex=False)
    # Not a daemon: a job may start worker processes of its own.
    process = multiprocessing.get_context("spawn").Process(target=_work, args=(theirs, job, cores), daemon=False)
    values = dict.fromkeys(_THREADS, str(cores)) | ({"CUDA_VISIBLE_DEVICES": gpu} if gpu else {})
    # Libraries look at these while they are imported, so they must be there from the first moment.
    with _environment(values):
        process.start()
    theirs.close()
    return _Task(job, gpu, process, ours)


def _work(connection: Connection, job: Job, cores: int) -> None:
    # Ctrl-C reaches the whole group; the parent sees to its processes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=leave_with_parent, daemon=True).start()
    limit_threads(cores)
    connection.send(perform(job))


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
