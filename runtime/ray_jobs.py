"""Jobs on the machines of a Ray cluster (extra `ray`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .errors import JobError
from .job_table import JobTable
from .jobs import ATTEMPTS, Job, lost, perform
from .local_jobs import limit_threads
from .ray_pool import connect, import_ray


def run_on_ray(
    jobs: Sequence[Job], table: JobTable, address: str, cores: int, jobs_per_gpu: int
) -> Iterator[tuple[Job, dict]]:
    """All jobs as tasks of a Ray cluster; a job whose worker or machine dies is begun again by another.

    Every machine needs this package and must see the files that the jobs name. Where the cluster has GPUs, each job
    waits for its share of one. A session of Ray that is there already is used and left open.

    Raises:
        UserError: Ray is not installed, or there is no cluster at this address.
        JobError: the cluster went away.
    """
    ray = import_ray()
    ours = connect(ray, address)
    try:
        share = 1 / jobs_per_gpu if ray.cluster_resources().get("GPU") else 0
        task = ray.remote(num_cpus=cores, num_gpus=share, max_retries=ATTEMPTS - 1)(_perform)
        waiting = {task.remote(job, cores): job for job in jobs}
        for job in jobs:
            table.started(job.name, "Ray (submitted)")
        while waiting:
            ready, _ = ray.wait(list(waiting))
            for reference in ready:
                yield waiting.pop(reference), _answer(ray, reference)
    finally:
        if ours:
            ray.shutdown()


def _perform(job: Job, cores: int) -> dict:
    limit_threads(cores)
    return perform(job)


def _answer(ray, reference: object) -> dict:
    try:
        return ray.get(reference)
    except ray.exceptions.RaySystemError as error:
        raise JobError(f"Ray: {error}; start again to continue") from error
    except ray.exceptions.RayError as error:
        return lost(f"crashed ({type(error).__name__})")
