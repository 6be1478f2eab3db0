from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from sklearn.metrics import accuracy_score, cohen_kappa_score, log_loss
from typer.testing import CliRunner

from fundus_synth.classify.backbones import create_backbone
from fundus_synth.classify.evidence import Difference, SeedPredictions, paired_difference
from fundus_synth.classify.experiments import trainings
from fundus_synth.classify.experiments.learning_curve import _arms, learning_curve
from fundus_synth.classify.experiments.learning_curve_result import REFERENCE, Arm, _how_few, compare_shares
from fundus_synth.classify.experiments.patient_shares import nested_shares, parse_shares
from fundus_synth.classify.fitting import TrainingOptions
from fundus_synth.cli.experiments import classify  # with its own commands
from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.targets import Target
from fundus_synth.runtime.errors import JobError, UserError
from fundus_synth.runtime.runs import RunFolder

GRADES = Target("grade", ("0", "1", "2"))
SHARES = [10, 25, 50, 100]
QUICK = {"target": "label", "shares": "30,100", "backbone": "simple_cnn", "size": 32, "epochs": 2, "frozen_epochs": 1,
         "batch_size": 16, "seeds": 1, "device": "cpu", "quiet": True}  # fmt: skip


def dataset_of(patients: list[int], grades: list[int], split: list[str] | None = None) -> FundusDataset:
    table = pd.DataFrame({"file_name": [f"{i}.png" for i in range(len(grades))],
                          "patient_id": [f"p{number}" for number in patients], "grade": np.array(grades, dtype=float)})  # fmt: skip
    return FundusDataset(Path("nowhere"), {}, table if split is None else table.assign(split=split))


def test_shares_are_whole_percentages():
    assert parse_shares(" 100, 20,5,20") == [5, 20, 100]
    for wrong in ("", "0", "101", "10,x", "12.5", "-10"):
        with pytest.raises(UserError, match="whole percentages from 1 to 100"):
            parse_shares(wrong)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_shares_are_nested_whole_patients_and_stratified(data):
    grades = data.draw(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=3), min_size=60, max_size=90))
    # Enough of every class for 10 %: the property below it is the next test's.
    grades += [[k] for k in range(3) for _ in range(10)]
    dataset = dataset_of([p for p, own in enumerate(grades) for _ in own], [g for own in grades for g in own])
    kept = nested_shares(dataset, GRADES, SHARES, seed=data.draw(st.integers(0, 5)))
    patients = dataset.column("patient_id").to_numpy()
    numbers = np.array([len(set(patients[kept[share]])) for share in SHARES])
    assert kept[100].all()
    for smaller, larger in zip(SHARES, SHARES[1:], strict=False):
        assert not (kept[smaller] & ~kept[larger]).any()
    for share in SHARES:
        assert not set(patients[kept[share]]) & set(patients[~kept[share]])
        assert set(GRADES.labels(dataset.subset(kept[share]))) == {0, 1, 2}
    # Each of three groups is rounded to whole patients.
    assert (np.abs(numbers - len(grades) * np.array(SHARES) / 100) <= 1.5).all()
    counts = {k: sum(k in own for own in grades) for k in range(3)}
    rarest = np.array([min(own, key=lambda k: (counts[k], k)) for own in grades])
    for k in range(3):
        names = [f"p{number}" for number in np.flatnonzero(rarest == k)]
        assert abs(np.isin(names, patients[kept[50]]).sum() - len(names) / 2) <= 0.5


def test_another_seed_draws_other_patients():
    dataset = dataset_of(list(range(60)), [0, 1, 2] * 20)
    one, same, other = (nested_shares(dataset, GRADES, [50], seed)[50] for seed in (0, 0, 1))
    assert (one == same).all() and (one != other).any()


def test_a_share_without_a_class_is_refused():
    dataset = dataset_of(list(range(44)), [0] * 20 + [1] * 20 + [2] * 4)
    message = (
        r"nowhere: 10 % of the training patients would hold none of the 4 patients with class 2. Use larger --shares"
    )
    with pytest.raises(UserError, match=message):
        nested_shares(dataset, GRADES, [10, 50], seed=0)
    assert nested_shares(dataset, GRADES, [15], seed=0)[15].sum() == 3 + 3 + 1


