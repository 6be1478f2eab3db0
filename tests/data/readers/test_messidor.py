from __future__ import annotations

from collections import Counter

import pytest

from fundus_synth.data.fake import FakeEyes, write_fake_collection
from fundus_synth.data.fake.messidor import messidor_grade
from fundus_synth.data.readers import ReaderOptions, read_collection
from fundus_synth.data.readers.messidor import ERRATA_DUPLICATES, ERRATA_GRADES
from fundus_synth.preprocess.pipeline import run
from fundus_synth.runtime.errors import UserError

MIRROR = "image,Ophthalmologic department,level,me risk\n"


@pytest.fixture(scope="module")
def fake(tmp_path_factory):
    return write_fake_collection("messidor", tmp_path_factory.mktemp("fake") / "messidor", FakeEyes(count=8, size=96))


@pytest.fixture(scope="module")
def rows(fake):
    return {row["path"].stem: row for row in read_collection(fake).rows}


def tree(folder, table, text, *pictures):
    """Pictures that the reader does not open, and one table."""
    folder.mkdir(exist_ok=True)
    (folder / table).write_text(text, "utf-8")
    for name in pictures:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    return folder


def test_errata_are_the_published_ones():
    assert len(ERRATA_DUPLICATES) == 13 and all(name.endswith("_0400_PP") for name in ERRATA_DUPLICATES)
    assert Counter(name[:8] for name in ERRATA_DUPLICATES) == {"20051202": 10, "20051205": 3}
    assert sorted(ERRATA_GRADES.values()) == [0, 1, 3, 3]


def test_is_recognised_with_its_sheets(fake):
    found = read_collection(fake)
    assert found.info["format"] == "messidor" and "5 Messidor annotation sheets" in found.info["recognised"]


def test_grades_of_the_errata_are_corrected_and_reported(fake, rows):
    assert {name: rows[name]["messidor_grade"] for name in ERRATA_GRADES} == ERRATA_GRADES
    note = next(note for note in read_collection(fake).info["notes"] if "errata" in note)
    for change in ("63045_0100_PP 3 -> 0", "64007_0100_PP 1 -> 3", "63936_0100_PP 3 -> 1", "48477_0100_PP 2 -> 3"):
        assert change in note


def test_duplicates_of_the_errata_are_removed_and_reported(fake, rows):
    planted = {p.stem for p in fake.rglob("*.tif")} & ERRATA_DUPLICATES
    assert planted and not planted & set(rows)
    reasons = {name.removesuffix(".tif"): reason for name, reason in read_collection(fake).ignored}
    assert all("errata" in reasons[name] for name in planted)


def test_its_scale_is_never_taken_for_icdr(fake, rows):
    assert all("grade" not in row for row in rows.values())
    assert {row["messidor_grade"] for row in rows.values()} == {0, 1, 2, 3}
    assert any("not the ICDR scale" in note for note in read_collection(fake).info["notes"])
    assert messidor_grade(4) == 3


def test_label_follows_the_corrected_grade(rows):
    assert rows["20051020_63045_0100_PP"]["label"] == "normal"
    assert {(row["messidor_grade"] > 0, row["label"]) for row in rows.values()} == {
        (False, "normal"),
        (True, "diabetes"),
    }


def test_columns_go_by_position_whatever_the_headers_say(rows):
    french = [row for row in rows.values() if row["camera_file"].startswith("Base22")]
    assert french and all(row["site"] == "LaTIM - CHU de BREST" for row in french)
    assert {row["site"] for row in rows.values() if row["camera_file"].startswith("Base1")} == {
        "Service Ophtalmologie Lariboisière"
    }


def test_rows_and_pictures_without_each_other_are_listed(fake):
    ignored = dict(read_collection(fake).ignored)
    assert ignored["20051201_39999_0100_PP.tif"] == "no picture"
    assert ignored["Base13/20051201_39998_0100_PP.tif"] == "in no annotation sheet"


def test_corrected_sheet_beside_the_old_one_counts(tmp_path):
    name = "20051020_11111_0100_PP"
    header = "a,b,c,d\n"
    src = tree(tmp_path / "m", "Annotation_Base11.csv", f"{header}{name}.tif,X,0,0\n", f"{name}.tif")
    tree(src, "Annotation_Base11_update20161024.csv", f"{header}{name}.tif,X,2,0\n")
    assert [row["messidor_grade"] for row in read_collection(src).rows] == [2]


def test_sheet_that_is_right_already_is_not_corrected(tmp_path):
    name = "20051020_64007_0100_PP"
    src = tree(tmp_path / "m", "Annotation_Base11.csv", f"a,b,c,d\n{name}.tif,X,3,0\n", f"{name}.TIF")
    found = read_collection(src)
    assert found.rows[0]["messidor_grade"] == 3 and not any("errata" in note for note in found.info["notes"])


def test_mirror_with_one_csv_goes_by_column_names(tmp_path):
    lines = "20051020_43808_0100_PP,Brest,2,1\n20051020_43832_0100_PP.jpg,Paris,0,1\n"
    src = tree(
        tmp_path / "m", "labels.csv", MIRROR + lines, "i/20051020_43808_0100_PP.jpg", "i/20051020_43832_0100_PP.jpg"
    )
    found = read_collection(src)
    assert found.info["format"] == "messidor"
    assert [(r["messidor_grade"], r["macular_edema_risk"], r["site"], r["label"]) for r in found.rows] == [
        (2, 1, "Brest", "diabetes"),
        (0, 1, "Paris", ""),  # exudates at the macula: no retinopathy, and not normal
    ]


@pytest.mark.parametrize(
    ("table", "text", "message"),
    [
        (
            "Annotation_Base11.csv",
            "a,b,c,d\nx.tif,X,0,0\ny.tif,X,4,0\n",
            r"row 3: retinopathy grade is '4'.*from 0 to 3",
        ),
        ("Annotation_Base11.csv", "a,b,c,d\nx.tif,X,0,3\n", r"row 2: risk of macular oedema is '3'.*from 0 to 2"),
        ("Annotation_Base11.csv", "a,b\nx.tif,X\n", "has 2 columns; expected image name, department"),
        ("Annotation_Base11.xls", "not a workbook", "cannot be read as an Excel sheet"),
        ("other.csv", "a,b\n1,2\n", "no Messidor annotations"),
    ],
)
def test_bad_sheets(tmp_path, table, text, message):
    src = tree(tmp_path / "m", table, text, "x.tif", "y.tif")
    with pytest.raises(UserError, match=message):
        read_collection(src, "messidor")


def test_table_named_by_the_user(tmp_path):
    src = tree(tmp_path / "m", "mine.csv", MIRROR + "x,,1,\n", "x.png")
    found = read_collection(src, "messidor", ReaderOptions(table=src / "mine.csv"))
    assert [(row["label"], row["macular_edema_risk"]) for row in found.rows] == [("diabetes", "")]


def test_whole_way(fake, tmp_path):
    result = run(fake, tmp_path / "out", size=64, workers=0, quiet=True)
    table = result.dataset.table
    assert len(table) == 8 and not result.rejected and not result.dataset.patients
    # 0..3 as text: the numeric column grade has another meaning.
    assert set(table["messidor_grade"].astype(str)) == {"0", "1", "2", "3"}
    assert "grade" not in table or table["grade"].isna().all()
