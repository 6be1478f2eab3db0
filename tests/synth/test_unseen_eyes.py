import numpy as np
import pytest

from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.dataset_writer import DatasetWriter
from fundus_synth.data.schema import patient_hash
from fundus_synth.runtime.errors import UserError
from fundus_synth.synth.judging.unseen_eyes import unseen_eyes


def folder(path, rows: list[dict], **info) -> FundusDataset:
    random = np.random.default_rng(0)
    with DatasetWriter(path, {"name": path.name, **info}) as writer:
        for i, row in enumerate(rows):
            writer.add({"file_name": f"images/{i}.png", **row}, random.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    return FundusDataset.open(path)


@pytest.fixture
def real(tmp_path) -> FundusDataset:
    """Patients 0..5 with two images each, the second of patient 5 without a label."""
    splits = ["train", "train", "val", "val", "test", "test"]
    labels = ["anemic", "anemic", "anemic", "normal", "anemic", "normal"]
    rows = [
        {"patient_id": f"p{i // 2}", "label": labels[i // 2] if i < 11 else "", "split": splits[i // 2]}
        for i in range(12)
    ]
    return folder(tmp_path / "real", rows)


def kept(dataset: FundusDataset) -> list[str]:
    return sorted(name.removeprefix("images/") for name in dataset.table["file_name"])


def test_held_out_eyes_of_the_same_classes(real, tmp_path):
    made = folder(tmp_path / "made", [{"label": "anemic", "synthetic": "true"}])
    chosen, notes = unseen_eyes(real, made)
    assert kept(chosen) == ["4.png", "5.png", "8.png", "9.png"]
    assert "held-out patients: the val and test split" in notes
    assert any("does not say on which patients" in note for note in notes)


def test_patients_and_images_of_the_training_are_left_out(real, tmp_path):
    known = {"trained_on_patients": [patient_hash("p2")], "trained_on_images": [real.image_digests[8]]}
    made = folder(tmp_path / "made", [{"label": "anemic"}], **known)
    chosen, notes = unseen_eyes(real, made)
    assert kept(chosen) == ["9.png"]
    assert "3 of 4 real images left out: the generator was trained on their patients" in notes


def test_without_a_split_all_are_taken(real, tmp_path):
    real = FundusDataset(real.path, real.info, real.table.drop(columns="split"))
    chosen, notes = unseen_eyes(real, folder(tmp_path / "made", [{"label": "normal"}, {"label": "anemic"}]))
    assert len(chosen) == 11 and "the real eyes have no split; all are used" in notes
    assert "1 real images are of other classes, of several or of none" in notes


def test_a_class_that_has_no_real_eyes_is_named(real, tmp_path):
    chosen, notes = unseen_eyes(real, folder(tmp_path / "made", [{"label": "amd"}, {"label": "anemic"}]))
    assert "no real eyes of amd: these classes cannot be judged" in notes and set(chosen.column("label")) == {"anemic"}


def test_a_set_without_labels_is_judged_by_all(real, tmp_path):
    chosen, notes = unseen_eyes(real, folder(tmp_path / "made", [{"synthetic": "true"}]))
    assert len(chosen) == 8 and any("has no labels" in note for note in notes)


def test_nothing_left_is_an_error_that_says_why(real, tmp_path):
    made = folder(tmp_path / "made", [{"label": "anemic"}], trained_on_patients=real.patient_hashes)
    with pytest.raises(
        UserError, match="all its 4 images of these classes show patients that the generator was trained on"
    ):
        unseen_eyes(real, made)
    with pytest.raises(UserError, match=r"no held-out image of amd \(1\); its classes are"):
        unseen_eyes(real, folder(tmp_path / "other", [{"label": "amd"}]))
