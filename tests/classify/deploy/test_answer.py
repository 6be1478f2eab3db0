from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from fundus_synth.classify.decision import Decision
from fundus_synth.classify.deploy.answer import ANSWER, QUALITY, REFER, RETAKE, RETINA, Rules, give_answer
from fundus_synth.classify.deploy.conformal import ClassSets
from fundus_synth.classify.deploy.familiarity import Familiarity

CLASSES = ("normal", "diabetes", "cataract")
KNOWN = Familiarity(
    means=np.zeros((1, 4), np.float32),
    directions=np.eye(4, dtype=np.float32)[:2],
    variances=np.array([4, 1], np.float32),
    rest=0.25,
    limit=2.0,
    level=0.99,
)
SETS = ClassSets(least=(0.4, 0.3, 0.2), levels=(0.9, 0.9, 0.85), patients=(90, 30, 6))
RULES = Rules(
    CLASSES, sets=SETS, attained=0.85, multipliers=(0.5, 1.0, 2.0), familiarity=KNOWN, notes=("cataract: few",)
)
NEAR = np.zeros(4)


def _answer(probabilities, rules=RULES, features=NEAR, quality=0.9, reason="", retina=1.0):
    return give_answer(rules, np.asarray(probabilities, np.float32), features, quality, reason, retina)


def test_one_possible_answer_is_given():
    found = _answer([0.1, 0.75, 0.15])
    assert (found.action, found.label, found.set) == (ANSWER, "diabetes", ("diabetes",))
    assert "diabetes" in found.reason and "85 %" in found.reason
    assert found.unfamiliarity == 0


def test_several_possible_answers_are_referred_and_named():
    found = _answer([0.45, 0.35, 0.2])
    assert (found.action, found.set) == (REFER, CLASSES)
    assert "normal, diabetes, cataract" in found.reason


def test_no_possible_answer_is_referred():
    rules = replace(RULES, sets=replace(SETS, least=(0.8, 0.8, 0.8)))
    found = _answer([0.4, 0.3, 0.3], rules)
    assert (found.action, found.label, found.set) == (REFER, "cataract", ())
    assert found.reason == "No answer is likely enough: refer to an expert."


def test_a_set_that_the_decision_contradicts_is_referred():
    found = _answer([0.65, 0.16, 0.19], replace(RULES, multipliers=(0.1, 1.0, 1.0)))
    assert (found.action, found.label, found.set) == (REFER, "cataract", ("normal",))
    assert "cataract" in found.reason and "normal" in found.reason


def test_a_poor_picture_is_taken_again_whatever_is_seen_in_it():
    found = _answer([0.1, 0.75, 0.15], quality=QUALITY - 0.01, reason="too dark")
    assert found.action == RETAKE
    assert found.reason == "The photograph is too dark: take it again, and refer to an expert if it stays so."
    assert found.label == "diabetes"
    clause = _answer([0.1, 0.75, 0.15], quality=0, reason="much of the field is not visible").reason
    assert clause.startswith("Much of the field is not visible: take it again")
    assert _answer([0.1, 0.75, 0.15], quality=0).reason.startswith("The photograph is not clear enough: ")
    assert _answer([0.1, 0.75, 0.15], quality=QUALITY).action == ANSWER


def test_what_is_no_retina_is_taken_again_before_its_quality_is_told():
    found = _answer([0.1, 0.75, 0.15], quality=0, reason="blurred", retina=RETINA - 0.01)
    assert found.action == RETAKE and "retina" in found.reason
    assert _answer([0.1, 0.75, 0.15], retina=RETINA).action == ANSWER


def test_the_unfamiliar_is_referred():
    # Coordinates (2, 1): 4 / 4 + 1 / 1; the rest (1, 0): 1 / 0.25; the distance is the root of 6, the limit 2.
    found = _answer([0.1, 0.75, 0.15], features=np.array([2.0, 1, 1, 0]))
    assert found.action == REFER and "unlike" in found.reason
    assert found.unfamiliarity == pytest.approx(math.sqrt(6) / 2)
    at_the_limit = _answer([0.1, 0.75, 0.15], features=np.array([4.0, 0, 0, 0]))
    assert (at_the_limit.unfamiliarity, at_the_limit.action) == (1, ANSWER)


