from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.metrics import accuracy_score, roc_auc_score

from fundus_synth.classify.checkpoint import weights_hash
from fundus_synth.classify.deploy import subgroups as subgroups_module
from fundus_synth.classify.deploy.card_answers import interval_text, limits, spelled
from fundus_synth.classify.deploy.card_facts import CardFacts
from fundus_synth.classify.deploy.card_markdown import Markdown
from fundus_synth.classify.deploy.model_card import write_model_card
from fundus_synth.classify.deploy.reporting_items import CLAIM, ITEMS, TRIPOD
from fundus_synth.classify.deploy.subgroups import age_band, subgroups
from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.schema import patient_hash
from fundus_synth.runtime.errors import UserError

CLASSES = ("normal", "glaucoma")


def predictions(n: int = 400, worse: np.ndarray | None = None) -> pd.DataFrame:
    """Two images a patient; where `worse`, the classifier knows nothing."""
    random = np.random.default_rng(0)
    true = random.integers(0, 2, n)
    signal = np.where(np.zeros(n, bool) if worse is None else worse, 0.0, 2.0)
    p = 1 / (1 + np.exp(-(random.normal(size=n) + signal * (2 * true - 1))))
    return pd.DataFrame({
        "file_name": [f"{i}.png" for i in range(n)], "patient_id": [f"p{i // 2}" for i in range(n)],
        "true": np.array(CLASSES)[true], "predicted": np.array(CLASSES)[(p > 0.5).astype(int)],
        "p_normal": 1 - p, "p_glaucoma": p,
    })  # fmt: skip


