from __future__ import annotations

import hashlib
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.dataset_writer import DatasetWriter
from fundus_synth.runtime.errors import UserError


def edit(dataset: FundusDataset, **changes: object) -> None:
    """Set values of the first data row (row 2) in metadata.csv."""
    path = dataset.path / "metadata.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    for name, value in changes.items():
        table.loc[0, name] = value
    table.to_csv(path, index=False)


def test_written_and_read_back(small_dataset):
    assert len(small_dataset) == 12
    assert small_dataset.class_counts() == {"normal": 8, "anemic": 4}
    assert small_dataset.patients == [f"p{i}" for i in range(6)]
    assert list(small_dataset.table.columns[:4]) == ["file_name", "patient_id", "eye", "label"]
    assert set(small_dataset.table["note"]) == {"kept, as it is"}
    assert small_dataset.table["hemoglobin_g_dl"].tolist() == [10.5] * 4 + [13.5] * 8
    assert small_dataset.mask_kinds == ["fov"]
    assert small_dataset.mask_path(3, "fov").name == "03.png"
    first = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    np.testing.assert_array_equal(small_dataset.read(0), first)


def test_digest_is_that_of_the_file(small_dataset):
    content = small_dataset.image_path(5).read_bytes()
    assert small_dataset.image_digests[5] == hashlib.sha256(content).hexdigest()
    assert small_dataset.table["sha256"][5] == small_dataset.image_digests[5]


def test_subset_split_and_class(small_dataset):
    assert len(small_dataset.of_class("anemic")) == 4
    assert small_dataset.subset([3, 1]).table["file_name"].tolist() == ["images/03.png", "images/01.png"]
    divided = small_dataset.with_split(["train"] * 8 + ["test"] * 4)
    assert divided.has_split and not small_dataset.has_split
    assert [len(divided.split(s)) for s in ("train", "val", "test")] == [8, 0, 4]


def test_fingerprint_depends_on_content_not_on_order(small_dataset):
    shuffled = small_dataset.subset(np.random.default_rng(1).permutation(12))
    assert shuffled.fingerprint == small_dataset.fingerprint
    assert small_dataset.subset(range(11)).fingerprint != small_dataset.fingerprint
    other_label = FundusDataset(small_dataset.path, {}, small_dataset.table.assign(label="normal"))
    assert other_label.fingerprint != small_dataset.fingerprint


def test_unknown_class_lists_the_classes(small_dataset):
    with pytest.raises(UserError, match=r"no class 'anaemia'.*normal \(8\), anemic \(4\)"):
        small_dataset.of_class("anaemia")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hemoglobin_g_dl": "132"}, r"row 2.*looks like g/L, not g/dL: 132 g/L is 13\.2 g/dL"),
        ({"hemoglobin_g_dl": "0.4"}, r"row 2.*from 1 to 25"),
        ({"age_years": "old"}, r"row 2.*age_years is 'old'"),
        ({"sex": "1"}, r"row 2.*female or male"),
        ({"eye": "OD"}, r"row 2.*left or right"),
        ({"grade": "7"}, r"row 2.*grade is '7'.*from 0 to 4"),
        ({"grade": "2.5"}, r"row 2.*whole number"),
        ({"D": "2"}, r"row 2.*D is '2'.*from 0 to 1"),
        ({"split": "holdout"}, r"row 2.*train or val or test"),
        ({"file_name": "../secret.png"}, r"row 2.*leaves the dataset folder"),
        ({"file_name": "/etc/passwd"}, r"row 2.*leaves the dataset folder"),
        ({"file_name": ""}, r"row 2.*file_name is empty"),
        ({"file_name": "images/01.png"}, r"row 3.*there twice"),
        ({"file_name": "images/missing.png"}, r"row 2.*'images/missing.png' is not there"),
    ],
)
def test_bad_rows_are_named(small_dataset, changes, message):
    edit(small_dataset, **changes)
    with pytest.raises(UserError, match=message) as caught:
        FundusDataset.open(small_dataset.path)
    assert "\n" not in str(caught.value)


