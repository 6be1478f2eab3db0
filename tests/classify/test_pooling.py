from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import gmean

from fundus_synth.classify.pooling import fellow_answers, group_photographs, pool_photographs
from fundus_synth.runtime.errors import UserError


def _table(patients: str, true: str) -> pd.DataFrame:
    names = [f"{k}.png" for k in range(len(patients))]
    return pd.DataFrame({"file_name": names, "patient_id": list(patients), "true": list(true)})


def test_photographs_are_pooled_by_their_geometric_mean():
    values = np.random.default_rng(0).dirichlet(np.ones(3), 5)
    found = pool_photographs(values, np.array([0, 1, 0, 0, 1]))
    for group, rows in enumerate(([0, 2, 3], [1, 4])):
        reference = gmean(values[rows])
        np.testing.assert_allclose(found[group], reference / reference.sum())


def test_a_flat_photograph_leaves_the_decision_to_the_others():
    found = pool_photographs(np.array([[0.9, 0.1], [0.5, 0.5]]), np.array([0, 0]))
    assert found[0, 0] == pytest.approx(0.75)  # square root of the odds 9 to 1


def test_the_fellow_is_the_patients_other_photographs_and_never_the_own():
    values = np.random.default_rng(1).dirichlet(np.ones(3), 6)
    patients = np.array(["b", "a", "b", "c", "b", "a"])
    found = fellow_answers(values, patients)
    np.testing.assert_allclose(found[1], values[5])
    np.testing.assert_allclose(found[5], values[1])
    np.testing.assert_allclose(found[3], values[3])  # alone
    reference = gmean(values[[2, 4]])
    np.testing.assert_allclose(found[0], reference / reference.sum())


def test_groups_by_patient_and_by_eye():
    table = _table("aabba", "xxyyx")
    assert group_photographs(table, "patient").tolist() == [0, 0, 1, 1, 0]
    eyes = np.array(["left", "right", "left", "left", "left"], dtype=object)
    assert group_photographs(table, "eye", eyes).tolist() == [0, 1, 2, 2, 0]
    unknown = np.array(["left", "", "", "left", ""], dtype=object)
    assert len(set(group_photographs(table, "eye", unknown))) == 5


def test_photographs_of_different_classes_are_refused_with_their_number():
    with pytest.raises(UserError, match="2 of 3 patients have photographs of different classes"):
        group_photographs(_table("aabbc", "xyxyx"), "patient")
    with pytest.raises(UserError, match="1 of 2 eyes"):
        group_photographs(_table("aaa", "xyx"), "eye", np.array(["left", "left", "right"], dtype=object))
