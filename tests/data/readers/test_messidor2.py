from __future__ import annotations

import pytest

from fundus_synth.data.fake import FakeEyes, write_fake_collection
from fundus_synth.data.readers import read_collection
from fundus_synth.preprocess.pipeline import run
from fundus_synth.runtime.errors import UserError

GRADES = "image_id,adjudicated_dr_grade,adjudicated_dme,adjudicated_gradable\n"


@pytest.fixture(scope="module")
def fake(tmp_path_factory):
    return write_fake_collection("messidor2", tmp_path_factory.mktemp("fake") / "messidor2", FakeEyes(count=8, size=96))


def tree(folder, pairs=None, grades=None, pictures=("a.png", "b.png")):
    """Pictures that the reader does not open, and the tables."""
    (folder / "IMAGES").mkdir(parents=True)
    for name in pictures:
        (folder / "IMAGES" / name).touch()
    for name, text in (("messidor-2.csv", pairs), ("messidor_data.csv", grades)):
        if text is not None:
            (folder / name).write_text(text, "utf-8")
    return folder


def by_stem(found):
    return {row["path"].stem: row for row in found.rows}


def test_is_told_apart_from_messidor(fake):
    found = read_collection(fake)
    assert found.info["format"] == "messidor2"
    assert {row["source"] for row in found.rows} == {"messidor2"}
    assert any(row["path"].stem.endswith("_0100_PP") for row in found.rows)


def test_two_eyes_of_an_examination_are_one_patient(tmp_path):
    pairs = "left;right\na.tif;b.tif\nc.png;d.JPG\ne.png;\n"
    src = tree(tmp_path / "m", pairs, None, ("a.png", "b.png", "c.png", "d.jpg", "e.png"))
    rows = by_stem(read_collection(src))
    assert {stem: (row["patient_id"], row["eye"]) for stem, row in rows.items()} == {
        "a": ("messidor2-a", "left"),
        "b": ("messidor2-a", "right"),
        "c": ("messidor2-c", "left"),
        "d": ("messidor2-c", "right"),
        "e": ("messidor2-e", "left"),
    }


def test_what_is_not_gradable_has_no_grade_and_is_flagged(tmp_path):
    src = tree(tmp_path / "m", None, GRADES + "a.png,,,0\nb.png,2.0,1,1\nc.png,3,0,0\n", ("a.png", "b.png", "c.png"))
    found = read_collection(src)
    rows = by_stem(found)
    assert [(rows[s]["grade"], rows[s]["label"], rows[s]["adjudicated_gradable"]) for s in "abc"] == [
        ("", "", 0),
        (2, "diabetes", 1),
        ("", "", 0),
    ]
    assert any("not gradable: 2" in note for note in found.info["notes"])


def test_names_match_in_spite_of_suffix_and_case(fake):
    rows = read_collection(fake).rows
    upper = [row for row in rows if row["path"].suffix == ".JPG"]
    assert upper and any(row.get("grade") != "" and "grade" in row for row in upper)
    assert len(rows) == 8


def test_eyes_in_one_table_only_are_kept(fake):
    found = read_collection(fake)
    assert sum("grade" not in row for row in found.rows) == 1
    assert sum("patient_id" not in row for row in found.rows) == 1
    assert found.ignored == [("20051020_99999_0100_PP.png", "no picture")]


def test_either_table_may_be_missing(tmp_path):
    pairs_only = read_collection(tree(tmp_path / "p", "left;right\na.png;b.png\n"))
    assert all("label" not in row for row in pairs_only.rows) and any("no label" in n for n in pairs_only.info["notes"])
    grades_only = read_collection(tree(tmp_path / "g", None, GRADES + "a.png,0,0,1\nb.png,0,1,1\n"))
    assert [row["label"] for row in grades_only.rows] == ["normal", ""]
    assert any("not known to belong together" in note for note in grades_only.info["notes"])


def test_mirror_that_renames_columns(tmp_path):
    mirror = "id_code,diagnosis,adjudicated_dme,adjudicated_gradable\na.png,1,0,1\n"
    found = read_collection(tree(tmp_path / "m", None, mirror))
    assert found.info["format"] == "messidor2" and found.rows[0]["grade"] == 1
    assert found.ignored == [("IMAGES/b.png", "in no table")]


def test_overlap_with_messidor_is_said_and_names_are_kept(fake):
    found = read_collection(fake)
    assert any("1058" in note and "audit" in note for note in found.info["notes"])
    assert "IMAGES/20051020_43808_0100_PP.png" in {row["camera_file"] for row in found.rows}


@pytest.mark.parametrize(
    ("pairs", "grades", "message"),
    [
        ("left;right\na.png;b.png\nb.png;c.png\n", None, r"messidor-2\.csv, row 3: b\.png is in two pairs"),
        (None, GRADES + "a.png,5,0,1\n", r"row 2: adjudicated_dr_grade is '5'.*from 0 to 4"),
        (None, GRADES + "a.png,1,0,1\na.PNG,2,0,1\n", r"row 3: a\.PNG is there twice"),
        (None, GRADES + "a.png,1,0,yes\n", r"row 2: adjudicated_gradable is 'yes'"),
        (
            None,
            "image_id,adjudicated_gradable\na.png,1\n",
            "no column 'adjudicated_dr_grade'; its columns are image_id",
        ),
        (None, None, "no Messidor-2 table"),
    ],
)
def test_bad_tables(tmp_path, pairs, grades, message):
    with pytest.raises(UserError, match=message):
        read_collection(tree(tmp_path / "m", pairs, grades), "messidor2")


def test_whole_way(fake, tmp_path):
    result = run(fake, tmp_path / "out", size=64, workers=0, quiet=True)
    table = result.dataset.table
    assert len(table) == 8 and len(result.dataset.patients) == 4
    assert sorted(table["grade"].dropna()) == [0, 0, 1, 2, 3, 4]
