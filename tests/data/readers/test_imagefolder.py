from __future__ import annotations

import json

import numpy as np
import pytest

from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.fake import FakeEyes, write_fake_collection
from fundus_synth.data.image_file import read_image, write_image
from fundus_synth.data.phantom.cohort import write_phantom_dataset
from fundus_synth.data.readers import read_collection
from fundus_synth.preprocess.pipeline import run
from fundus_synth.runtime.errors import UserError

IMAGE = np.full((8, 8, 3), 90, np.uint8)


def test_fake_imagefolder(tmp_path):
    src = write_fake_collection("imagefolder", tmp_path / "hub", FakeEyes(12, 96))
    found = read_collection(src)
    assert found.info["recognised"] == "test/metadata.jsonl, train/metadata.csv, validation/metadata.csv"
    assert len(found.rows) == 12 and found.ignored == []
    assert {row["camera_file"].split("/")[0]: row["split"] for row in found.rows} == {
        "train": "train", "validation": "val", "test": "test"
    }  # fmt: skip
    assert all(row["path"].is_file() and "mask_file_name" not in row for row in found.rows)
    assert all(row["note"] == "" for row in found.rows)
    dataset = run(src, tmp_path / "out", size=48, workers=0, quiet=True).dataset
    assert dataset.class_counts() == {"normal": 6, "diabetes": 6} and dataset.has_split
    diabetic = dataset.of_class("diabetes")
    assert (diabetic.table["grade"] >= 1).all() and (dataset.of_class("normal").table["grade"] == 0).all()


def test_same_name_in_every_split_is_not_mixed_up(tmp_path):
    for split, value in (("train", 10), ("test", 200)):
        write_image(tmp_path / split / "0.png", np.full((8, 8, 3), value, np.uint8))
        (tmp_path / split / "metadata.csv").write_text(f"file_name,label\n0.png,{split} label\n")
    rows = {row["label"]: row for row in read_collection(tmp_path).rows}
    assert read_image(rows["train label"]["path"])[0, 0, 0] == 10
    assert read_image(rows["test label"]["path"])[0, 0, 0] == 200


def test_a_split_does_not_borrow_the_picture_of_another(tmp_path):
    for split in ("train", "test"):
        write_image(tmp_path / split / "0.png", IMAGE)
        (tmp_path / split / "metadata.csv").write_text("file_name\n0.png\n")
    write_image(tmp_path / "train" / "1.png", IMAGE)
    (tmp_path / "test" / "metadata.csv").write_text("file_name\n0.png\n1.png\n")
    with pytest.raises(UserError, match=r"test/metadata\.csv, row 3: image '1\.png' is not there"):
        read_collection(tmp_path)


def test_a_patient_in_the_tables_of_two_splits_is_refused(tmp_path):
    for split in ("train", "val"):
        write_image(tmp_path / split / "0.png", IMAGE)
        (tmp_path / split / "metadata.csv").write_text("file_name,patient_id\n0.png,p7\n")
    with pytest.raises(UserError, match=r"patient p7 is in train \(train/0\.png\) and in val \(val/0\.png\)"):
        read_collection(tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"metadata\.jsonl, row 3: is not JSON"),
        ("[1]", r"metadata\.jsonl, row 3: holds JSON, but not an object"),
        ('{"file_name": "gone.png"}', r"metadata\.jsonl, row 3: image 'gone\.png' is not there"),
        ('{"file_name": "b.png", "grade": 7}', r"metadata\.jsonl, row 3: grade is '7'"),
    ],
)
def test_bad_json_lines_are_named_by_their_line(tmp_path, line, message):
    for name in ("a.png", "b.png"):
        write_image(tmp_path / name, IMAGE)
    first = json.dumps({"file_name": "a.png", "grade": 1, "text": "one\u2028two"}, ensure_ascii=False)
    (tmp_path / "metadata.jsonl").write_text(f"{first}\n\n{line}\n", "utf-8")
    with pytest.raises(UserError, match=message):
        read_collection(tmp_path)


def test_a_dataset_folder_goes_through_again_with_labels_and_masks(tmp_path):
    write_phantom_dataset(tmp_path / "phantoms", 2, size=96, standardized=False, workers=1, quiet=True)
    first = run(tmp_path / "phantoms", tmp_path / "once", size=64, workers=0, quiet=True).dataset
    again = run(tmp_path / "once", tmp_path / "twice", size=64, workers=0, quiet=True).dataset
    assert again.info["recognised"] == "metadata.csv" and again.info["source"] == first.info["source"]
    same = ["file_name", "patient_id", "label", "grade", "hemoglobin_g_dl", "sex", "eye", "synthetic"]
    assert first.table[same].equals(again.table[same])
    assert again.mask_kinds == first.mask_kinds and "vessels" in again.mask_kinds
    before, after = (FundusDataset.open(tmp_path / name) for name in ("once", "twice"))
    for index in range(len(before)):
        mine, other = (read_image(d.mask_path(index, "vessels"))[..., 0] > 127 for d in (before, after))
        # The field is found anew, so a pixel here and there may differ at the edges of vessels.
        assert (mine & other).sum() >= 0.8 * max(mine.sum(), other.sum())


def test_notes_of_a_dataset_come_along(tmp_path):
    write_image(tmp_path / "set" / "images" / "a.png", IMAGE)
    (tmp_path / "set" / "metadata.csv").write_text("file_name\nimages/a.png\n")
    path = tmp_path / "set" / "dataset.json"
    path.write_text(
        json.dumps({"name": "mine", "notes": ["0..3 is not ICDR."], "recognised": "old", "format": "messidor"})
    )
    found = read_collection(tmp_path / "set")
    assert (found.name, found.info["notes"], found.info["format"]) == ("mine", ["0..3 is not ICDR."], "csv")
    assert found.info["recognised"] == "metadata.csv"
    path.write_text(json.dumps({"notes": "text"}))
    with pytest.raises(UserError, match=r"dataset\.json: \"notes\" is not a list"):
        read_collection(tmp_path / "set")
