from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fundus_synth.data.phantom import cohort
from fundus_synth.data.phantom.cohort import render_cohort, sample_patients, write_phantom_dataset
from fundus_synth.data.phantom.course import CLASS_SETS, DEFAULT_CLASSES, PHANTOM_CLASSES, check_classes, mask_kinds
from fundus_synth.data.phantom.lesion_kinds import LESION_KINDS
from fundus_synth.data.phantom.lesions import sample_lesions
from fundus_synth.data.schema import ODIR_LABELS
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
    for label in DEFAULT_CLASSES:
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


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (("stroke",), "no class stroke; expected some of normal, anemic, diabetes, glaucoma"),
        ("normal,,amd", "no class \\(empty\\); expected"),
        ((), "none given"),
        ("amd,amd", "name one twice"),
    ],
)
def test_a_wrong_class_is_named(classes, message, tmp_path):
    with pytest.raises(UserError, match=message):
        sample_patients(2, 0, classes)
    with pytest.raises(UserError, match=message):
        write_phantom_dataset(tmp_path / "out", 2, 64, classes=classes, quiet=True)
    assert not list(tmp_path.iterdir())


def test_sets_of_classes():
    assert set(check_classes("odir")) == set(ODIR_LABELS.values())
    assert set(check_classes("all")) == {*ODIR_LABELS.values(), "anemic"} == set(PHANTOM_CLASSES)
    assert check_classes("normal, glaucoma") == ("normal", "glaucoma") == check_classes(["normal", "glaucoma"])


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_comorbidity_is_a_share(share):
    with pytest.raises(UserError, match="share from 0 to 1"):
        sample_patients(2, 0, comorbidity=share)


def test_a_second_disease_empties_the_label_and_sets_both_codes():
    plain, mixed = (sample_patients(60, 3, "odir", comorbidity=share) for share in (0.0, 0.4))
    assert all(sum(p.course.odir.values()) == 1 and p.eyes[0].label == p.label for p in plain)
    two = [p for p in mixed if len(p.course.conditions) == 2]
    ill = [p for p in mixed if p.label != "normal"]
    assert len(two) / len(ill) == pytest.approx(0.4, abs=0.1)
    for patient in two:
        assert patient.label != "normal" and all(eye.label == "" for eye in patient.eyes)
        assert sum(patient.course.odir.values()) == 2 and patient.course.odir["N"] == 0
        assert all((eye.grade > 0) == ("diabetes" in patient.course.conditions) for eye in patient.eyes)
    for one, other in zip(plain, mixed, strict=True):
        if len(other.course.conditions) == 1:
            assert one == other


def test_classes_have_their_people():
    patients = sample_patients(120, 1, "all")

    def of(label: str, trait: str) -> list:
        return [getattr(p, trait) for p in patients if p.label == label]

    assert np.mean(of("hypertension", "systolic_mmhg")) > np.mean(of("normal", "systolic_mmhg")) + 25
    assert np.mean(of("cataract", "age_years")) > np.mean(of("normal", "age_years")) + 8
    assert np.mean([sex == "female" for sex in of("myopia", "sex")]) > 0.5
    ratios = {label: np.mean([e.artery_width / e.vein_width for eyes in of(label, "eyes") for e in eyes])
              for label in ("normal", "hypertension")}  # fmt: skip
    assert ratios["hypertension"] < 0.6 < 0.68 < ratios["normal"]
    severities = np.sort([eyes[0].glaucoma for eyes in of("glaucoma", "eyes")])
    assert np.abs(severities - np.linspace(0, 1, len(severities))).max() < 0.1  # spread evenly


def test_no_eye_shows_what_its_dataset_has_no_mask_for():
    for label in PHANTOM_CLASSES:
        kinds = mask_kinds([label])
        for patient in sample_patients(24, 2, (label,)):
            for eye in patient.eyes:
                found = sample_lesions(eye)
                assert {kind for kind in LESION_KINDS if getattr(found, kind)} <= set(kinds)
    assert set(mask_kinds(DEFAULT_CLASSES)) == set(mask_kinds(["normal"])) and "drusen" not in mask_kinds(["normal"])


def test_rows_of_odir_classes_carry_codes_and_parameters(tmp_path):
    dataset = write_phantom_dataset(tmp_path / "odir", 1, 64, 0, True, "odir", quiet=True, workers=1)
    table = dataset.table
    assert dataset.class_counts() == dict.fromkeys(ODIR_LABELS.values(), 1)
    for code, name in ODIR_LABELS.items():
        assert list(table.loc[table["label"] == name, code]) == [1] and table[code].sum() == 1
    for name, low, high in (("cup_to_disc", 0.1, 1), ("av_ratio", 0.3, 1.2), ("cataract", 0, 1)):
        values = table[name].astype(float)
        assert values.between(low, high).all() and values.nunique() >= 2
    anemic = next(render_cohort(1, 64, 0, True, ("anemic",)))[0]
    assert all(anemic[code] == "" for code in ODIR_LABELS)
    assert set(CLASS_SETS) == {"odir", "all"}


def test_no_images_is_an_error():
    with pytest.raises(UserError, match="at least 1"):
        sample_patients(0, 0)


def test_order_and_bytes_do_not_depend_on_workers():
    classes = ("diabetes", "hypertension", "myopia", "other")
    one = list(render_cohort(4, 64, 3, False, classes))
    two = list(render_cohort(4, 64, 3, False, classes, workers=2))
    assert len(one) == len(two) == 16  # fewer would not be worth a worker
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
