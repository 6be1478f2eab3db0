from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from fundus_synth.classify.backbones import Classifier
from fundus_synth.classify.checkpoint import load_classifier
from fundus_synth.classify.deploy import stress as stress_module
from fundus_synth.classify.deploy.attacks import fgsm, pgd
from fundus_synth.classify.deploy.stress import held_out_images, stress
from fundus_synth.classify.deploy.stress_report import write_stress_report
from fundus_synth.classify.deploy.stress_result import stress_result
from fundus_synth.classify.evidence import paired_difference
from fundus_synth.classify.predictions import predict_images, read_predictions, seed_predictions, write_predictions
from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.schema import patient_hash
from fundus_synth.preprocess.dataset_masks import whole_field
from fundus_synth.runtime.errors import UserError

SIDE = 16
CLASSES = ("normal", "glaucoma", "cataract")


@pytest.fixture
def linear() -> Classifier:
    """Scores that are plain sums over the pixels: the gradient is known."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 2))
    nn.init.normal_(network[1].weight, std=0.05)
    return Classifier(network, "toy", 2, SIDE, ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), {}).eval()


def pictures(low: int, high: int, n: int = 4) -> np.ndarray:
    return np.random.default_rng(0).integers(low, high, (n, SIDE, SIDE, 3)).astype(np.uint8)


def test_fgsm_moves_by_exactly_epsilon_along_the_known_gradient(linear):
    images, truth = pictures(60, 190), np.array([0, 1, 0, 1])
    moved = fgsm(linear, images, truth, 6).astype(int) - images
    weight = linear.network[1].weight.detach().numpy().reshape(2, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    # The loss of class 0 rises where class 1 gains on it.
    rises = np.sign(weight[1] - weight[0])
    field = (whole_field(SIDE) > 0)[..., None]
    for one, true in zip(moved, truth, strict=True):
        np.testing.assert_array_equal(one, 6 * rises * (1 if true == 0 else -1) * field)


@pytest.mark.parametrize("attack", [fgsm, pgd])
@pytest.mark.parametrize("epsilon", [1, 8])
def test_attacks_stay_in_their_ball_in_the_field_and_in_range(linear, attack, epsilon):
    images = pictures(0, 256)
    attacked = attack(linear, images, np.array([0, 1, 1, 0]), epsilon)
    moved = attacked.astype(int) - images
    assert attacked.dtype == np.uint8 and np.abs(moved).max() == epsilon
    assert not moved[:, whole_field(SIDE) == 0].any()


@pytest.mark.parametrize("attack", [fgsm, pgd])
def test_attacks_lower_the_probability_of_the_true_class(linear, attack):
    images, truth = pictures(60, 190, 8), np.arange(8) % 2
    before = predict_images(linear, images)[np.arange(8), truth]
    after = predict_images(linear, attack(linear, images, truth, 4))[np.arange(8), truth]
    assert (after < before).all()


def test_pgd_of_a_straight_network_ends_in_the_corner_that_fgsm_jumps_to(linear):
    images, truth = pictures(60, 190), np.array([0, 1, 0, 1])
    np.testing.assert_array_equal(pgd(linear, images, truth, 4), fgsm(linear, images, truth, 4))


def unit(seed: int, sharp: float, answers: str = "answer", n: int = 240) -> pd.DataFrame:
    """What a classifier might say: the larger `sharp`, the more of it is right."""
    random = np.random.default_rng(seed)
    true = np.arange(n) % 3
    scores = np.random.default_rng(7).normal(size=(n, 3)) + sharp * np.eye(3)[true]
    told = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    said = np.array(CLASSES)[told.argmax(1)]
    sets = ["; ".join(np.array(CLASSES)[row > 0.2]) for row in told]
    action = random.choice(answers.split(), n)
    return pd.DataFrame({
        "file_name": [f"{i}.png" for i in range(n)], "patient_id": [f"p{i // 2}" for i in range(n)],
        "true": np.array(CLASSES)[true], "predicted": said, **{f"p_{c}": told[:, k] for k, c in enumerate(CLASSES)},
        "action": action, "said": said, "set": sets,
    })  # fmt: skip


def test_figures_are_those_of_a_direct_computation():
    plain, spoilt = unit(1, 2.0, "answer refer retake"), unit(2, 0.8, "answer refer")
    found = stress_result({("none", 0): plain, ("blur", 5): spoilt}, CLASSES, {"classifier": "x", "dataset": "y"})
    (one,) = found.units
    expected = paired_difference([seed_predictions(spoilt, CLASSES)], [seed_predictions(plain, CLASSES)], "macro_auroc")
    assert one.auc_change == expected and one.auc_p == expected.p
    wrong = (spoilt["action"] == "answer") & (spoilt["said"] != spoilt["true"])
    assert one.wrong.estimate == pytest.approx(wrong.mean())
    assert one.wrong_of_answered == pytest.approx(wrong.sum() / (spoilt["action"] == "answer").sum())
    assert one.retaken.estimate == 0 and one.answered.estimate + one.referred.estimate == pytest.approx(1)
    covered = [true in text for true, text in zip(spoilt["true"], spoilt["set"], strict=True)]
    assert one.coverage.estimate == pytest.approx(np.mean(covered))
    assert found.undamaged.auc_change is None and found.facts["patients"] == 120
    assert one.level == "0.08 share of D"


def test_verdicts_claim_a_planted_fall_and_nothing_else():
    plain = unit(1, 2.0)
    tables = {
        ("none", 0): plain, ("glare", 1): plain, ("glare", 3): unit(1, 0.9), ("glare", 5): unit(1, 0.3),
        ("haze", 1): plain, ("haze", 5): plain,
    }  # fmt: skip
    found = stress_result(tables, CLASSES, {"classifier": "x", "dataset": "y"})
    worst, other, wrong = found.verdicts
    assert worst.startswith(
        "glare: evidence that the AUC falls; from severity 3 (0.6 of full strength) on the fall found is more than 0.05: -0."
    )
    assert other.startswith("haze: no evidence that it lowers the AUC")
    assert "that share grew under glare" in wrong
    assert [unit.costs for unit in found.of_kind("glare")] == [False, True, True]
    # From the worst downwards: what is milder cannot be surer, and two damages double each p-value.
    p = [unit.auc_p for unit in found.of_kind("glare")]
    assert p == sorted(p, reverse=True) and p[2] == pytest.approx(2 * found.of_kind("glare")[2].auc_change.p)
    json.dumps(found.as_dict())


def test_grades_are_read_back_as_they_were_written(tmp_path):
    grades = dict(zip(CLASSES, "012", strict=True))
    table = unit(1, 2.0).rename(columns={f"p_{name}": f"p_{grade}" for name, grade in grades.items()})
    for name in ("true", "predicted", "said"):
        table[name] = table[name].map(grades)
    table["set"] = table["said"]
    write_predictions(tmp_path / "unit.csv", table)
    back, classes = read_predictions(tmp_path / "unit.csv")
    assert classes == tuple("012")
    found = stress_result({("none", 0): back, ("blur", 5): back}, classes, {}).undamaged
    assert found.coverage.estimate == (table["true"] == table["said"]).mean() > 0.5
    assert found.wrong.estimate == pytest.approx(1 - found.coverage.estimate)


def test_a_mild_severity_is_not_claimed_where_a_worse_one_shows_nothing():
    plain = unit(1, 2.0)
    found = stress_result({("none", 0): plain, ("blur", 1): unit(1, 0.3), ("blur", 5): plain}, CLASSES, {})
    assert not any(unit.lowers_auc for unit in found.units)
    assert found.verdicts[0].startswith("blur: no evidence")


def test_pictures_of_one_class_have_no_auc_but_a_page(tmp_path):
    few = {key: table[table["true"] == "normal"] for key, table in
           {("none", 0): unit(1, 2.0, n=30), ("haze", 1): unit(1, 0.3, n=30)}.items()}  # fmt: skip
    few = {key: table.reset_index(drop=True) for key, table in few.items()}
    found = stress_result(few, CLASSES, {"classifier": "x", "dataset": "y"})
    assert found.verdicts[0] == "haze: the AUC of so few pictures cannot be compared."
    page = write_stress_report(tmp_path / "r.html", found, np.zeros((32, 32, 3), np.uint8)).read_text()
    assert "haze" in page and "a fall found of more than 0.05 at some severity: no damage." in page


def test_whole_unseen_patients_are_drawn(toy_run, toy_path):
    dataset, about = FundusDataset.open(toy_path), load_classifier(toy_run)[1]
    whole, labels = held_out_images(dataset, about, 400, 0)
    assert {patient_hash(name) for name in whole.table["patient_id"]} == set(about.patients["test"])
    np.testing.assert_array_equal(np.array(about.classes)[labels], whole.table["label"])
    some, _ = held_out_images(dataset, about, 5, 0)
    assert len(some) == 4 and set(some.table["patient_id"].value_counts()) == {2}
    seen = dataset.subset(np.array([patient_hash(n) in about.patients["train"] for n in dataset.table["patient_id"]]))
    with pytest.raises(UserError, match="no unseen patient"):
        held_out_images(seen, about, 5, 0)


@pytest.fixture(scope="module")
def stressed(toy_run, toy_path, tmp_path_factory):
    out = tmp_path_factory.mktemp("stress") / "out"
    found = stress(toy_run, toy_path, kinds=["dark", "pgd"], severities=[1, 5], out=out, device="cpu", quiet=True)
    return out, found


def test_a_stress_test_leaves_units_result_and_page(stressed):
    out, found = stressed
    names = {"none-0.csv", "dark-1.csv", "dark-5.csv", "pgd-1.csv", "pgd-5.csv"}
    assert {path.name for path in (out / "units").iterdir()} == names
    result = json.loads((out / "stress.json").read_text())
    assert result["kind"] == "fundus-synth stress" and len(result["units"]) == 4 and result["images"] == 12
    page = (out / "report.html").read_text()
    assert all(word in page for word in ("stops too few", "Verdicts", "answered wrongly", "grey levels of 255"))
    # Somebody who attacks with the weights known does worse than darkness of one stop.
    assert result["units"][3]["accuracy"]["estimate"] < result["undamaged"]["accuracy"]["estimate"]
    assert found.lines()[-1] == f"report: {out / 'report.html'}"


def test_a_killed_test_goes_on_where_it_was(toy_run, toy_path, tmp_path, monkeypatch):
    options = {
        "kinds": ["jpeg"],
        "severities": [1, 5],
        "out": tmp_path / "s",
        "device": "cpu",
        "quiet": True,
        "count": 4,
    }
    done, whole = [], stress_module.unit_table

    def dying(subject, kind, severity, advance):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append((kind, severity))
        return whole(subject, kind, severity, advance)

    monkeypatch.setattr(stress_module, "unit_table", dying)
    with pytest.raises(KeyboardInterrupt):
        stress(toy_run, toy_path, **options)
    assert done == [("none", 0), ("jpeg", 1)] and not (tmp_path / "s" / "stress.json").exists()
    with pytest.raises(UserError, match="already exists"):
        stress(toy_run, toy_path, **options)
    done[:] = []
    with pytest.raises(UserError, match="other images and seed"):
        stress(toy_run, toy_path, **(options | {"seed": 1}), resume=True)
    stress(toy_run, toy_path, **options, resume=True)
    assert done == [("jpeg", 5)]


def test_bad_requests(toy_run, toy_path, tmp_path):
    for kinds, severities, what in ((["rain"], [1], "rain"), (["blur"], [0], "severity 0")):
        with pytest.raises(UserError, match=what):
            stress(toy_run, toy_path, kinds=kinds, severities=severities, out=tmp_path / "x", device="cpu", quiet=True)
    assert not (tmp_path / "x").exists()
