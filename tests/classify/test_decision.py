from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import cohen_kappa_score, f1_score

from fundus_synth.classify.calibration import fit_temperature
from fundus_synth.classify.checkpoint import About
from fundus_synth.classify.decision import (
    Decision,
    drop_decision,
    fit_decision,
    fit_label_decision,
    grade_values,
    load_decision,
    save_decision,
)
from fundus_synth.classify.evaluate import evaluate
from fundus_synth.classify.heads import RegressionHead, grade_value, regression_loss
from fundus_synth.classify.metrics import score
from fundus_synth.classify.predictions import decided_predictions, prediction_table, read_predictions, seed_predictions
from fundus_synth.classify.thresholds import best_cuts
from fundus_synth.classify.train import train
from fundus_synth.data.dataset import FundusDataset
from fundus_synth.runtime.errors import UserError

CLASSES = ("normal", "diabetes", "glaucoma")
SHARES = np.array([0.7, 0.25, 0.05])


def _case(n: int, seed: int, sharpness: float = 1.0):
    """A network that was trained on equal classes, meeting unequal ones, and that is too sure by `sharpness`."""
    random = np.random.default_rng(seed)
    true = random.choice(3, n, p=SHARES)
    true[:3] = range(3)
    logits = random.normal(size=(n, 3))
    logits[np.arange(n), true] += 1.5
    return true, _softmax(1.5 * sharpness * logits)


def fitted(true: np.ndarray, told: np.ndarray, classes: tuple[str, ...], head: str):
    """`fit_decision` where every image is of another patient."""
    return fit_decision(true, told, classes, head, np.arange(len(true)).astype(str))


def _softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def _grades(values: np.ndarray, classes: int) -> np.ndarray:
    return _softmax(-np.square(np.arange(classes) - values[:, None]) / 2)


def test_what_is_chosen_on_some_images_helps_on_others():
    gains = []
    for seed in range(6):
        decision = fitted(*_case(200, seed), CLASSES, "linear")
        true, probabilities = _case(3000, seed + 100)
        plain = f1_score(true, probabilities.argmax(1), average="macro")
        gains.append(f1_score(true, decision.decide(probabilities), average="macro") - plain)
    assert np.mean(gains) > 0.02 and min(gains) > -0.01


def test_the_temperature_undoes_overconfidence_and_leaves_the_order():
    true, probabilities = _case(1000, 1)
    _, sharp = _case(1000, 1, sharpness=3.0)
    one, three = (fitted(true, told, CLASSES, "linear") for told in (probabilities, sharp))
    assert three.temperature == pytest.approx(3 * one.temperature, rel=1e-3)
    np.testing.assert_allclose(three.calibrated(sharp), one.calibrated(probabilities), atol=1e-4)
    np.testing.assert_array_equal(three.calibrated(sharp).argmax(1), sharp.argmax(1))
    new_true, new = _case(3000, 2, sharpness=3.0)
    assert score("log_loss", new_true, three.calibrated(new)) < score("log_loss", new_true, new) - 0.1


def test_a_perfect_small_validation_set_makes_nobody_infallible():
    true = np.arange(12) % 3
    told = _softmax(2.0 * np.eye(3)[true])
    assert fit_temperature(np.log(told), true) < 0.05
    decision = fitted(true, told, CLASSES, "linear")
    # With 1 / 14 spread over two others, the likelihood is largest where the true class has 13 / 14.
    assert decision.calibrated(told).max(axis=1) == pytest.approx(13 / 14, abs=1e-4)


def test_few_images_move_a_factor_less():
    true, probabilities = _case(60, 3)
    few = fitted(true, probabilities, CLASSES, "linear")
    many = fitted(np.tile(true, 20), np.tile(probabilities, (20, 1)), CLASSES, "linear")
    assert np.prod(few.multipliers) == pytest.approx(1) and np.prod(many.multipliers) == pytest.approx(1)
    assert np.ptp(np.log(few.multipliers)) < 0.7 * np.ptp(np.log(many.multipliers))


def test_cuts_reach_a_better_kappa_than_rounding():
    random = np.random.default_rng(0)
    true = random.choice(5, 600, p=[0.5, 0.1, 0.25, 0.1, 0.05])
    values = 0.5 * true + 0.6 + random.normal(0, 0.25, 600)  # shrunk to the middle, as regressions are
    cuts = best_cuts(true[:300], values[:300], 5)
    assert (np.diff(cuts) >= 0).all()
    told = np.searchsorted(cuts, values, side="right")
    rounded = np.searchsorted(np.arange(4) + 0.5, values, side="right")
    for part in (slice(0, 300), slice(300, 600)):
        kappa = [cohen_kappa_score(true[part], grades[part], weights="quadratic") for grades in (rounded, told)]
        assert kappa[1] > kappa[0] + 0.1
    # No cut can be moved to gain, when one is moved at a time.
    reached = cohen_kappa_score(true[:300], told[:300], weights="quadratic")
    for number, place in [(k, p) for k in range(4) for p in np.linspace(0, 3.2, 60)]:
        tried = cuts.copy()
        tried[number] = place
        if (np.diff(tried) >= 0).all():
            other = np.searchsorted(tried, values[:300], side="right")
            assert cohen_kappa_score(true[:300], other, weights="quadratic") <= reached + 1e-9