@pytest.mark.parametrize("equal", ["steps", "epochs"])
def test_what_is_equal_and_who_is_tested(equal):
    split = (["train"] * 40 + ["val"] * 10 + ["test"] * 10) * 2
    dataset = dataset_of(list(range(120)), [0, 1, 2] * 40, split)
    options = TrainingOptions(weights="w.safetensors", batch_size=8)
    arms = _arms(dataset, GRADES, [25, 100], options, 3, (5, 2, equal))
    assert [arm.name for arm in arms] == [REFERENCE, "TL25", "TL100"]
    reference, few, all_of_them = arms
    assert (reference.options.weights, reference.options.freeze_steps, reference.options.resolved_learning_rate) == (
        None,
        0,
        1e-3,
    )
    assert all_of_them.options.weights == few.options.weights == "w.safetensors"
    assert reference.options.steps == all_of_them.options.steps == 5 * 10 and all_of_them.options.freeze_steps == 2 * 10
    images = len(few.patients)
    epoch = 10 if equal == "steps" else math.ceil(images / 8)
    assert (few.options.steps, few.options.freeze_steps) == (5 * epoch, 2 * epoch)
    assert 18 <= images <= 22 and (few.sides == "train").sum() == images and (few.sides == "").sum() == 80 - images
    for arm in arms:
        assert (np.isin(arm.sides, ["val", "test"]) == np.isin(split, ["val", "test"])).all()
        assert arm.options.seed == 3 and arm.options.keep == "last"
    assert (reference.sides == split).all() and (all_of_them.sides == split).all()


def said_of(skill: float, seed: int, patients: int = 60) -> SeedPredictions:
    """Two images a patient, three grades."""
    random = np.random.default_rng(seed)
    true = np.arange(2 * patients) % 3
    logits = random.normal(size=(len(true), 3)) + skill * np.eye(3)[true]
    names = np.array([f"p{i // 2}" for i in range(len(true))])
    return SeedPredictions(true, np.exp(logits) / np.exp(logits).sum(1, keepdims=True), names)


@pytest.fixture
def made_up() -> dict[str, list[SeedPredictions]]:
    skills = {REFERENCE: 1.0, "TL10": 1.0, "TL50": 2.5, "TL100": 3.0}
    return {
        name: [said_of(skill, 10 * i + seed) for seed in range(2)] for i, (name, skill) in enumerate(skills.items())
    }


def arms_like(made_up: dict[str, list[SeedPredictions]]) -> list[Arm]:
    return [Arm(name, 100 if name == REFERENCE else int(name[2:]), seed, np.array([]), ["a", "a", "b"], TrainingOptions(steps=7))
            for seed in range(2) for name in made_up]  # fmt: skip


def test_every_figure_comes_from_the_predictions(made_up, tmp_path):
    run = RunFolder.open_or_create(tmp_path / "run", {}, resume=False)
    found = compare_shares(
        run, GRADES, arms_like(made_up), [made_up[name][seed] for seed in range(2) for name in made_up]
    )
    for name, runs in made_up.items():
        told = [(one.true, one.probabilities.argmax(1), one.probabilities) for one in runs]
        kappa = [cohen_kappa_score(true, said, weights="quadratic") for true, said, _ in told]
        expected = {"accuracy": [accuracy_score(true, said) for true, said, _ in told], "quadratic_kappa": kappa,
                    "log_loss": [log_loss(true, p) for true, _, p in told]}  # fmt: skip
        for metric, values in expected.items():
            assert found.scores[name][metric].estimate == pytest.approx(np.mean(values), abs=1e-9)
    assert found.differences["TL50"]["log_loss"] == paired_difference(made_up["TL50"], made_up[REFERENCE], "log_loss")
    p = {name: row["quadratic_kappa"].p for name, row in found.differences.items()}
    assert found.adjusted_p["TL50"] == pytest.approx(3 * p["TL50"])
    first, ten, fifty, _ = found.verdict
    assert first.startswith("With pretrained weights 50 % of the training patients (2) are enough")
    assert ten.startswith("No evidence that TL10 changes quadratic kappa against the reference")
    assert fifty.startswith("TL50 helps: quadratic kappa is higher than with the reference")
    assert found.trained_on.iloc[1].to_dict() == {"model": "TL10", "share": 10, "patients": 2, "images": 3, "steps": 7}
    published = found.published_table().set_index("model")
    assert list(published.loc["TL10", ["D: accuracy", "D: kappa", "D: cross-entropy"]]) == ["73 %", "0.79", "0.95"]
    assert list(published.loc["TL50", ["D: accuracy", "D: kappa", "D: cross-entropy"]]) == ["-", "-", "-"]
    assert published.loc[REFERENCE, "accuracy"] == f"{100 * found.scores[REFERENCE]['accuracy'].estimate:.0f} %"
    json.dumps(found.summary())


