from __future__ import annotations

import numpy as np
import pytest

from fundus_synth.data.image_file import write_image
from fundus_synth.data.readers import ReaderOptions, read_collection
from fundus_synth.runtime.errors import UserError

IMAGE = np.full((8, 8, 3), 90, np.uint8)
ODIR_HEADER = (
    "ID,Patient Age,Patient Sex,Left-Fundus,Right-Fundus,"
    "Left-Diagnostic Keywords,Right-Diagnostic Keywords,N,D,G,C,A,H,M,O"
)


def images(folder, *names):
    for name in names:
        write_image(folder / name, IMAGE)


def odir_tree(folder, *lines):
    folder.mkdir(exist_ok=True)
    (folder / "full_df.csv").write_text("\n".join([ODIR_HEADER, *lines]) + "\n", "utf-8")
    return folder


def test_class_folders_with_splits(tmp_path):
    images(tmp_path, "train/Anemic/a b.png", "train/normal/é.png", "validation/normal/c.jpg", "test/anemic/d.png")
    (tmp_path / "notes.txt").write_text("x")
    found = read_collection(tmp_path)
    assert found.info["format"] == "folder"
    assert [(r["camera_file"], r["label"], r["split"]) for r in found.rows] == [
        ("test/anemic/d.png", "anemic", "test"),
        ("train/Anemic/a b.png", "anemic", "train"),
        ("train/normal/é.png", "normal", "train"),
        ("validation/normal/c.jpg", "normal", "val"),
    ]
    assert found.ignored == [("notes.txt", "not an image")]


def test_odir_takes_the_eyes_keywords_not_the_patients_label(tmp_path):
    src = odir_tree(
        tmp_path / "odir",
        "7,57,Female,7_left.jpg,7_right.jpg,normal fundus，lens dust,moderate non proliferative retinopathy,0,1,0,0,0,0,0,0",
        "8,1,Male,8_left.jpg,8_right.jpg,anterior segment image,no fundus image,0,0,0,0,0,0,0,1",
        "2174,61,Male,2174_left.jpg,2174_right.jpg,normal fundus,normal fundus,1,0,0,0,0,0,0,0",
        "9,61,Male,9_left.jpg,9_right.jpg,hypertensive retinopathy,glaucoma，cataract,0,0,1,1,0,1,0,0",
    )
    images(src, "pics/7_left.jpg", "pics/7_right.jpg", "8_left.jpg", "8_right.jpg", "2174_left.jpg", "2174_right.jpg")
    images(src, "9_left.jpg", "9_right.jpg")
    found = read_collection(src)
    rows = {r["camera_file"]: r for r in found.rows}
    assert found.info["format"] == "odir"
    assert rows["pics/7_left.jpg"]["label"] == "normal" and rows["pics/7_left.jpg"]["D"] == 0
    right = rows["pics/7_right.jpg"]
    assert (right["label"], right["grade"], right["sex"], right["patient_id"], right["eye"]) == (
        "diabetes", 2, "female", "odir-7", "right",
    )  # fmt: skip
    assert rows["9_right.jpg"]["label"] == "" and rows["9_right.jpg"]["G"] == rows["9_right.jpg"]["C"] == 1
    assert dict(found.ignored) == {
        "8_left": "keywords say: anterior segment image",
        "8_right": "keywords say: no fundus image",
        "2174_right": "known bad picture",
    }


def test_odir_row_out_of_range_is_named_by_its_row(tmp_path):
    src = odir_tree(tmp_path / "odir", "1,40,Male,,,normal fundus,normal fundus,1,0,0,0,0,0,0,0",
                    "3,400,Male,,,normal fundus,normal fundus,1,0,0,0,0,0,0,0")  # fmt: skip
    images(src, "3_left.jpg")
    with pytest.raises(UserError, match=r"full_df\.csv, row 3: age_years is '400'"):
        read_collection(src)


def test_odir_real_table(real_data):
    found = read_collection(real_data / "odir_as_downloaded")
    assert found.info["format"] == "odir" and len(found.rows) == 60
    assert {r["label"] for r in found.rows} >= {"normal", "diabetes", "hypertension"}


def test_csv_with_other_column_names(tmp_path):
    images(tmp_path, "imgs/x1.png", "imgs/x2.png")
    (tmp_path / "labels.csv").write_text(
        "image,diagnosis,patient,sex,ward\nx1,Anemic,17,female,A\nx2,Normal,18,male,\n"
    )
    found = read_collection(tmp_path)
    assert found.info["format"] == "csv"
    assert [(r["label"], r["patient_id"], r["ward"]) for r in found.rows] == [
        ("anemic", f"{tmp_path.name}-17", "A"),
        ("normal", f"{tmp_path.name}-18", ""),
    ]


def test_csv_columns_named_by_the_user(tmp_path):
    images(tmp_path, "a.png")
    (tmp_path / "t.csv").write_text("Bild,Befund\na.png,DR\n")
    options = ReaderOptions(image_column="Bild", label_column="Befund")
    assert read_collection(tmp_path, "csv", options).rows[0]["label"] == "dr"
    with pytest.raises(UserError, match="no column 'Foto'; its columns are Bild, Befund"):
        read_collection(tmp_path, "csv", ReaderOptions(image_column="Foto"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("b.png,12.5,male", r"metadata\.csv, row 3: image 'b\.png' is not there"),
        ("a2.png,132,male", r"metadata\.csv, row 3: hemoglobin_g_dl is '132'.*13\.2 g/dL"),
        ("a2.png,12.5,2", r"metadata\.csv, row 3: sex is '2'; expected female or male"),
        ("../../x.png,12.5,male", r"row 3.*is not there"),
    ],
)
def test_csv_bad_rows(tmp_path, line, message):
    images(tmp_path, "a.png", "a2.png")
    (tmp_path / "metadata.csv").write_text(f"file_name,hemoglobin_g_dl,sex\na.png,14,female\n{line}\n")
    with pytest.raises(UserError, match=message):
        read_collection(tmp_path)


def test_a_table_of_a_larger_collection_is_not_taken_by_itself(tmp_path):
    images(tmp_path, "10_left.jpg", "other.jpg")
    (tmp_path / "labels.csv").write_text("image,level\n10_left,0\n11_left,2\n")
    found = read_collection(tmp_path)
    assert found.info["format"] == "folder" and len(found.rows) == 2
    assert found.ignored[0][0] == "labels.csv"


@pytest.mark.parametrize(
    ("make", "format", "message"),
    [
        (lambda p: None, "auto", "is empty"),
        (lambda p: (p / "a.txt").write_text("x"), "auto", "no images found"),
        (lambda p: (p / "a.txt").write_text("x"), "aptos2", "--format aptos2 is not known"),
        (lambda p: (p / "a.txt").write_text("x"), "odir", "no ODIR table"),
        (lambda p: (p / "full_df.csv").write_text("a,b\n1,2\n"), "odir", "is not ODIR's table"),
        (lambda p: (p / "t.csv").write_text("a,b\n1,2\n"), "csv", "no image column among a, b"),
        (lambda p: (p / "t.csv").write_bytes(b"\xff\xfe\x00"), "csv", "not UTF-8"),
        (lambda p: (p / "t.csv").write_text("file_name\n"), "csv", "has no rows"),
    ],
)
def test_bad_sources(tmp_path, make, format, message):
    make(tmp_path)
    with pytest.raises(UserError, match=message):
        read_collection(tmp_path, format)


def test_missing_source(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        read_collection(tmp_path / "none")
