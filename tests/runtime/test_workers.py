from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
from functools import partial

import pytest

from fundus_synth.runtime.errors import JobError
from fundus_synth.runtime.workers import Limits, available_cores, map_in_order

_HELPERS = """
import os, signal, time
import numpy as np

def die_of(item, bad):
    if item in bad:
        os.kill(os.getpid(), bad[item])
    return item * item


def die_once(item, marker):
    if item == 11 and not marker.exists():
        marker.write_text("")
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def sleep_on(item, bad):
    if item == bad:
        time.sleep(60)
    return item


def allocate(megabytes):
    try:
        return f"{np.ones(megabytes << 20, np.uint8)[-1]}"
    except MemoryError:
        return "MemoryError"
"""


@pytest.fixture
def helpers(tmp_path, monkeypatch):
    """Functions that misbehave, in a module that fresh interpreters can import."""
    (tmp_path / "misbehaving.py").write_text(_HELPERS)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("misbehaving")
    del sys.modules["misbehaving"]


def _lost(item: int, reason: str) -> str:
    return f"{item} {reason}"


@pytest.mark.parametrize("workers, lost", [(1, None), (0, None), (0, lambda item, reason: None)])
def test_in_this_process_it_is_lazy(workers, lost):
    results = map_in_order(lambda item: (item, os.getpid()), range(100), workers=workers, lost=lost)
    assert next(results) == (0, os.getpid())
    assert [item for item, _ in results] == list(range(1, 100))


def test_order_does_not_depend_on_the_workers():
    items = [3, 1, -2, 5, 4, -6] * 30
    assert list(map_in_order(abs, items, workers=2)) == [abs(item) for item in items]


def test_nothing_to_do():
    assert list(map_in_order(abs, [], workers=2)) == []


def test_errors_of_the_function_come_through():
    with pytest.raises(TypeError):
        list(map_in_order(abs, ["word"] * 40, workers=2))


def test_a_result_that_cannot_be_sent_is_a_job_error():
    with pytest.raises(JobError, match="cannot be sent"):
        list(map_in_order(open, [os.devnull] * 40, workers=2))


def test_a_killed_worker_is_a_job_error_with_advice():
    with pytest.raises(JobError, match="start again"):
        list(map_in_order(os._exit, [9] * 40, workers=2))


@pytest.mark.parametrize("workers", [1, 2])
def test_what_workers_die_over_is_lost_and_the_rest_goes_on(helpers, workers):
    bad = {5: signal.SIGSEGV, 39: signal.SIGKILL}
    results = list(map_in_order(partial(helpers.die_of, bad=bad), range(40), workers=workers, lost=_lost))
    expected = [i * i for i in range(40)]
    expected[5], expected[39] = "5 crashed (SIGSEGV)", "39 was killed (SIGKILL; out of memory?)"
    assert results == expected


def test_few_items_are_protected_too(helpers):
    function = partial(helpers.die_of, bad={1: signal.SIGSEGV})
    assert list(map_in_order(function, [1, 2], workers=2, lost=_lost)) == ["1 crashed (SIGSEGV)", 4]


def test_a_worker_that_was_killed_from_outside_loses_nothing(helpers, tmp_path):
    function = partial(helpers.die_once, marker=tmp_path / "died")
    assert list(map_in_order(function, range(40), workers=2)) == list(range(40))
    assert (tmp_path / "died").exists()


def test_a_hanging_item_is_given_up(helpers):
    function = partial(helpers.sleep_on, bad=3)
    results = list(map_in_order(function, range(20), workers=2, lost=_lost, limits=Limits(seconds=0.5)))
    assert results == [0, 1, 2, "3 took longer than 0.5 s", *range(4, 20)]


@pytest.mark.parametrize("workers", [1, 2])
def test_memory_of_a_worker_is_limited(helpers, workers):
    pytest.importorskip("resource")
    limits = Limits(memory=1 << 30)
    assert list(map_in_order(helpers.allocate, [1, 2000, 1], workers=workers, lost=_lost, limits=limits)) == [
        "1",
        "MemoryError",
        "1",
    ]


def test_stopping_early_leaves_no_worker():
    results = map_in_order(abs, range(1000), workers=2)
    assert next(results) == 0
    assert len(multiprocessing.active_children()) == 2
    results.close()
    assert multiprocessing.active_children() == []


def test_cores_are_at_least_one():
    assert available_cores() >= 1