def test_cuts_that_cannot_matter_stay_in_the_middle():
    assert best_cuts(np.zeros(5, dtype=int), np.zeros(5), 3).tolist() == [0.5, 1.5]
    with pytest.raises(ValueError, match="do not fit"):
        best_cuts(np.zeros(3, dtype=int), np.zeros(2), 3)


def test_a_grade_begins_at_its_cut_and_probabilities_spread_as_the_errors():
    random = np.random.default_rng(1)
    true = np.arange(900) % 3
    values = true + random.normal(0, 0.3, 900)
    decision = fitted(true, _grades(values, 3), ("0", "1", "2"), "regression")
    assert decision.multipliers is None and decision.cuts == pytest.approx((0.5, 1.5), abs=0.15)
    assert decision.temperature == pytest.approx(0.3**2, rel=0.15)
    at = np.array([decision.cuts[0] - 1e-6, decision.cuts[0] + 1e-6, 7.0])
    np.testing.assert_allclose(grade_values(_grades(at, 3)), at, atol=1e-9)
    assert decision.decide(_grades(at, 3)).tolist() == [0, 1, 2]


def test_few_images_move_a_cut_less_and_cuts_stay_in_order():
    true = np.r_[np.zeros(40, int), np.ones(40, int), [2]]
    values = np.r_[np.linspace(0, 0.9, 40), np.linspace(0.95, 1.0, 40), [1.02]]
    decision = fitted(true, _grades(values, 3), ("0", "1", "2"), "regression")
    assert decision.cuts[0] > 0.8 and decision.cuts[1] > 1.4  # one image asks for 1.01
    assert decision.cuts[0] <= decision.cuts[1]


def test_the_regression_head_by_hand():
    torch.manual_seed(0)
    head = RegressionHead(6, 4)
    features = torch.randn(5, 6)
    value = (features @ head.weight.T + head.bias)[:, 0]
    scores = head(features)
    assert scores.shape == (5, 4) and head.bias.item() == 1.5
    torch.testing.assert_close(grade_value(scores), value)
    np.testing.assert_allclose(
        grade_values(torch.softmax(scores.double(), 1).detach().numpy()), value.detach(), atol=1e-5
    )
    assert scores.argmax(1).tolist() == value.round().clamp(0, 3).long().tolist()
    truth = torch.tensor([0, 3, 1, 2, 2])
    torch.testing.assert_close(regression_loss(scores, truth), torch.square(value - truth).mean())
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0])
    expected = (weights[truth] * torch.square(value - truth)).sum() / weights[truth].sum()
    torch.testing.assert_close(regression_loss(scores, truth, weights), expected)


def test_thresholds_of_labels():
    random = np.random.default_rng(2)
    labels = (random.random((400, 2)) < [0.4, 0.1]).astype(float)
    logits = np.array([1.0, -2.0]) + 2.5 * labels + random.normal(0, 1, (400, 2))
    told = 1 / (1 + np.exp(-logits))
    decision = fit_label_decision(labels[:200], told[:200], ("a", "b"))
    assert decision.thresholds[0] > 0.6 and 0.2 < decision.thresholds[1] < 0.6
    decided = decision.decide(told)
    assert decided.dtype == bool and decided.shape == (400, 2)
    plain, chosen = (f1_score(labels[200:], d[200:], average="macro") for d in (told >= 0.5, decided))
    assert chosen > plain
    calibrated = decision.calibrated(told)
    expected = 1 / (1 + np.exp(-logits / decision.temperature))
    np.testing.assert_allclose(calibrated, expected, atol=1e-9)


def test_what_is_saved_is_loaded(tmp_path):
    about = About(CLASSES)
    assert load_decision(tmp_path, about) == Decision(CLASSES)
    decision = Decision(CLASSES, 1.5, multipliers=(0.5, 1.0, 2.0))
    save_decision(tmp_path, decision)
    assert load_decision(tmp_path, about) == decision
    drop_decision(tmp_path)
    drop_decision(tmp_path)
    assert load_decision(tmp_path, about).plain
    halves = load_decision(tmp_path, About(CLASSES, target="multilabel"))
    assert halves.decide(np.array([[0.5, 0.2, 0.9]])).tolist() == [[True, False, True]]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"kind": "other"}, "not a decision"),
        ({"temperature": None}, "damaged"),
        ({"temperature": 0}, "not above 0"),
        ({"multipliers": [1, 2]}, "expected 3 numbers"),
        ({"multipliers": [1, -2, 1]}, "not above 0"),
        ({"cuts": ["x", 1]}, "damaged"),
        ({"classes": ["normal", "diabetes", "cataract"]}, "about the classes"),
    ],
)
def test_a_damaged_decision_is_one_line(tmp_path, change, told):
    save_decision(tmp_path, Decision(CLASSES, 1.5, multipliers=(0.5, 1.0, 2.0)))
    path = tmp_path / "decision.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UserError, match=told):
        load_decision(tmp_path, About(CLASSES))


