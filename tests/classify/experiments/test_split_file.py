from __future__ import annotations

from fundus_synth.classify.experiments.split_file import read_split, write_split
from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.targets import Target


def test_a_job_sees_the_split_of_its_experiment(toy_path, tmp_path):
    dataset = FundusDataset.open(toy_path)
    sides = ["test" if patient.endswith(("3", "4")) else "train" for patient in dataset.table["patient_id"]]
    divided = dataset.with_split(sides).subset(range(100))
    write_split(divided, tmp_path / "split.csv")
    found = read_split(str(toy_path), str(tmp_path / "split.csv"), Target("grade", ("0", "1")))
    expected = divided.subset(divided.table["grade"] < 2).table
    assert list(found.table["file_name"]) == list(expected["file_name"])
    assert list(found.table["split"]) == list(expected["split"]) and set(found.table["split"]) == {"train", "test"}
