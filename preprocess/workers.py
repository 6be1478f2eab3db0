"""Worker processes for many files: results in order, a bounded number of files under way, no orphans."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import cv2

from ..runtime.errors import JobError

T = TypeVar("T")
R = TypeVar("R")

_CHUNK = 8
_WORTH_A_WORKER = 8


def available_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_in_order(function: Callable[[T], R], items: Sequence[T], workers: int | None = None) -> Iterator[R]:
    """`function` of every item, in the order of the items.

    Args:
        function: a picklable function of one item.
        workers: processes (freshly started interpreters); None = one a core; 1 = this process.

    Raises:
        JobError: a worker was killed from outside (memory, most often).
    """
    # Starting an interpreter takes about as long as a handful of images.
    workers = min(workers or available_cores(), len(items) // _WORTH_A_WORKER)
    if workers <= 1:
        yield from map(function, items)
        return
    chunk = min(_CHUNK, max(1, len(items) // (4 * workers)))
    chunks = [items[start : start + chunk] for start in range(0, len(items), chunk)]
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker)
    waiting = iter(chunks)
    under_way = deque(pool.submit(_call_all, function, next(waiting)) for _ in range(min(len(chunks), 2 * workers)))
    try:
        while under_way:
            results = under_way.popleft().result()
            for chunk in waiting:
                under_way.append(pool.submit(_call_all, function, chunk))
                break
            yield from results
    except BrokenProcessPool as error:
        raise JobError("a worker was killed (out of memory?); start again to continue, with fewer --workers") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _call_all(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    return [function(item) for item in items]


def _start_worker() -> None:
    # One thread each: the processes are the parallelism, and sums must not depend on the number of threads.
    cv2.setNumThreads(1)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    # A parent that is killed cannot tell its workers; without this they would wait for work for ever.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
