from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fundus_synth.data.phantom import cohort
from fundus_synth.data.phantom.cohort import PHANTOM_CLASSES, render_cohort, sample_patients, write_phantom_dataset
from fundus_synth.runtime.errors import UserError


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), count=st.integers(1, 9))
def test_haemoglobin_obeys_the_cut_offs_of_the_who(seed, count):
    patients = sample_patients(count, seed)
    for patient in patients:
        below = patient.hemoglobin_g_dl < {"male": 13.0, "female": 12.0}[patient.sex]
        assert below == (patient.label == "anemic")
        assert 5.0 <= patient.hemoglobin_g_dl <= 18.0
        assert round(patient.hemoglobin_g_dl, 1) == patient.hemoglobin_g_dl
        assert all(eye.hemoglobin == patient.hemoglobin_g_dl for eye in patient.eyes)
        assert patient.diastolic_mmhg < patient.systolic_mmhg
    for label in PHANTOM_CLASSES:
        assert sum(len(p.eyes) for p in patients if p.label == label) == count
    assert len({p.patient_id for p in patients}) == len(patients)


def test_grades_are_spread_evenly_over_the_diabetic_eyes():
    eyes = [eye for p in sample_patients(16, 5) for eye in p.eyes]
    assert sorted(e.grade for e in eyes if e.label == "diabetes") == sorted([1, 2, 3, 4] * 4)
    assert all(e.grade == 0 for e in eyes if e.label != "diabetes")


def test_a_class_does_not_depend_on_the_other_classes():
    alone = sample_patients(3, 9, ("anemic",))
    among = [p for p in sample_patients(3, 9) if p.label == "anemic"]
    assert [p.eyes for p in alone] == [p.eyes for p in among]


@pytest.mark.parametrize("classes", [("glaucoma",), ()])
def test_an_unknown_class_is_named(classes):
    with pytest.raises(UserError, match="normal, anemic, diabetes"):
        sample_patients(2, 0, classes)


def test_no_images_is_an_error():
    with pytest.raises(UserError, match="at least 1"):
        sample_patients(0, 0)


def test_order_and_bytes_do_not_depend_on_workers():
    one = list(render_cohort(4, 64, 3, False))
    two = list(render_cohort(4, 64, 3, False, workers=2))
    assert len(one) == len(two) == 12
    for (row, image, masks), (other_row, other_image, other_masks) in zip(one, two, strict=True):
        assert row == other_row and np.array_equal(image, other_image)
        assert all(np.array_equal(masks[kind], other_masks[kind]) for kind in masks)


def test_rows_say_what_is_simulated():
    rows = [row for row, _, _ in render_cohort(2, 64, 12, True)]
    assert [r["label"] for r in rows] == ["normal"] * 2 + ["anemic"] * 2 + ["diabetes"] * 2
    assert rows[0]["file_name"] == f"images/phantom-12-0000_{rows[0]['eye']}.png"
    assert rows[0]["patient_id"] == rows[1]["patient_id"] != rows[2]["patient_id"]
    assert {rows[0]["eye"], rows[1]["eye"]} == {"left", "right"}
    for row in rows:
        assert (row["source"], row["synthetic"], row["generator"]) == ("phantom", "true", "phantom")
        assert (row["fov_x"], row["fov_y"], row["fov_r"]) == (32, 32, 32)


def test_dataset_folder_is_valid_and_repeatable(tmp_path):
    dataset = write_phantom_dataset(tmp_path / "one", 2, 64, 0, True, ("normal", "diabetes"), quiet=True)
    again = write_phantom_dataset(tmp_path / "two", 2, 64, 0, True, ("normal", "diabetes"), quiet=True)
    assert dataset.class_counts() == {"normal": 2, "diabetes": 2}
    assert dataset.info["name"] == "phantom" and dataset.info["licence"] == "Apache-2.0"
    assert dataset.read(0).shape == (64, 64, 3)
    assert list(dataset.table["sha256"]) == list(again.table["sha256"])
    assert (tmp_path / "one" / "masks" / "vessels").is_dir()


def test_an_existing_dataset_is_not_overwritten(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError):
        write_phantom_dataset(tmp_path, 1, 64, quiet=True)


def test_eyes_of_commands_without_data_are_made_once(monkeypatch, tmp_path):
    monkeypatch.setenv("FUNDUS_CACHE", str(tmp_path))
    monkeypatch.setattr(cohort, "_DEFAULT_IMAGES_PER_CLASS", 2)
    made = cohort.default_phantom_dataset(quiet=True)
    assert made.class_counts() == {"normal": 2, "anemic": 2, "diabetes": 2} and made.read(0).shape == (256, 256, 3)
    monkeypatch.setattr(cohort, "write_phantom_dataset", lambda *a, **k: pytest.fail("made again"))
    assert cohort.default_phantom_dataset(quiet=True).fingerprint == made.fingerprint
