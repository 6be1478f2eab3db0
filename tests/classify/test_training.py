from __future__ import annotations

import json

import numpy as np
import pytest

from fundus_synth.classify.evaluate import evaluate
from fundus_synth.classify.metrics import score
from fundus_synth.classify.predictions import read_predictions, seed_predictions
from fundus_synth.classify.train import train
from fundus_synth.classify.training import load_parts, load_synthetic, split_dataset
from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.schema import patient_hash
from fundus_synth.data.targets import choose_target
from fundus_synth.runtime.errors import UserError

QUICK = {"steps": 3, "batch_size": 8, "size": 32, "device": "cpu", "quiet": True}


def test_a_run_folder_holds_all_that_it_should(toy_run):
    names = ("config.yaml", "environment.json", "metrics.csv", "predictions.csv", "metrics.json", "report.html")
    assert all((toy_run / name).is_file() for name in names)
    facts = json.loads((toy_run / "checkpoints" / "classifier.json").read_text())
    assert facts["classes"] == ["normal", "anemic"] and facts["backbone"] == "simple_cnn"
    assert [len(facts["patients"][s]) for s in ("train", "val", "test")] == [48, 6, 6]
    assert facts["fingerprint"] and facts["dataset"] == "toy"


def test_predictions_are_of_patients_it_never_saw(toy_run):
    table, classes = read_predictions(toy_run / "predictions.csv")
    facts = json.loads((toy_run / "checkpoints" / "classifier.json").read_text())
    trained_on = set(facts["patients"]["train"])
    assert not trained_on & {patient_hash(name) for name in table["patient_id"]}
    assert table.groupby("split").size().to_dict() == {"test": 12, "val": 12}
    np.testing.assert_allclose(table[[f"p_{name}" for name in classes]].sum(axis=1), 1, atol=1e-6)


def test_metrics_can_be_computed_again_from_the_predictions(toy_run):
    table, classes = read_predictions(toy_run / "predictions.csv")
    written = json.loads((toy_run / "metrics.json").read_text())
    assert list(written) == ["val", "test"]
    run = seed_predictions(table[table["split"] == "test"], classes)
    for name in ("macro_f1", "auroc", "log_loss", "accuracy"):
        found = written["test"][name]
        assert found["estimate"] == pytest.approx(float(score(name, run.true, run.probabilities)), abs=1e-7)
        assert found["low"] <= found["estimate"] <= found["high"]
    assert written["test"]["auroc"]["estimate"] == 1  # the toy is easy


def test_the_report_says_what_it_rests_on(toy_run):
    page = (toy_run / "report.html").read_text()
    assert "held-out patients" in page and "random weights" in page and "<svg" in page


def test_an_own_split_is_kept_and_a_missing_one_is_made(toy_path):
    dataset = FundusDataset.open(toy_path)
    target = choose_target(dataset, "label")
    made = split_dataset(dataset, target, seed=0)
    own = dataset.with_split(
        np.where(np.arange(len(dataset)) < 80, "train", np.where(np.arange(120) < 100, "val", "test"))
    )
    assert made.has_split and made.table["split"].value_counts()["train"] == 96
    assert split_dataset(own, target, seed=0).table["split"].tolist() == own.table["split"].tolist()
    parts = load_parts(own, target, 32, quiet=True)
    assert [len(parts[name].images) for name in ("train", "val", "test")] == [80, 20, 20]
    for part in parts.values():  # labels and pixels belong together
        red = part.images.take(np.arange(len(part.labels)))[:, 8:24, 8:24, 0].mean(axis=(1, 2))
        assert ((red > 110) == (part.labels == 1)).all()


def test_synthetic_images_are_added_to_training_only(toy_path, tmp_path, write_toy):
    info = {"trained_on_patients": [patient_hash("elsewhere-1")]}
    fake = write_toy(tmp_path / "fake", patients=4, prefix="fake", info=info)
    run = train(toy_path, synthetic=[fake], out=tmp_path / "run", **QUICK)
    table, _ = read_predictions(run.path / "predictions.csv")
    assert len(table) == 24 and not table["file_name"].str.contains("fake").any()
    dataset = FundusDataset.open(toy_path)
    target = choose_target(dataset, "label")
    (part,) = load_synthetic([fake], split_dataset(dataset, target, 0), target, 32, quiet=True)
    assert part.labels.tolist() == [0, 0, 1, 1, 0, 0, 1, 1]


def test_a_generator_that_saw_held_out_patients_is_refused_before_anything_is_written(toy_path, tmp_path, write_toy):
    dataset = FundusDataset.open(toy_path)
    split = split_dataset(dataset, choose_target(dataset, "label"), 0)
    for name, told in (("val", True), ("test", True), ("train", False)):
        patient = split.split(name).patients[0]
        fake = write_toy(tmp_path / f"fake-{name}", 2, "fake", {"trained_on_patients": [patient_hash(patient)]})
        out = tmp_path / f"run-{name}"
        if told:
            with pytest.raises(UserError, match=f"{patient}$|{patient}[.]"):
                train(toy_path, synthetic=[fake], out=out, **QUICK)
            assert not out.exists()
        else:
            train(toy_path, synthetic=[fake], out=out, **QUICK)


def test_a_synthetic_set_that_does_not_say_is_refused(toy_path, tmp_path, write_toy):
    fake = write_toy(tmp_path / "fake", 2, "fake")
    with pytest.raises(UserError, match="trained_on_patients"):
        train(toy_path, synthetic=[fake], out=tmp_path / "run", **QUICK)


