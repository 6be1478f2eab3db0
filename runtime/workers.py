"""Worker processes for many files: results in order, a bounded number of files under way, no orphans.

A worker that dies over a file (a decoder's segmentation fault, the system's memory killer) or hangs on one costs that file
only: it is tried once more by a fresh worker, then given up, and the others go on.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TypeVar

import cv2

from .errors import JobError

T = TypeVar("T")
R = TypeVar("R")

_WORTH_A_WORKER = 8
_HELD = 2  # one in work and one waiting, so that a worker need not wait for this process
_AHEAD = 16  # items for each worker that may be ready before their turn
_ATTEMPTS = 2
_KILLED = "a worker was killed (out of memory?); start again to continue, with fewer --workers"


@dataclass(frozen=True)
class Limits:
    """What one item may cost.

    Attributes:
        seconds: for one item; then its worker is stopped and the item is lost.
        memory: bytes of data that a worker may hold beside what it starts with (Linux); beyond it, the function meets a
            MemoryError.
    """

    seconds: float | None = None
    memory: int | None = None


def available_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_in_order(
    function: Callable[[T], R], items: Sequence[T], workers: int | None = None, *,
    lost: Callable[[T, str], R] | None = None, limits: Limits = Limits(),
) -> Iterator[R]:  # fmt: skip
    """`function` of every item, in the order of the items.

    Args:
        function: a picklable function of one item.
        workers: processes (freshly started interpreters); None = one a core; 0 = this process, which knows no limits and
            dies with the item that it dies over.
        lost: what stands for an item that its workers died over, given the reason, e.g. "crashed (SIGSEGV)"; None = a
            JobError, and then one worker is this process too.
        limits: what one item may cost.

    Raises:
        JobError: a worker died over one item twice, and `lost` is None; or workers cannot start.
    """
    # Starting an interpreter takes about as long as a handful of images.
    most = min(workers or available_cores(), len(items) // _WORTH_A_WORKER)
    if workers == 0 or not items or (most <= 1 and lost is None):
        yield from map(function, items)
        return
    pool = _Pool(function, items, max(most, 1), lost, limits)
    try:
        yield from pool.results()
    finally:
        pool.stop()


def call_within(function: Callable[[T], R], item: T, seconds: float | None) -> R:
    """`function(item)`; this process ends with exit code 1 when it takes longer than `seconds`."""
    if seconds is None:
        return function(item)
    # A thread of C code: unlike Python's own timers it also fires while a decoder holds the interpreter's lock.
    with open(os.devnull, "w") as nowhere:
        faulthandler.dump_traceback_later(seconds, exit=True, file=nowhere)
        try:
            return function(item)
        finally:
            faulthandler.cancel_dump_traceback_later()


@dataclass(eq=False)
class _Worker:
    process: multiprocessing.Process
    connection: Connection
    held: deque[int] = field(default_factory=deque)  # numbers of the items it has; the first is in work
    ready: bool = False
    since: float = 0.0  # when the item in work can have begun at the earliest


class _Pool:
    def __init__(self, function, items, workers, lost, limits):
        self.items, self.lost, self.limits = items, lost, limits
        self.main = (function, limits)
        self.most_ahead = _AHEAD * workers
        self.again: deque[int] = deque()
        self.fresh = iter(range(len(items)))
        self.given = 0
        self.attempts: dict[int, int] = {}
        self.ready: dict[int, tuple[bool, object]] = {}
        self.workers: list[_Worker] = []
        for _ in range(workers):
            self.workers.append(_start(*self.main))

    def results(self) -> Iterator:
        for turn in range(len(self.items)):
            self._give(turn)
            while turn not in self.ready:
                self._listen()
                self._give(turn)
            good, value = self.ready.pop(turn)
            if not good:
                raise value
            yield value

    def stop(self) -> None:
        for worker in self.workers:
            worker.process.kill()
        for worker in self.workers:
            worker.process.join()
            worker.connection.close()

    def _give(self, turn: int) -> None:
        """Fill the hands of every worker, as far as nobody runs ahead of the item whose turn it is without bound."""
        for held in range(_HELD):
            for worker in self.workers:
                if len(worker.held) == held and (number := self._next(turn)) is not None:
                    worker.since = worker.since if worker.held else time.monotonic()
                    worker.held.append(number)
                    try:
                        worker.connection.send(self.items[number])
                    except OSError:
                        pass  # it has died: `_listen` is told so too, and gives its items to another

    def _next(self, turn: int) -> int | None:
        if self.again:
            return self.again.popleft()
        if self.given >= min(len(self.items), turn + self.most_ahead):
            return None
        self.given += 1
        return next(self.fresh)

    def _listen(self) -> None:
        """Wait until a worker has something to say or is no more."""
        by_handle = {worker.connection: worker for worker in self.workers}
        for connection in wait(list(by_handle)):
            worker = by_handle[connection]
            try:
                message = connection.recv()
            except (EOFError, OSError):
                self._bury(worker)
                continue
            if worker.ready:
                self.ready[worker.held.popleft()] = message
            worker.ready, worker.since = True, time.monotonic()

    def _bury(self, worker: _Worker) -> None:
        """Another worker for one that has died; what it had in work is tried again or given up."""
        worker.process.join()
        worker.connection.close()
        if not worker.ready:
            raise JobError(f"a worker could not start (exit code {worker.process.exitcode})")
        self.workers[self.workers.index(worker)] = _start(*self.main)
        if not worker.held:
            return
        number, *waiting = worker.held
        self.again.extendleft(reversed(waiting))
        reason, final = self._cause(worker)
        self.attempts[number] = self.attempts.get(number, 0) + 1
        if not final and self.attempts[number] < _ATTEMPTS:
            self.again.appendleft(number)
        elif self.lost is None:
            self.ready[number] = (False, JobError(f"{_KILLED} [{reason}]"))
        else:
            self.ready[number] = (True, self.lost(self.items[number], reason))

    def _cause(self, worker: _Worker) -> tuple[str, bool]:
        """Why a worker is no more, and whether trying again is hopeless."""
        code, seconds = worker.process.exitcode, self.limits.seconds
        if seconds is not None and code == 1 and time.monotonic() - worker.since >= seconds:
            return f"took longer than {seconds:g} s", True
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            return f"was killed ({name}; out of memory?)" if name == "SIGKILL" else f"crashed ({name})", False
        return f"crashed (exit code {code})", False


def _start(function: Callable, limits: Limits) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, function, limits), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours)


def _work(connection: Connection, function: Callable, limits: Limits) -> None:
    """A worker's life: say that it is there, then answer one item after the other."""
    _prepare(limits)
    connection.send(None)
    while True:
        try:
            item = connection.recv()
        except EOFError:
            return
        try:
            answer = (True, call_within(function, item, limits.seconds))
        except Exception as error:
            answer = (False, error)
        try:
            connection.send(answer)
        except (TypeError, AttributeError, ValueError) as error:  # what pickle raises
            connection.send((False, JobError(f"a result cannot be sent ({error})")))


def _prepare(limits: Limits) -> None:
    # One thread each: the processes are the parallelism, and sums must not depend on the number of threads.
    cv2.setNumThreads(1)
    # Ctrl-C reaches the whole group; the parent sees to its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=leave_with_parent, daemon=True).start()
    if limits.memory is not None:
        limit_memory(limits.memory)


def limit_memory(limit: int) -> None:
    """Let this process hold `limit` bytes of data more than it does now; beyond, it meets a MemoryError (Linux only)."""
    try:
        import resource

        status = Path("/proc/self/status").read_text()
    except (ImportError, OSError):
        return
    # Also the stacks that threads have reserved count as data, whether used or not.
    held = int(status.partition("VmData:")[2].split()[0]) << 10
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    limit += held
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def leave_with_parent() -> None:
    """End this process when the one that started it ends; for a thread of its own."""
    # A parent that is killed cannot tell its workers; without this they would wait for work for ever.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
