from __future__ import annotations

import shutil

import pytest

from fundus_synth.data.fake import write_fake_collection
from fundus_synth.data.readers import ReaderOptions, read_collection
from fundus_synth.preprocess.pipeline import run
from fundus_synth.runtime.errors import UserError


@pytest.fixture(scope="module")
def fake(tmp_path_factory, plain_eyes):
    return write_fake_collection("eyepacs", tmp_path_factory.mktemp("eyepacs") / "eyepacs", plain_eyes)


@pytest.fixture
def train_only(fake, tmp_path):
    """The training pictures and their table."""
    shutil.copytree(fake / "train", tmp_path / "train")
    shutil.copy(fake / "trainLabels.csv", tmp_path)
    return tmp_path


def by_name(found):
    return {r["path"].stem: r for r in found.rows}


def test_the_fake_with_all_its_tables(fake):
    found = read_collection(fake)
    rows = by_name(found)
    assert found.info["format"] == "eyepacs" and len(rows) == 16
    assert (rows["10_left"]["patient_id"], rows["10_left"]["eye"], rows["10_left"]["grade"]) == (
        "eyepacs-10",
        "left",
        0,
    )
    assert {r["label"] for r in found.rows} == {"normal", "diabetes"}
    parts = {r["camera_file"].split("/")[0]: set() for r in found.rows}
    for row in found.rows:
        parts[row["camera_file"].split("/")[0]].add((row["usage"], row["split"]))
    assert parts == {"train": {("", "train")}, "test": {("Public", "val"), ("Private", "test")}}


def test_the_whole_picture_is_taken_and_copies_are_left_out(fake):
    ignored = dict(read_collection(fake).ignored)
    cropped = "resized_train_cropped/resized_train_cropped/10_left.jpeg"
    assert ignored == {
        "train/10_left-600.jpeg": "no grade: not in a table",
        "train/10_right-600.jpeg": "no grade: not in a table",
        cropped: "the same picture again in another folder",
        cropped.replace("left", "right"): "the same picture again in another folder",
        "9_left": "no picture of this row of trainLabels.csv",
    }


def test_cropped_pictures_with_their_own_table(fake, tmp_path):
    shutil.copytree(fake / "resized_train_cropped", tmp_path / "resized_train_cropped")
    shutil.copy(fake / "trainLabels_cropped.csv", tmp_path)
    found = read_collection(tmp_path)
    assert found.info["recognised"] == "trainLabels_cropped.csv"
    assert sorted(by_name(found)) == ["10_left", "10_right"]


def test_a_folder_called_like_the_table(train_only):
    (train_only / "trainLabels.csv").rename(train_only / "t.csv")
    (train_only / "trainLabels.csv").mkdir()
    (train_only / "t.csv").rename(train_only / "trainLabels.csv" / "trainLabels.csv")
    assert len(read_collection(train_only).rows) > 0


def test_training_pictures_alone_have_no_split(train_only):
    found = read_collection(train_only)
    assert all("split" not in r and "usage" not in r and "gradability" not in r for r in found.rows)
    assert found.info["notes"] == []


def test_quality_of_eyeq_counts_before_the_list(train_only):
    listed = train_only / "list.csv"
    listed.write_text("image_name gradability\n10_left 0\n10_right 0\n13_left 1\n")
    eyeq = train_only / "eyeq.csv"
    eyeq.write_text(",image,quality,DR_grade\n0,10_left.jpeg,0,0\n1,13_right.jpeg,2,0\n")

    def quality(table):
        found = read_collection(train_only, "eyepacs", ReaderOptions(quality_table=table))
        return {name: row["gradability"] for name, row in by_name(found).items() if row["gradability"]}

    assert quality(listed) == {"10_left": "reject", "10_right": "reject", "13_left": "usable"}
    assert quality(eyeq) == {"10_left": "good", "13_right": "reject"}
    eyeq.rename(train_only / "Label_EyeQ_train.csv")
    assert quality(listed) == {"10_left": "good", "10_right": "reject", "13_left": "usable", "13_right": "reject"}
    listed.write_text("10_left 0\n13_left 1\n")
    assert quality(listed)["13_left"] == "usable"


