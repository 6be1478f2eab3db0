from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from fundus_synth.classify.evidence import Difference, SeedPredictions, paired_difference
from fundus_synth.classify.experiments.arms import Arm
from fundus_synth.classify.experiments.compare_augmentations import _judge
from fundus_synth.classify.experiments.comparison import adjusted_p_values
from fundus_synth.data.targets import Target
from fundus_synth.runtime.errors import JobError
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
    adjusted = adjusted_p_values({"one": {"f1": borderline}, "two": {"f1": borderline}})
    assert adjusted == {"one": pytest.approx(0.08), "two": pytest.approx(0.08)}


def test_arms_at_unequal_cost_are_refused(results, tmp_path):
    results["better"][1]["steps"] = 120
    run = RunFolder.open_or_create(tmp_path / "run", {}, resume=False)
    with pytest.raises(JobError, match=r"not at equal cost: 100 steps were planned, some took \[120\]"):
        _judge(run, TARGET, ARMS, results, steps=100)
