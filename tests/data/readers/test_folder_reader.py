from __future__ import annotations

import numpy as np
import pytest

from fundus_synth.data.fake import FakeEyes, write_fake_collection
from fundus_synth.data.image_file import write_image
from fundus_synth.data.readers import read_collection
from fundus_synth.preprocess.pipeline import run

IMAGE = np.full((8, 8, 3), 90, np.uint8)


def images(folder, *names):
    for name in names:
        write_image(folder / name, IMAGE)


def said(found, *columns):
    return [(row["camera_file"], *(row.get(column, "") for column in columns)) for row in found.rows]


def test_class_folders_with_splits(tmp_path):
    images(tmp_path, "train/Anemic/a b.png", "train/normal/é.png", "validation/normal/c.jpg", "test/anemic/d.png")
    (tmp_path / "notes.txt").write_text("x")
    found = read_collection(tmp_path)
    assert found.info["format"] == "folder" and found.info["notes"] == []
    assert found.info["recognised"] == "2 class folders in train, val, test"
    assert said(found, "label", "split") == [
        ("test/anemic/d.png", "anemic", "test"),
        ("train/Anemic/a b.png", "anemic", "train"),
        ("train/normal/é.png", "normal", "train"),
        ("validation/normal/c.jpg", "normal", "val"),
    ]
    assert found.ignored == [("notes.txt", "not an image")]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("a.png", "b.JPG"), [("", ""), ("", "")]),
        (("glaucoma/Train/a.png", "Normal/TEST/a.png"), [("normal", "test"), ("glaucoma", "train")]),
        (("archive/photos/amd/a.png", "archive/photos/normal/b.png"), [("amd", ""), ("normal", "")]),
        (("photos/train/amd/a.png", "photos/test/amd/b.png"), [("amd", "test"), ("amd", "train")]),
        (("normal/a.png", "normal/b.png"), [("normal", ""), ("normal", "")]),
        (("glaucoma/train/a.png", "glaucoma/test/b.png"), [("glaucoma", "test"), ("glaucoma", "train")]),
        (("photos/a.png", "photos/amd/b.png"), [("photos", ""), ("photos", "")]),
        (("images/amd/a.png", "images/normal/images/b.png"), [("amd", ""), ("normal", "")]),
        (("train/a.png", "test/b.png"), [("", "test"), ("", "train")]),
        (("normal/clinic 1/test/a.png", "amd/clinic 2/test/a.png"), [("amd", ""), ("normal", "")]),
    ],
)
def test_where_class_and_split_stand(tmp_path, names, expected):
    images(tmp_path, *names)
    found = read_collection(tmp_path)
    assert [(row.get("label", ""), row.get("split", "")) for row in found.rows] == expected


def test_hidden_files_and_masks_are_no_photographs(tmp_path):
    images(tmp_path, "amd/a.png", "amd/.b.png", ".cache/amd/c.png", "__MACOSX/amd/a.png", "masks/vessels/a.png")
    found = read_collection(tmp_path)
    assert said(found) == [("amd/a.png",)] and found.ignored == []


def test_folders_that_look_like_patients_are_pointed_out(tmp_path):
    images(tmp_path, *(f"{i:04d}/{eye}.png" for i in range(12) for eye in ("left", "right")))
    (note,) = read_collection(tmp_path).info["notes"]
    assert "12 folders were taken for classes" in note and "--format csv" in note
    images(tmp_path, *(f"{i:04d}/{n}.png" for i in range(12) for n in range(3)))
    assert read_collection(tmp_path).info["notes"] == []


def test_pictures_without_a_class_and_an_unused_table_are_pointed_out(tmp_path):
    images(tmp_path, "amd/a.png", "stray.png")
    (tmp_path / "labels.csv").write_text("image,level\nx,0\na,2\n")
    found = read_collection(tmp_path)
    first, second = found.info["notes"]
    assert first.startswith("1 pictures lie in no class folder") and second.startswith("labels.csv was not used")
    assert found.ignored == [("labels.csv", "a table of other images too; use it with --format csv")]


def test_fake_folder_becomes_a_dataset(tmp_path):
    src = write_fake_collection("folder", tmp_path / "fake", FakeEyes(12, 96))
    found = read_collection(src)
    assert {row["label"] for row in found.rows} == {"normal", "diabetes", "anemic"} and len(found.rows) == 12
    assert {name for name, _ in found.ignored} == {"photos/read me.txt", "photos/Train/Thumbs.db"}
    sides = {row["camera_file"].split("/")[-1]: set() for row in found.rows}
    for row in found.rows:
        sides[row["camera_file"].split("/")[-1]].add(row["split"])
    assert len(sides) < 12, "the fake should repeat file names in several folders"
    dataset = run(src, tmp_path / "out", size=48, workers=0, quiet=True).dataset
    assert dataset.class_counts() == {"anemic": 4, "diabetes": 4, "normal": 4}
    assert dataset.table["file_name"].is_unique and set(dataset.table["split"]) == {"train", "val", "test"}
    assert dataset.info["read_from"] == "fake" and dataset.info["recognised"].endswith("below photos")