def test_a_finished_run_can_be_resumed_for_longer(toy_path, tmp_path):
    train(toy_path, out=tmp_path / "run", **QUICK)
    longer = train(toy_path, out=tmp_path / "run", resume=True, **{**QUICK, "steps": 5})
    assert [line.split(",")[0] for line in (longer.path / "metrics.csv").read_text().splitlines()] == ["step", "3", "5"]
    with pytest.raises(UserError, match="batch_size"):
        train(toy_path, out=tmp_path / "run", resume=True, **{**QUICK, "batch_size": 9})


def test_grades_can_be_the_target(toy_path, tmp_path):
    run = train(toy_path, target="grade", classes=["0", "2"], out=tmp_path / "run", **QUICK)
    assert read_predictions(run.path / "predictions.csv")[1] == ("0", "2")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"classes": ["normal", "glaucoma"]}, "normal .60., anemic .60.|anemic .60., normal .60."),
        ({"target": "hemoglobin"}, "column hemoglobin_g_dl is empty"),
        ({"target": "multilabel"}, "at least two labels"),
        ({"decide": "coin"}, "argmax or val"),
        ({"epochs": 2}, "both"),
        ({"backbone": "resnet_18"}, "resnet18"),
        ({"augment": "cutout"}, "classical"),
        ({"sampling": "odd"}, "balanced"),
        ({"weights": "nowhere.safetensors"}, "nowhere.safetensors"),
        ({"device": "abacus"}, "abacus"),
        ({"precision": "64"}, "precision"),
        ({"size": 16}, "16"),
    ],
)
def test_bad_input_is_one_line(toy_path, tmp_path, more, told):
    with pytest.raises(UserError, match=told) as caught:
        train(toy_path, out=tmp_path / "run", **{**QUICK, **more})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_class_that_is_too_small_is_listed(tmp_path, write_toy):
    path = write_toy(tmp_path / "small", patients=6)
    with pytest.raises(UserError, match="class normal has 6 images, at least 8"):
        train(path, out=tmp_path / "run", **QUICK)


def test_a_split_without_a_class_is_told(toy_path, tmp_path):
    dataset = FundusDataset.open(toy_path)
    index = np.arange(len(dataset))
    split = np.where(index < 100, "train", np.where(dataset.table["label"] == "normal", "val", "test"))
    with pytest.raises(UserError, match="split val has no image of anemic"):
        train(dataset.with_split(split), out=tmp_path / "run", **QUICK)


def test_an_expression_is_trained_tested_and_remembered(toy_path, tmp_path, capsys):
    dataset = FundusDataset.open(toy_path)
    run = train(dataset, target="ill: grade >= 1", out=tmp_path / "run", **{**QUICK, "quiet": False})
    assert "left out" not in capsys.readouterr().err  # every toy has a grade
    table, classes = read_predictions(run.path / "predictions.csv")
    assert classes == ("no ill", "ill")
    grades = dataset.table.set_index("file_name")["grade"]
    assert (table["true"] == np.where(grades[table["file_name"]] >= 1, "ill", "no ill")).all()
    facts = json.loads((run.path / "checkpoints" / "classifier.json").read_text())
    assert facts["target"] == "ill: grade >= 1"
    result = evaluate(run.path, dataset, out=tmp_path / "again", device="cpu", quiet=True)
    again, _ = read_predictions(result.folder / "predictions.csv")
    test = table[table["split"] == "test"]
    assert result.left_out == 108 and again["true"].tolist() == test["true"].tolist()
    held_out = set(facts["patients"]["test"])
    assert {patient_hash(name) for name in again["patient_id"]} == held_out


def test_images_that_the_target_does_not_tell_are_left_out_and_counted(toy_path, tmp_path, capsys):
    train(
        toy_path, target="ill: grade == 2 and label == anemic or D", out=tmp_path / "run", **{**QUICK, "quiet": False}
    )
    assert "40 of 120 images are left out: they have none of the classes no ill, ill" in capsys.readouterr().err


def test_the_table_s_discs_reach_every_part(toy_path):
    dataset = FundusDataset.open(toy_path)
    x = np.where(np.arange(len(dataset)) % 3 == 0, np.nan, np.arange(len(dataset)) / 200)
    radius = np.where(np.arange(len(dataset)) % 2 == 0, np.nan, 0.07)
    dataset = FundusDataset(toy_path, dataset.info, dataset.table.assign(disc_x=x, disc_y=0.5, disc_r=radius))
    target = choose_target(dataset, "label", None)
    for part in load_parts(split_dataset(dataset, target, 0), target, 32, quiet=True).values():
        table = part.dataset.table
        known = table["disc_x"].notna().to_numpy()
        assert 0 < known.sum() < len(known) and np.isnan(part.images.discs[~known]).all()
        np.testing.assert_array_equal(part.images.discs[known, 0], table["disc_x"][known])
        np.testing.assert_array_equal(part.images.discs[known, 2], table["disc_r"][known].fillna(0.06))


def test_the_report_tells_of_discs_that_study_a_s_arm_could_not_watch_over(toy_path, tmp_path):
    for arm, told in (("classical:anemia", True), ("classical", False)):
        run = train(toy_path, augment=arm, out=tmp_path / arm.replace(":", "-"), **QUICK)
        assert ("optic disc of 96 of 96 training images" in (run.path / "report.html").read_text()) == told