def test_the_table_holds_calibrated_probabilities_and_the_decided_class():
    dataset = FundusDataset(
        None, {}, pd.DataFrame({"file_name": ["0.png", "1.png"], "patient_id": ["p0", "p1"], "split": "val"})
    )
    decision = Decision(("a", "b"), 2.0, multipliers=(1.0, 4.0))
    table = prediction_table(dataset, np.array([0, 1]), np.array([[0.8, 0.2], [0.99, 0.01]]), ("a", "b"), decision)
    # 2 to 1 and about 10 to 1 at the temperature, against a factor of 4.
    np.testing.assert_allclose(table["p_a"], [2 / 3, 99**0.5 / (1 + 99**0.5)])
    assert table["predicted"].tolist() == ["b", "a"]
    assert decided_predictions(table, ("a", "b")).probabilities.tolist() == [[0, 1], [1, 0]]
    graded = prediction_table(dataset, np.array([0, 1]), _grades(np.array([0.6, 0.8]), 2), ("0", "1"),
                              Decision(("0", "1"), 1.0, cuts=(0.7,)))  # fmt: skip
    assert graded["value"].tolist() == pytest.approx([0.6, 0.8]) and graded["predicted"].tolist() == ["0", "1"]


def test_a_run_decides_on_val_and_evaluate_and_predict_follow(toy_run, toy_path, tmp_path):
    about = About(("normal", "anemic"))
    decision = load_decision(toy_run, about)
    assert not decision.plain and decision.temperature != 1
    table, classes = read_predictions(toy_run / "predictions.csv")
    written = json.loads((toy_run / "metrics.json").read_text())["test"]
    test = table[table["split"] == "test"]
    for prefix, run in (("", seed_predictions(test, classes)), ("decided_", decided_predictions(test, classes))):
        found = written[f"{prefix}macro_f1"]["estimate"]
        assert found == pytest.approx(float(score("macro_f1", run.true, run.probabilities)))
    assert "decided_log_loss" not in written and "decided_auroc" not in written
    page = (toy_run / "report.html").read_text()
    assert "With the largest probability instead of the decision" in page and "test, decided" in page
    # A factor that calls everybody anemic: evaluate has to obey it, and probabilities must not show it.
    copy = tmp_path / "run"
    shutil.copytree(toy_run, copy)
    save_decision(copy / "checkpoints", replace(decision, multipliers=(1e-6, 1e6)))
    result = evaluate(copy, toy_path, out=tmp_path / "e", device="cpu", quiet=True)
    again, _ = read_predictions(tmp_path / "e" / "predictions.csv")
    assert set(again["predicted"]) == {"anemic"} and result.metrics["decided_recall"]["estimate"] == 1
    np.testing.assert_allclose(
        again["p_anemic"], test.set_index("file_name").loc[again["file_name"], "p_anemic"], atol=1e-6
    )
    assert any("as decided" in line for line in result.lines())


def test_argmax_leaves_everything_as_the_network_says(toy_path, tmp_path):
    run = train(
        toy_path, out=tmp_path / "run", steps=2, batch_size=8, size=32, device="cpu", quiet=True, decide="argmax"
    )
    assert not (run.checkpoints / "decision.json").exists()
    table, _ = read_predictions(run.path / "predictions.csv")
    assert (table["predicted"] == np.where(table["p_normal"] >= table["p_anemic"], "normal", "anemic")).all()
    metrics = json.loads((run.path / "metrics.json").read_text())["test"]
    assert not any(name.startswith("decided") for name in metrics)


def test_study_c_s_head_is_trained_and_cut(toy_path, tmp_path):
    quick = {"steps": 3, "batch_size": 8, "size": 32, "device": "cpu", "quiet": True, "head": "regression"}
    with pytest.raises(UserError, match="regression wants classes in their order"):
        train(toy_path, out=tmp_path / "run", **quick)
    run = train(toy_path, target="grade", out=tmp_path / "run", **quick)
    decision = load_decision(run.path, About(("0", "1", "2")))
    table, classes = read_predictions(run.path / "predictions.csv")
    expected = np.asarray(classes)[np.searchsorted(decision.cuts, table["value"], side="right")]
    assert len(decision.cuts) == 2 and table["predicted"].tolist() == expected.tolist()
    assert "quadratic kappa" in (run.path / "report.html").read_text()