@pytest.mark.parametrize(
    "broken",
    [
        {"probabilities": [np.nan, 0.75, 0.15]},
        {"probabilities": [np.nan] * 3},
        {"features": np.array([np.nan, 0, 0, 0])},
        {"quality": math.nan},
        {"retina": math.nan},
    ],
)
def test_what_is_not_a_number_is_never_answered(broken):
    assert _answer(**({"probabilities": [0.1, 0.75, 0.15]} | broken)).action != ANSWER


def test_without_features_the_rest_still_decides():
    found = _answer([0.1, 0.75, 0.15], replace(RULES, familiarity=None), features=None)
    assert found.action == ANSWER and math.isnan(found.unfamiliarity)


@pytest.mark.parametrize("seed", range(3))
def test_the_label_is_what_the_classifier_decides(seed):
    rng = np.random.default_rng(seed)
    told = rng.dirichlet(np.ones(3), 50)
    decision = Decision(CLASSES, temperature=1.7, multipliers=(0.5, 1.5, 2.5))
    rules = replace(RULES, multipliers=decision.multipliers)
    labels = [_answer(p, rules).label for p in decision.calibrated(told)]
    assert labels == [CLASSES[k] for k in decision.decide(told)]


@pytest.mark.parametrize("temperature", [0.2, 1.0, 3.0])
def test_cuts_between_grades_decide_from_calibrated_probabilities(temperature):
    grades = np.arange(5)
    values = np.linspace(-1, 5, 60)
    scores = -np.square(grades - values[:, None]) / 2
    told = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    decision = Decision(tuple("01234"), temperature, cuts=(0.3, 1.6, 2.4, 3.9))
    every = ClassSets((0.1,) * 5, (0.9,) * 5, (9,) * 5)
    rules = Rules(decision.classes, sets=every, cuts=decision.cuts, temperature=temperature)
    labels = [_answer(p, rules, features=None).label for p in decision.calibrated(told)]
    assert labels == [str(k) for k in decision.decide(told)]
    assert set(labels) == set("01234")


def test_a_grade_that_is_certain_is_told():
    """float32 probabilities of the head "regression" become one-hot far out."""
    every = ClassSets((0.1,) * 5, (0.9,) * 5, (9,) * 5)
    rules = Rules(tuple("01234"), sets=every, cuts=(0.5, 1.5, 2.5, 3.5))
    with np.errstate(all="raise"):
        assert [_answer(row, rules, features=None).label for row in np.eye(5)] == list("01234")


def _labels() -> Rules:
    present = ClassSets((0.3, 0.6), (0.9, 0.9), (50, 50))
    absent = ClassSets((0.5, 0.5), (0.9, 0.9), (50, 50))
    return Rules(("amd", "myopia"), present=present, absent=absent, thresholds=(0.5, 0.55))


@pytest.mark.parametrize(
    ("probabilities", "action", "label", "possible"),
    [
        ([0.9, 0.1], ANSWER, "amd", ("amd",)),
        ([0.9, 0.7], ANSWER, "amd; myopia", ("amd", "myopia")),
        ([0.1, 0.1], ANSWER, "", ()),
        ([0.4, 0.1], REFER, "", ("amd",)),  # amd both possible and excludable
        ([0.9, 0.52], REFER, "amd", ("amd",)),  # myopia neither
    ],
)
def test_several_labels(probabilities, action, label, possible):
    found = _answer(probabilities, _labels(), features=None)
    assert (found.action, found.label, found.set) == (action, label, possible)


