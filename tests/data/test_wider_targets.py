from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.schema import ODIR_CODES
from fundus_synth.data.targets import Target
from fundus_synth.data.wider_targets import HemoglobinTarget, LabelTarget, choose_any_target, target_of
from fundus_synth.runtime.errors import UserError

NAN = float("nan")


@pytest.fixture
def dataset() -> FundusDataset:
    table = pd.DataFrame({"file_name": [f"{i}.png" for i in range(5)], "label": ["normal", "diabetes"] * 2 + [""]})
    table = table.assign(**dict.fromkeys(ODIR_CODES, 0)).assign(hemoglobin_g_dl=[14.1, 9.0, NAN, 12.0, 13.0])
    table["N"], table["D"], table["M"] = [1, 0, 0, 0, NAN], [0, 1, 1, 0, 0], [0, 0, 1, 0, 0]
    return FundusDataset(Path("set"), {}, table)


def test_labels_are_those_that_an_image_has(dataset):
    target = choose_any_target(dataset, "multilabel")
    assert target == LabelTarget(("normal", "diabetes", "myopia"))
    expected = [[1, 0, 0], [0, 1, 0], [0, 1, 1], [0, 0, 0], [NAN, 0, 0]]
    np.testing.assert_array_equal(target.labels(dataset), expected)
    assert target.known(dataset).tolist() == [True, True, True, True, False] and len(target.of(dataset)) == 4
    assert target.counts(dataset) == {"normal": 1, "diabetes": 2, "myopia": 1}
    assert target.left_out_line(dataset).startswith("1 of 5") and target.left_out_line(target.of(dataset)) == ""
    two = choose_any_target(dataset, "multilabel", ["myopia", "diabetes"])
    assert two.labels(dataset)[2].tolist() == [1, 1] and two.known(dataset).all()


def test_haemoglobin_is_a_number(dataset):
    target = choose_any_target(dataset, "hemoglobin")
    np.testing.assert_array_equal(target.labels(dataset), [14.1, 9.0, NAN, 12.0, 13.0])
    assert target.known(dataset).sum() == 4 and target.counts(dataset) == {"hemoglobin_g_dl": 4}
    assert target.balance(dataset).tolist() == ["4", "0", "", "1", "3"]
    assert target.left_out_line(dataset) == "1 of 5 images are left out: their haemoglobin is not known"


def test_what_a_classifier_says_is_found_again(dataset):
    for column, classes in (("multilabel", ["normal", "diabetes"]), ("hemoglobin", None), ("label", None)):
        target = choose_any_target(dataset, column, classes)
        assert target_of(target.column, target.classes) == target
    assert isinstance(target, Target) and isinstance(target_of("hemoglobin", ("hemoglobin_g_dl",)), HemoglobinTarget)


@pytest.mark.parametrize(
    ("column", "classes", "told"),
    [
        ("multilabel", ["cataract", "normal"], "no image has the label 'cataract'.*diabetes .2."),
        ("multilabel", ["normal"], "at least two labels"),
        ("multilabel", ["Normal", "D"], "no image has the label 'Normal'"),
        ("hemoglobin", ["normal"], "has no classes"),
    ],
)
def test_what_cannot_be_chosen(dataset, column, classes, told):
    with pytest.raises(UserError, match=told):
        choose_any_target(dataset, column, classes)


def test_columns_that_are_missing_or_wrong(dataset):
    bare = FundusDataset(Path("set"), {}, dataset.table[["file_name", "label"]])
    for column, told in (("multilabel", "at least two labels"), ("hemoglobin", "is empty")):
        with pytest.raises(UserError, match=told):
            choose_any_target(bare, column)
    dataset.table["D"] = [0, 2, 1, 0, 0]
    with pytest.raises(UserError, match="D is 2 for 1.png; expected 0 or 1"):
        choose_any_target(dataset, "multilabel")
