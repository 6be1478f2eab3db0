from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.expressions import parse
from fundus_synth.runtime.errors import UserError

NAN = float("nan")


def dataset(**columns) -> FundusDataset:
    length = len(next(iter(columns.values())))
    files = [f"images/{i}.png" for i in range(length)]
    return FundusDataset(Path("set"), {}, pd.DataFrame({"file_name": files, **columns}))


def truth(text: str, data: FundusDataset) -> list:
    return [None if np.isnan(value) else int(value) for value in parse(text).truth(data)]


EYES = dataset(
    grade=[0, 1, 4, NAN],
    sex=["male", "female", "", "female"],
    camera=["Topcon TRC", "x", "y", ""],
    ward=["3", "", "10", "2.5"],
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dr: grade >= 1", [0, 1, 1, None]),
        ("a: grade > 1", [0, 0, 1, None]),
        ("a: grade <= 1", [1, 1, 0, None]),
        ("a: grade < 1.5", [1, 1, 0, None]),
        ("a: grade == 4", [0, 0, 1, None]),
        ("a: grade != 4", [1, 1, 0, None]),
        ("a: grade in (0, 4)", [1, 0, 1, None]),
        ("a: grade not in (0, 4)", [0, 1, 0, None]),
        ("a: sex == female", [0, 1, None, 1]),
        ("a: sex != 'female'", [1, 0, None, 0]),
        ('a: camera in ("Topcon TRC", x)', [1, 1, 0, None]),
        ("a: ward >= 3", [1, None, 1, 0]),
        ("a: not grade >= 1", [1, 0, 0, None]),
        ("a: grade >= 1 and sex == female", [0, 1, None, None]),
        ("a: grade < 1 and sex == female", [0, 0, 0, None]),
        ("a: grade >= 1 or sex == female", [0, 1, 1, 1]),
        ("a: grade == 0 or grade == 4 and sex == female", [1, 0, None, None]),
        ("a: (grade == 0 or grade == 4) and sex == male", [1, 0, None, 0]),
        ("a: not (grade == 0 or grade == 4) and sex == male", [0, 0, 0, 0]),
        ("a: not not grade==0", [1, 0, 0, None]),
    ],
)
def test_truth_of_each_image(text, expected):
    assert truth(text, EYES) == expected


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.sampled_from([0, 1, NAN])] * 2), min_size=1, max_size=12))
def test_logic_is_kleenes(rows):
    """Whatever the unknown values turn out to be, an answer given before holds; and no answer is held back in vain."""
    data = dataset(p=[str(a) if a == a else "" for a, _ in rows], q=[str(b) if b == b else "" for _, b in rows])

    def possible(values: tuple, rule) -> set:
        options = [(0, 1) if value != value else (value,) for value in values]
        return {int(rule(a, b)) for a in options[0] for b in options[1]}

    for text, rule in (
        ("a: p == 1 and q == 1", lambda a, b: a and b),
        ("a: p == 1 or q == 1", lambda a, b: a or b),
        ("a: not p == 1 or not q == 1", lambda a, b: not a or not b),
    ):
        outcomes = [possible(row, rule) for row in rows]
        assert truth(text, data) == [None if len(found) == 2 else found.pop() for found in outcomes]


@settings(deadline=None, max_examples=60)
@given(st.recursive(
    st.sampled_from(["g < 2", "h >= 1", "g in (0, 3)", "h != 2"]),
    lambda part: st.one_of(
        part.map(lambda p: f"not ({p})"),
        st.tuples(part, st.sampled_from(["and", "or"]), part).map(lambda t: f"({t[0]}) {t[1]} ({t[2]})"),
        st.tuples(part, st.sampled_from(["and", "or"]), part).map(" ".join),
    ), max_leaves=8,
))  # fmt: skip
def test_precedence_is_that_of_python(text):
    g, h = np.meshgrid(range(4), range(4))
    data = dataset(g=g.ravel().astype(str), h=h.ravel().astype(str))
    # The reference runs expressions that are made here, not ones that a user wrote.
    expected = [int(eval(text, {}, {"g": a, "h": b})) for a, b in zip(g.ravel(), h.ravel(), strict=True)]
    assert truth(f"a: {text}", data) == expected


