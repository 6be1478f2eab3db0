"""Figures of a training beside metrics.csv."""

from __future__ import annotations

import sys

import pandas as pd
import pytest

from fundus_synth.classify.train import train
from fundus_synth.runtime.errors import UserError
from fundus_synth.runtime.loggers import LOGGERS, check_logger, make_logger

QUICK = {"size": 32, "steps": 100, "batch_size": 4, "device": "cpu", "quiet": True}


def written(path) -> dict[int, float]:
    """{step: val_macro_f1} of TensorBoard's files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(path / "tensorboard"))
    events.Reload()
    return {event.step: event.value for event in events.Scalars("val_macro_f1")}


def test_tensorboard_shows_what_metrics_csv_says_also_of_a_continued_run(toy_path, tmp_path, monkeypatch):
    from fundus_synth.classify import recording

    evaluate, calls = recording.evaluate_step, []

    def dies_the_second_time(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("the power went")
        return evaluate(*arguments)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="power"):
        patch.setattr(recording, "evaluate_step", dies_the_second_time)
        train(toy_path, out=tmp_path / "run", **QUICK)
    run = train(toy_path, out=tmp_path / "run", resume=True, **QUICK)
    table = pd.read_csv(run.path / "metrics.csv")
    assert list(table["step"]) == [50, 100]
    assert written(run.path) == pytest.approx(dict(zip(table["step"], table["val_macro_f1"], strict=True)))


def test_csv_leaves_nothing_but_metrics_csv(toy_path, tmp_path):
    run = train(toy_path, out=tmp_path / "run", logger="csv", **{**QUICK, "steps": 1})
    assert not (run.path / "tensorboard").exists() and len(pd.read_csv(run.path / "metrics.csv")) == 1
    assert make_logger("csv", tmp_path) is False


def test_mlflow_writes_into_the_run_folder(toy_path, tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run = train(toy_path, out=tmp_path / "run", logger="mlflow", **{**QUICK, "steps": 1})
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{run.path / 'mlflow.db'}")
    (experiment,) = [one for one in client.search_experiments() if one.name == "fundus-synth"]
    (found,) = client.search_runs([experiment.experiment_id])
    table = pd.read_csv(run.path / "metrics.csv")
    assert found.data.metrics["val_macro_f1"] == pytest.approx(table["val_macro_f1"].iloc[-1])


def test_what_cannot_be_had_is_refused_before_a_run_folder_is_made(toy_path, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="no logger is called 'paper'.*tensorboard, csv, mlflow, wandb"):
        train(toy_path, out=tmp_path / "run", logger="paper", **QUICK)
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs the package wandb.*fundus-synth\[wandb\]"):
        train(toy_path, out=tmp_path / "run", logger="wandb", **QUICK)
    assert not (tmp_path / "run").exists()
    assert {name for name in LOGGERS if name not in ("mlflow", "wandb")} == {"tensorboard", "csv"}
    check_logger("tensorboard")
