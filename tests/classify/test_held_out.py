from __future__ import annotations

import numpy as np
import pytest

from fundus_synth.classify.held_out import refuse_leaks, unseen
from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.dataset_writer import DatasetWriter
from fundus_synth.data.schema import patient_hash
from fundus_synth.runtime.errors import UserError


@pytest.fixture
def make(tmp_path):
    def make(name: str, patients: list[str], info: dict | None = None) -> FundusDataset:
        with DatasetWriter(tmp_path / name, info or {}) as writer:
            for index, patient in enumerate(patients):
                image = np.full((8, 8, 3), index, dtype=np.uint8)
                writer.add({"file_name": f"images/{index}.png", "patient_id": patient, "label": "x"}, image)
        return FundusDataset.open(tmp_path / name)

    return make


def test_a_generator_that_saw_held_out_patients_is_refused_by_name(make):
    held_out = make("held", ["odir-1", "odir-2", "odir-2"])
    synthetic = make("fake", [""], {"trained_on_patients": [patient_hash(p) for p in ("odir-2", "odir-9")]})
    with pytest.raises(UserError, match="odir-2") as caught:
        refuse_leaks(synthetic, held_out)
    assert "odir-1" not in str(caught.value) and "odir-9" not in str(caught.value)


def test_a_generator_that_saw_others_is_welcome(make):
    synthetic = make("fake", [""], {"trained_on_patients": [patient_hash("odir-9")]})
    refuse_leaks(synthetic, make("held", ["odir-1", "odir-90"]))


@pytest.mark.parametrize("info", [{}, {"trained_on_patients": None}, {"trained_on_patients": "odir-9"}])
def test_a_generator_that_does_not_say_is_refused(make, info):
    with pytest.raises(UserError, match="trained_on_patients"):
        refuse_leaks(make("fake", [""], info), make("held", ["odir-1"]))


def test_images_without_a_patient_are_known_by_their_content(make):
    one, copy = make("one", ["", "odir-1"]), make("copy", [""])
    assert one.patient_keys[1] == "odir-1"
    assert one.patient_keys[0] == copy.patient_keys[0] != ""


def test_unseen_leaves_out_train_and_val(make):
    dataset = make("set", ["a-1", "a-2", "a-3", "a-1", ""])
    seen = {"train": [patient_hash("a-1")], "val": [patient_hash("a-2")], "test": [patient_hash("a-3")]}
    assert unseen(dataset, seen).tolist() == [False, False, True, False, True]
    assert len(dataset.patient_hashes) == 4
