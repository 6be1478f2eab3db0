from __future__ import annotations

import shutil

import numpy as np
import pytest

from fundus_synth.data.fake import write_fake_collection
from fundus_synth.data.image_file import write_image
from fundus_synth.data.readers import ReaderOptions, read_collection
from fundus_synth.data.readers.patient_table import parse_hemoglobin, parse_sex
from fundus_synth.preprocess.pipeline import run
from fundus_synth.runtime.errors import UserError


@pytest.fixture(scope="module")
def fake(tmp_path_factory, plain_eyes):
    return write_fake_collection("sankara", tmp_path_factory.mktemp("sankara") / "sankara", plain_eyes)


def tree(folder, *names):
    for name in names:
        write_image(folder / name, np.full((8, 8, 3), 90, np.uint8))
    return folder


def only_row(src, **options):
    (row,) = read_collection(src, "sankara", ReaderOptions(**options)).rows
    return row


def test_the_fake_with_its_quirks(fake):
    found = read_collection(fake)
    rows = {r["path"].name: r for r in found.rows}
    assert found.info["format"] == "sankara" and found.info["recognised"].startswith("names such as ")
    first = rows["SN_142_00_002_14.0.jpg"]
    expected = {"patient_id": "sankara-SN_142", "sex": "female", "hemoglobin_g_dl": 14.0, "label": "normal",
                "age_years": "40", "systolic_mmhg": "120", "diastolic_mmhg": "70"}  # fmt: skip
    assert {name: first[name] for name in expected} == expected
    anemic = rows["147_00_001_9.5.jpg"]
    assert (anemic["patient_id"], anemic["sex"], anemic["label"]) == ("sankara-147", "male", "anemic")
    # Eight patients with three pictures each; the other 664 columns stay where they are.
    assert len(rows) == 24 and len({r["patient_id"] for r in found.rows}) == 8
    assert all(len(r) == 10 for r in found.rows)


def test_external_eyes_are_removed(fake):
    found = read_collection(fake)
    reasons = dict(found.ignored)
    outside = {name: reason for name, reason in reasons.items() if reason == "external-eye photograph"}
    assert len(outside) == 2 and {name.startswith("external/") for name in outside} == {True, False}
    assert reasons["999"] == "no picture of this row of patients.csv"


@pytest.mark.parametrize("name", ["ext/142_00_002_15.2.jpg", "142_01_002_15.2 (Anterior).jpg", "Slitlamp/a.jpg"])
def test_words_for_external_eyes(tmp_path, name):
    found = read_collection(
        tree(tmp_path, name, "142_00_002_15.2.jpg", "145_07_001_12.9_textured/146_00_001_13.jpg"), "sankara"
    )
    assert [name for name, _ in found.ignored] == [name] and len(found.rows) == 2


def test_the_example_of_the_study(tmp_path):
    row = only_row(tree(tmp_path, "142_00_002_15.2.jpg"))
    assert (row["patient_id"], row["sex"], row["hemoglobin_g_dl"], row["label"]) == (
        "sankara-142",
        "female",
        15.2,
        "normal",
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("142_00_003_15.2.jpg", r"142_00_003_15\.2\.jpg: sex is '003'; expected 1 or male, 2 or female"),
        ("142_00__15.2.jpg", r"sex is '\(nothing\)'"),
        ("142_00_002_152.jpg", r"haemoglobin is '152'.*looks like g/L: 152 g/L is 15\.2 g/dL"),
        ("142_00_002_15,2.jpg", r"haemoglobin is '15,2'; expected g/dL, a number from 1 to 25$"),
        ("142_00_002_0.5.jpg", r"haemoglobin is '0\.5'"),
        ("142_00_002_nan.jpg", r"haemoglobin is 'nan'"),
        ("142_002_15.2.jpg", r"142_002_15\.2\.jpg: the name does not fit the pattern.*Say with --pattern"),
        ("IMG0001.jpg", r"IMG0001\.jpg: the name does not fit the pattern"),
        ("142_01_001_15.2.jpg", r"patient sankara-142 is female here and male in 142_01_001_15\.2\.jpg"),
    ],
)
def test_names_that_cannot_be_read_are_refused(tmp_path, name, message):
    tree(tmp_path, "142_02_002_15.2.jpg", name)
    with pytest.raises(UserError, match=message):
        read_collection(tmp_path, "sankara")


