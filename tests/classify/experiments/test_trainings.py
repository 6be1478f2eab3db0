"""A training of an experiment is the same wherever it runs."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from fundus_synth.classify.experiments import trainings
from fundus_synth.classify.experiments.split_file import write_split
from fundus_synth.classify.options import TrainingOptions
from fundus_synth.classify.predictions import read_predictions
from fundus_synth.classify.training import divide
from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.targets import Target
from fundus_synth.runtime.errors import UserError
from fundus_synth.runtime.jobs import Job, run_jobs

TARGET = Target("label", ("normal", "anemic"))
OPTIONS = TrainingOptions(size=32, steps=6, batch_size=8, evaluate_every=6, device="cpu", precision="32")


@pytest.fixture
def jobs_in(toy_path, tmp_path):
    """A function (folder, steps) -> twelve jobs: two augmentations with six seeds each."""
    dataset = FundusDataset.open(toy_path)
    divided = divide(dataset, TARGET, (0.6, 0.2, 0.2), seed=0)
    write_split(divided, tmp_path / "split.csv")

    def jobs(folder: Path, **more) -> list[Job]:
        return [
            trainings.training_job(f"{augment}-seed{seed}", dataset, tmp_path / "split.csv", TARGET, folder / f"{augment}{seed}",
                         TrainingOptions(**{**vars(OPTIONS), "augment": augment, "seed": seed, **more}))
            for seed in range(6) for augment in ("default", "randaugment")
        ]  # fmt: skip

    return jobs


def what_they_said(results: dict[str, dict]) -> dict[str, list[bytes]]:
    files = (trainings.TEST, trainings.VALIDATION)
    return {name: [(Path(result["run"]) / file).read_bytes() for file in files] for name, result in results.items()}


def test_a_training_says_what_it_did(jobs_in, tmp_path):
    (job, *_) = jobs_in(tmp_path / "runs")
    (result,) = run_jobs([job], tmp_path / "jobs", quiet=True).values()
    assert result["steps"] == 6 and result["started_from"] == "random weights"
    table, classes = read_predictions(Path(result["run"]) / trainings.TEST)
    assert classes == TARGET.classes and set(table["split"]) == {"test"}
    validation, _ = read_predictions(Path(result["run"]) / trainings.VALIDATION)
    assert set(validation["split"]) == {"val"}
    assert not set(validation["patient_id"]) & set(table["patient_id"])
    assert result["images"] == 120 - len(table) - len(validation)
    assert np.array_equal(trainings.tested(result).true, (table["true"] == "anemic").to_numpy())


def test_other_options_in_the_same_folder_are_refused(jobs_in, tmp_path):
    run_jobs(jobs_in(tmp_path / "runs")[:1], tmp_path / "jobs", quiet=True)
    with pytest.raises(UserError, match="other options"):
        run_jobs(jobs_in(tmp_path / "runs", steps=7)[:1], tmp_path / "jobs", quiet=True)


@pytest.mark.slow
def test_twelve_trainings_give_the_same_predictions_on_a_cluster_that_loses_a_machine(
    jobs_in, tmp_path, ray_cluster, kill_node
):
    here = run_jobs(jobs_in(tmp_path / "here", steps=40), tmp_path / "here-jobs", workers=2, cores=1, quiet=True)
    cluster = ray_cluster(num_cpus=1)
    second = cluster.add_node(num_cpus=1)
    finished = []

    def kill() -> None:
        while len(finished) < 3:
            time.sleep(0.05)
            finished[:] = (tmp_path / "there-jobs").glob("*.json")
        kill_node(cluster, second)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    there = run_jobs(jobs_in(tmp_path / "there", steps=40), tmp_path / "there-jobs", ray=cluster.address, quiet=True)
    thread.join()
    assert 3 <= len(finished) < 11, "the machine must die while there is work left"
    assert list(there) == list(here) and len(here) == 12
    assert what_they_said(there) == what_they_said(here)


@pytest.mark.slow
def test_twelve_trainings_give_the_same_predictions_as_an_array_of_a_slurm_cluster(jobs_in, tmp_path, slurm_cluster):
    pytest.importorskip("submitit")
    here = run_jobs(jobs_in(tmp_path / "here"), tmp_path / "here-jobs", workers=2, cores=1, quiet=True)
    there = run_jobs(jobs_in(tmp_path / "there"), tmp_path / "there-jobs", slurm="time=20", cores=1, quiet=True)
    assert what_they_said(there) == what_they_said(here)
