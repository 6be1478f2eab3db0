from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from fundus_synth.classify.backbones import create_backbone
from fundus_synth.classify.evidence import holm, paired_difference
from fundus_synth.classify.experiments.backbone_comparison import METRICS, unfairness
from fundus_synth.classify.experiments.compare_backbones import _judge, _with_weights, compare_backbones, weight_files
from fundus_synth.classify.experiments.trainings import tested as read
from fundus_synth.classify.metrics import score
from fundus_synth.classify.options import TrainingOptions
from fundus_synth.classify.presets import STUDIES
from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.targets import Target
from fundus_synth.runtime.errors import JobError, UserError
from fundus_synth.runtime.runs import RunFolder

GRADES = Target("grade", ("0", "1", "2"))
SKILL = {"resnet18": 0.0, "weak": 0.1, "strong": 4.0}


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict[str, list[dict]]:
    """Predictions of two seeds each for 60 patients; only "strong" finds the grades, and it alone is pretrained."""
    rng, path = np.random.default_rng(0), tmp_path_factory.mktemp("predictions")
    true = np.repeat([0, 1, 2], 40)
    made: dict[str, list[dict]] = {}
    for name, skill in SKILL.items():
        made[name] = []
        for seed in range(2):
            p = np.exp(rng.normal(size=(120, 3)) + skill * np.eye(3)[true])
            p /= p.sum(axis=1, keepdims=True)
            folder = path / name / f"seed{seed}"
            folder.mkdir(parents=True)
            table = pd.DataFrame({"file_name": [f"{i}.png" for i in range(120)], "patient_id": [f"p{i // 2}" for i in range(120)],
                                  "split": "test", "true": true, "predicted": p.argmax(1),
                                  "p_0": p[:, 0], "p_1": p[:, 1], "p_2": p[:, 2]})  # fmt: skip
            table.to_csv(folder / "predictions.csv", index=False)
            started = "a file" if name == "strong" else "random weights"
            made[name].append({"run": str(folder), "steps": 100, "started_from": started})
    return made


MEASURED = {"threads": 1, "costs": {
    name: {"parameters": 11_700_000, "multiply_adds": 1_800_000_000, "file_bytes": 46_000_000,
           "milliseconds": [2.0 * k, 3.0 * k, 40.0 * k], "relative": [1.0 * k] * 3}
    for k, name in enumerate(SKILL, 1)
}}  # fmt: skip


def judged(results, path, target=GRADES):
    run = RunFolder.open_or_create(path, {}, resume=False)
    options = {name: TrainingOptions(name, steps=100) for name in SKILL}
    return _judge(run, target, None, options, results, MEASURED)


@pytest.fixture(scope="module")
def found(results, tmp_path_factory):
    return judged(results, tmp_path_factory.mktemp("judged") / "run")


def test_every_figure_comes_from_the_predictions(results, found):
    runs = {name: [read(row) for row in rows] for name, rows in results.items()}
    assert set(found.scores["weak"]) == {*METRICS, "quadratic_kappa"}
    for metric in ("macro_f1", "log_loss", "quadratic_kappa"):
        mean = np.mean([score(metric, run.true, run.probabilities) for run in runs["strong"]])
        assert found.scores["strong"][metric].estimate == pytest.approx(mean)
        assert found.differences["strong"][metric] == paired_difference(runs["strong"], runs["resnet18"], metric)
    assert list(found.differences) == ["weak", "strong"]
    p = [found.differences[name]["macro_f1"].p for name in ("weak", "strong")]
    assert list(found.adjusted_p.values()) == pytest.approx(holm(p).tolist())
    json.dumps(found.summary())


def test_a_comparison_across_pretrained_and_random_weights_says_so_first(found):
    assert found.verdict[0].startswith("NOT A FAIR COMPARISON OF BACKBONES: strong started from pretrained weights, "
                                       "resnet18, weak from random ones.")  # fmt: skip
    assert found.verdict[1].startswith("No evidence that weak changes macro F1 against resnet18")
    assert "Not a fair pair" not in found.verdict[1]
    assert found.verdict[2].startswith("strong helps: macro F1 is higher than with resnet18")
    assert found.verdict[2].endswith("Not a fair pair: resnet18 alone started from random weights.")
    assert found.summary()["fair"] is False
    assert found.table().set_index("backbone")["weights"].to_dict() == {
        "resnet18": "random", "weak": "random", "strong": "pretrained"}  # fmt: skip


def test_equal_weights_are_fair_and_labels_have_no_kappa(results, tmp_path):
    assert unfairness({"a": "random weights", "b": "random weights"}) == ""
    results = {name: [row | {"started_from": "a file"} for row in rows] for name, rows in results.items()}
    found = judged(results, tmp_path / "run", Target("label", GRADES.classes))
    assert len(found.verdict) == 2 and not any("fair" in sentence for sentence in found.verdict)
    assert found.summary()["fair"] is True
    assert set(found.scores["weak"]) == set(METRICS)


def test_backbones_at_unequal_cost_are_refused(results, tmp_path):
    results = results | {"weak": [row | {"steps": 90} for row in results["weak"]]}
    with pytest.raises(JobError, match=r"100 steps were planned, some took \[90\]"):
        judged(results, tmp_path / "run")