def test_one_odd_name_does_not_hide_the_format(tmp_path):
    tree(tmp_path, "142_00_002_15.2.jpg", "142_01_002_15.2.jpg", "143_00_001_16g.jpg")
    with pytest.raises(UserError, match="143_00_001_16g.jpg: haemoglobin is '16g'"):
        read_collection(tmp_path)


@pytest.mark.parametrize("name", ["10_left.jpg", "20051020_43808_0100_PP.jpg", "1_2_3_4.jpg", "IDRiD_01_002_15.2.jpg"])
def test_other_names_are_not_taken_for_it(tmp_path, name):
    assert read_collection(tree(tmp_path, name, "x.png", "y.png")).info["format"] == "folder"


def test_a_pattern_of_ones_own(tmp_path):
    tree(tmp_path, "a/P7-OD-f-134-61.jpg")
    pattern = r"(?P<id>P\d+)-(?P<eye>..)-(?P<sex>.)-(?P<hb>\d{2})\d-(?P<age>\d+)\.jpg"
    row = only_row(tmp_path, pattern=pattern)
    assert (row["patient_id"], row["eye"], row["sex"]) == ("sankara-P7", "right", "female")
    assert (row["hemoglobin_g_dl"], row["age_years"], row["label"]) == (13.0, 61.0, "normal")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(?P<id>", "--pattern is not a regular expression"),
        (r"(?P<sex>\d)", "has the named groups sex; expected id"),
        (r"(?P<id>.+)(?P<weight>\d)", "has the named groups id, weight; expected id"),
        (r"(?P<id>\d+)_(?P<eye>x)_(?P<sex>2)_(?P<hb>15)", "eye is 'x'"),
        (r"(?P<id>\d+)_x_(?P<age>2)_(?P<hb>\d+)(?P<sex>)", r"sex is '\(nothing\)'"),
        (r"(?P<id>\d+)", "the name does not fit the pattern"),
    ],
)
def test_bad_patterns(tmp_path, pattern, message):
    with pytest.raises(UserError, match=message):
        read_collection(tree(tmp_path, "1_x_2_15.jpg"), "sankara", ReaderOptions(pattern=pattern))


@pytest.mark.parametrize(
    ("rule", "labels"),
    [
        ("who", ["anemic", "normal", "anemic", "anemic"]),
        ("moderate", ["normal", "normal", "normal", "anemic"]),
        ("approximate=12.6", ["normal", "anemic", "anemic", "anemic"]),
    ],
)
def test_rules_of_anemia(tmp_path, rule, labels):
    names = ["1_00_001_12.9.jpg", "2_00_002_12.5.jpg", "3_00_002_11.9.jpg", "4_00_001_10.9.jpg"]
    found = read_collection(tree(tmp_path, *names), "sankara", ReaderOptions(anemia=rule))
    assert [r["label"] for r in found.rows] == labels


@pytest.mark.parametrize(("rule", "message"), [("mild", "rule 'mild' is not known"), ("approximate", "has no cut-off")])
def test_rules_that_cannot_be_followed(tmp_path, rule, message):
    with pytest.raises(UserError, match=message):
        read_collection(tree(tmp_path, "1_00_001_12.9.jpg"), "sankara", ReaderOptions(anemia=rule))


def test_a_table_by_patient_instead_of_names(tmp_path):
    tree(tmp_path, "KA_7_left.jpg", "KA_7_2.jpg", "KA_9.jpg", "other.jpg", "KA_8.jpg")
    (tmp_path / "t.csv").write_text("MRNo,Sex,Age,HGB,ward\nKA_7,F,33,11.2,x\nKA_9,1,50,14,y\nKA_8,2,50,,z\n")
    found = read_collection(tmp_path, "sankara")
    told = {r["camera_file"]: (r["patient_id"], r["sex"], r["label"]) for r in found.rows}
    assert told == {
        "KA_7_left.jpg": ("sankara-KA_7", "female", "anemic"),
        "KA_7_2.jpg": ("sankara-KA_7", "female", "anemic"),
        "KA_9.jpg": ("sankara-KA_9", "male", "normal"),
    }
    assert dict(found.ignored) == {"other.jpg": "no row in t.csv", "KA_8.jpg": "no hemoglobin_g_dl known"}
    assert "ward" not in found.rows[0]


