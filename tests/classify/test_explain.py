from __future__ import annotations

import numpy as np

from fundus_synth.classify.explain.explain import explain, select_cases


def test_cases_are_best_worst_and_uncertain():
    labels = np.array([1, 1, 1, 1, 0])
    positive = np.array([0.9, 0.1, 0.45, 0.7, 0.99])
    probabilities = np.stack([1 - positive, positive], axis=1)
    chosen = select_cases(labels, probabilities, 1, 1)
    assert {k: v.tolist() for k, v in chosen.items()} == {"best": [0], "worst": [1], "uncertain": [2]}
    few = select_cases(labels, probabilities, 0, 3)
    assert [len(few[k]) for k in ("best", "worst", "uncertain")] == [1, 0, 0]
    assert select_cases(labels, probabilities, 5, 3) == {}


def test_explain_writes_a_sheet_per_class_of_unseen_patients(toy_run, toy_path, tmp_path):
    page = explain(toy_run, toy_path, count=2, out=tmp_path / "explain", device="cpu", quiet=True)
    assert page == tmp_path / "explain" / "report.html"
    text = page.read_text()
    assert "12 images of patients it has not seen" in text and "the same for the whole sheet" in text
    assert all((tmp_path / "explain" / f"{name}.png").stat().st_size > 1000 for name in ("normal", "anemic"))
