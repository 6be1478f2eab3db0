from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from fundus_synth.classify.evidence import Difference, SeedPredictions, adjusted_p_values, paired_difference
from fundus_synth.classify.experiments.arms import Arm
from fundus_synth.classify.experiments.compare_augmentations import _judge, compare_augmentations
from fundus_synth.classify.experiments.comparison import class_verdicts, ratio_verdicts
from fundus_synth.classify.experiments.comparison_report import _lead
from fundus_synth.classify.predictions import read_predictions
from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.targets import Target
from fundus_synth.runtime.errors import JobError, UserError
from fundus_synth.runtime.runs import RunFolder

TARGET = Target("label", ("normal", "anemic"))
ARMS = [Arm("default"), Arm("better")]


@pytest.fixture
def results(tmp_path) -> dict[str, list[dict]]:
    """Two seeds an arm on 40 patients; the second arm finds more of the anaemic ones."""
    rng = np.random.default_rng(0)
    true = np.repeat([0, 1], 40)
    made: dict[str, list[dict]] = {}
    for arm, skill in (("default", 0.2), ("better", 2.5)):
        made[arm] = []
        for seed in range(2):
            p = 1 / (1 + np.exp(-(rng.normal(size=80) + skill * (2 * true - 1))))
            folder = tmp_path / arm / f"seed{seed}"
            folder.mkdir(parents=True)
            names = np.asarray(TARGET.classes)
            table = pd.DataFrame({"file_name": [f"{i}.png" for i in range(80)], "patient_id": [f"p{i // 2}" for i in range(80)],
                                  "split": "test", "true": names[true], "predicted": names[(p > 0.5).astype(int)],
                                  "p_normal": 1 - p, "p_anemic": p})  # fmt: skip
            table.to_csv(folder / "predictions.csv", index=False)
            made[arm].append({"run": str(folder), "steps": 100})
    return made


def test_every_figure_comes_from_the_predictions(results, tmp_path):
    run = RunFolder.open_or_create(tmp_path / "run", {}, resume=False)
    found = _judge(run, TARGET, ARMS, results, steps=100)
    tables = {arm: [pd.read_csv(r["run"] + "/predictions.csv") for r in rows] for arm, rows in results.items()}
    for arm, frames in tables.items():
        accuracy = np.mean([(frame["true"] == frame["predicted"]).mean() for frame in frames])
        assert found.scores[arm]["accuracy"].estimate == pytest.approx(accuracy)
    seeds = [[SeedPredictions((f["true"] == "anemic").to_numpy(int), f[["p_normal", "p_anemic"]].to_numpy(),
                              f["patient_id"].to_numpy(str)) for f in tables[arm]] for arm in ("better", "default")]  # fmt: skip
    assert found.differences["better"]["f1"] == paired_difference(*seeds, "f1")
    assert found.verdict[0].startswith("better helps: F1 of anemic is higher than with default")
    assert [str(path) for path in found.runs["better"]] == [row["run"] for row in results["better"]]
    json.dumps(found.summary())


def test_verdicts_are_corrected_for_the_number_of_arms(results, tmp_path):
    results = results | {"same": results["default"]}
    run = RunFolder.open_or_create(tmp_path / "run", {}, resume=False)
    found = _judge(run, TARGET, [*ARMS, Arm("same")], results, steps=100)
    p = {arm: row["f1"].p for arm, row in found.differences.items()}
    assert found.adjusted_p == {"better": pytest.approx(2 * p["better"]), "same": 1}
    assert f"Holm-adjusted p {2 * p['better']:.3f}" in found.verdict[0]
    assert found.verdict[1].startswith("No evidence that same changes F1 of anemic")
    detectable = found.smallest_detectable()
    assert detectable["same"] == 0 < detectable["better"]
    alone = _judge(run, TARGET, ARMS, results, steps=100)
    assert alone.smallest_detectable()["better"] < detectable["better"]
    table = found.difference_table().set_index("arm")
    assert table.loc["better - default", "adjusted p"] == f"{found.adjusted_p['better']:.3f}"
    assert table.loc["better - default", "detectable"] == f"{detectable['better']:.3f}"


def test_an_interval_without_0_is_no_verdict_when_the_adjusted_p_is_not_small():
    borderline = Difference(0.05, 0.001, 0.09, 2000, 40, 2, 0.04, 0.024)
    adjusted = adjusted_p_values({"one": borderline, "two": borderline})
    assert adjusted == {"one": pytest.approx(0.08), "two": pytest.approx(0.08)}


def test_arms_at_unequal_cost_are_refused(results, tmp_path):
    results["better"][1]["steps"] = 120
    run = RunFolder.open_or_create(tmp_path / "run", {}, resume=False)
    with pytest.raises(JobError, match=r"not at equal cost: 100 steps were planned, some took \[120\]"):
        _judge(run, TARGET, ARMS, results, steps=100)


def _three_classes(skills: dict[str, tuple[float, float, float]]) -> dict[str, list[SeedPredictions]]:
    """{arm: two seeds} on 90 patients with two images each; `skills` is how well an arm knows each class."""
    rng = np.random.default_rng(1)
    true = np.repeat([0, 1, 2], 60)
    patients = np.array([f"p{i // 2}" for i in range(180)])
    noise = rng.normal(size=(2, 180, 3))
    made: dict[str, list[SeedPredictions]] = {}
    for arm, skill in skills.items():
        logits = noise + np.eye(3)[true] * np.array(skill)[true][:, None]
        shares = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
        made[arm] = [SeedPredictions(true, one, patients) for one in shares]
    return made


