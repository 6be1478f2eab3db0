from __future__ import annotations

import shutil

import pandas as pd
import pytest

from fundus_synth.data.fake import write_fake_collection
from fundus_synth.data.readers import read_collection
from fundus_synth.preprocess.pipeline import run
from fundus_synth.runtime.errors import UserError


@pytest.fixture(scope="module")
def fake(tmp_path_factory, plain_eyes):
    return write_fake_collection("aptos", tmp_path_factory.mktemp("aptos") / "aptos", plain_eyes)


@pytest.fixture
def resplit(fake, tmp_path):
    """The same pictures in the split in three, every folder twice over, the competition's train.csv beside."""
    table = pd.read_csv(fake / "train.csv")
    for name, part, rows in (
        ("train_1", "train", table[:8]),
        ("valid", "val", table[8:11]),
        ("test", "test", table[11:]),
    ):
        rows.to_csv(tmp_path / f"{name}.csv", index=False)
        folder = tmp_path / f"{part}_images" / f"{part}_images"
        folder.mkdir(parents=True)
        for code in rows["id_code"]:
            shutil.copy(fake / "train_images" / f"{code}.png", folder)
    shutil.copy(fake / "train.csv", tmp_path)
    return tmp_path


def test_the_competition_as_it_came(fake):
    found = read_collection(fake)
    table = pd.read_csv(fake / "train.csv", index_col="id_code")["diagnosis"]
    assert (found.info["format"], found.info["recognised"]) == ("aptos", "train.csv")
    assert {r["path"].stem: r["grade"] for r in found.rows} == table.to_dict()
    assert {(r["grade"], r["label"]) for r in found.rows} >= {(0, "normal"), (1, "diabetes"), (4, "diabetes")}
    # Nobody knows the patients; the given parts are no split, for the test set has no grades.
    assert all("patient_id" not in r and "split" not in r for r in found.rows)
    assert any("names no patients" in note for note in found.info["notes"])


def test_test_pictures_without_grade_are_left_out(fake):
    tested = {f"test_images/{code}.png" for code in pd.read_csv(fake / "test.csv")["id_code"]}
    assert tested and dict(read_collection(fake).ignored) == dict.fromkeys(tested, "no grade: not in a table")


def test_the_split_in_three(resplit):
    found = read_collection(resplit)
    assert found.info["recognised"] == "test.csv and train_1.csv and valid.csv"
    for name, split in (("train_1", "train"), ("valid", "val"), ("test", "test")):
        codes = set(pd.read_csv(resplit / f"{name}.csv")["id_code"])
        assert {r["path"].stem for r in found.rows if r["split"] == split} == codes
    assert found.ignored == [] and any("split is by image" in note for note in found.info["notes"])


def test_a_picture_in_two_splits_is_refused(resplit):
    first = pd.read_csv(resplit / "train_1.csv")[:1]
    second = pd.concat([pd.read_csv(resplit / "valid.csv"), first])
    second.to_csv(resplit / "valid.csv", index=False)
    code = first["id_code"][0]
    with pytest.raises(UserError, match=rf"valid\.csv, row 5: {code} is val here and train in train_1\.csv, row 2"):
        read_collection(resplit)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("id_code,diagnosis\nabc,5\n", r"train\.csv, row 2: diagnosis is '5'; expected a whole number from 0 to 4"),
        ("id_code,diagnosis\nabc,1\ndef,\n", r"row 3: diagnosis is empty; expected a whole number from 0 to 4"),
        ("id_code,diagnosis\n,1\n", r"row 2: id_code is empty"),
        ("id_code,diagnosis\nabc,1\nabc,2\n", r"row 3: abc has grade 2 here and 1 in row 2"),
        ("id_code,grade\nabc,1\n", "no APTOS table; expected train.csv with the columns id_code and diagnosis"),
        ("id_code,diagnosis\nabc,1\n", r"read as aptos: no images found.*abc: no picture of this row of train\.csv"),
    ],
)
def test_bad_tables(tmp_path, table, message):
    (tmp_path / "train.csv").write_text(table)
    with pytest.raises(UserError, match=message):
        read_collection(tmp_path, "aptos")


def test_a_train_csv_of_something_else_is_not_aptos(tmp_path, fake):
    picture = next((fake / "train_images").iterdir())
    shutil.copy(picture, tmp_path)
    (tmp_path / "train.csv").write_text(f"image,diagnosis\n{picture.name},1\n")
    assert read_collection(tmp_path).info["format"] == "csv"


def test_the_fake_through_the_pipeline(fake, tmp_path):
    result = run(fake, tmp_path / "out", size=64, workers=0, all_kinds=True, quiet=True)
    assert len(result.dataset) == 14 and not result.dataset.patients
    assert set(result.dataset.table["grade"]) >= {0.0, 1.0, 4.0}