def people(n: int = 400) -> pd.DataFrame:
    return pd.DataFrame({"sex": np.where(np.arange(n) % 4 < 2, "female", "male"), "eye": ["left", "right"] * (n // 2)})


def test_subgroups_are_those_of_a_direct_computation():
    table, who = predictions(), people()
    who.loc[:39, "sex"] = ""
    found = {(group.column, group.name): group for group in subgroups(table, CLASSES, who)}
    assert list(found) == [("sex", "female"), ("sex", "male"), ("eye", "left"), ("eye", "right")]
    female = found["sex", "female"]
    sides = [table[who["sex"] == name] for name in ("female", "male")]
    auc = [roc_auc_score(side["true"] == "glaucoma", side["p_glaucoma"]) for side in sides]
    right = [accuracy_score(side["true"], side["predicted"]) for side in sides]
    assert female.images == len(sides[0]) and female.patients == sides[0]["patient_id"].nunique()
    assert female.differences["macro AUC"].estimate == pytest.approx(auc[0] - auc[1])
    assert female.differences["accuracy"].estimate == pytest.approx(right[0] - right[1])
    assert found["sex", "male"].estimates["macro AUC"] == pytest.approx(auc[1])
    assert found["sex", "male"].verdict("accuracy") == "the reverse of female"


def test_holm_over_all_differences_of_the_card():
    found = [group for group in subgroups(predictions(), CLASSES, people()) if group.differences]
    raw = sorted(group.differences[m].p for group in found for m in group.differences)
    told = sorted(group.p_values[m] for group in found for m in group.p_values)
    assert len(raw) == 4 and told[0] == pytest.approx(min(1, 4 * raw[0]))


def test_a_group_for_which_nothing_is_known_is_found_and_chance_is_not():
    who = people()
    planted = {g.name: g for g in subgroups(predictions(worse=(who["sex"] == "female").to_numpy()), CLASSES, who)}
    assert planted["female"].verdict("accuracy") == planted["female"].verdict("macro AUC") == "lower"
    assert planted["left"].verdict("accuracy") == "no evidence"


def test_an_eyes_fellow_is_no_independent_witness():
    """Both eyes of a patient told alike: left and right differ in nothing, however few patients are drawn."""
    table = predictions(80)
    for name in ("true", "predicted", "p_normal", "p_glaucoma"):
        table[name] = np.repeat(table[name].to_numpy()[::2], 2)
    left = subgroups(table, CLASSES, people(80)[["eye"]])[0]
    assert (left.differences["accuracy"].low, left.differences["accuracy"].high) == (0, 0)


def test_a_difference_among_many_can_be_claimed(monkeypatch):
    """Holm multiplies p-values by the number of differences, and of few resamples the least is too large for that."""
    drawn, difference = [], subgroups_module.difference_of
    monkeypatch.setattr(
        subgroups_module,
        "difference_of",
        lambda m, values, *rest: drawn.append(len(values)) or difference(m, values, *rest),
    )
    monkeypatch.setattr(subgroups_module, "_RESAMPLES", 10)
    who = pd.DataFrame({"camera": [f"camera {i // 100}" for i in range(400)], "eye": ["left", "right"] * 200})
    subgroups(predictions(), CLASSES, who)
    assert len(drawn) == 12 and 12 * 2 / (min(drawn) + 1) < 0.05


def test_few_patients_and_columns_that_say_nothing():
    who = people()
    who.loc[:9, "sex"], who.loc[10:, "sex"] = "female", "male"
    found = subgroups(predictions(), CLASSES, who.assign(eye="left", camera=""))
    assert [group.name for group in found] == ["female", "male"]
    assert not found[0].differences and found[0].verdict("accuracy").startswith("too few patients")


@pytest.mark.parametrize(("age", "band"), [(39.9, "under 40"), (40, "40 to 49"), (70, "70 and over"), (np.nan, "")])
def test_age_bands(age, band):
    assert age_band(age) == band


def test_words():
    assert interval_text({"estimate": 0.5, "low": 0.4, "high": 0.6}) == "0.500 (0.400 to 0.600)"
    assert interval_text({"estimate": 0.5, "low": None, "high": None}) == "0.500" and interval_text({}) == "-"
    assert spelled("decided_macro_f1") == "macro F1, as decided"
    assert spelled("decided_recall:glaucoma") == "recall of glaucoma, as decided"


def test_markdown_reads_nothing_as_markup():
    page = (
        Markdown("a *title*", "lead")
        .section("s")
        .table(pd.DataFrame({"x|y": ["<script>|", 0.5, np.nan]}))
        .text_of_page()
    )
    assert "\\<script\\>\\|" in page and "| 0.500 |" in page and "| - |" in page and "a \\*title\\*" in page


def test_every_item_of_both_guidelines_is_there_once():
    numbers = {name: [item.number for item in ITEMS if item.guideline == name] for name in (TRIPOD, CLAIM)}
    assert numbers[CLAIM] == [str(n) for n in range(1, 43)]
    assert sorted({int(n.rstrip("abcdefg")) for n in numbers[TRIPOD]}) == list(range(1, 28))
    assert len(set(numbers[TRIPOD])) == len(numbers[TRIPOD]) == 52


@pytest.fixture
def run(toy_run, tmp_path):
    """A copy of the toy run, to add to and to take from."""
    copy = tmp_path / "run"
    shutil.copytree(toy_run, copy)
    return copy


def test_a_card_says_what_is_known_and_what_is_not(run, tmp_path):
    stress = {
        "kind": "fundus-synth stress",
        "images": 12,
        "patients": 6,
        "dataset": "toy",
        "verdicts": ["glare: <b>costs</b>"],
    }
    (run / "stress-toy").mkdir()
    (run / "stress-toy" / "stress.json").write_text(json.dumps(stress))
    (run / "stress-toy" / "options.json").write_text(json.dumps({"classifier": weights_hash(run)}))
    (run / "stress-old").mkdir()
    (run / "stress-old" / "stress.json").write_text(json.dumps(stress | {"verdicts": ["of earlier weights"]}))
    (run / "stress-old" / "options.json").write_text(json.dumps({"classifier": 64 * "0"}))
    markdown, page = write_model_card(run, tmp_path / "v1.2" / "card.v1")
    assert (markdown.name, page.name) == ("card.v1.md", "card.v1.html")
    text, html = markdown.read_text(), page.read_text()
    metrics = json.loads((run / "metrics.json").read_text())["test"]
    for told in (text, html):
        assert "Not a medical device" in told and interval_text(metrics["accuracy"]) in told
        assert "not reported" in told and "fundus-classify check-explanations" in told
        assert all(item.asks in told for item in ITEMS)
    assert "| train | 48 | 96 | 48 | 48 |" in text and "| test | 6 | 12 |" in text
    assert "of earlier weights" not in text
    assert "glare: &lt;b&gt;costs" in html and "glare: \\<b\\>costs" in text
    rows = {item.number: item for item in ITEMS if item.guideline == TRIPOD}
    assert f"| 17 | {rows['17'].asks} | not reported |" in text
    assert f"| 12a | {rows['12a'].asks} | section Data |" in text and "- division: by patient" in text
    assert "| eye | left | 6 | 6 |" in text and "too few patients" in text


def test_a_card_without_the_dataset_says_so(run, tmp_path):
    config = yaml.safe_load((run / "config.yaml").read_text()) | {"data": str(tmp_path / "gone")}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    text = write_model_card(run, tmp_path / "card")[0].read_text()
    assert "no longer where it was" in text and "| train | 48 |" in text and "Not reported: the dataset is gone" in text


def test_the_card_of_an_export_tells_of_the_file(run, tmp_path):
    rules = {
        "attained": 0.857,
        "level": 0.9,
        "quality": 0.2,
        "notes": ["anemic: 6 validation patients cannot show 90%."],
    }
    facts = {
        "precision": "int8",
        "standard_size": 512,
        "licence": "CC0",
        "parity": {"max_difference": 0.00012},
        "rules": rules,
    }
    text = write_model_card(run, tmp_path / "card", model_facts=facts)[0].read_text()
    assert (
        "precision: int8" in text
        and "max difference: 0.00012" in text
        and "86 %" in text
        and "6 validation patients" in text
    )


def test_the_card_of_a_number_words_its_rules_so(run, tmp_path):
    rules = {"attained": 0.8, "level": 0.9, "half_width": 1.25, "notes": ["4 validation patients cannot show 90%."]}
    text = write_model_card(run, tmp_path / "card", model_facts={"rules": rules})[0].read_text()
    assert "The right number lies within 1.25 g/dL of the one told for at least 80 % of the patients" in text
    assert "Sets of possible answers" not in text and "4 validation patients cannot show" in text


def test_limits_are_those_of_what_it_tells(run):
    facts = replace(CardFacts.gather(run), dataset=None)
    told = {target: " ".join(limits(replace(facts, about=replace(facts.about, target=target))))
            for target in ("label", "multilabel", "hemoglobin")}  # fmt: skip
    assert "knows only its classes" in told["label"] and "knows only its findings" in told["multilabel"]
    assert "one number and no disease" in told["hemoglobin"] and "told as one of them" not in told["hemoglobin"]


def test_a_dataset_that_names_no_patients_has_no_patients_in_its_card(run, toy_path, tmp_path):
    shutil.copytree(toy_path, tmp_path / "nameless")
    table = pd.read_csv(tmp_path / "nameless" / "metadata.csv", dtype=str, keep_default_na=False)
    table.assign(patient_id="").to_csv(tmp_path / "nameless" / "metadata.csv", index=False)
    dataset = FundusDataset.open(tmp_path / "nameless")
    about = json.loads((run / "checkpoints" / "classifier.json").read_text())
    hashes = sorted({patient_hash(name) for name in dataset.patient_keys})
    about["patients"] = {"train": hashes[:80], "val": hashes[80:100], "test": hashes[100:]}
    (run / "checkpoints" / "classifier.json").write_text(json.dumps(about))
    text = write_model_card(run, tmp_path / "card", dataset=dataset)[0].read_text()
    assert "no patient is in two" not in text and "Patients are disjoint" not in text
    assert "by photograph: the dataset names no patients" in text and "other photographs of" in text


def test_without_the_dataset_the_predictions_say_whether_patients_are_named(run, tmp_path):
    config = yaml.safe_load((run / "config.yaml").read_text()) | {"data": str(tmp_path / "gone")}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert CardFacts.gather(run).people == "patients"
    table = pd.read_csv(run / "predictions.csv")
    table.assign(patient_id=[f"image {i}" for i in range(len(table))]).to_csv(run / "predictions.csv", index=False)
    assert CardFacts.gather(run).people == "photographs"


def test_runs_that_have_no_card(run, tmp_path):
    (run / "metrics.json").unlink()
    with pytest.raises(UserError, match="training has not ended"):
        write_model_card(run, tmp_path / "card")
    with pytest.raises(UserError, match="holds no classifier"):
        write_model_card(tmp_path, tmp_path / "card")
    assert not (tmp_path / "card.md").exists()
