"""What the audit must find, and that it finds nothing where nothing is wrong."""

from __future__ import annotations

import csv
from collections import Counter

import cv2
import numpy as np
import pandas as pd
import pytest

from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.dataset_writer import DatasetWriter
from fundus_synth.data.leakage import audit, open_for_audit
from fundus_synth.data.phantom.cohort import write_phantom_dataset
from fundus_synth.data.schema import patient_hash
from fundus_synth.data.splits import split_by_patient
from fundus_synth.runtime.errors import UserError


@pytest.fixture(scope="module")
def eyes(tmp_path_factory) -> FundusDataset:
    """Eighteen phantom eyes of nine patients, 96 px, split by patient."""
    path = tmp_path_factory.mktemp("eyes") / "eyes"
    dataset = write_phantom_dataset(path, 6, size=96, seed=8, workers=1, quiet=True)
    return dataset.with_split(split_by_patient(dataset.table, (0.4, 0.3, 0.3), seed=1))


def write(path, images, rows, info=()) -> FundusDataset:
    with DatasetWriter(path, {"name": path.name, **dict(info)}) as writer:
        for number, (image, row) in enumerate(zip(images, rows, strict=True)):
            writer.add({"file_name": f"images/{number:03d}.png", **row}, image)
    return FundusDataset.open(path)


def kinds(report) -> dict:
    return dict(Counter(finding.kind for finding in report.findings))


def rotated(image, degrees):
    return cv2.warpAffine(image, cv2.getRotationMatrix2D((47.5, 47.5), degrees, 1), (96, 96))


def test_a_split_by_patient_is_clean(eyes):
    report = audit([eyes], workers=1)
    assert report.ok and report.findings == ()
    assert report.lines()[-1] == "nothing leaks"
    assert report.summary()["ok"] is True and report.summary()["findings"] == {}


def test_augmenting_before_splitting_is_caught(eyes, tmp_path):
    """Study B: five randomly turned copies of each photograph, then a random split by image, without patient ids."""
    rng = np.random.default_rng(0)
    images = [rotated(eyes.read(i), rng.uniform(0, 360)) for i in range(12) for _ in range(5)]
    labels = [{"label": eyes.table["label"][i]} for i in range(12) for _ in range(5)]
    dataset = write(tmp_path / "augmented", images, labels)
    dataset = dataset.with_split(split_by_patient(dataset.table, seed=0))
    report = audit([dataset], workers=1)
    sides = dataset.table["split"].to_numpy().reshape(12, 5)
    crossing = [row for row, of_eye in enumerate(sides) if len(set(of_eye)) > 1]
    assert len(crossing) >= 6
    assert kinds(report) == {"sibling": len(crossing)}
    assert not report.ok and any("names no patients" in note for note in report.notes)
    first = report.findings[0]
    assert first.what == "5 copies of one photograph" and "images/000.png (" in " ".join(first.where)


def test_splitting_before_augmenting_is_clean(eyes, tmp_path):
    """The right order, as the control of the test above: the copies stay in the split of their photograph."""
    images = [rotated(eyes.read(i), 40 * turn) for i in range(12) for turn in range(3)]
    rows = [{"split": "train" if i < 8 else "test"} for i in range(12) for _ in range(3)]
    report = audit([write(tmp_path / "augmented", images, rows)], workers=1)
    assert report.ok
    assert report.duplicates.summary()["groups"] == 12


def test_kinds_of_copies_across_a_split(eyes, tmp_path):
    picture = eyes.read(0), eyes.read(4), eyes.read(8)
    images = [*picture, picture[0], np.ascontiguousarray(picture[1][:, ::-1]), rotated(picture[2], 90)]
    rows = [{"split": split} for split in ("train",) * 3 + ("test",) * 3]
    report = audit([write(tmp_path / "set", images, rows)], workers=1)
    assert kinds(report) == {"exact": 1, "near": 1, "sibling": 1}
    assert report.findings[1].where == ("images/004.png (test)", "images/001.png (train)")


def test_patients_and_eyes_in_two_sets(eyes, tmp_path):
    other = eyes.subset([0, 9]).write(tmp_path / "other")
    report = audit([eyes, other], workers=1)
    names = {eyes.table["patient_id"][0], eyes.table["patient_id"][9]}
    assert {f.what for f in report.findings if f.kind == "patient"} == names
    assert kinds(report) == {"patient": 2, "eye": 2, "exact": 2}
    assert any(place.startswith("other/images/") for place in report.findings[0].where)


def test_patients_on_both_sides_of_a_split_are_all_listed(eyes, tmp_path):
    eyes.write(tmp_path / "leaky")
    path = tmp_path / "leaky" / "metadata.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table["split"] = ["train", "test"] * 9
    table.to_csv(path, index=False)
    with pytest.raises(UserError, match="in one split only"):
        FundusDataset.open(tmp_path / "leaky")
    report = audit([open_for_audit(tmp_path / "leaky")], workers=1)
    assert kinds(report) == {"patient": 9}


