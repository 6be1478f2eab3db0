from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.metrics import f1_score
from typer.testing import CliRunner

from fundus_synth.classify.combine import combine
from fundus_synth.classify.predictions import read_predictions
from fundus_synth.cli.experiments import classify
from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.dataset_writer import DatasetWriter
from fundus_synth.runtime.errors import UserError

_CLASSES = ("normal", "amd", "cataract")
_PIXEL = np.zeros((2, 2, 3), dtype=np.uint8)


def _eyes(path, patients: int = 150, agree: float = 1.0):
    """Two photographs a patient; the second is of the same class with the chance `agree`. The old have amd more often."""
    random = np.random.default_rng(0)
    with DatasetWriter(path, {"name": "eyes"}) as writer:
        for patient in range(patients):
            first = random.choice(3, p=[0.6, 0.25, 0.15])
            for eye in range(2):
                label = first if random.random() < agree else random.integers(3)
                age = float(np.clip(random.normal((50, 72, 60)[first], 8), 20, 95).round())
                split = ("train", "train", "val", "test")[patient % 4]
                row = {
                    "file_name": f"images/{patient}-{eye}.png",
                    "patient_id": f"p{patient}",
                    "label": _CLASSES[label],
                }
                writer.add({**row, "eye": ("left", "right")[eye], "age_years": age, "split": split}, _PIXEL + patient)
    return FundusDataset.open(path)


def _run(dataset, path, seed: int, strength: float = 1.0):
    """A run folder whose network sees each photograph with this strength."""
    random = np.random.default_rng(seed)
    table = dataset.table[dataset.table["split"] != "train"].reset_index(drop=True)
    true = np.array([_CLASSES.index(name) for name in table["label"]])
    seen = random.normal(size=(len(true), 3))
    seen[np.arange(len(true)), true] += strength
    told = np.exp(strength * seen)
    told /= told.sum(axis=1, keepdims=True)
    names = np.array(_CLASSES, dtype=object)
    out = table[["file_name", "patient_id", "split"]].assign(true=names[true], predicted=names[told.argmax(1)])
    path.mkdir()
    out.assign(**{f"p_{name}": told[:, k] for k, name in enumerate(_CLASSES)}).to_csv(
        path / "predictions.csv", index=False
    )
    (path / "config.yaml").write_text(yaml.safe_dump({"target": "label"}))
    return path


@pytest.fixture(scope="module")
def eyes(tmp_path_factory):
    return _eyes(tmp_path_factory.mktemp("combine") / "eyes")


