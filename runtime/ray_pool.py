"""The same function over the same items as `workers.map_in_order`, on the machines of a Ray cluster (extra `ray`)."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import TypeVar

from .errors import JobError, UserError
from .workers import Limits, call_within, limit_memory

T = TypeVar("T")
R = TypeVar("R")

_RETRIES = 3  # of an item whose worker or machine died
_AHEAD = 4  # items under way for each core
_NO_LIMITS = Limits()


def map_on_ray(
    function: Callable[[T], R], items: Sequence[T], address: str, *,
    lost: Callable[[T, str], R], limits: Limits = _NO_LIMITS,
) -> Iterator[R]:  # fmt: skip
    """`function` of every item on a Ray cluster, in the order of the items.

    An item whose worker or machine dies is done again by another. Every machine needs this package, and must see the
    files that the items name. A session of Ray that is there already is used and left open.

    Args:
        address: as for `ray.init`: "auto", "HOST:6379", "ray://HOST:10001", or "local" for this machine.
        lost: what stands for an item that took too long or whose workers died four times, given the reason.
        limits: what one item may cost; a task that needs more memory meets a MemoryError.

    Raises:
        UserError: Ray is not installed, or there is no cluster at this address.
        JobError: the cluster went away.
    """
    ray = import_ray()
    ours = connect(ray, address)
    try:
        yield from _results(ray, function, items, lost, limits)
    except ray.exceptions.RaySystemError as error:
        raise JobError(f"Ray: {error}; start again to continue") from error
    finally:
        if ours:
            ray.shutdown()


def _results(ray, function: Callable, items: Sequence, lost: Callable, limits: Limits) -> Iterator:
    # Without a core of its own a task may share one; results are small and travel back to this process at once, so that
    # no machine takes them with it.
    call = ray.remote(num_cpus=1, max_retries=_RETRIES)(_call)
    shared = ray.put(function)
    most = _AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
    under_way: deque = deque()
    for item in items:
        under_way.append((item, call.remote(shared, item, limits)))
        if len(under_way) >= most:
            yield _result(ray, *under_way.popleft(), lost, limits.seconds)
    while under_way:
        yield _result(ray, *under_way.popleft(), lost, limits.seconds)


def _result(ray, item: T, reference: object, lost: Callable[[T, str], R], seconds: float | None) -> R:
    try:
        return ray.get(reference)
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as error:
        late = f" or took longer than {seconds:g} s" if seconds is not None else ""
        return lost(item, f"crashed{late} ({type(error).__name__})")


def _call(function: Callable[[T], R], item: T, limits: Limits) -> R:
    _prepare(limits.memory)
    return call_within(function, item, limits.seconds)


@cache
def _prepare(memory: int | None) -> None:
    """Once in each of Ray's processes, which do many tasks."""
    import cv2

    # As in `workers`: the tasks are the parallelism, and sums must not depend on the number of threads.
    cv2.setNumThreads(1)
    if memory is not None:
        limit_memory(memory)


def import_ray():
    """The module `ray`.

    Raises:
        UserError: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise UserError("--ray needs Ray", hint='Install it with: pip install "fundus-synth[ray]"') from error
    return ray


def connect(ray, address: str) -> bool:
    """Open a session at `address`, unless one is open; True when this call did.

    Raises:
        UserError: there is no cluster.
    """
    if ray.is_initialized():
        return False
    try:
        ray.init(address=address, log_to_driver=False, logging_level="error")
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        raise UserError(
            f"no Ray cluster at {address} ({str(error).splitlines()[0]})", hint="Start one with: ray start --head"
        ) from error
    return True
