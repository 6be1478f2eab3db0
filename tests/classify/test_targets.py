from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from fundus_synth.classify.targets import choose_target
from fundus_synth.data.dataset import FundusDataset
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
