"""Who standardises the files of a collection: processes of this machine, or a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..runtime.ray_pool import map_on_ray
from ..runtime.workers import Limits, map_in_order
from .camera_file import Outcome, Task

WORKER_MEMORY = 4 << 30
"""Bytes of data that a worker may hold, here and on Ray; a file that needs more is rejected."""


@dataclass(frozen=True)
class Spread:
    """Who does the work: so many processes of this machine (0 = this one), or the Ray cluster at this address."""

    workers: int | None
    ray: str | None
    time_limit: float

    def outcomes(self, function: Callable[[Task], Outcome], tasks: list[Task]) -> Iterator[Outcome]:
        """The outcome of every task, in order."""
        limits = Limits(self.time_limit, WORKER_MEMORY)
        if self.ray is not None:
            return map_on_ray(function, tasks, self.ray, lost=_lost, limits=limits)
        return map_in_order(function, tasks, self.workers, lost=_lost, limits=limits)


def _lost(task: Task, reason: str) -> Outcome:
    return Outcome(None, f"cannot be processed: the decoder {reason}")
