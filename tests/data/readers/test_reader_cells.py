from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from fundus_synth.data.readers.cells import find_column, needed_column, retinopathy_label, whole_number
from fundus_synth.runtime.errors import UserError

TABLE = pd.DataFrame(columns=["Image  name ", "Risk of macular edema "])


def test_columns_are_found_in_spite_of_spaces_and_case():
    assert find_column(TABLE, "^image name$") == "Image  name "
    assert find_column(TABLE, "o?edema$") == "Risk of macular edema "
    assert find_column(TABLE, "grade") is None
    with pytest.raises(UserError, match=r"t\.csv: has no column 'grade'; its columns are Image"):
        needed_column(TABLE, "grade", "grade", Path("t.csv"))


@pytest.mark.parametrize(("text", "value"), [("0", 0), (" 4 ", 4), ("2.0", 2), ("3.", 3), ("", None), ("  ", None)])
def test_whole_number(text, value):
    assert whole_number(text, "grade", 0, 4, Path("t.csv"), 7) == value


@pytest.mark.parametrize("text", ["5", "-1", "1.5", "2.01", "one", "1e0", "nan", "²"])
def test_what_is_no_whole_number_is_named_with_its_row(text):
    with pytest.raises(UserError, match=r"t\.csv, row 7: grade is .*expected a whole number from 0 to 4"):
        whole_number(text, "grade", 0, 4, Path("t.csv"), 7)


@pytest.mark.parametrize(
    ("grade", "edema", "label"),
    [(None, None, ""), (None, 1, ""), (0, None, "normal"), (0, 0, "normal"), (0, 1, ""), (1, None, "diabetes"),
     (4, 2, "diabetes")],
)  # fmt: skip
def test_retinopathy_label(grade, edema, label):
    assert retinopathy_label(grade, edema) == label
