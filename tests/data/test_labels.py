from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_synth.data.labels import icdr_grade, odir_codes, odir_label, split_keywords, who_anemia
from fundus_synth.data.schema import ODIR_CODES
from fundus_synth.runtime.errors import UserError


@pytest.mark.parametrize(
    ("sex", "hemoglobin", "anemic"),
    [
        ("male", 12.9, True),
        ("male", 13.0, False),
        ("female", 11.9, True),
        ("female", 12.0, False),
        ("female", 12.9, False),
    ],
)
def test_who_cutoffs(sex, hemoglobin, anemic):
    assert who_anemia(sex, hemoglobin) is anemic


@given(st.floats(1, 25), st.floats(1, 25), st.sampled_from(["male", "female"]))
def test_anaemia_is_monotone_in_haemoglobin(a, b, sex):
    assert who_anemia(sex, min(a, b)) >= who_anemia(sex, max(a, b))


def test_sex_is_needed():
    with pytest.raises(UserError, match="male or female"):
        who_anemia("", 12.0)


@pytest.mark.parametrize(
    ("text", "codes", "grade"),
    [
        ("normal fundus", {"N"}, 0),
        ("normal fundus，lens dust", {"N"}, 0),
        ("Normal fundus , lens dust", {"N"}, 0),
        ("mild nonproliferative retinopathy", {"D"}, 1),
        ("moderate non proliferative retinopathy，hypertensive retinopathy", {"D", "H"}, 2),
        ("severe non-proliferative retinopathy", {"D"}, 3),
        ("proliferative diabetic retinopathy", {"D"}, 4),
        ("severe proliferative diabetic retinopathy", {"D"}, 4),
        ("diabetic retinopathy", {"D"}, None),
        ("pathological myopia，macular epiretinal membrane", {"M", "O"}, None),
        ("dry age-related macular degeneration", {"A"}, None),
        ("suspected glaucoma，normal fundus", {"G"}, 0),
        ("drusen", {"O"}, None),
        ("low image quality", set(), None),
    ],
)
def test_keywords_of_one_eye(text, codes, grade):
    keywords = split_keywords(text)
    assert odir_codes(keywords) == codes
    assert icdr_grade(keywords) == grade


def test_label_only_when_single():
    assert odir_label({"H"}) == "hypertension" and odir_label({"D", "H"}) == "" and odir_label(set()) == ""


def test_real_odir_keywords_agree_with_its_columns(real_data):
    table = pd.read_csv(real_data / "odir" / "metadata.csv", dtype=str, keep_default_na=False)
    for row in table.to_dict("records"):
        codes = odir_codes(split_keywords(row["keywords"].replace("|", ",")))
        assert codes == {c for c in ODIR_CODES if row[c] == "1"}, row["keywords"]
        assert odir_label(codes) == row["label"]
