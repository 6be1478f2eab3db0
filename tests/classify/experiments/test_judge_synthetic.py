from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, recall_score, roc_auc_score
from typer.testing import CliRunner

from fundus_synth.classify.evidence import Interval, SeedPredictions, paired_difference
from fundus_synth.classify.experiments import judge_synthetic as experiment
from fundus_synth.classify.experiments.judge_synthetic import judge_synthetic
from fundus_synth.classify.experiments.synthetic_judgement import judge, recognition
from fundus_synth.classify.fitting import TrainingOptions
from fundus_synth.cli.experiments import classify  # with its own commands
from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.dataset_writer import DatasetWriter
from fundus_synth.data.schema import patient_hash
from fundus_synth.data.targets import Target
from fundus_synth.runtime.errors import UserError
from fundus_synth.runtime.runs import RunFolder

CLASSES = ("normal", "anemic")
QUICK = {"size": 32, "epochs": 4, "batch_size": 4, "device": "cpu", "quiet": True}


def write_eyes(
    path: Path, count: int, seed: int, labels: tuple[str, ...] = CLASSES, info: dict | None = None, patients: bool = True
) -> Path:  # fmt: skip
    """`count` phantoms of each of two kinds, the second with a bright red square; `labels` is what they are called."""
    random = np.random.default_rng(seed)
    with DatasetWriter(path, {"name": path.name, **(info or {})}) as writer:
        for index in range(2 * count):
            image = random.integers(0, 120, (32, 32, 3)).astype(np.uint8)
            if index % 2:
                image[8:24, 8:24, 0] += 100
            row = {"file_name": f"images/{index:03}.png", "label": labels[index % 2]}
            if patients:
                row |= {"patient_id": f"p{index}", "split": ("train", "train", "val", "test")[index // 2 % 4]}
            else:
                row |= {"synthetic": "true"}
            writer.add(row, image)
    return path


def write_synthetic(path: Path, seed: int = 1, labels: tuple[str, ...] = CLASSES, seen: tuple[str, ...] = ()) -> Path:
    info = {"trained_on_patients": [patient_hash(name) for name in seen]}
    return write_eyes(path, 12, seed, labels, info, patients=False)


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> FundusDataset:
    return FundusDataset.open(write_eyes(tmp_path_factory.mktemp("real") / "real", 24, 0))


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    """Other phantoms of the same kinds: what a perfect generator would make."""
    return write_synthetic(tmp_path_factory.mktemp("good") / "good")


@pytest.fixture(scope="module")
def judged(real, good, tmp_path_factory):
    return judge_synthetic([good], real, seeds=2, out=tmp_path_factory.mktemp("runs") / "good", **QUICK)


def test_other_eyes_of_the_same_kinds_are_recognized_and_taught_from(judged):
    assert judged.scores["trtr"]["macro_auroc"].estimate > 0.95
    assert judged.scores["trts"]["macro_auroc"].estimate > 0.95 and judged.scores["trts"]["accuracy"].estimate > 0.9
    assert judged.scores["tstr"]["macro_auroc"].estimate > 0.95
    assert "recognises the classes of the synthetic ones better than chance" in judged.verdict[0]
    assert judged.verdict[1].startswith("No evidence that training on synthetic eyes changes macro AUROC")
    # 2 seeds; 12 held-out patients, each with one image; 24 synthetic images, each its own.
    told = [(row["accuracy"].seeds, row["accuracy"].patients) for row in judged.scores.values()]
    assert told == [(2, 12), (2, 24), (2, 12)]


def test_all_trainings_cost_the_same(judged):
    ends = {
        path.parents[1].name: pd.read_csv(path)["step"].max() for path in judged.run.path.glob("*/seed0/metrics.csv")
    }
    assert ends == {"real": judged.options.steps, "synthetic": judged.options.steps} and judged.options.steps == 24


def test_page_and_json_tell_the_same(judged):
    told = json.loads((judged.run.path / "summary.json").read_text())
    assert told == json.loads(json.dumps(judged.summary()))
    assert set(told["scores"]["trts"]) >= {"macro_auroc", "accuracy", "ece", "auroc:anemic", "recall:normal"}
    page = (judged.run.path / "report.html").read_text()
    for words in ("Do synthetic eyes show their class? normal vs anemic", str(judged.scores["trts"]["ece"]), "Esteban",
                  str(judged.differences["macro_auroc"]), "12 held-out patients and over 24 synthetic images"):  # fmt: skip
        assert words in page.replace("&#43;", "+")


def test_swapped_labels_are_not_recognized(real, tmp_path):
    """Each class in a folder of its own, the positive one first: predictions stay with their images."""
    swapped = FundusDataset.open(write_synthetic(tmp_path / "swapped", labels=CLASSES[::-1]))
    folders = [swapped.of_class(name).write(tmp_path / name).path for name in reversed(CLASSES)]
    judged = judge_synthetic(folders, real, out=tmp_path / "run", **QUICK)
    assert judged.target.classes == CLASSES
    assert judged.scores["trts"]["macro_auroc"].estimate < 0.05
    assert judged.verdict[0].startswith("The classes of the synthetic eyes are mixed up")
    assert judged.verdict[1].startswith("Training on synthetic eyes harms: macro AUROC is lower")
    meant = judged.meant_and_recognized().set_index("meant")
    assert int(meant.loc["normal", "anemic"].rstrip("%")) > 90
    table = pd.read_csv(judged.run.path / "real" / "seed0" / "predictions-synthetic.csv")
    labels = swapped.table.set_index("file_name")["label"]
    assert len(table) == 24 and (labels[table["file_name"]].to_numpy() == table["true"]).all()


def test_classes_without_synthetic_eyes(real, good, tmp_path):
    one = FundusDataset.open(good).of_class("anemic").write(tmp_path / "anemic").path
    with pytest.raises(UserError, match=r"anemic \(12\); at least two classes were expected.*Name the folders"):
        judge_synthetic([one], real, out=tmp_path / "run", **QUICK)
    with pytest.raises(UserError, match="there are no synthetic images of normal"):
        judge_synthetic([one], real, classes=CLASSES, out=tmp_path / "run", **QUICK)
    assert not (tmp_path / "run").exists()


def test_a_generator_that_saw_held_out_patients_is_refused(real, tmp_path):
    held_out = real.split("test").patients[0]
    leaky = write_synthetic(tmp_path / "leaky", seen=(held_out,))
    with pytest.raises(UserError, match=f"saw 1 patients of the val or test split: {held_out}"):
        judge_synthetic([leaky], real, out=tmp_path / "run", **QUICK)
    assert not (tmp_path / "run").exists()
    unknown = write_eyes(tmp_path / "unknown", 12, 1, patients=False)
    with pytest.raises(UserError, match="does not say on which patients"):
        judge_synthetic([unknown], real, out=tmp_path / "run", **QUICK)


def test_an_interrupted_judgement_goes_on(real, good, judged, tmp_path, monkeypatch):
    """Begun by the function, resumed by the command; the fixture had the same first seed without interruption."""
    trained, fit = [], experiment.fit

    def counted(*args, **kwargs):
        trained.append(kwargs["run"].path.parent.name)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return fit(*args, **kwargs)

    monkeypatch.setattr(experiment, "fit", counted)
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        judge_synthetic([good], real, out=out, **QUICK)
    with pytest.raises(UserError, match="already exists"):
        judge_synthetic([good], real, out=out, **QUICK)
    words = [
        "judge-synthetic", str(good), "--data", str(real.path), "--size", "32", "--epochs", "4", "--batch-size", "4",
        "--device", "cpu", "--quiet", "--json", "--out", str(out), "--resume",
    ]  # fmt: skip
    done = CliRunner().invoke(classify, words)
    assert done.exit_code == 0, done.output
    assert trained == ["real", "synthetic", "synthetic"]
    told = json.loads(done.stdout)
    assert (
        Path(told["report"]).is_file() and set(told["scores"]) == {"trtr", "trts", "tstr"} and len(told["verdict"]) == 2
    )
    for name in ("real/seed0/predictions-real.csv", "synthetic/seed0/predictions-real.csv"):
        assert (out / name).read_bytes() == (judged.run.path / name).read_bytes()
    assert isinstance(CliRunner().invoke(classify, [*words, "--seeds", "2"]).exception, UserError)


def runs_of(skill: float, true: np.ndarray, seeds: int = 2) -> list[SeedPredictions]:
    random = np.random.default_rng(len(true))
    logits = [random.normal(size=(len(true), 3)) + skill * np.eye(3)[true] for _ in range(seeds)]
    names = np.array([f"p{i // 2}" for i in range(len(true))])
    return [SeedPredictions(true, np.exp(z) / np.exp(z).sum(1, keepdims=True), names) for z in logits]


def test_every_figure_comes_from_the_predictions(tmp_path):
    target = Target("label", ("a", "b", "c"))
    real, synthetic = np.repeat([0, 1, 2], [60, 20, 10]), np.repeat([0, 1, 2], 20)
    predictions = {"trtr": runs_of(2.0, real), "trts": runs_of(1.0, synthetic), "tstr": runs_of(0.5, real)}
    run = RunFolder.open_or_create(tmp_path / "run", {}, resume=False)
    found = judge(run, target, TrainingOptions(), predictions)
    for kind, seeds in predictions.items():
        scores, told = found.scores[kind], [run.probabilities.argmax(1) for run in seeds]
        true = seeds[0].true
        assert scores["macro_auroc"].estimate == pytest.approx(
            np.mean([roc_auc_score(true, run.probabilities, multi_class="ovr") for run in seeds])
        )
        assert scores["auroc:b"].estimate == pytest.approx(
            np.mean([roc_auc_score(true == 1, run.probabilities[:, 1]) for run in seeds])
        )
        assert scores["accuracy"].estimate == pytest.approx(np.mean([accuracy_score(true, p) for p in told]))
        recalls = [recall_score(true, p, average=None)[2] for p in told]
        assert scores["recall:c"].estimate == pytest.approx(np.mean(recalls))
        assert found.calibration[kind] == pytest.approx(np.mean([equal_ece(run) for run in seeds]))
    assert found.differences["accuracy"] == paired_difference(predictions["tstr"], predictions["trtr"], "accuracy")
    # The same mixture in all classes: both calibration errors agree.
    assert found.calibration["trts"] == pytest.approx(found.scores["trts"]["ece"].estimate)


def equal_ece(run: SeedPredictions) -> float:
    """ECE after every image was repeated until the classes 60, 20, 10 are equally large."""
    times = np.array([60, 60, 60]) // np.bincount(run.true)
    rows = np.repeat(np.arange(len(run.true)), times[run.true])
    confidence, right = run.probabilities.max(1)[rows], (run.probabilities.argmax(1) == run.true)[rows]
    error = 0.0
    for low in np.arange(10) / 10:
        inside = (confidence > low) & (confidence <= low + 0.1)
        error += abs(confidence[inside].sum() - right[inside].sum()) / len(rows)
    return error


@pytest.mark.parametrize(
    ("low", "high", "real_low", "words"),
    [
        (0.6, 0.8, 0.7, "recognises the classes of the synthetic ones better than chance"),
        (0.4, 0.8, 0.7, "No evidence that a classifier trained on real eyes recognises"),
        (0.2, 0.4, 0.7, "are mixed up"),
        (0.6, 0.8, 0.5, "Nothing can be said of the synthetic eyes"),
        (float("nan"), float("nan"), 0.7, "No evidence"),
        (0.6, 0.8, float("nan"), "Nothing can be said"),
    ],
)
def test_the_sentence_claims_what_the_intervals_allow(low, high, real_low, words):
    ours, theirs = Interval(0.6, low, high, 10, 20, 1), Interval(0.8, real_low, 0.9, 10, 20, 1)
    synthetic = {"macro_auroc": ours, "auroc:a": replace(ours, low=0.7), "auroc:b": replace(ours, low=0.45)}
    sentence = recognition(synthetic, {"macro_auroc": theirs}, ("a", "b"))
    assert words in sentence
    assert sentence.endswith("Not better than chance: b.") == words.startswith("recognises")
