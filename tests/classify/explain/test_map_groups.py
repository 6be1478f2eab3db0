from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fundus_synth.classify.explain.map_groups import make_groups
from fundus_synth.runtime.errors import UserError

_TABLE = pd.DataFrame({
    "centred": ["macula", "disc", "macula", "neither", "macula", "disc"], "sex": ["female", "male", "", "male", "female", "male"],
    "age_years": [50.0, 51, 52, np.nan, 50, 51], "grade": [0.0, 1, 2, 0, 1, np.nan],
})  # fmt: skip
_LABELS = np.array([0, 0, 1, 1, 0, 1])
_TOLD = np.array([0, 1, 1, 0, 0, 1])
_TWO = ("normal", "anemic")


def _members(found):
    return {name: np.flatnonzero(there).tolist() for name, there in found.members.items()}


def _pairs(found):
    return [
        (p.first, p.second, np.flatnonzero(p.of_first).tolist(), np.flatnonzero(p.of_second).tolist())
        for p in found.pairs
    ]


def test_two_classes_are_compared_the_positive_one_first():
    found = make_groups("class", _TABLE, _LABELS, _TOLD, _TWO)
    assert _members(found) == {"normal": [0, 1, 4], "anemic": [2, 3, 5]}
    assert _pairs(found) == [("anemic", "normal", [2, 3, 5], [0, 1, 4])]


def test_of_more_classes_each_is_compared_with_all_others():
    labels = np.array([0, 0, 1, 1, 2, 2])
    found = make_groups("class", _TABLE, labels, labels, ("a", "b", "c", "nobody"))
    assert list(found.members) == ["a", "b", "c"]
    assert _pairs(found)[1] == ("b", "the others", [2, 3], [0, 1, 4, 5])


def test_outcomes_are_true_and_false_positives_and_negatives():
    found = make_groups("outcome", _TABLE, _LABELS, _TOLD, _TWO)
    assert _members(found) == {
        "true negative": [0, 4], "false positive": [1], "true positive": [2, 5], "false negative": [3],
    }  # fmt: skip
    assert [pair[:2] for pair in _pairs(found)] == [
        ("true negative", "false positive"),
        ("true positive", "false negative"),
    ]


def test_outcomes_of_more_classes_are_right_and_wrong():
    labels, told = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 1, 1, 2, 0])
    found = make_groups("outcome", _TABLE, labels, told, ("a", "b", "c"))
    assert "b told wrong" not in found.members and _members(found)["c told wrong"] == [5]
    assert [pair[:2] for pair in _pairs(found)] == [("a told right", "a told wrong"), ("c told right", "c told wrong")]


def test_the_four_groups_of_study_a():
    found = make_groups("study-a", _TABLE, _LABELS, _TOLD, _TWO)
    assert _members(found) == {
        "macula-centred, normal": [0, 4], "macula-centred, anemic": [2],
        "any centring, normal": [0, 1, 4], "any centring, anemic": [2, 3, 5],
    }  # fmt: skip
    assert [pair[:2] for pair in _pairs(found)] == [
        ("macula-centred, anemic", "macula-centred, normal"), ("any centring, anemic", "any centring, normal"),
    ]  # fmt: skip


def test_a_column_leaves_out_where_it_is_empty():
    assert _members(make_groups("sex", _TABLE, _LABELS, _TOLD, _TWO)) == {"female": [0, 4], "male": [1, 3, 5]}
    found = make_groups("grade", _TABLE, _LABELS, _TOLD, _TWO)
    assert list(found.members) == ["0", "1", "2"]
    assert _pairs(found)[0][2:] == ([0, 3], [1, 2, 4])


@pytest.mark.parametrize(("groups", "message"), [
    ("nonsense", "nonsense is not known; expected class, outcome, study-a"), ("id", "20 different values"), ("same", "only x"),
])  # fmt: skip
def test_groups_that_cannot_be_made(groups, message):
    table = pd.DataFrame({"id": [str(i) for i in range(20)], "same": "x", "centred": "macula"})
    with pytest.raises(UserError, match=message):
        make_groups(groups, table, np.zeros(20, int), np.zeros(20, int), _TWO)