def test_open_for_audit_still_checks(eyes, tmp_path):
    same = open_for_audit(eyes.subset([0, 1]).write(tmp_path / "good").path)
    pd.testing.assert_frame_equal(same.table, FundusDataset.open(tmp_path / "good").table, check_like=True)
    path = tmp_path / "good" / "metadata.csv"
    path.write_text("file_name,split\nimages/a.png,training\n")
    with pytest.raises(UserError, match="row 2.*training.*train or val or test"):
        open_for_audit(path.parent)
    with pytest.raises(UserError, match="no such folder"):
        open_for_audit(tmp_path / "nowhere")


def test_labels_in_conflict(eyes, tmp_path):
    images = [eyes.read(2), rotated(eyes.read(2), 30), eyes.read(7)]
    rows = [{"label": "normal"}, {"label": "amd"}, {"label": "amd"}]
    report = audit([write(tmp_path / "set", images, rows)], workers=1)
    assert [(f.kind, f.what) for f in report.findings] == [("labels", "label amd and normal of one photograph")]


@pytest.mark.parametrize("key", ["trained_on_patients", "trained_on_images"])
def test_generators_that_saw_held_out_patients(eyes, tmp_path, key):
    test, train = eyes.split("test"), eyes.split("train")

    def said(part):
        return {key: part.patient_hashes if key == "trained_on_patients" else part.image_digests}

    noise = [np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)]
    rows = [{"synthetic": "true", "generator": "dcgan"}]
    fine = write(tmp_path / "fine", noise, rows, said(train))
    assert audit([eyes, fine], workers=1).ok
    wrong = write(tmp_path / "wrong", noise, rows, said(test))
    report = audit([eyes, wrong], workers=1)
    assert kinds(report) == {"generator": len(test.patients)}
    assert f"the generator of wrong saw {test.patients[0]} of eyes" in {f.what for f in report.findings}
    assert patient_hash(test.patients[0]) in test.patient_hashes


def test_generated_images_that_say_nothing_are_noted(tmp_path):
    image = np.full((96, 96, 3), 100, np.uint8)
    dataset = write(tmp_path / "fake", [image], [{"synthetic": "true", "generator": "dcgan"}])
    assert [note for note in audit([dataset], workers=1).notes if "its generator was trained" in note]


def test_messidor_lies_within_messidor_2(eyes, tmp_path):
    names = [f"20051020_{number}_0100_PP" for number in range(6)]
    first = write(tmp_path / "messidor", [eyes.read(i) for i in range(4)],
                  [{"source": "messidor", "camera_file": f"Base11/{n}.tif"} for n in names[:4]])  # fmt: skip
    second = write(tmp_path / "messidor2", [eyes.read(i) for i in (2, 3, 4, 5)],
                   [{"source": "messidor2", "camera_file": f"{n}.png"} for n in names[2:]])  # fmt: skip
    found = [f for f in audit([first, second], workers=1).findings if f.kind == "collection"]
    assert [f.where for f in found] == [("2 file names are in both", "2 photographs are in both")]
    assert not [f for f in audit([second], workers=1).findings if f.kind == "collection"]


def test_another_photograph_under_another_name_crosses(eyes, tmp_path):
    field = (np.hypot(*(np.mgrid[:80, :80] - 39.5)) < 40)[..., None]
    images = [eyes.read(0)[8:88, 8:88] * field, eyes.read(0)[10:90, 7:87] * field]
    names = [{"patient_id": "a", "split": "train"}, {"patient_id": "b", "split": "test"}]
    report = audit([write(tmp_path / "set", images, names)], workers=1)
    assert [(f.kind, f.what) for f in report.findings] == [("same_eye", "one eye under a and b")]
    same_side = [{**row, "split": "train"} for row in names]
    assert audit([write(tmp_path / "one-side", images, same_side)], workers=1).ok


def test_the_table_of_findings(eyes, tmp_path):
    report = audit([eyes, eyes.subset([3]).write(tmp_path / "again")], workers=1)
    report.write_csv(tmp_path / "findings.csv")
    with open(tmp_path / "findings.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["kind"], row["what"], tuple(row["where"].split("; "))) for row in rows] == [
        (f.kind, f.what, f.where) for f in report.findings
    ]
    assert len(report.summary()["details"]) == len(rows) == 3
    assert any(line.startswith("exact: 1 ") for line in report.lines())


def test_what_cannot_be_audited(eyes):
    with pytest.raises(UserError, match="no dataset"):
        audit([])
    with pytest.raises(UserError, match="named twice"):
        audit([eyes, FundusDataset(eyes.path, eyes.info, eyes.table)])
