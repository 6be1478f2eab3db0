from __future__ import annotations

import os

import pytest

from fundus_synth.preprocess.workers import available_cores, map_in_order
from fundus_synth.runtime.errors import JobError


def test_one_worker_is_lazy_and_in_this_process():
    results = map_in_order(lambda item: (item, os.getpid()), range(100), workers=1)
    assert next(results) == (0, os.getpid())
    assert [item for item, _ in results] == list(range(1, 100))


def test_order_does_not_depend_on_the_workers():
    items = [3, 1, -2, 5, 4, -6] * 8
    assert list(map_in_order(abs, items, workers=2)) == [abs(item) for item in items]


def test_nothing_to_do():
    assert list(map_in_order(abs, [], workers=2)) == []


def test_errors_of_the_function_come_through():
    with pytest.raises(TypeError):
        list(map_in_order(abs, ["word"] * 40, workers=2))


def test_a_killed_worker_is_a_job_error_with_advice():
    with pytest.raises(JobError, match="start again"):
        list(map_in_order(os._exit, [9] * 40, workers=2))


def test_cores_are_at_least_one():
    assert available_cores() >= 1