@pytest.fixture(scope="module")
def runs(eyes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return [_run(eyes, folder / name, seed, strength) for seed, (name, strength) in enumerate((("a", 0.7), ("b", 0.8)))]


@pytest.fixture(scope="module")
def combined(eyes, runs, tmp_path_factory):
    return combine(runs, dataset=eyes, pool="fellow", metadata=True, out=tmp_path_factory.mktemp("out") / "c")


def test_every_step_has_its_row_and_help_is_found(combined):
    steps = ["a", "b", "best run + decision", "ensemble", "metadata alone", "+ fellow eye", "+ metadata", "+ decision"]
    assert combined.table()["step"].tolist() == combined.validation_table()["step"].tolist() == steps
    auroc = {step: row["macro_auroc"].estimate for step, row in combined.scores.items()}
    assert auroc["ensemble"] > max(auroc["a"], auroc["b"])
    assert auroc["+ fellow eye"] > auroc["ensemble"] and auroc["+ metadata"] > auroc["+ fellow eye"]
    assert combined.best_run == max("ab", key=lambda run: combined.validation[run]["macro_f1"])
    assert combined.best_run not in combined.differences
    assert len(combined.verdict) == 2 and "with a decision fitted on val as well" in combined.verdict[1]


def test_figures_are_those_of_the_predictions_on_disk(combined, runs):
    table, classes = read_predictions(combined.folder / "predictions.csv")
    assert classes == _CLASSES and set(table["split"]) == {"val", "test"}
    told = table[[f"p_{name}" for name in classes]].to_numpy()
    assert np.array(classes)[told.argmax(axis=1)].tolist() == table["predicted"].tolist()
    for split, found in (("val", combined.validation), ("test", None)):
        part = table[table["split"] == split]
        reference = f1_score(part["true"], part["predicted"], average="macro")
        value = found["+ decision"]["macro_f1"] if found else combined.scores["+ decision"]["macro_f1"].estimate
        assert value == pytest.approx(reference)
        metrics = json.loads((combined.folder / "metrics.json").read_text())
        assert metrics[split]["macro_f1"]["estimate"] == pytest.approx(reference)
    alone = read_predictions(runs[0] / "predictions.csv")[0].query("split == 'test'")
    reference = f1_score(alone["true"], alone["predicted"], average="macro")
    assert combined.scores["a"]["macro_f1"].estimate == pytest.approx(reference)


def test_the_folder_holds_a_page_and_plain_values(combined):
    assert {"report.html", "steps.html", "steps.csv", "summary.json", "environment.json"} <= {
        path.name for path in combined.folder.iterdir()
    }
    summary = json.loads((combined.folder / "summary.json").read_text())
    assert summary["verdict"] == combined.verdict and "fellow eye" in summary["facts"]
    assert pd.read_csv(combined.folder / "steps.csv")["step"].tolist() == list(combined.scores)
    assert combined.verdict[0].split(" (")[0] in (combined.folder / "steps.html").read_text()


def test_a_combination_that_fails_at_the_end_leaves_nothing(runs, tmp_path, monkeypatch):
    monkeypatch.setattr("fundus_synth.classify.combine.write_combination_report", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        combine(runs[:1], out=tmp_path / "out")
    assert list(tmp_path.glob("out*")) == []


def _with(run, path, change):
    table = change(read_predictions(run / "predictions.csv")[0])
    path.mkdir()
    table.to_csv(path / "predictions.csv", index=False)
    (path / "config.yaml").write_text((run / "config.yaml").read_text())
    return path


def test_nothing_of_the_test_patients_is_used_to_fit(eyes, runs, tmp_path, combined):
    def shuffled(table):
        test = np.flatnonzero(table["split"] == "test")
        table.loc[test, "true"] = np.random.default_rng(0).permutation(table["true"].to_numpy()[test])
        return table

    labels = eyes.table.set_index("file_name")["label"]
    lied = [_with(run, tmp_path / run.name, shuffled) for run in runs]
    told = read_predictions(lied[0] / "predictions.csv")[0].set_index("file_name")["true"]
    labels.loc[told.index] = told
    other = FundusDataset(eyes.path, eyes.info, eyes.table.assign(label=labels.to_numpy()))
    again = combine(lied, dataset=other, pool="fellow", metadata=True, out=tmp_path / "out")
    assert again.facts == combined.facts
    columns = [f"p_{name}" for name in _CLASSES]
    pd.testing.assert_frame_equal(
        read_predictions(again.folder / "predictions.csv")[0][columns],
        read_predictions(combined.folder / "predictions.csv")[0][columns],
    )


def test_one_answer_a_patient(eyes, runs, tmp_path):
    found = combine(runs[:1], pool="patient", out=tmp_path / "out")
    table, _ = read_predictions(found.folder / "predictions.csv")
    assert (
        not table["patient_id"].duplicated().any()
        and len(table) == len(eyes.split("val")) / 2 + len(eyes.split("test")) / 2
    )
    assert found.scores["a"]["macro_f1"].estimate > found.photographs["a"]
    by_eye = combine(runs[:1], dataset=eyes, pool="eye", out=tmp_path / "eyes")
    assert by_eye.scores["a"]["macro_f1"].estimate == pytest.approx(by_eye.photographs["a"])  # one photograph an eye


def test_patients_whose_photographs_disagree_are_refused(tmp_path):
    dataset = _eyes(tmp_path / "eyes", agree=0.5)
    run = _run(dataset, tmp_path / "a", 0)
    held = dataset.table[dataset.table["split"] != "train"]
    number = int((held.groupby("patient_id")["label"].nunique() > 1).sum())
    with pytest.raises(UserError, match=f"{number} of {held['patient_id'].nunique()} patients"):
        combine([run], pool="patient", out=tmp_path / "out")
    assert number and not (tmp_path / "out").exists()


def test_clear_errors(eyes, runs, tmp_path):
    with pytest.raises(UserError, match="no pool 'both'; expected one of none, eye, patient, fellow"):
        combine(runs, pool="both")
    with pytest.raises(UserError, match="--metadata reads the dataset's table. Name the dataset with --data"):
        combine(runs, metadata=True)
    with pytest.raises(UserError, match="--pool eye reads the dataset's table"):
        combine(runs, pool="eye")
    with pytest.raises(UserError, match=r"has no row for \d+ of \d+ predicted images"):
        combine(runs, dataset=eyes.subset(range(20)), metadata=True)
    changed = FundusDataset(eyes.path, eyes.info, eyes.table.assign(label="amd"))
    with pytest.raises(UserError, match="predicted images another class or patient than the runs"):
        combine(runs, dataset=changed, metadata=True)
    lone = _with(runs[0], tmp_path / "lone", lambda table: table.drop_duplicates("patient_id"))
    with pytest.raises(UserError, match="no patient has two photographs in val"):
        combine([lone], pool="fellow")


def test_the_command(runs, tmp_path):
    call = ["combine", str(runs[0]), "--out", str(tmp_path / "out"), "--json"]
    done = CliRunner().invoke(classify, call)
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    assert set(summary["scores"]) == {"a", "+ decision"}  # nothing to take the decision apart from
    assert CliRunner().invoke(classify, call).exit_code != 0  # the folder is there already
