from __future__ import annotations

import json

import pytest

from fundus_synth.runtime.errors import JobError, UserError
from fundus_synth.runtime.jobs import Job, run_jobs


def job(name: str, path: str, **more) -> Job:
    return Job(name, "fundus_synth.runtime.files:read_json", {"path": path, **more})


@pytest.mark.parametrize("workers", [1, 2])
def test_results_in_order_and_kept(tmp_path, workers):
    for i in range(3):
        (tmp_path / f"{i}.json").write_text(json.dumps({"value": i}))
    jobs = [job(f"job-{i}", str(tmp_path / f"{i}.json")) for i in (2, 0, 1)]
    first = run_jobs(jobs, tmp_path / "jobs", workers, quiet=True)
    assert list(first.items()) == [("job-2", {"value": 2}), ("job-0", {"value": 0}), ("job-1", {"value": 1})]
    (tmp_path / "0.json").write_text(json.dumps({"value": "changed"}))
    assert run_jobs(jobs, tmp_path / "jobs", workers, quiet=True) == first


def test_a_failing_job_does_not_stop_the_others(tmp_path):
    (tmp_path / "a.json").write_text("{}")
    jobs = [job("bad", str(tmp_path / "a.json"), nonsense=1), job("good", str(tmp_path / "a.json"))]
    with pytest.raises(JobError, match="job bad failed"):
        run_jobs(jobs, tmp_path / "jobs", quiet=True)
    assert (tmp_path / "jobs" / "good.json").exists() and "Traceback" in (tmp_path / "jobs" / "bad.log").read_text()


@pytest.mark.parametrize("workers", [1, 2])
def test_user_errors_come_through(tmp_path, workers):
    jobs = [job(f"{i}", str(tmp_path / "none.json")) for i in range(2)]
    with pytest.raises(UserError, match=r"none\.json: no such file"):
        run_jobs(jobs, tmp_path / "jobs", workers, quiet=True)


def test_kept_result_of_other_arguments_is_refused(tmp_path):
    (tmp_path / "a.json").write_text("{}")
    run_jobs([job("x", str(tmp_path / "a.json"))], tmp_path / "jobs", quiet=True)
    with pytest.raises(UserError, match="other options"):
        run_jobs([job("x", str(tmp_path / "b.json"))], tmp_path / "jobs", quiet=True)
