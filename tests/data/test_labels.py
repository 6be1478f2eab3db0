from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_synth.data.labels import (
    ANEMIA_RULES,
    ICDR_GRADES,
    anemia_label,
    anemia_severity,
    icdr_grade,
    odir_codes,
    odir_label,
    referable,
    split_keywords,
    who_anemia,
    who_cutoffs,
)
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


# WHO 2024, table of haemoglobin cut-offs, g/L as printed: (sex, age, trimester): anaemia, moderate and severe below.
WHO_2024 = {
    ("", 0.5, None): (105, 95, 70),
    ("", 1.99, None): (105, 95, 70),
    ("", 2, None): (110, 100, 70),
    ("", 4.99, None): (110, 100, 70),
    ("", 5, None): (115, 110, 80),
    ("female", 11.9, None): (115, 110, 80),
    ("male", 12, None): (120, 110, 80),
    ("female", 14.9, None): (120, 110, 80),
    ("female", 15, None): (120, 110, 80),
    ("male", 15, None): (130, 110, 80),
    ("female", 30, 1): (110, 100, 70),
    ("female", 30, 2): (105, 95, 70),
    ("female", None, 3): (110, 100, 70),
}


@pytest.mark.parametrize(("person", "gram_per_litre"), WHO_2024.items())
def test_who_table_by_age_sex_and_pregnancy(person, gram_per_litre):
    sex, age, trimester = person
    assert [round(10 * value) for value in who_cutoffs(sex, age, trimester)] == list(gram_per_litre)
    words = ("mild", "moderate", "severe")
    for value, below, at in zip(gram_per_litre, words, ("none", *words), strict=False):
        assert anemia_severity(sex, value / 10 - 0.1, age, trimester) == below
        assert anemia_severity(sex, value / 10, age, trimester) == at
    assert who_anemia(sex, gram_per_litre[0] / 10 - 0.1, age, trimester)


@pytest.mark.parametrize(
    ("sex", "age", "trimester", "told"),
    [
        ("female", 0.3, None, "six months"),
        ("male", 30, 2, "expected female"),
        ("female", 30, 4, "expected 1, 2 or 3"),
        ("", 15, None, "male or female"),
    ],
)
def test_people_outside_the_table(sex, age, trimester, told):
    with pytest.raises(UserError, match=told):
        who_cutoffs(sex, age, trimester)


def test_rules_of_anaemia():
    assert [anemia_label("who", sex, 12.5) for sex in ("male", "female")] == ["anemic", "normal"]
    assert anemia_label("who", "", 11.2, age_years=7) == "anemic"
    assert anemia_label("who", "female", 10.7, pregnancy_trimester=2) == "normal"
    assert [anemia_label("moderate", "", value) for value in (10.9, 11.0)] == ["anemic", "normal"]
    assert [anemia_label("approximate", "", v, approximate_g_dl=12.2) for v in (12.1, 12.2)] == ["anemic", "normal"]
    nan = float("nan")
    assert anemia_label("who", "male", 12.5, nan, nan) == "anemic"


@pytest.mark.parametrize(
    ("rule", "value", "told"),
    [
        ("mild", 12.0, "who, moderate, approximate"),
        ("approximate", 12.0, "no cut-off"),
        *((rule, float("nan"), "haemoglobin is missing") for rule in ANEMIA_RULES),
    ],
)
def test_rules_that_cannot_be_applied(rule, value, told):
    with pytest.raises(UserError, match=told):
        anemia_label(rule, "male", value)


def test_moderate_retinopathy_is_referable():
    assert [name for grade, name in enumerate(ICDR_GRADES) if referable(grade)] == [
        "moderate",
        "severe",
        "proliferative",
    ]


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