def test_a_decided_label_that_is_excluded_is_referred():
    rules = replace(_labels(), thresholds=(0.05, 0.55))
    found = _answer([0.1, 0.1], rules, features=None)
    assert found.action == REFER and found.reason == "It cannot be told whether there is amd: refer to an expert."


def test_a_number_is_told_with_its_interval():
    rules = Rules(("hemoglobin_g_dl",), half_width=1.25, familiarity=KNOWN)
    found = _answer([12.34], rules)
    assert (found.action, found.label, found.set) == (ANSWER, "12.3", ("11.1", "13.6"))
    assert "11.1 to 13.6" in found.reason and "90 %" in found.reason
    assert _answer([math.nan], rules).action == REFER


@pytest.mark.parametrize(
    ("value", "open_sides"),
    [(9.5, ""), (10.74, ""), (10.75, "12.0"), (12.5, "12.0 and 13.0"), (13.25, "13.0"), (14.26, ""), (14.25, "")],
)
def test_a_number_that_may_lie_on_either_side_of_a_limit_is_referred(value, open_sides):
    rules = Rules(("hemoglobin_g_dl",), half_width=1.25, limits=(12.0, 13.0), familiarity=KNOWN)
    found = _answer([value], rules)
    assert found.label == f"{value:.1f}" and found.action == (REFER if open_sides else ANSWER)
    if open_sides:
        assert found.reason == f"It cannot be told on which side of {open_sides} the value lies: refer to an expert."


def test_rules_of_the_first_files_had_no_limits():
    facts = Rules(("hemoglobin_g_dl",), half_width=1.25).to_dict()
    del facts["limits"]
    assert Rules.from_dict(facts).limits == ()


@pytest.mark.parametrize("rules", [RULES, _labels(), Rules(("hemoglobin_g_dl",), half_width=1.25, limits=(12.0, 13.0))])
def test_json_and_back(rules):
    text = json.dumps(rules.to_dict(), allow_nan=False)
    back = Rules.from_dict(json.loads(text))
    assert json.dumps(back.to_dict()) == text
    assert back.sets == rules.sets and back.notes == rules.notes and back.multipliers == rules.multipliers
    probabilities = np.linspace(0.6, 0.1, len(rules.classes))
    assert _answer(probabilities, back) == _answer(probabilities, rules) or rules.familiarity is None


@pytest.mark.parametrize(
    "damage",
    [
        {"classes": None},
        {"sets": None},
        {"half_width": 1.0},
        {"multipliers": [1.0]},
        {"sets": {"least": [0.1, 0.1], "levels": [0.9, 0.9], "patients": [9, 9]}},
        {"sets": {"least": [0.1, 0.1, 0.1]}},
        {"familiarity": {"rest": 1}},
        {"familiarity": [1]},
        {"quality": "0.2"},
        {"retina": None},
        {"level": True},
        {"attained": float("nan")},
        {"level": 10**400},
        {"temperature": 0},
        {"temperature": [1.0]},
        {"notes": "one"},
        {"notes": [1]},
        {"multipliers": [1.0, "2", 1.0]},
        {"multipliers": 3},
        {"sets": {"least": [0.1, None, 0.1], "levels": [0.9] * 3, "patients": [9] * 3}},
        {"sets": None, "half_width": float("inf")},
        {"sets": None, "half_width": "1"},
        {"familiarity": KNOWN.to_dict() | {"limit": float("nan")}},
        {"familiarity": KNOWN.to_dict() | {"rest": 10**400}},
    ],
)
def test_damaged_rules_are_refused(damage):
    with pytest.raises(ValueError):
        Rules.from_dict(RULES.to_dict() | damage)
    without = RULES.to_dict()
    del without["level"]
    with pytest.raises(ValueError, match="level"):
        Rules.from_dict(without)


def test_answering_imports_neither_torch_nor_pandas_nor_sklearn():
    code = (
        "import sys, fundus_synth.classify.deploy.answer\n"
        "print([name for name in ('torch', 'pandas', 'sklearn', 'scipy', 'cv2') if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