def test_of_two_ids_that_begin_a_name_the_longer_counts(tmp_path):
    tree(tmp_path, "7_1_left.jpg", "7_left.jpg")
    (tmp_path / "t.csv").write_text("patient,sex,hb\n7,1,14\n7_1,2,11\n")
    found = read_collection(tmp_path, "sankara")
    assert [(r["camera_file"], r["patient_id"]) for r in found.rows] == [
        ("7_1_left.jpg", "sankara-7_1"), ("7_left.jpg", "sankara-7"),
    ]  # fmt: skip


def test_a_table_by_image_with_chosen_columns(tmp_path):
    tree(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "t.csv").write_text("Image,who,S,LAB_17,LAB_18\na.jpg,7,2,11.9,x\nB.JPG,7,2,11.9,y\n")
    columns = ("sex=S", "hemoglobin_g_dl=LAB_17", "LAB_18")
    found = read_collection(
        tmp_path, "sankara", ReaderOptions(columns=columns, image_column="Image", patient_column="who")
    )
    assert [(r["patient_id"], r["label"], r["LAB_18"]) for r in found.rows] == [
        ("sankara-7", "anemic", "x"), ("sankara-7", "anemic", "y"),
    ]  # fmt: skip
    with pytest.raises(UserError, match="has no column 'LAB_71' among its 5. Did you mean LAB_1"):
        read_collection(tmp_path, "sankara", ReaderOptions(columns=("sex=S", "hb=LAB_71")))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("id,sex,hb\n142,3,15.2\n", r"t\.csv, row 2: sex is '3'"),
        ("id,sex,hb\n142,2,152\n", r"t\.csv, row 2: haemoglobin is '152'.*15\.2 g/dL"),
        ("id,sex,age\n142,2,400\n", r"t\.csv, row 2: age_years is '400'"),
        ("id,sex,hb\n142,1,15.2\n", r"142_00_002_15\.2\.jpg: sex is female in the name and male in the table"),
        ("id,sex,hb\n142,2,15.3\n", r"hemoglobin_g_dl is 15\.2 in the name and 15\.3 in the table"),
        ("id,hb\n142,15.2\n142,15.3\n", r"t\.csv, row 3: 142 is there twice with different values"),
        ("id,hb\n,15.2\n", r"t\.csv, row 2: the image or patient is empty"),
        ("id,Hb,HGB (g/dL)\n142,15.2,15\n", r"columns 'Hb' and 'HGB \(g/dL\)' both look like hemoglobin_g_dl"),
        ("ward,hb\nx,15.2\n", "none of its 2 columns is recognised as the image or the patient"),
    ],
)
def test_bad_tables(tmp_path, table, message):
    tree(tmp_path, "142_00_002_15.2.jpg")
    (tmp_path / "t.csv").write_text(table)
    with pytest.raises(UserError, match=message):
        read_collection(tmp_path, "sankara")


def test_several_tables_must_be_named(tmp_path):
    tree(tmp_path, "142_00_002_15.2.jpg")
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("id,age\n142,50\n")
    with pytest.raises(UserError, match=r"has several tables \(a\.csv, b\.csv\).*--table"):
        read_collection(tmp_path, "sankara")
    assert only_row(tmp_path, table=tmp_path / "b.csv")["age_years"] == "50"


@pytest.mark.parametrize(
    ("text", "sex"), [("1", "male"), ("002", "female"), ("M", "male"), (" Female ", "female"), ("", "")]
)
def test_sexes(tmp_path, text, sex):
    assert parse_sex(text, tmp_path) == sex


@pytest.mark.parametrize("text", ["1e1", "-5", "25.1", "", "inf", "١٢"])
def test_what_is_no_hemoglobin(tmp_path, text):
    with pytest.raises(UserError, match="expected g/dL"):
        parse_hemoglobin(text, tmp_path)


def test_the_fake_through_the_pipeline(fake, tmp_path):
    src = tmp_path / "src"
    shutil.copytree(fake, src)
    result = run(src, tmp_path / "out", size=64, workers=0, all_kinds=True, quiet=True)
    assert result.dataset.class_counts() == {"anemic": 12, "normal": 12} and len(result.dataset.patients) == 8
    assert set(result.dataset.table["hemoglobin_g_dl"]) >= {14.0, 9.5}