def test_patient_in_two_splits_is_refused(small_dataset):
    small_dataset.with_split(["train"] * 12).save_table()
    edit(small_dataset, split="test")
    with pytest.raises(UserError, match=r"patient p0 is in test \(row 2\) and train \(row 3\)"):
        FundusDataset.open(small_dataset.path)


def test_folders_that_are_no_dataset(tmp_path):
    for folder, message in ((tmp_path / "none", "no such folder"), (tmp_path, "is empty")):
        with pytest.raises(UserError, match=message):
            FundusDataset.open(folder)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(UserError, match=r"no metadata\.csv"):
        FundusDataset.open(tmp_path)


def test_a_part_written_out_is_a_dataset_of_its_own(small_dataset, tmp_path):
    part = small_dataset.of_class("anemic")
    copy = part.write(tmp_path / "part")
    pd.testing.assert_frame_equal(copy.table, part.table)
    assert copy.info["parent_fingerprint"] == part.fingerprint and copy.info["licence"] == "Apache-2.0"
    assert copy.image_path(2).read_bytes() == part.image_path(2).read_bytes()
    assert copy.mask_path(2, "fov").read_bytes() == part.mask_path(2, "fov").read_bytes()
    with pytest.raises(UserError, match="already exists"):
        part.write(tmp_path / "part")


def test_save_table_round_trips(small_dataset):
    small_dataset.with_split(["train"] * 12).save_table()
    pd.testing.assert_frame_equal(
        FundusDataset.open(small_dataset.path).table.drop(columns="split"), small_dataset.table
    )


def test_writer_refuses_to_overwrite_and_leaves_nothing_on_error(tmp_path):
    image = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(RuntimeError), DatasetWriter(tmp_path / "out", {"name": "x"}) as writer:
        writer.add({"file_name": "images/a.png"}, image)
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with DatasetWriter(tmp_path / "out", {"name": "x"}) as writer:
        writer.add({"file_name": "images/a.png"}, image)
    with pytest.raises(UserError, match="already exists"), DatasetWriter(tmp_path / "out", {"name": "x"}):
        pass
    with pytest.raises(UserError, match="no image"), DatasetWriter(tmp_path / "empty", {"name": "x"}):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_interrupted_writer_resumes_but_only_with_the_same_info(tmp_path):
    image = np.full((4, 4, 3), 7, np.uint8)
    with pytest.raises(KeyboardInterrupt), DatasetWriter(tmp_path / "out", {"name": "x"}, resume=True) as writer:
        writer.add({"file_name": "images/a.png", "age_years": np.int64(3)}, image)
        raise KeyboardInterrupt
    with open(tmp_path / "out.partial" / "rows.jsonl", "a") as journal:
        journal.write('{"file_name": "images/b')  # a kill in the middle of a line
    copy = tmp_path / "other.partial"
    shutil.copytree(tmp_path / "out.partial", copy)
    with DatasetWriter(tmp_path / "other", {"name": "y"}, resume=True) as writer:
        assert writer.done == {}
        writer.add({"file_name": "images/c.png"}, image)
    with DatasetWriter(tmp_path / "out", {"name": "x"}, resume=True) as writer:
        assert list(writer.done) == ["images/a.png"]
        writer.add({"file_name": "images/b.png"}, image)
    assert FundusDataset.open(tmp_path / "out").table["file_name"].tolist() == ["images/a.png", "images/b.png"]


def test_png_text_is_in_the_file(tmp_path):
    with DatasetWriter(tmp_path / "out", {"name": "x"}) as writer:
        writer.add({"file_name": "images/a.png"}, np.zeros((4, 4, 3), np.uint8), png_text={"Software": "f", "Ü": "ß"})
    with Image.open(tmp_path / "out/images/a.png") as image:
        assert image.text == {"Software": "f", "Ü": "ß"}


def test_real_odir_opens(real_data):
    dataset = FundusDataset.open(real_data / "odir")
    assert (len(dataset), len(dataset.patients)) == (5449, 2861)
    assert dataset.class_counts()["hypertension"] == 93