def test_quality_tables_of_a_folder(train_only, fake):
    found = read_collection(train_only, "eyepacs", ReaderOptions(quality_table=fake))
    judged = [r["gradability"] for r in found.rows]
    assert set(judged) == {"good", "usable", "reject"}
    note = f"{sum(map(bool, judged))} of {len(judged)} pictures have their quality judged"
    assert found.info["notes"][0].startswith(note)


@pytest.mark.parametrize(
    ("quality", "message"),
    [
        ("image,quality\n10_left,3\n", r"q\.csv, row 2: quality is '3'; expected a whole number from 0 to 2"),
        (
            "image_name gradability\n10_left 2\n",
            r"q\.csv, row 2: gradability is '2'; expected a whole number from 0 to 1",
        ),
        ("name,quality\n10_left,1\n", r"q\.csv: has no column image; expected EyeQ's table"),
    ],
)
def test_bad_quality_tables(train_only, quality, message):
    (train_only / "q.csv").write_text(quality)
    with pytest.raises(UserError, match=message):
        read_collection(train_only, "eyepacs", ReaderOptions(quality_table=train_only / "q.csv"))
    with pytest.raises(UserError, match="no such table of quality"):
        read_collection(train_only, "eyepacs", ReaderOptions(quality_table=train_only / "none.csv"))


@pytest.mark.parametrize(
    ("name", "table", "message"),
    [
        ("trainLabels.csv", "image,level\n10_left,0\n10_right,7\n", r"trainLabels\.csv, row 3: level is '7'"),
        ("trainLabels.csv", "image,grade\n10_left,0\n", "no EyePACS table"),
        (
            "trainLabels.csv",
            "image,level\n10_left-600,0\n",
            r"row 2: image is '10_left-600'; expected <patient>_left or",
        ),
        (
            "trainLabels_cropped.csv",
            "image,level\n10_left,3\n",
            r"row 2: 10_left has grade 3 here and 0 in trainLabels\.csv",
        ),
        (
            "retinopathy_solution.csv",
            "image,level,Usage\n13_left,0,Secret\n",
            r"row 2: Usage is 'Secret'; expected Public",
        ),
    ],
)
def test_bad_tables(train_only, name, table, message):
    if name == "retinopathy_solution.csv":
        (train_only / "trainLabels.csv").unlink()
    (train_only / name).write_text(table)
    with pytest.raises(UserError, match=message):
        read_collection(train_only, "eyepacs")


def test_the_fake_through_the_pipeline(fake, tmp_path):
    result = run(fake, tmp_path / "out", size=64, workers=0, all_kinds=True, quiet=True)
    table = result.dataset.table
    assert len(table) == 16 and len(result.dataset.patients) == 8
    assert table.groupby("patient_id")["split"].nunique().max() == 1
    assert set(table["gradability"]) == {"good", "usable", "reject"}


def test_real_tables(real_data, train_only):
    for path in (train_only / "train").iterdir():
        path.unlink()
    frames = [p for p in (real_data / "camera_frames").iterdir() if p.suffix == ".jpeg"]
    for path in frames:
        (train_only / "train" / path.name).symlink_to(path)
    shutil.copy(real_data / "tables" / "trainLabels.csv", train_only)
    found = read_collection(train_only, "auto", ReaderOptions(quality_table=real_data / "tables"))
    assert found.info["format"] == "eyepacs" and {"10_left", "13_right", "15_left"} <= set(by_name(found))
    reasons = [reason for _, reason in found.ignored]
    assert reasons.count("no picture of this row of trainLabels.csv") == 35126 - len(found.rows)
    assert len(found.rows) + reasons.count("no grade: not in a table") == len(frames)


def test_real_quality_of_real_eyes(real_data):
    """The gradability of the 256 px subset was taken from EyeQ: the reader must say the same."""
    import pandas as pd

    from fundus_synth.data.readers.eyepacs import _read_quality

    table = pd.read_csv(real_data / "eyepacs" / "metadata.csv", keep_default_na=False)
    judged = _read_quality(real_data / "tables", ReaderOptions())
    assert len(judged) == 12543 + 16249
    names = table["file_name"].str.extract(r"images/(.*)\.")[0]
    told = table["gradability"] != ""
    assert told.sum() > 200
    assert [judged[name] for name in names[told]] == list(table["gradability"][told])
