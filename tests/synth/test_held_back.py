import numpy as np
import pandas as pd
import pytest

from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.schema import patient_hash
from fundus_synth.runtime.errors import UserError
from fundus_synth.synth.held_back import ALL_CLASSES, divide, is_held_back, unseen


def eyes(tmp_path, patients, labels=("rare",), split=None):
    """Two eyes a patient, in every class."""
    rows = [
        {"file_name": f"images/{label}-{p}-{eye}.png", "patient_id": f"p{p}", "label": label, "eye": eye,
         "split": split[p] if split else "", "sha256": f"{label}{p}{eye}"}
        for label in labels for p in range(patients) for eye in ("left", "right")
    ]  # fmt: skip
    return FundusDataset(tmp_path, {}, pd.DataFrame(rows))


def test_without_a_split_some_patients_are_held_back_in_every_class(tmp_path):
    dataset = eyes(tmp_path, 60, labels=("rare", "other"))
    parts = {label: divide(dataset, label) for label in ("rare", "other", ALL_CLASSES)}
    for part in parts.values():
        assert not set(part.training.patients) & set(part.held_back.patients)
        assert 0.05 < len(part.held_back) / (len(part.held_back) + len(part.training)) < 0.3
    assert (
        parts["rare"].held_back.patients == parts["other"].held_back.patients == parts[ALL_CLASSES].held_back.patients
    )
    assert "held back" in parts["rare"].notes[0]


def test_with_a_split_the_val_patients_measure_and_the_test_patients_are_never_touched(tmp_path):
    dataset = eyes(tmp_path, 30, split=["train"] * 20 + ["val"] * 5 + ["test"] * 5)
    part = divide(dataset, "rare")
    assert part.training.patients == sorted(f"p{p}" for p in range(20))
    assert part.held_back.patients == sorted(f"p{p}" for p in range(20, 25))


def test_a_small_val_split_is_replaced_by_train_patients(tmp_path):
    dataset = eyes(tmp_path, 64, split=["train"] * 60 + ["val"] * 2 + ["test"] * 2)
    part = divide(dataset, "rare")
    assert len(part.held_back) >= 8
    assert not (set(part.training.patients) | set(part.held_back.patients)) & {f"p{p}" for p in range(60, 64)}


def test_a_tiny_class_is_trained_on_whole_and_says_so(tmp_path):
    part = divide(eyes(tmp_path, 6), "rare")
    assert len(part.training) == 12 and len(part.held_back) == 0
    assert any("quality is not measured" in note for note in part.notes)
    assert len(divide(eyes(tmp_path, 60), "rare", share=0).held_back) == 0


def test_too_few_images_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"6 rare images.*at least 8"):
        divide(eyes(tmp_path, 3), "rare")


def test_the_share_held_back_is_as_asked():
    held = np.mean([is_held_back(f"patient {i}", 0.15) for i in range(4000)])
    assert abs(held - 0.15) < 0.02


def test_a_shared_start_never_sees_whom_a_class_is_measured_on(tmp_path):
    """The rare class has too few val eyes, so train patients are held back for it; all classes have enough of their own."""
    split = ["train"] * 60 + ["val"] * 8 + ["test"] * 2
    common = eyes(tmp_path, 70, labels=("common",), split=split).table
    rare = eyes(tmp_path, 70, labels=("rare",), split=split).table
    rare = rare[~((rare["split"] == "val") & (rare["eye"] == "left") | (rare["split"] == "val") & (rare.index > 125))]
    dataset = FundusDataset(tmp_path, {}, pd.concat([common, rare]))
    assert (rare["split"] == "val").sum() < 8
    everybody, one = divide(dataset, ALL_CLASSES), divide(dataset, "rare")
    assert len(one.held_back) >= 8 and len(everybody.held_back) >= 8
    assert not set(everybody.training.patients) & set(one.held_back.patients)


def test_held_back_eyes_that_an_ancestor_has_seen_are_left_out_and_said(tmp_path):
    part = divide(eyes(tmp_path, 120), "rare")
    some = part.held_back.patients[:1]
    left = unseen(part, [patient_hash(name) for name in some])
    assert set(left.held_back.patients) == set(part.held_back.patients) - set(some)
    assert "2 of" in left.notes[-1] and "left out" in left.notes[-1]
    none = unseen(part, [patient_hash(name) for name in part.held_back.patients])
    assert len(none.held_back) == 0 and "not measured" in none.notes[-1]
    assert unseen(part, []) is part
