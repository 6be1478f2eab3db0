"""A list of independent jobs, each result kept so that nothing finished is repeated.

The list is plain data (a function's name and JSON arguments). The same list runs in this process, in local processes, on a
Ray cluster or as a Slurm array, and gives the same results:

    run_jobs(jobs, folder)                                  # this process, one after the other
    run_jobs(jobs, folder, workers=4)                       # four processes; GPUs are dealt out to them
    run_jobs(jobs, folder, ray="auto")                      # a Ray cluster
    run_jobs(jobs, folder, slurm="partition=gpu,time=240")  # a Slurm array
"""

from __future__ import annotations

import importlib
import json
import re
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .errors import JobError, UserError
from .files import make_folder, read_json, without_nan, write_json, write_text
from .job_table import JobTable

ATTEMPTS = 3
"""A job whose process or machine dies is begun again until it was begun this often."""


@dataclass(frozen=True)
class Job:
    """One piece of work.

    Attributes:
        name: unique in its list; also the name of its result file, so letters, digits, "-", "_", "." only.
        function: "package.module:function", called with `arguments` as keywords; returns a JSON-able dict. It may be
            begun again after a crash, so what it leaves behind must let it continue.
        arguments: JSON-able keyword arguments. Other machines have another working folder: paths must be absolute. A
            result is kept for its arguments; only `quiet` may differ.
    """

    name: str
    function: str
    arguments: dict = field(default_factory=dict)

    def __post_init__(self):
        if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", self.name):
            raise ValueError(f"{self.name!r} cannot be the name of a file")


def run_jobs(
    jobs: Sequence[Job], folder: Path | str, workers: int | None = 1, description: str = "jobs", quiet: bool = False, *,
    ray: str | None = None, slurm: str | None = None, cores: int | None = None, jobs_per_gpu: int = 1,
) -> dict[str, dict]:  # fmt: skip
    """Run `jobs` and return {name: result}, in the order of the list.

    Results are kept as `<folder>/<name>.json` beside a digest of the arguments; a job whose result is there is not run
    again. A job whose process or machine dies is begun again, `ATTEMPTS` times in all. Results are the same wherever
    the list runs; where a function adds up floats with several threads, to the last bit only with the same `cores`.

    Args:
        workers: local processes side by side; 1 = this process; None = one for each GPU (`jobs_per_gpu` of them), else 1.
            Where there are GPUs, every process sees one of them.
        ray: address of a Ray cluster, see `ray_pool.map_on_ray`.
        slurm: options of the array as in `slurm_jobs.run_on_slurm`, e.g. "partition=gpu,time=240".
        cores: cores, and threads, of one job; by default the machine's are shared out among local processes, and Ray and
            Slurm give one.
        jobs_per_gpu: how many jobs share one GPU.

    Raises:
        JobError: a job failed; the others have been finished and their results kept. Its traceback is in
            `<folder>/<name>.log`.
        UserError: a kept result belongs to other arguments, a job raised a UserError, both `ray` and `slurm`, or what
            is asked for is not there.
    """
    if ray is not None and slurm is not None:
        raise UserError("--ray and --slurm are both given; expected one of them")
    folder = Path(folder)
    make_folder(folder)
    results = {job.name: kept for job in jobs if (kept := _kept_result(job, folder)) is not None}
    waiting = [job for job in jobs if job.name not in results]
    failures: dict[str, dict] = {}
    with JobTable(len(jobs), description, quiet, done=len(results)) as table:
        for job, answer in _answers(waiting, folder, table, workers, ray, slurm, cores, jobs_per_gpu):
            if "result" in answer:
                write_json(folder / f"{job.name}.json", {"job": _identity(job), "result": answer["result"]})
                (folder / f"{job.name}.log").unlink(missing_ok=True)
                results[job.name] = answer["result"]
            else:
                failures[job.name] = answer
                write_text(folder / f"{job.name}.log", answer["traceback"])
            table.finished(job.name)
    for name, answer in failures.items():
        if "user_error" in answer:
            raise UserError(**answer["user_error"])
        raise JobError(f"job {name} failed ({answer['error']}); see {folder / name}.log")
    return {job.name: results[job.name] for job in jobs}


def call(job: Job) -> dict:
    """Import the job's function and call it."""
    module, _, name = job.function.partition(":")
    return getattr(importlib.import_module(module), name)(**job.arguments)


def perform(job: Job) -> dict:
    """Call the job's function wherever this runs; the answer is plain data that travels between machines.

    Returns:
        `{"result": ...}`, or what went wrong: `{"user_error": {...}, "traceback": ...}`, `{"error": ..., "traceback": ...}`.
    """
    try:
        return {"result": json.loads(json.dumps(without_nan(call(job))))}  # as it will be read again
    except UserError as error:
        where = None if error.path is None else str(error.path)
        said = {"message": error.message, "path": where, "row": error.row, "hint": error.hint}
        return {"user_error": said, "traceback": traceback.format_exc()}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}


def lost(reason: str) -> dict:
    """The answer for a job whose processes died `ATTEMPTS` times, the last one for `reason`."""
    text = f"its process died {ATTEMPTS} times, the last time it {reason}"
    return {"error": text, "traceback": f"{text}\n"}


def _answers(
    jobs: Sequence[Job], folder: Path, table: JobTable, workers: int | None, ray: str | None, slurm: str | None,
    cores: int | None, jobs_per_gpu: int,
) -> Iterator[tuple[Job, dict]]:  # fmt: skip
    """Every job with its answer, in the order in which they finish."""
    if not jobs:
        return iter(())
    if ray is not None:
        from .ray_jobs import run_on_ray

        return run_on_ray(jobs, table, ray, cores or 1, jobs_per_gpu)
    if slurm is not None:
        from .slurm_jobs import run_on_slurm

        return run_on_slurm(jobs, table, slurm, folder / "slurm", cores or 1)
    from .local_jobs import run_here, run_in_processes, visible_gpus

    if workers == 1 and cores is None:
        return run_here(jobs, table)
    gpus = visible_gpus()
    return run_in_processes(jobs, table, workers or max(1, len(gpus) * jobs_per_gpu), cores, gpus)


def _identity(job: Job) -> dict:
    """What a result is the result of; whether a job shows its progress is no part of that."""
    arguments = {name: value for name, value in job.arguments.items() if name != "quiet"}
    return json.loads(json.dumps({"function": job.function, "arguments": arguments}, sort_keys=True))


def _kept_result(job: Job, folder: Path) -> dict | None:
    path = folder / f"{job.name}.json"
    if not path.exists():
        return None
    kept = read_json(path)
    if kept.get("job") != _identity(job):
        raise UserError("is the result of a job with other options", path=path, hint="Name another folder with --out.")
    return kept["result"]
