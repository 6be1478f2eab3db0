from __future__ import annotations

import numpy as np
import pytest

from fundus_synth.classify.backbones import create_backbone
from fundus_synth.classify.checkpoint import About
from fundus_synth.classify.explain.scores import scores_of
from fundus_synth.classify.explain.topics import select_cases, topics
from fundus_synth.runtime.errors import UserError


def _topics(about: About, labels: np.ndarray, told: np.ndarray, count: int = 1, wanted=(), head: str = "linear"):
    model = create_backbone("simple_cnn", len(about.classes), 32, head=head)
    return topics(about, scores_of(model, about), labels, told, count, wanted)


def _cases(topic) -> dict[str, list[int]]:
    return {kind: group.tolist() for kind, group in topic.cases.items()}


def test_cases_are_best_worst_and_uncertain():
    labels = np.array([1, 1, 1, 1, 0])
    positive = np.array([0.9, 0.1, 0.45, 0.7, 0.99])
    probabilities = np.stack([1 - positive, positive], axis=1)
    chosen = select_cases(labels, probabilities, 1, 1)
    assert {k: v.tolist() for k, v in chosen.items()} == {"best": [0], "worst": [1], "uncertain": [2]}
    few = select_cases(labels, probabilities, 0, 3)
    assert [len(few[k]) for k in ("best", "worst", "uncertain")] == [1, 0, 0]
    assert select_cases(labels, probabilities, 5, 3) == {}


def test_a_section_for_each_class():
    labels, told = np.array([0, 1, 1]), np.array([[0.8, 0.2], [0.3, 0.7], [0.9, 0.1]])
    normal, ill = _topics(About(("normal", "ill")), labels, told)
    assert (normal.name, normal.target, ill.name, ill.target) == ("normal", 0, "ill", 1)
    assert _cases(ill) == {"best": [1], "worst": [2], "uncertain": []} and ill.members.tolist() == [1, 2]
    assert ill.captions == ("best: p = 0.70", "worst: p = 0.10")
    assert [topic.name for topic in _topics(About(("normal", "ill")), labels, told, wanted=["ill"])] == ["ill"]
    with pytest.raises(UserError, match="'blind' is not known here. Use normal, ill"):
        _topics(About(("normal", "ill")), labels, told, wanted=["blind"])
    assert _topics(About(("normal", "ill")), np.ones(3, dtype=int), told)[0].members.shape == (0,)


def test_labels_are_asked_each_for_itself():
    labels = np.array([[1, 1], [0, 1], [1, 0], [0, 1]])
    told = np.array([[0.9, 0.2], [0.1, 0.8], [0.4, 0.1], [0.3, 0.5]])
    first, second = _topics(About(("diabetes", "myopia"), "multilabel"), labels, told)
    assert _cases(first) == {"best": [0], "worst": [2], "uncertain": []}
    assert _cases(second) == {"best": [1], "worst": [0], "uncertain": [3]}
    assert first.captions[1] == "worst: p = 0.40" and "this label" in second.evidence


def test_haemoglobin_has_a_direction():
    about = About(("hemoglobin_g_dl",), "hemoglobin")
    measured, told = np.array([12.0, 13.0, 9.0, 8.0]), np.array([[12.1], [10.0], [8.5], [8.8]])
    (lower,) = _topics(about, measured, told)
    assert (lower.name, lower.target) == ("lower", 0) and lower.evidence == "What makes haemoglobin lower"
    assert _cases(lower) == {"best": [0], "worst": [1], "lowest": [2]}
    assert lower.captions[1] == "worst: told 10.0, measured 13.0 g/dL"
    assert [topic.target for topic in _topics(about, measured, told, wanted=["higher", "lower"])] == [1, 0]
    with pytest.raises(UserError, match="Use lower, higher"):
        _topics(about, measured, told, wanted=["anemic"])


def test_grades_told_by_a_number_have_a_section_each():
    about = About(("0", "1", "2"), "grade")
    labels, told = np.array([0, 2]), np.array([[0.8, 0.1, 0.1], [0.2, 0.2, 0.6]])
    zero, one, two = _topics(about, labels, told, head="regression")
    assert [topic.name for topic in (zero, one, two)] == ["0-higher", "1-higher", "2-higher"]
    assert zero.target == two.target == 1 and not len(one.members)
    assert two.captions == ("best: p = 0.60, mean grade 1.4",)
    assert "grade higher in images of grade 2" in two.evidence
    plain = _topics(about, labels, told)
    assert [topic.name for topic in plain] == ["0", "1", "2"]
