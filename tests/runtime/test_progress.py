from __future__ import annotations

import pytest

from fundus_synth.runtime import progress as module
from fundus_synth.runtime.progress import Progress, duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59, "59 s"), (200, "3 min 20 s"), (7500, "2 h 05 min"), (float("inf"), "unknown time")],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """A clock that stands still at clock[0] seconds."""
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_rate_and_time_left_count_only_what_this_process_did(clock):
    with Progress(100, "training", quiet=True, start=50) as progress:
        progress.done += 20
        clock[0] = 10.0
        assert progress.line() == "training: 70/100 images, 2.0 images/s, 15 s left"


def test_slow_work_shows_seconds_for_each(clock):
    with Progress(15, "trainings", unit="jobs", quiet=True) as progress:
        progress.done += 2
        clock[0] = 160.0
        assert progress.line() == "trainings: 2/15 jobs, 1 min 20 s each, 17 min 20 s left"


def test_plain_line_at_the_end_and_silence_when_quiet(capsys):
    with Progress(4, "reading") as progress:
        progress.advance(4, loss=0.25)
    assert "reading: 4/4 images" in capsys.readouterr().err
    with Progress(4, "reading", quiet=True) as progress:
        progress.advance(4)
        progress.note("hello")
    assert capsys.readouterr().err == ""
