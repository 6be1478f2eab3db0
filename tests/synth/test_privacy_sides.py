"""Who is taken for a member of the training, and who for a stranger."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.schema import patient_hash
from fundus_synth.runtime.errors import UserError
from fundus_synth.synth.privacy import sides as sides_module
from fundus_synth.synth.privacy.sides import find_sides


def dataset(name: str, patients: list[str], split: list[str] | None = None, first: int = 0, **info) -> FundusDataset:
    """One image a patient; the digest of image i is i."""
    table = pd.DataFrame({"file_name": [f"images/{i}.png" for i in range(len(patients))], "patient_id": patients,
                          "sha256": [f"{first + i:064x}" for i in range(len(patients))]})  # fmt: skip
    return FundusDataset(Path(name), {"name": name, **info}, table if split is None else table.assign(split=split))


def made(images: list[int] = (), patients: list[str] = ()) -> FundusDataset:
    said = {
        "trained_on_images": [f"{i:064x}" for i in images],
        "trained_on_patients": [patient_hash(p) for p in patients],
    }
    return dataset("made", [""], first=900, **said)


REAL = dataset("real", ["a", "a", "b", "c", "d", "e"], ["train", "train", "train", "val", "test", "test"])


def test_members_are_the_images_that_the_generator_names():
    found = find_sides(made([0, 2], ["a", "b"]), REAL)
    assert found.training.table["patient_id"].tolist() == ["a", "b"]
    # The other eye of patient a was not shown, but it is not a stranger's.
    assert found.held_out.table["patient_id"].tolist() == ["c", "d", "e"]
    assert found.missing == 0
    assert found.notes == ["1 images of real show patients of the training; they are not held out"]


def test_a_patient_of_a_shared_start_is_no_stranger_though_none_of_the_images_is_here():
    found = find_sides(made([0, 1, 2], ["a", "b", "d"]), REAL)
    assert found.held_out.table["patient_id"].tolist() == ["c", "e"]


def test_training_images_that_are_not_here_are_counted():
    assert find_sides(made([0, 1, 77, 78], ["a"]), REAL).missing == 2


def test_without_what_the_generator_says_the_split_decides():
    found = find_sides(made(), REAL)
    assert found.training.table["patient_id"].tolist() == ["a", "a", "b"]
    assert found.held_out.table["patient_id"].tolist() == ["c", "d", "e"]
    assert "taken for it is the train split of real" in found.notes[0]
    unsplit = find_sides(made(), dataset("real", ["a", "b"]))
    assert len(unsplit.training) == 2 and len(unsplit.held_out) == 0


def test_a_holdout_takes_the_place_of_the_split_but_not_with_patients_of_the_training():
    other = dataset("other", ["a", "x", "y"], first=50)
    found = find_sides(made([0, 1, 2], ["a", "b"]), REAL, other)
    assert found.held_out.table["patient_id"].tolist() == ["x", "y"]
    with pytest.raises(UserError, match="only patients that the generator was trained on"):
        find_sides(made([0], ["a"]), REAL, dataset("other", ["a"], first=50))


def test_the_wrong_real_images_are_refused():
    with pytest.raises(UserError, match="holds none of the 2 images that the generator of made was trained on"):
        find_sides(made([70, 71], ["z"]), REAL)


def test_held_out_images_without_patients_are_said():
    found = find_sides(made([0], ["a"]), REAL, dataset("other", ["", ""], first=50))
    assert len(found.held_out) == 2
    assert "no patient_id" in found.notes[-1]


def test_only_so_many_strangers_are_taken_and_always_the_same(monkeypatch):
    monkeypatch.setattr(sides_module, "MOST_HELD_OUT", 20)
    other = dataset("other", [f"p{i}" for i in range(60)], first=100)
    first, again = (find_sides(made([0], ["a"]), REAL, other, seed=1).held_out for _ in range(2))
    assert len(first) == 20
    assert first.image_digests == again.image_digests
    assert np.unique(first.image_digests).size == 20