@pytest.mark.parametrize(
    ("p", "low", "expected"),
    [
        ({"TL10": 0.01, "TL50": 0.01, "TL100": 0.01}, 0.1, "10 % of the training patients (1)"),
        ({"TL10": 0.01, "TL50": 0.20, "TL100": 0.01}, 0.1, "100 % of the training patients (10)"),
        ({"TL10": 0.01, "TL50": 0.01, "TL100": 0.06}, 0.1, "No share"),
        ({"TL10": 0.01, "TL50": 0.01, "TL100": 0.01}, -0.1, "No share"),
    ],
)
def test_how_few_are_enough(p, low, expected):
    """Every larger share must be better too."""
    table = pd.DataFrame(
        {"model": ["reference", "TL10", "TL50", "TL100"], "share": [100, 10, 50, 100], "patients": [10, 1, 5, 10]}
    )
    differences = {name: {"accuracy": Difference(0.2, low, 0.3, 10, 10, 1)} for name in p}
    assert expected in _how_few(table, differences, p, "accuracy")


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "simple.safetensors"
    save_file(create_backbone("simple_cnn", 2, 32).network.state_dict(), path)
    return path


def test_the_curve_is_drawn_and_an_interrupted_one_goes_on(toy_path, weights, tmp_path, monkeypatch):
    trained, fit = [], trainings.fit

    def counted(*args, **kwargs):
        trained.append((kwargs["run"].path.name, len(args[1])))
        if len(trained) == 2:
            raise KeyboardInterrupt
        return fit(*args, **kwargs)

    monkeypatch.setattr(trainings, "fit", counted)
    dataset, out = FundusDataset.open(toy_path), tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        learning_curve(dataset, weights=weights, out=out, **QUICK)
    words = [
        "learning-curve", "--data", str(toy_path), "--target", "label", "--shares", "30,100", "--backbone", "simple_cnn",
        "--weights", str(weights), "--size", "32", "--epochs", "2", "--frozen-epochs", "1", "--batch-size", "16", "--seeds", "1",
        "--device", "cpu", "--out", str(out), "--resume", "--quiet", "--json",
    ]  # fmt: skip
    done = CliRunner().invoke(classify, words)
    assert done.exit_code == 0, done.output
    assert trained == [("reference-seed0", 84), ("TL30-seed0", 24), ("TL30-seed0", 24), ("TL100-seed0", 84)]
    told = json.loads(done.stdout)
    assert told == json.loads((out / "summary.json").read_text())
    assert [row["steps"] for row in told["trained_on"]] == [12, 12, 12]
    assert [row["patients"] for row in told["trained_on"]] == [42, 12, 42]
    held_out = {tuple(pd.read_csv(path)["file_name"]) for path in out.glob("arms/*/predictions.csv")}
    assert len(held_out) == 1 and len(next(iter(held_out))) == 24
    started = {name: json.loads((out / "jobs" / f"{name}-seed0.json").read_text())["result"]["started_from"]
               for name in ("reference", "TL30")}  # fmt: skip
    assert started["reference"] == "random weights" and started["TL30"].startswith("simple.safetensors")
    page = (out / "report.html").read_text()
    assert "What does transfer learning buy?" in page and "12 optimiser steps in every training" in page
    assert isinstance(CliRunner().invoke(classify, [*words, "--seed", "1"]).exception, UserError)


def test_a_training_of_another_length_is_found(toy_path, weights, tmp_path, monkeypatch):
    original = trainings.fit_and_predict
    monkeypatch.setattr(trainings, "fit_and_predict", lambda *a, **k: original(*a, **k) | {"steps": 11})
    with pytest.raises(JobError, match="reference-seed0 took 11 steps, 12 were planned"):
        learning_curve(FundusDataset.open(toy_path), weights=weights, out=tmp_path / "run", **QUICK)


def test_options_that_cannot_work(toy_path, weights, tmp_path):
    dataset, out = FundusDataset.open(toy_path), tmp_path / "run"
    for wrong, message in (
        ({"weights": None}, "no transfer to measure. Give a local file with --weights"),
        ({"equal": "cost"}, "--equal is 'cost', steps or epochs was expected"),
        ({"frozen_epochs": 2}, "of 2 epochs 2 would train the head alone"),
        ({"shares": "1"}, "1 % of the training patients would hold none of the 21 patients with class normal"),
    ):
        with pytest.raises(UserError, match=message):
            learning_curve(dataset, **{"weights": weights, "out": out, **QUICK, **wrong})
    assert not out.exists()
    # Refused before simulated eyes are made.
    refused = CliRunner().invoke(classify, ["learning-curve"])
    assert isinstance(refused.exception, UserError) and "simulated" not in refused.output