def test_verdicts_class_by_class():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    runs = _three_classes({"default": (1, 1, 1), "better": (1, 1, 4), "same": (1, 1, 1)})
    found = class_verdicts(runs, ("normal", "diabetes", "amd"))
    assert set(found) == {"better", "same"}
    assert found["better"]["amd"].claim == "helps"
    assert {one.claim for one in found["same"].values()} == {"no evidence"}
    p = [one.difference.p for row in found.values() for one in row.values()]
    adjusted = [one.adjusted_p for row in found.values() for one in row.values()]
    assert adjusted == pytest.approx(multitest.multipletests(p, method="holm")[1])
    swapped = {"default": runs["better"], "better": runs["default"]}
    assert class_verdicts(swapped, ("normal", "diabetes", "amd"))["better"]["amd"].claim == "harms"


def test_no_class_verdicts_of_two_classes():
    two = SeedPredictions(np.array([0, 1]), np.full((2, 2), 0.5), np.array(["a", "b"]))
    assert class_verdicts({"default": [two], "gan": [two]}, ("normal", "anemic")) == {}


def test_more_synthetic_images_are_held_against_the_fewest_of_the_same_kind():
    arms = [Arm("default"), Arm("gan:2", ratio=2), Arm("gan:0.1", ratio=0.1), Arm("gan:1", ratio=1),
            Arm("gan:1:filtered", ratio=1, filtered=True)]  # fmt: skip
    runs = _three_classes({"default": (1, 1, 1), "gan:0.1": (1, 1, 1), "gan:1": (1, 1, 1), "gan:2": (3, 3, 3),
                           "gan:1:filtered": (3, 3, 3)})  # fmt: skip
    sentences = ratio_verdicts(arms, runs, "macro F1")
    assert len(sentences) == 2
    assert sentences[0].startswith("No evidence that gan:1 changes macro F1 against gan:0.1")
    assert sentences[1].startswith("gan:2 helps: macro F1 is higher than with gan:0.1")
    assert ratio_verdicts(arms[:2], runs, "macro F1") == []


OPTIONS = {
    "arms": ["default", "randaugment"],
    "seeds": 1,
    "size": 32,
    "epochs": 1,
    "batch_size": 16,
    "device": "cpu",
    "quiet": True,
}


def test_all_arms_are_tested_on_another_dataset_too(toy_path, write_toy, tmp_path):
    """The other dataset has 30 patients of its own and 10 who are in the toy set, under the same names."""
    other = FundusDataset.open(write_toy(tmp_path / "other", 30, prefix="other"))
    toy = FundusDataset.open(toy_path)
    table = other.table.assign(patient_id=[toy.table["patient_id"][k] if k < 20 else name
                                           for k, name in enumerate(other.table["patient_id"])])  # fmt: skip
    mixed = FundusDataset(other.path, other.info, table).write(tmp_path / "mixed")
    found = compare_augmentations(toy, external=mixed.path, out=tmp_path / "run", **OPTIONS)
    split = pd.read_csv(tmp_path / "run" / "split.csv").set_index("file_name")["split"]
    sides = dict(zip(toy.table["patient_id"], split[toy.table["file_name"]], strict=True))
    allowed = {name for name in mixed.table["patient_id"] if sides.get(name) not in ("train", "val")}
    for arm in ("default", "randaugment"):
        (run,) = found.runs[arm]
        said, _ = read_predictions(run / "predictions-external.csv")
        assert set(said["patient_id"]) == allowed and len(said) < len(mixed)
        (there,) = found.external.predictions[arm]
        accuracy = (there.probabilities.argmax(1) == there.true).mean()
        assert found.external.scores[arm]["accuracy"].estimate == pytest.approx(accuracy)
        assert len(there.true) == len(said) != len(found.predictions[arm][0].true)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "On another dataset: other" in page
    assert found.summary()["external"]["name"] == "other"
    assert "On other:" in found.lines()


def test_another_dataset_without_a_class_is_refused(toy_path, tmp_path):
    toy = FundusDataset.open(toy_path)
    half = toy.of_class("normal").write(tmp_path / "half")
    with pytest.raises(UserError, match="has no image of anemic to test on"):
        compare_augmentations(toy, external=half.path, out=tmp_path / "run", **OPTIONS)
    assert not (tmp_path / "run").exists()


def test_the_page_begins_with_what_was_shown(results, tmp_path):
    results = results | {"same": results["default"]}
    run = RunFolder.open_or_create(tmp_path / "run", {}, resume=False)
    found = _judge(run, TARGET, [*ARMS, Arm("same")], results, steps=100)
    assert _lead(found) == "Shown to help: better."
    swapped = {"default": results["better"], "worse": results["default"]}
    assert _lead(_judge(run, TARGET, [Arm("default"), Arm("worse")], swapped, steps=100)) == "Shown to harm: worse."
    nothing = _judge(run, TARGET, [Arm("default"), Arm("same")], results, steps=100)
    assert _lead(nothing) == "No arm was shown to help or to harm."
