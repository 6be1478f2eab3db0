from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from fundus_synth.classify.evaluate import evaluate
from fundus_synth.classify.predictions import read_predictions
from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.schema import patient_hash
from fundus_synth.runtime.errors import UserError


def test_on_its_own_dataset_only_unseen_patients_count(toy_run, toy_path, tmp_path):
    found = evaluate(toy_run, toy_path, out=tmp_path / "again", device="cpu", quiet=True)
    assert found.left_out == 108
    again, _ = read_predictions(tmp_path / "again" / "predictions.csv")
    before, _ = read_predictions(toy_run / "predictions.csv")
    before = before[before["split"] == "test"].set_index("file_name")
    assert set(again["file_name"]) == set(before.index)
    np.testing.assert_allclose(again["p_anemic"], before.loc[again["file_name"], "p_anemic"], atol=1e-6)
    assert json.loads((tmp_path / "again" / "metrics.json").read_text())["test"] == found.metrics


def test_another_dataset_is_used_whole(toy_run, tmp_path, write_toy):
    other = write_toy(tmp_path / "other", patients=10, prefix="other")
    found = evaluate(toy_run, other, device="cpu", quiet=True)
    assert found.left_out == 0 and found.folder == toy_run / "evaluation-other"
    assert (found.folder / "report.html").is_file()
    shutil.rmtree(found.folder)


def test_datasets_that_cannot_be_evaluated(toy_run, toy_path, tmp_path):
    dataset = FundusDataset.open(toy_path)
    known = json.loads((toy_run / "checkpoints" / "classifier.json").read_text())["patients"]
    seen = [patient_hash(name) in known["train"] for name in dataset.table["patient_id"]]
    with pytest.raises(UserError, match="seen every patient"):
        evaluate(toy_run, dataset.subset(np.array(seen)), out=tmp_path / "x", device="cpu", quiet=True)
    relabelled = FundusDataset(dataset.path, {}, dataset.table.assign(label="cataract"))
    with pytest.raises(UserError, match="no image of normal, anemic"):
        evaluate(toy_run, relabelled, out=tmp_path / "x", device="cpu", quiet=True)
    assert not (tmp_path / "x").exists()
