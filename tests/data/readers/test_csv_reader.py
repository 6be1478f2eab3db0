from __future__ import annotations

import unicodedata

import numpy as np
import pandas as pd
import pytest

from fundus_synth.data.fake import FakeEyes, write_fake_collection
from fundus_synth.data.image_file import write_image
from fundus_synth.data.readers import ReaderOptions, read_collection
from fundus_synth.preprocess.pipeline import run
from fundus_synth.runtime.errors import UserError

IMAGE = np.full((8, 8, 3), 90, np.uint8)


def images(folder, *names):
    for name in names:
        write_image(folder / name, IMAGE)


def test_other_column_names(tmp_path):
    images(tmp_path, "imgs/x1.png", "imgs/x2.png")
    (tmp_path / "labels.csv").write_text(
        "image,diagnosis,patient,sex,ward\nx1,Anemic,17,female,A\nx2,Normal,18,male,\n"
    )
    found = read_collection(tmp_path)
    assert found.info["format"] == "csv" and found.info["recognised"] == "labels.csv"
    assert [(r["label"], r["patient_id"], r["ward"]) for r in found.rows] == [
        ("anemic", f"{tmp_path.name}-17", "A"),
        ("normal", f"{tmp_path.name}-18", ""),
    ]


def test_columns_named_by_the_user(tmp_path):
    images(tmp_path, "a.png")
    (tmp_path / "t.csv").write_text("Bild,Befund\na.png,DR\n")
    options = ReaderOptions(image_column="Bild", label_column="Befund")
    assert read_collection(tmp_path, "csv", options).rows[0]["label"] == "dr"
    with pytest.raises(UserError, match="no column 'Foto'; its columns are Bild, Befund"):
        read_collection(tmp_path, "csv", ReaderOptions(image_column="Foto"))


def test_only_the_columns_asked_for_are_kept(tmp_path):
    images(tmp_path, "a.png")
    (tmp_path / "t.csv").write_text("image,label,patient,age_years,sex,x1,x2\na,amd,7,60,nonsense,1,2\n")
    (row,) = read_collection(tmp_path, "csv", ReaderOptions(columns=("age_years", "x2"))).rows
    del row["path"]
    assert row == {
        "camera_file": "a.png", "label": "amd", "patient_id": f"{tmp_path.name}-7", "age_years": "60", "x2": "2"
    }  # fmt: skip
    with pytest.raises(UserError, match=r"t\.csv: has no column 'age'; its columns are image"):
        read_collection(tmp_path, "csv", ReaderOptions(columns=("age",)))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("b.png,12.5,male", r"metadata\.csv, row 3: image 'b\.png' is not there"),
        ("a2.png,132,male", r"metadata\.csv, row 3: hemoglobin_g_dl is '132'.*13\.2 g/dL"),
        (
            'a2.png,"12,5",male',
            r"metadata\.csv, row 3: hemoglobin_g_dl is '12,5'; expected a decimal point. Write 12\.5",
        ),
        ("a2.png,12.5,2", r"metadata\.csv, row 3: sex is '2'; expected female or male"),
        ("../../x.png,12.5,male", r"row 3.*is not there"),
        ("a.png,12.5,male", r"row 3: image 'a\.png' is in row 2 too"),
        (",12.5,male", r"row 3: image '' is not there"),
        ("\n\nb.png,12.5,male", r"row 5: image 'b\.png' is not there"),
    ],
)
def test_bad_rows(tmp_path, line, message):
    images(tmp_path, "a.png", "a2.png")
    (tmp_path / "metadata.csv").write_text(f"file_name,hemoglobin_g_dl,sex\na.png,14,female\n{line}\n")
    with pytest.raises(UserError, match=message):
        read_collection(tmp_path)


def test_a_field_too_many_in_every_row_does_not_move_the_columns(tmp_path):
    images(tmp_path, "a.png")
    (tmp_path / "t.csv").write_text("image,hemoglobin_g_dl,label\na.png,12,5,anemic\n")
    with pytest.raises(UserError, match=r"t\.csv: has rows with more fields than the header"):
        read_collection(tmp_path, "csv")


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separators(tmp_path, separator):
    images(tmp_path, "a.png")
    cells = ["image", "label", '"remark, with; all|of\tthem"'], ["a", "amd", '"x, y; z"']
    (tmp_path / "t.csv").write_text("\n".join(separator.join(row) for row in cells) + "\n")
    (row,) = read_collection(tmp_path).rows
    assert (row["label"], row["remark, with; all|of\tthem"]) == ("amd", "x, y; z")


@pytest.mark.parametrize("suffix", [".xlsx", ".tsv", ".jsonl"])
def test_other_kinds_of_tables(tmp_path, suffix):
    images(tmp_path, "imgs/a.png", "imgs/b.png")
    table = pd.DataFrame(
        {"image": ["a", "b"], "label": ["AMD", None], "grade": [3, None], "hemoglobin_g_dl": [12.5, 13.0]}
    )
    path = tmp_path / f"t{suffix}"
    if suffix == ".xlsx":
        table.to_excel(path, index=False)
    elif suffix == ".tsv":
        table.to_csv(path, sep="\t", index=False)
    else:
        table.to_json(path, orient="records", lines=True)
    first, second = read_collection(tmp_path).rows
    assert (first["label"], float(first["grade"]), first["hemoglobin_g_dl"]) == ("amd", 3, "12.5")
    assert (second["label"], second["grade"], float(second["hemoglobin_g_dl"])) == ("", "", 13)
    assert [r["camera_file"] for r in read_collection(path).rows] == ["imgs/a.png", "imgs/b.png"]


