from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.targets import choose_target
from fundus_synth.runtime.errors import UserError

NAN = float("nan")


@pytest.fixture
def dataset() -> FundusDataset:
    labels = ["glaucoma"] * 2 + ["normal"] + ["diabetes"] * 3 + [""]
    table = pd.DataFrame(
        {"file_name": [f"{i}.png" for i in range(7)], "label": labels, "grade": [0, 2, 10, 2, NAN, 0, 0]}
    )
    return FundusDataset(Path("set"), {}, table)


def test_normal_comes_first_then_the_largest(dataset):
    target = choose_target(dataset, "label")
    assert target.classes == ("normal", "diabetes", "glaucoma")
    assert target.labels(dataset).tolist() == [2, 2, 0, 1, 1, 1, -1]
    assert len(target.of(dataset)) == 6


def test_classes_restrict_and_order(dataset):
    target = choose_target(dataset, "label", ["glaucoma", "normal"])
    assert target.labels(dataset).tolist() == [0, 0, 1, -1, -1, -1, -1]


def test_grades_ascend(dataset):
    dataset.table["grade"] = [0, 2, 1, 2, NAN, 0, 0]
    target = choose_target(dataset, "grade")
    assert target.classes == ("0", "1", "2")
    assert target.labels(dataset).tolist() == [0, 2, 1, 2, -1, 0, 0]


@pytest.mark.parametrize(
    ("column", "classes", "told"),
    [
        ("hemoglobin", None, "label or grade"),
        ("label", ["normal", "cataract"], "no class 'cataract'.*diabetes .3., glaucoma .2."),
        ("label", ["normal"], "at least two classes"),
    ],
)
def test_targets_that_do_not_exist(dataset, column, classes, told):
    with pytest.raises(UserError, match=told):
        choose_target(dataset, column, classes)


def test_a_dataset_without_the_column(dataset):
    dataset = FundusDataset(Path("set"), {}, dataset.table[["file_name"]])
    with pytest.raises(UserError, match="column label has none"):
        choose_target(dataset, "label")


def test_an_expression_is_a_target_of_two_classes(dataset):
    dataset.table["grade"] = [0, 2, 1, 2, NAN, 0, 0]
    target = choose_target(dataset, "dr: grade >= 1")
    assert target.classes == ("no dr", "dr")
    assert target.labels(dataset).tolist() == [0, 1, 1, 1, -1, 0, 0]
    assert target.names(dataset).tolist() == ["no dr", "dr", "dr", "dr", "", "no dr", "no dr"]
    assert len(target.of(dataset)) == 6 and target.left_out_line(dataset).startswith("1 of 7 images are left out")
    assert target.left_out_line(target.of(dataset)) == ""
    assert choose_target(dataset, "dr: grade >= 1", ["dr", "no dr"]).labels(dataset)[:2].tolist() == [1, 0]


def test_a_class_against_normal(dataset):
    target = choose_target(dataset, "glaucoma")
    assert target.classes == ("normal", "glaucoma") and target.labels(dataset).tolist() == [1, 1, 0, -1, -1, -1, -1]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("dr: grade >= 11", "has no dr .6., at least two classes"),
        ("glaucom", "has normal .1., at least two classes.*Its labels are diabetes .3."),
        ("dr: grade >", "character 12"),
        ("multilabel", "is not one class an image"),
    ],
)
def test_expressions_that_are_no_targets(dataset, text, told):
    with pytest.raises(UserError, match=told):
        choose_target(dataset, text)