def test_names_of_the_classes():
    assert parse("dr: grade >= 1").classes == ("no dr", "dr")
    assert parse("  wide  eyes : grade >= 1").classes == ("no wide eyes", "wide eyes")
    assert parse("D").classes == parse("diabetes").classes == ("normal", "diabetes")
    assert parse("anemic").classes == ("normal", "anemic")
    assert parse("referable").classes == ("not referable", "referable")


def test_a_class_is_held_against_normal_and_other_eyes_are_unknown():
    several = dataset(
        label=["normal", "glaucoma", "", "cataract", ""],
        N=[1, 0, 0, 0, NAN], G=[0, 1, 1, 0, NAN], C=[0, 0, 1, 1, NAN],
    )  # fmt: skip
    assert truth("G", several) == truth("glaucoma", several) == [0, 1, 1, None, None]
    assert truth("a: C or G", several) == [0, 1, 1, 1, None]
    only_labels = dataset(label=["normal", "glaucoma", "", "cataract"])
    assert truth("G", only_labels) == [0, 1, None, None]
    assert truth("drusen", dataset(label=["drusen", "normal", "amd"])) == [1, 0, None]


def test_anaemia_by_haemoglobin_sex_age_and_pregnancy():
    people = {
        "hemoglobin_g_dl": [12.5, 12.5, NAN, 12.5, 11.3, 11.3, 10.6, 10.6],
        "sex": ["male", "female", "male", "", "", "female", "female", "female"],
        "age_years": [50, 50, 50, 50, 3, NAN, 30, 0.2],
        "pregnancy_trimester": ["", "", "", "", "", "", "2", ""],
    }
    assert truth("anemic", dataset(**people)) == [1, 0, None, None, 0, 1, 0, None]
    assert truth("anemic", dataset(label=["anemic", "normal", "x"])) == [1, 0, None]
    impossible = dataset(hemoglobin_g_dl=[12.0], sex=["male"], pregnancy_trimester=["2"])
    with pytest.raises(UserError, match=r"expected female.*images/0\.png"):
        parse("anemic").truth(impossible)


def test_referable_is_grade_two_and_worse():
    assert truth("referable", dataset(grade=[0, 1, 2, 3, 4, NAN])) == [0, 0, 1, 1, 1, None]


@pytest.mark.parametrize(
    ("text", "at", "told"),
    [
        ("", 1, "expected a column or a class, found the end"),
        ("a:", 3, "found the end"),
        ("a: grade = 1", 10, "'='"),
        ("a: grade >=", 12, "expected a number, found the end"),
        ("a: grade >= one", 13, "expected a number, found 'one'"),
        ("a: (grade >= 1", 15, "closing bracket"),
        ("a: grade >= 1)", 14, "expected and, or, or the end"),
        ("a: grade >= 1 sex == male", 15, "expected and, or"),
        ("a: 1 < grade", 4, "expected a column"),
        ("a: grade in 1, 2", 13, "list in brackets"),
        ("a: grade in (1 2)", 16, "comma"),
        ("a: grade in (1, x)", 4, "words and numbers"),
        ("a: sex not female", 12, "expected in"),
        ("a: grade >= 1 and", 18, "found the end"),
        ("a: and", 4, "found 'and'"),
        ("a: sex == ''", 11, "a number or a word"),
        ("normal", 1, "held against"),
        ("__import__('os').system('id')", 17, r"'\.' is not understood"),
        ("print('x')", 6, r"found '\('"),
        ("a: grade >= 1; x", 14, "';'"),
        ("a: " + "(" * 5000, 34, "more than 30 brackets"),
    ],
)
def test_errors_say_where(text, at, told):
    with pytest.raises(UserError, match=f"(?s)character {at}: .*{told}"):
        parse(text)


def test_an_expression_needs_a_name():
    with pytest.raises(UserError, match='no name.*"ill: grade >= 1"'):
        parse("grade >= 1")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: hb < 12", "no column 'hb'.*grade, sex"),
        ("a: sex == man", "never 'man'; expected female or male"),
        ("a: sex == 1", "sex is 'male' for images/0.png; expected a number"),
        ("a: grade == mild", "grade holds numbers"),
    ],
)
def test_expressions_that_do_not_fit_the_table(text, told):
    with pytest.raises(UserError, match=told):
        parse(text).truth(EYES)


@given(st.text(max_size=40))
def test_any_text_is_understood_or_refused(text):
    try:
        parse(text)
    except UserError as error:
        assert "target" in str(error)
