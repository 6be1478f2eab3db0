import csv

import numpy as np
import pytest

from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.phantom.cohort import write_phantom_dataset
from fundus_synth.runtime.files import sha256_file
from fundus_synth.synth import recording
from fundus_synth.synth.checkpoint import load_generator
from fundus_synth.synth.feature_spaces import feature_space
from fundus_synth.synth.quality import Measure
from fundus_synth.synth.train import train
from fundus_synth.synth.training_state import BEST, read_training

OPTIONS = {"model": "dcgan", "size": 64, "batch_size": 4, "device": "cpu", "precision": "32", "quiet": True, "save_every": 2,
           "measure_every": 2}  # fmt: skip


@pytest.fixture(scope="module")
def eyes(tmp_path_factory) -> FundusDataset:
    """36 simulated eyes at 64 px, some 15 of them in the val split."""
    path = tmp_path_factory.mktemp("datasets") / "eyes"
    dataset = write_phantom_dataset(
        path, images_per_class=36, size=64, seed=5, classes=["normal"], workers=1, quiet=True
    )
    order = {p: i for i, p in enumerate(dataset.patients)}
    rank = dataset.table["patient_id"].map(order) / len(order)
    return dataset.with_split(np.where(rank < 0.6, "train", "val"))


@pytest.fixture(autouse=True)
def few_pictures(monkeypatch):
    monkeypatch.setattr(recording, "PICTURES_MEASURED", 16)


def pixels(dataset):
    return np.stack([dataset.read(i) for i in range(len(dataset))])


def test_other_real_eyes_score_better_than_damaged_ones(eyes):
    seen, held_out = pixels(eyes.split("train")), pixels(eyes.split("val"))
    measure = Measure(feature_space("retina"), held_out, eyes.split("val").patient_keys, pixels(eyes))
    good, gray, few = measure(seen), measure(np.full_like(seen, 90)), measure(seen[:4].repeat(5, 0))
    assert good["kid"] < 1 and good["kid_low"] <= good["kid"] <= good["kid_high"]
    assert gray["kid"] > 10 * max(good["kid"], 0.3)
    assert few["diversity"] < good["diversity"]
    assert measure.about == {"features": "retina", "held_back": len(held_out)}


def rows(run):
    with open(run.path / "quality.csv") as stream:
        return list(csv.DictReader(stream))


def test_the_best_state_is_kept_and_not_the_last(eyes, tmp_path, monkeypatch):
    kids = iter([5.0, 2.0, 9.0, 9.0])

    def score(self, pictures):
        kid = next(kids)
        return {"kid": kid, "kid_low": kid - 9, "kid_high": kid + 9, "precision": 0.5, "recall": 0.5, "diversity": 1.0}

    monkeypatch.setattr(Measure, "__call__", score)
    run = train(eyes, "normal", steps=8, out=tmp_path / "run", **OPTIONS)
    assert [row["verdict"] for row in rows(run)] == ["best", "best", "fine", "fine"]
    _, info = load_generator(run.path)
    assert info.steps == 4 and read_training(run.path, BEST)["steps"] == 4 and read_training(run.path)["steps"] == 8
    assert info.quality["kid"] == 2.0 and info.quality["features"] == "retina"
    assert "KID 2.000" in (run.path / "report.html").read_text()


def test_a_worse_training_goes_back_to_its_best_state_and_gives_up_in_the_end(eyes, tmp_path, monkeypatch, capsys):
    kids = iter([1.0] + [9.0] * 40)

    def score(self, pictures):
        kid = next(kids)
        return {"kid": kid, "kid_low": kid - 1, "kid_high": kid + 1, "precision": 0.5, "recall": 0.5, "diversity": 1.0}

    monkeypatch.setattr(Measure, "__call__", score)
    run = train(eyes, "normal", steps=100, out=tmp_path / "run", **{**OPTIONS, "quiet": False})
    verdicts = [row["verdict"] for row in rows(run)]
    assert verdicts.count("go back") == 3 and verdicts[-1] == "stop" and len(verdicts) < 50
    assert read_training(run.path)["networks"]["pace"] == 0.125
    _, info = load_generator(run.path)
    assert info.steps == 2
    text = capsys.readouterr().err
    assert "back to step 2 with half the learning rate" in text and "stopping, step 2 is kept" in text


def test_a_resumed_run_measures_and_keeps_as_the_unbroken_one(eyes, tmp_path):
    whole = train(eyes, "normal", steps=6, out=tmp_path / "whole", **OPTIONS)
    train(eyes, "normal", steps=3, out=tmp_path / "halves", **OPTIONS)
    # The first half ended between two measurements, so it took one more than the unbroken run; that row is cut off.
    halves = train(eyes, "normal", steps=6, out=tmp_path / "halves", resume=True, **OPTIONS)
    assert [row["step"] for row in rows(whole)] == ["2", "4", "6"]
    assert rows(halves)[0] == rows(whole)[0] and rows(halves)[-1]["kid"] == rows(whole)[-1]["kid"]
    weights = [sha256_file(run.path / "checkpoints" / "generator.safetensors") for run in (whole, halves)]
    assert weights[0] == weights[1]


def test_a_run_that_ends_between_two_measurements_is_measured_and_saved_at_its_end(eyes, tmp_path):
    run = train(eyes, "normal", steps=2, out=tmp_path / "run", **{**OPTIONS, "measure_every": 4})
    assert [row["step"] for row in rows(run)] == ["2"]
    _, info = load_generator(run.path)
    assert info.steps == 2 and info.quality["features"] == "retina"
