"""Jobs as an array of a Slurm cluster (extra `slurm`), by submitit."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from .errors import UserError
from .job_table import JobTable
from .jobs import ATTEMPTS, Job, lost, perform
from .local_jobs import limit_threads

LOCAL = "local"
_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_BETWEEN_QUESTIONS = 5.0
_MINUTES = 60
_ALIVE = {
    "PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "STAGE_OUT", "SUSPENDED", "STOPPED", "SIGNALING", "RESIZING", "REQUEUED",
    "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT",
}  # fmt: skip


def run_on_slurm(
    jobs: Sequence[Job], table: JobTable, options: str, folder: Path, cores: int
) -> Iterator[tuple[Job, dict]]:
    """All jobs as one array; one that is killed, preempted or runs out of time is submitted again.

    Every node needs this package and must see the files that the jobs name, and `folder`, where submitit keeps scripts,
    answers and output.

    Args:
        options: see `parse_options`; "local" runs them as processes of this machine, without Slurm.

    Raises:
        UserError: submitit is not installed, bad options, or there is no Slurm here.
    """
    submit = _submitter(options, folder, cores)
    watch = _Processes() if options == LOCAL else _Queue()
    begun = Counter(job.name for job in jobs)
    running = dict(zip(submit(jobs), jobs, strict=True))
    try:
        while running:
            watch.look()
            for task in [task for task in running if watch.ended(task)]:
                job = running.pop(task)
                answer, reason = _answer(task, watch.state(task))
                if answer is not None:
                    yield job, answer
                elif begun[job.name] < ATTEMPTS:
                    table.again(job.name, reason)
                    begun[job.name] += 1
                    running[submit([job])[0]] = job
                else:
                    yield job, lost(reason)
            for task, job in running.items():
                if watch.state(task) == "RUNNING":
                    table.started(job.name, f"Slurm {task.job_id}")
            time.sleep(_SECONDS_BETWEEN_LOOKS)
    finally:
        for task in running:
            task.cancel()


def parse_options(text: str) -> dict[str, object]:
    """ "partition=gpu,time=240,gpus=1,mem=16,parallel=8" as submitit's parameters.

    time: minutes of one job, 60 by default. mem: GB. parallel: jobs side by side. Any other name is an option of sbatch
    ("account=eyes").

    Raises:
        UserError: a part that is not name=value, or a value that is not a number where one is needed.
    """
    parameters: dict[str, object] = {"timeout_min": _MINUTES}
    others: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals or not value:
            raise UserError(f'--slurm: {part!r} is not name=value; expected e.g. "partition=gpu,time=240"')
        if name in _NUMBERS:
            parameters[_NUMBERS[name]] = _number(name, value)
        elif name == "partition":
            parameters["slurm_partition"] = value
        else:
            others[name] = value
    return parameters | ({"slurm_additional_parameters": others} if others else {})


_NUMBERS = {"time": "timeout_min", "gpus": "gpus_per_node", "mem": "mem_gb", "parallel": "slurm_array_parallelism"}


def _number(name: str, value: str) -> int:
    if not value.isdigit() or int(value) < 1:
        raise UserError(f"--slurm: {name}={value}; expected a whole number from 1 up")
    return int(value)


def _submitter(options: str, folder: Path, cores: int):
    """A function that submits jobs as one array and returns submitit's handles."""
    try:
        import submitit
    except ImportError as error:
        raise UserError("--slurm needs submitit", hint='Install it with: pip install "fundus-synth[slurm]"') from error
    parameters = {"timeout_min": _MINUTES} if options == LOCAL else parse_options(options)
    try:
        executor = submitit.AutoExecutor(folder=folder.resolve(), cluster=LOCAL if options == LOCAL else "slurm")
    except RuntimeError as error:
        raise UserError(
            "--slurm: there is no Slurm here (sbatch is not found)", hint="Run it on a login node."
        ) from error
    executor.update_parameters(name="fundus", cpus_per_task=cores, **parameters)

    def submit(jobs: Sequence[Job]) -> list:
        with executor.batch():
            return [executor.submit(_perform, job, cores) for job in jobs]

    return submit


def _perform(job: Job, cores: int) -> dict:
    limit_threads(cores)
    return perform(job)


def _answer(task, state: str) -> tuple[dict | None, str]:
    """An ended task's answer; or None and why there is none."""
    from submitit.core.utils import FailedJobError, UncompletedJobError

    reason = f"ended without an answer (Slurm: {state})"
    if not task.paths.result_pickle.exists():  # submitit would wait for it
        return None, reason
    try:
        return task.result(), ""
    except (FailedJobError, UncompletedJobError):
        return None, reason


class _Processes:
    """What submitit's processes on this machine are at."""

    def look(self) -> None:
        """Nothing to ask beforehand."""

    def ended(self, task) -> bool:
        return task.done()

    def state(self, task) -> str:
        return task.state


class _Queue:
    """What the user's jobs are at, as `squeue` tells: submitit asks `sacct`, which says nothing where no accounting is kept."""

    def __init__(self) -> None:
        self.states: dict[str, str] = {}
        self.asked = 0.0
        self.missed: Counter[str] = Counter()

    def look(self) -> None:
        """Ask again when the last answer is old; an answer that does not come changes nothing."""
        if time.monotonic() - self.asked < _SECONDS_BETWEEN_QUESTIONS:
            return
        self.asked = time.monotonic()
        asked = ["squeue", "--me", "--array", "--noheader", "--states=all", "--format=%i %T"]
        said = subprocess.run(asked, capture_output=True, text=True)
        if said.returncode == 0:
            self.states = dict(line.split() for line in said.stdout.splitlines())
            for job_id in self.missed.keys() | self.states.keys():
                alive = self.states.get(job_id) in _ALIVE
                self.missed[job_id] = 0 if alive else self.missed[job_id] + 1

    def ended(self, task) -> bool:
        """Its answer is there; or the queue has twice not known it as alive, a shared folder being slower than the queue."""
        self.missed.setdefault(task.job_id, 0)
        return task.paths.result_pickle.exists() or self.missed[task.job_id] > 1

    def state(self, task) -> str:
        return self.states.get(task.job_id, "not in the queue")
