from __future__ import annotations

import os

import pytest
import yaml

from fundus_synth.runtime.errors import UserError
from fundus_synth.runtime.runs import RunFolder, default_run_path, latest_run_path


def test_a_run_folder_says_how_it_was_made(tmp_path):
    run = RunFolder.open_or_create(tmp_path / "run", {"size": 64, "label": "anämisch"}, resume=False)
    assert yaml.safe_load((run.path / "config.yaml").read_text("utf-8")) == {"size": 64, "label": "anämisch"}
    text = (run.path / "environment.json").read_text()
    assert '"torch"' in text and (os.environ.get("HOSTNAME") or "\0") not in text
    with pytest.raises(UserError, match="already exists"):
        RunFolder.open_or_create(tmp_path / "run", {}, resume=False)


def test_resume_needs_the_same_options_but_may_go_on_longer(tmp_path):
    RunFolder.open_or_create(tmp_path / "run", {"size": 64, "steps": 10}, resume=False)
    assert RunFolder.open_or_create(tmp_path / "run", {"size": 64, "steps": 20}, resume=True).config["steps"] == 20
    with pytest.raises(UserError, match="started with size=64, now 128"):
        RunFolder.open_or_create(tmp_path / "run", {"size": 128, "steps": 20}, resume=True)
    (tmp_path / "other").mkdir()
    with pytest.raises(UserError, match="is not a run folder"):
        RunFolder.open_or_create(tmp_path / "other", {}, resume=True)


def test_metrics_are_cut_back_to_the_step_resumed_from(tmp_path):
    run = RunFolder.open_or_create(tmp_path / "run", {}, resume=False)
    for step in (10, 20, 30):
        run.log_metrics({"step": step, "loss": 1 / step})
    with open(run.path / "metrics.csv", "a") as stream:
        stream.write("40")  # a kill in the middle of a line
    run.truncate_metrics(20)
    run.log_metrics({"step": 30, "loss": 0.5})
    assert (run.path / "metrics.csv").read_text().split() == ["step,loss", "10,0.1", "20,0.05", "30,0.5"]


def test_latest_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no run train-"):
        latest_run_path("train", "anemic")
    for name in ("train-20250101-000000-anemic", "train-20250102-000000-anemic", "train-20250103-000000-normal"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    assert latest_run_path("train", "anemic").name == "train-20250102-000000-anemic"
    assert default_run_path("train", "anemic").name.endswith("-anemic")
