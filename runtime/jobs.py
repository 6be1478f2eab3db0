"""A list of independent jobs, run in local processes, each result kept so that nothing finished is repeated.

The list is plain data (a function's name and JSON arguments), so that other runners can take the same list later.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import traceback
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

from .errors import JobError, UserError
from .files import make_folder, read_json, write_json, write_text
from .progress import Progress


@dataclass(frozen=True)
class Job:
    """One piece of work.

    Attributes:
        name: unique in its list; also the name of its result file, so letters, digits, "-", "_", "." only.
        function: "package.module:function", called with `arguments` as keywords; returns a JSON-able dict.
        arguments: JSON-able keyword arguments.
    """

    name: str
    function: str
    arguments: dict = field(default_factory=dict)


def run_jobs(
    jobs: Sequence[Job], folder: Path | str, workers: int = 1, description: str = "jobs", quiet: bool = False
) -> dict[str, dict]:
    """Run `jobs` and return {name: result}, in the order of the list.

    Results are kept as `<folder>/<name>.json` beside a digest of the arguments; a job whose result is there is not run
    again. `workers=1` runs in this process; more start fresh interpreters ("spawn") with their share of the cores.

    Raises:
        JobError: a job failed; the others have been finished and their results kept. Its traceback is in
            `<folder>/<name>.log`.
        UserError: a kept result belongs to other arguments, or a job raised a UserError.
    """
    folder = Path(folder)
    make_folder(folder)
    results = {job.name: kept for job in jobs if (kept := _kept_result(job, folder)) is not None}
    waiting = [job for job in jobs if job.name not in results]
    failures: dict[str, Exception] = {}
    with Progress(len(jobs), description, unit="jobs", quiet=quiet, start=len(results)) as progress:
        for job, outcome in _outcomes(waiting, workers):
            if isinstance(outcome, Exception):
                failures[job.name] = outcome
                write_text(folder / f"{job.name}.log", "".join(traceback.format_exception(outcome)))
            else:
                write_json(folder / f"{job.name}.json", {"job": _identity(job), "result": outcome})
                results[job.name] = outcome
            progress.advance(1)
    for name, error in failures.items():
        if isinstance(error, UserError):
            raise error
        raise JobError(f"job {name} failed ({type(error).__name__}: {error}); see {folder / name}.log") from error
    return {job.name: results[job.name] for job in jobs}


def call(job: Job) -> dict:
    """Import the job's function and call it."""
    module, _, name = job.function.partition(":")
    return getattr(importlib.import_module(module), name)(**job.arguments)


def _outcomes(jobs: Sequence[Job], workers: int):
    if workers <= 1 or len(jobs) <= 1:
        for job in jobs:
            try:
                yield job, call(job)
            except Exception as error:
                yield job, error
        return
    threads = max(1, (os.cpu_count() or 1) // workers)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_limit_threads, initargs=(threads,)) as pool:
        futures = {pool.submit(call, job): job for job in jobs}
        for future in as_completed(futures):
            error = future.exception()
            yield futures[future], error if error is not None else future.result()


def _limit_threads(threads: int) -> None:
    # Without this every process starts one thread a core, and they fight each other.
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)


def _identity(job: Job) -> dict:
    return json.loads(json.dumps({"function": job.function, "arguments": job.arguments}, sort_keys=True))


def _kept_result(job: Job, folder: Path) -> dict | None:
    path = folder / f"{job.name}.json"
    if not path.exists():
        return None
    kept = read_json(path)
    if kept.get("job") != _identity(job):
        raise UserError("is the result of a job with other options", path=path, hint="Name another folder with --out.")
    return kept["result"]