def test_costs_are_told_with_their_units(found):
    table = found.cost_table().set_index("backbone")
    assert table.loc["resnet18"].tolist() == ["11.70", "1800.0", "46.0", "3.0 (2.2 to 32.6)", "1.00"]
    assert table.loc["weak", "time over resnet18"] == "2.00"


def test_published_figures_stand_beside_ours(found):
    d = replace(found, study=STUDIES["D"])
    table = d.published_table()
    kappa = table[(table["figure"] == "quadratic_kappa") & table["model of the study"].str.contains("scratch")].iloc[0]
    assert kappa["published"] == "0.740" and kappa["here"] == str(found.scores["resnet18"]["quadratic_kappa"])
    assert STUDIES["D"].flaw in d.lines()
    c = replace(STUDIES["C"], published=(replace(STUDIES["C"].published[0], backbone="resnet18"),))
    rows = replace(found, study=c).published_table().set_index("figure")
    assert rows.loc["parameters (M)", ["published", "here"]].tolist() == ["44.00", "11.70"]
    assert rows.loc["CPU ms an image", ["published", "here"]].tolist() == ["300000.0", "3.0"]
    assert set(replace(found, study=STUDIES["E"]).published_table()["here"]) == {"-"}


def test_weights_belong_to_backbones(tmp_path):
    files = weight_files([f"resnet18={tmp_path}/a=b.safetensors"], ["simple_cnn", "resnet18", "vgg13_bn"])
    assert files == {"resnet18": f"{tmp_path}/a=b.safetensors"}
    common = TrainingOptions()
    chosen = {
        name: _with_weights(common, name, files, pretrained=True) for name in ("simple_cnn", "resnet18", "vgg13_bn")
    }
    assert {name: (one.weights, one.pretrained) for name, one in chosen.items()} == {
        "simple_cnn": (None, False), "resnet18": (files["resnet18"], False), "vgg13_bn": (None, True)}  # fmt: skip


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"backbones": ["resnet10t", "resnet10t"]}, "backbone resnet10t is named twice"),
        ({"backbones": ["resnet10t"], "weights": ["resnet10t"]}, "'resnet10t' were given, BACKBONE=FILE was expected"),
        ({"backbones": ["resnet10t"], "weights": ["resnet18=x"]}, "resnet18, which is not compared.*resnet10t"),
        ({"backbones": ["resnet10t"], "weights": ["resnet10t=a", "resnet10t=b"]}, "resnet10t are given twice"),
        ({"backbones": ["resnet10t"], "weights": ["resnet10t=nowhere.safetensors"]}, "no such weights file"),
        ({"backbones": ["simple_cnn", "resnet10"]}, "no backbone is called 'resnet10'.*resnet10t"),
        ({"study": "F"}, "no study is called 'F'"),
        ({"backbones": ["simple_cnn"], "head": "ordinal"}, "target grade with ascending classes.*another head"),
        ({"backbones": ["simple_cnn"], "size": 16}, "size is 16"),
    ],
)
def test_mistakes_are_met_before_anything_is_trained(options, said, toy_path, tmp_path):
    with pytest.raises(UserError, match=said):
        compare_backbones(FundusDataset.open(toy_path), out=tmp_path / "run", quiet=True, **options)
    assert not (tmp_path / "run").exists()


def test_a_whole_comparison(toy_path, tmp_path, monkeypatch):
    file = tmp_path / "w.safetensors"
    save_file(create_backbone("resnet10t", 7, 32).network.state_dict(), file, {"timm": "resnet10t"})
    options = {"backbones": ["simple_cnn", "resnet10t"], "study": "E", "size": 32, "epochs": 1, "seeds": 1, "quiet": True,
               "weights": [f"resnet10t={file}"], "device": "cpu", "out": tmp_path / "run"}  # fmt: skip
    found = compare_backbones(FundusDataset.open(toy_path), **options)
    assert found.started_from["simple_cnn"] == "random weights" and "w.safetensors" in found.started_from["resnet10t"]
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["verdict"][0].startswith("NOT A FAIR COMPARISON")
    assert summary["costs"]["resnet10t"]["multiply_adds"] > 1e6
    page = (tmp_path / "run" / "report.html").read_text()
    for text in (
        "Quality against cost",
        "vgg13_bn was not compared.",
        "Size: 512 px in the study, 32 px here.",
        "Classes: 8 in the study, 2 here.",
        "0.550",
    ):
        assert text in page
    split = pd.read_csv(tmp_path / "run" / "split.csv")
    test = set(split.loc[split["split"] == "test", "file_name"])
    for name in found.options:
        folder = tmp_path / "run" / "backbones" / name / "seed0"
        assert set(pd.read_csv(folder / "predictions.csv")["file_name"]) == test
    # Resumed: nothing is trained or measured again, so everything is the same.
    monkeypatch.setattr("fundus_synth.classify.fitting.run_steps", lambda *_: pytest.fail("trained again"))
    again = compare_backbones(FundusDataset.open(toy_path), resume=True, **options)
    assert again.summary() == found.summary()
    assert torch.get_num_threads() == found.threads