def test_names_written_elsewhere(tmp_path):
    decomposed = unicodedata.normalize("NFD", "é.png")
    images(tmp_path, "a/x.png", "b/x.png", "B2/Y.JPG", decomposed, "v1.5_left.png")
    names = ["D:\\photos\\a\\x.png", "/home/me/b/x", "b2\\y.jpg", "é.png", "v1.5_left"]
    (tmp_path / "t.csv").write_text("image\n" + "\n".join(names) + "\n", "utf-8")
    found = [row["camera_file"] for row in read_collection(tmp_path, "csv").rows]
    assert found == ["a/x.png", "b/x.png", "B2/Y.JPG", decomposed, "v1.5_left.png"]


@pytest.mark.parametrize(
    ("names", "wanted", "message"),
    [
        (
            ("a/x.png", "b/x.png"),
            "x.png",
            r"t\.csv, row 2: image 'x\.png' may be a/x\.png or b/x\.png\. Write the folder",
        ),
        (("a/x.png", "a/x.jpg"), "a/x", r"image 'a/x' may be a/x\.jpg or a/x\.png"),
        (("p/a/x.png", "q/a/x.png"), "a/x.png", r"may be p/a/x\.png or q/a/x\.png"),
    ],
)
def test_a_name_that_two_pictures_bear_is_refused(tmp_path, names, wanted, message):
    images(tmp_path, *names)
    (tmp_path / "t.csv").write_text(f"image\n{wanted}\n")
    with pytest.raises(UserError, match=message):
        read_collection(tmp_path, "csv")


def test_a_table_in_a_folder_of_its_own_and_one_elsewhere(tmp_path):
    src = tmp_path / "src"
    images(src, "images/a.png", "other/a.png")
    (src / "tables").mkdir()
    (src / "tables" / "t.csv").write_text("image\n../images/a.png\n")
    (tmp_path / "u.csv").write_text("image\nother/a.png\n")
    for table, expected in ((src / "tables" / "t.csv", "images/a.png"), (tmp_path / "u.csv", "other/a.png")):
        for format in ("csv", "auto"):
            found = read_collection(src, format, ReaderOptions(table=table))
            assert [row["camera_file"] for row in found.rows] == [expected]
            assert found.info["recognised"] == table.name


def test_columns_that_would_break_a_row_are_left_out(tmp_path):
    images(tmp_path, "a.png")
    (tmp_path / "t.csv").write_text(",image,path,masks,camera_file,mask_file_name\n0,a.png,/x/y.png,m,c,m.png\n")
    (row,) = read_collection(tmp_path, "csv").rows
    assert row == {"path": tmp_path / "a.png", "camera_file": "a.png"}


def test_a_table_of_a_larger_collection_is_not_taken_by_itself(tmp_path):
    images(tmp_path, "10_left.jpg", "other.jpg")
    (tmp_path / "labels.csv").write_text("image,rating\n10_left,0\n11_left,2\n")
    found = read_collection(tmp_path)
    assert found.info["format"] == "folder" and len(found.rows) == 2
    assert found.ignored[0][0] == "labels.csv"


def test_a_table_that_cannot_be_read_does_not_stop_the_pictures(tmp_path):
    images(tmp_path, "amd/a.png")
    (tmp_path / "notes.csv").write_bytes("Größe\n1\n".encode("cp1252"))
    assert read_collection(tmp_path).rows[0]["label"] == "amd"
    with pytest.raises(UserError, match=r"notes\.csv: is not UTF-8"):
        read_collection(tmp_path, "csv")


def test_several_tables_need_a_choice(tmp_path):
    images(tmp_path, "a.png")
    for name in ("one.csv", "two.csv"):
        (tmp_path / name).write_text("image\na\n")
    with pytest.raises(UserError, match=r"has 2 tables \(one\.csv, two\.csv\); expected one. Name it with --table"):
        read_collection(tmp_path, "csv")
    found = read_collection(tmp_path, "csv", ReaderOptions(table=tmp_path / "two.csv"))
    assert found.ignored == [("one.csv", "another table; name it with --table")]


def test_fake_german_table(tmp_path):
    src = write_fake_collection("csv", tmp_path / "clinic", FakeEyes(12, 96))
    found = read_collection(src)
    assert found.info["recognised"] == "befunde.csv" and len(found.rows) == 12
    assert found.ignored == [("bilder/A/unlabelled.jpg", "no row in befunde.csv")]
    assert {row["label"] for row in found.rows} == {"normal", "anemic"}
    assert len({row["patient_id"] for row in found.rows}) == 6 and found.rows[0]["patient_id"] == "clinic-1"
    assert found.rows[1]["remark"] == "a; b"
    (src / "befunde.csv").unlink()
    sheet = read_collection(src)
    assert sheet.info["recognised"] == "befunde.xlsx"
    same = [(row["camera_file"], row["label"], row["patient_id"], float(row["hemoglobin_g_dl"])) for row in sheet.rows]
    assert same == [(r["camera_file"], r["label"], r["patient_id"], float(r["hemoglobin_g_dl"])) for r in found.rows]
    dataset = run(src, tmp_path / "out", size=48, workers=0, quiet=True).dataset
    assert len(dataset) == 12 and len(dataset.patients) == 6 and set(dataset.table["ward"]) == {"A", "B"}


def test_row_numbers_survive_empty_rows_of_a_fake_table(tmp_path):
    src = write_fake_collection("csv", tmp_path / "clinic", FakeEyes(4, 96))
    text = (src / "befunde.csv").read_text("utf-8-sig").replace("female", "weiblich").replace("male", "weiblich")
    (src / "befunde.csv").write_text(text, "utf-8")
    with pytest.raises(UserError, match=r"befunde\.csv, row 2: sex is 'weiblich'"):
        read_collection(src)
