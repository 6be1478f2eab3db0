from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, log_loss

from fundus_synth.classify.calibration import expected_calibration_error, reliability_table
from fundus_synth.classify.evidence import SeedPredictions
from fundus_synth.classify.results import precision_recall_figure, reliability_figure, write_results


def _table(classes: tuple[str, ...], n: int = 60, seed: int = 0) -> tuple[pd.DataFrame, SeedPredictions]:
    random = np.random.default_rng(seed)
    true = np.arange(n) % len(classes)
    raw = random.dirichlet(np.ones(len(classes)), n)
    raw[np.arange(n), true] += 0.4
    probabilities = (raw / raw.sum(axis=1, keepdims=True)).round(2)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    patients = np.array([f"p{i // 2:02}" for i in range(n)])
    names = np.asarray(classes)
    table = pd.DataFrame({"file_name": [f"{i}.png" for i in range(n)], "patient_id": patients, "split": "test",
                          "true": names[true], "predicted": names[probabilities.argmax(axis=1)]})  # fmt: skip
    for k, name in enumerate(classes):
        table[f"p_{name}"] = probabilities[:, k]
    return table, SeedPredictions(true, probabilities, patients)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder, classes = tmp_path_factory.mktemp("results"), ("normal", "diabetes", "glaucoma")
    table, run = _table(classes)
    return folder, run, write_results(folder, {"test": table}, classes, {"backbone": "none"})


def test_metrics_are_those_of_the_predictions(written):
    folder, run, found = written
    kept = json.loads((folder / "metrics.json").read_text())["test"]
    assert kept == found["test"]
    assert kept["log_loss"]["estimate"] == pytest.approx(log_loss(run.true, run.probabilities))
    assert kept["ece"]["estimate"] == pytest.approx(float(expected_calibration_error(run.true, run.probabilities)))
    for name in ("ece", "brier", "balanced_log_loss", "odir_score"):
        assert kept[name]["low"] < kept[name]["high"]


def test_report_names_what_it_shows(written):
    page = (written[0] / "report.html").read_text()
    for words in (
        "ODIR-2019 challenge score",
        "expected calibration error",
        "Calibration",
        "confidence",
        "precision",
    ):
        assert words in page


def test_precision_recall_curve_holds_the_average_precision():
    _, run = _table(("normal", "diabetes"), 80, 3)
    axis = precision_recall_figure(run, ("normal", "diabetes")).axes[0]
    recall, precision = axis.lines[0].get_data()
    area = (np.diff(recall) * precision[1:]).sum()
    assert area == pytest.approx(average_precision_score(run.true, run.probabilities[:, 1]))
    assert axis.lines[1].get_ydata()[0] == pytest.approx(run.true.mean())


def test_reliability_figure_shows_its_table():
    _, run = _table(("normal", "diabetes", "glaucoma"), 80, 4)
    table = reliability_table(run.true, run.probabilities)
    curve, bars = reliability_figure(run).axes
    np.testing.assert_allclose(curve.lines[1].get_ydata(), table["accuracy"].dropna())
    assert [bar.get_height() for bar in bars.patches] == table["images"].tolist()
    assert sum(bar.get_height() for bar in bars.patches) == 80


def test_a_class_without_images_leaves_the_figures_standing(tmp_path):
    table, _ = _table(("normal", "diabetes"), 20)
    table["p_glaucoma"] = 0.0
    found = write_results(tmp_path, {"test": table}, ("normal", "diabetes", "glaucoma"), {})
    assert np.isfinite(found["test"]["ece"]["estimate"])
    page = (tmp_path / "report.html").read_text()
    assert "glaucoma" in page
