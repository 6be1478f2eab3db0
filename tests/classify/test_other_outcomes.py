"""Several labels an image, and haemoglobin: how they are learned, decided, judged, tested again and told."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, log_loss, recall_score, roc_auc_score

from fundus_synth.classify.backbones import create_backbone
from fundus_synth.classify.checkpoint import About, load_classifier
from fundus_synth.classify.class_score import ClassScore
from fundus_synth.classify.evaluate import evaluate
from fundus_synth.classify.explain.explain import explain
from fundus_synth.classify.fitting import fit
from fundus_synth.classify.hemoglobin_results import agreement_figure, who_classes, write_hemoglobin_results
from fundus_synth.classify.label_results import decided_labels, label_intervals, label_metrics, write_label_results
from fundus_synth.classify.metrics import odir_score
from fundus_synth.classify.options import TrainingOptions
from fundus_synth.classify.predictions import predict, predict_images
from fundus_synth.classify.supervised import SupervisedTraining
from fundus_synth.classify.tasks import MANY_LABELS, ONE_NUMBER
from fundus_synth.classify.train import train
from fundus_synth.data.dataset import FundusDataset
from fundus_synth.runtime.errors import UserError
from fundus_synth.runtime.runs import RunFolder

QUICK = {"steps": 4, "batch_size": 8, "size": 32, "device": "cpu", "quiet": True}
LABELS = ("normal", "diabetes", "myopia")


def _label_table(n: int = 60, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    true = (random.random((n, 3)) < [0.5, 0.3, 0.2]).astype(int)
    told = np.clip(0.35 * true + 0.6 * random.random((n, 3)), 0.01, 0.99).round(2)
    table = pd.DataFrame({"file_name": [f"{i}.png" for i in range(n)], "patient_id": [f"p{i // 2}" for i in range(n)]})
    for k, name in enumerate(LABELS):
        table[f"t_{name}"], table[f"p_{name}"] = true[:, k], told[:, k]
    decided = told >= [0.5, 0.4, 0.6]
    table["predicted"] = ["; ".join(name for name, there in zip(LABELS, row, strict=True) if there) for row in decided]
    return table


def test_label_metrics_agree_with_scikit_learn():
    table = _label_table()
    true, told = (table[[f"{p}_{name}" for name in LABELS]].to_numpy() for p in "tp")
    weights = np.random.default_rng(1).integers(0, 3, len(table))
    decided = decided_labels(table, LABELS)
    np.testing.assert_array_equal(decided, told >= [0.5, 0.4, 0.6])
    found = {name: float(values[0]) for name, values in label_metrics(table, LABELS, weights[None]).items()}
    how = {"average": "macro", "sample_weight": weights}
    assert found["macro_auroc"] == pytest.approx(roc_auc_score(true, told, **how))
    assert found["macro_average_precision"] == pytest.approx(average_precision_score(true, told, **how))
    assert found["macro_f1"] == pytest.approx(f1_score(true, told >= 0.5, **how))
    assert found["decided_macro_f1"] == pytest.approx(f1_score(true, decided, **how))
    assert found["decided_recall:myopia"] == pytest.approx(
        recall_score(true[:, 2], decided[:, 2], sample_weight=weights)
    )
    assert found["auroc:diabetes"] == pytest.approx(roc_auc_score(true[:, 1], told[:, 1], sample_weight=weights))
    losses = [log_loss(true[:, k], told[:, k], sample_weight=weights) for k in range(3)]
    assert found["log_loss"] == pytest.approx(np.mean(losses))
    assert found["odir_score"] == pytest.approx(float(odir_score(true, told, weights)))


def test_label_intervals_resample_patients():
    table = _label_table(80)
    narrow = label_intervals(table, LABELS, resamples=400)["macro_auroc"]
    doubled = pd.concat([table, table], ignore_index=True)  # the same patients twice tell nothing new
    again = label_intervals(doubled, LABELS, resamples=400)["macro_auroc"]
    assert narrow.low < narrow.estimate < narrow.high and narrow.patients == 40
    assert (again.low, again.high) == pytest.approx((narrow.low, narrow.high))
    table["t_myopia"] = 0
    without = label_intervals(table, LABELS, resamples=50)
    assert np.isnan(without["auroc:myopia"].estimate) and np.isnan(without["f1:myopia"].low)
    both = np.mean([without[f"auroc:{name}"].estimate for name in LABELS[:2]])
    assert without["macro_auroc"].estimate == pytest.approx(both)


def test_the_label_report_says_what_it_shows(tmp_path):
    write_label_results(tmp_path, {"val": _label_table(20, 1), "test": _label_table()}, LABELS, {"backbone": "none"})
    page = (tmp_path / "report.html").read_text()
    assert "ODIR-2019 challenge score" in page and "test, decided" in page and "myopia" in page
    assert json.loads((tmp_path / "metrics.json").read_text())["test"]["macro_f1"]["low"] > 0


def _hemoglobin_table(n: int = 40) -> pd.DataFrame:
    random = np.random.default_rng(0)
    measured = random.normal(12.5, 1.5, n).round(1)
    return pd.DataFrame({
        "file_name": [f"{i}.png" for i in range(n)], "patient_id": [f"p{i // 2}" for i in range(n)],
        "sex": np.array(["female", "male", "", "female"])[np.arange(n) % 4],
        "age_years": np.where(np.arange(n) % 8 == 0, np.nan, 40),
        "measured": measured, "told": measured + random.normal(0.3, 1.0, n),
    })  # fmt: skip


def test_anaemia_is_told_where_sex_is_known():
    table = _hemoglobin_table()
    table.loc[1, "age_years"] = 0.2  # the WHO gives no cut-off
    found = who_classes(table)
    usable = (table["sex"] != "") & (table.index != 1)
    cutoff = np.where(table["sex"] == "male", 13.0, 12.0)[usable]
    np.testing.assert_array_equal(found.true, table["measured"][usable] < cutoff)
    np.testing.assert_array_equal(found.probabilities.argmax(1), table["told"][usable] < cutoff)
    assert found.patients.tolist() == table["patient_id"][usable].tolist()
    assert who_classes(table.assign(sex="")) is None


def test_the_haemoglobin_report_says_what_it_shows(tmp_path):
    table = _hemoglobin_table()
    found = write_hemoglobin_results(tmp_path, {"val": table[:20], "test": table}, ("hemoglobin_g_dl",), {})["test"]
    assert found["mae"]["estimate"] == pytest.approx((table["told"] - table["measured"]).abs().mean())
    classes = who_classes(table)
    expected = accuracy_score(classes.true, classes.probabilities.argmax(1))
    assert found["anemia_accuracy"]["estimate"] == pytest.approx(expected)
    assert found["mae"]["low"] < found["mae"]["estimate"] < found["mae"]["high"]
    page = (tmp_path / "report.html").read_text()
    assert "Telling everyone their mean" in page and "limits of agreement" in page and "known sex (40 in all)" in page
    unknown = write_hemoglobin_results(tmp_path, {"test": table.assign(sex="")}, ("hemoglobin_g_dl",), {})["test"]
    assert set(unknown) == {"mae", "bias", "lower_limit", "upper_limit"}
    with pytest.raises(UserError, match="one patient"):
        write_hemoglobin_results(tmp_path, {"test": table[:2]}, ("hemoglobin_g_dl",), {})


def test_the_agreement_figure_shows_its_table():
    table = _hemoglobin_table()
    limits = dict.fromkeys(("bias", "lower_limit", "upper_limit"))
    for k, name in enumerate(limits):
        limits[name] = type("I", (), {"estimate": float(k)})
    left, right = agreement_figure(table, limits).axes
    np.testing.assert_allclose(left.collections[0].get_offsets(), table[["measured", "told"]])
    np.testing.assert_allclose(right.collections[0].get_offsets()[:, 1], table["told"] - table["measured"])
    assert [line.get_ydata()[0] for line in right.lines] == [0.0, 1.0, 2.0]


def test_losses_and_weights_of_labels_by_hand():
    labels = np.array([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0], [1.0, 0.0]])
    weights = MANY_LABELS.weights(labels, 2)
    assert weights.tolist() == pytest.approx([1 / 3, 3])
    outputs = torch.tensor([[0.3, -1.0], [0.1, 2.0], [-0.5, 0.4], [1.0, 0.0]])
    p = torch.sigmoid(outputs).numpy()
    by_hand = -(weights.numpy() * labels * np.log(p) + (1 - labels) * np.log(1 - p)).mean()
    loss = MANY_LABELS.loss(outputs, torch.from_numpy(labels), "linear", weights, 0.0)
    assert float(loss) == pytest.approx(by_hand, abs=1e-6)
    assert MANY_LABELS.strata(labels).tolist() == [0, 2, 1, 0]  # the rarest label that it has; none is a class too
    row = MANY_LABELS.validation(labels, p)
    assert row["val_log_loss"] == pytest.approx(np.mean([log_loss(labels[:, k], p[:, k]) for k in range(2)]), abs=1e-6)
    assert row["val_macro_auroc"] == pytest.approx(roc_auc_score(labels, p, average="macro"))


def test_a_number_begins_at_the_mean_and_is_learned_by_squared_error():
    labels = np.array([10.0, 12.0, 17.0])
    for backbone, head in (("simple_cnn", "linear"), ("simple_cnn", "dense"), ("resnet10t", "cbam")):
        model = create_backbone(backbone, 1, 32, head=head).eval()
        ONE_NUMBER.prepare(model, labels)
        with torch.inference_mode():
            assert model(torch.rand(2, 3, 32, 32)).numpy() == pytest.approx(13, abs=1.5)
    outputs = torch.tensor([[10.0], [13.0], [15.0]])
    assert float(ONE_NUMBER.loss(outputs, torch.from_numpy(labels), "linear", None, 0.0)) == pytest.approx(5 / 3)
    assert ONE_NUMBER.validation(labels, outputs.numpy()) == {"val_squared_error": pytest.approx(5 / 3), "val_mae": 1}


@pytest.mark.parametrize("task", [MANY_LABELS, ONE_NUMBER])
def test_options_for_classes_are_refused(task):
    for options in (TrainingOptions(head="regression"), TrainingOptions(label_smoothing=0.1)):
        with pytest.raises(UserError, match="is for target grade|not defined"):
            task.check_options(options)
    task.check_options(TrainingOptions(head="dense"))
    with pytest.raises(UserError, match="agree on it"):
        task.check(np.ones((4, 2)) if task is MANY_LABELS else np.ones(4), ("a", "b"))


@pytest.fixture(scope="module")
def wide(toy_path) -> FundusDataset:
    """The toy with haemoglobin, sex, and ODIR's columns: diabetes where it is "anemic", myopia in every third patient."""
    dataset = FundusDataset.open(toy_path)
    anemic, patient = dataset.table["label"] == "anemic", np.arange(len(dataset)) // 2
    table = dataset.table.assign(**dict.fromkeys("NDGCAHMO", 0)).assign(
        D=anemic.astype(int), M=(patient % 3 == 0).astype(int), N=(~anemic & (patient % 3 > 0)).astype(int),
        hemoglobin_g_dl=np.where(anemic, 9.0, 14.0) + patient % 4 / 4, sex=np.where(patient % 5 < 2, "female", "male"),
        age_years=50.0,
    )  # fmt: skip
    return FundusDataset(dataset.path, dataset.info, table)


@pytest.fixture(scope="module")
def label_run(wide, tmp_path_factory):
    return train(wide, target="multilabel", out=tmp_path_factory.mktemp("labels") / "run", **QUICK).path


@pytest.fixture(scope="module")
def hemoglobin_run(wide, tmp_path_factory):
    how = {**QUICK, "steps": 40, "batch_size": 16, "schedule": "constant"}
    return train(wide, target="hemoglobin", out=tmp_path_factory.mktemp("hb") / "run", **how).path


def test_labels_from_training_to_prediction(label_run, wide, tmp_path):
    table = pd.read_csv(label_run / "predictions.csv", keep_default_na=False)
    assert [c for c in table if c[:2] in ("t_", "p_")] == [f"{p}_{name}" for p in "tp" for name in LABELS]
    truth = wide.table.set_index("file_name").loc[table["file_name"], ["N", "D", "M"]]
    np.testing.assert_array_equal(table[[f"t_{name}" for name in LABELS]], truth)
    decision = json.loads((label_run / "checkpoints" / "decision.json").read_text())
    told = table[[f"p_{name}" for name in LABELS]].to_numpy()
    np.testing.assert_array_equal(decided_labels(table, LABELS), told >= decision["thresholds"])
    found = evaluate(label_run, wide, out=tmp_path / "e", device="cpu", quiet=True)
    written = json.loads((label_run / "metrics.json").read_text())["test"]
    for name in ("macro_auroc", "decided_macro_f1", "odir_score", "decided_f1:diabetes"):
        assert found.metrics[name] == pytest.approx(written[name])
    assert any(line.startswith("macro_auroc") for line in found.lines())


def test_haemoglobin_from_training_to_prediction(hemoglobin_run, wide, tmp_path):
    metrics = json.loads((hemoglobin_run / "metrics.json").read_text())["test"]
    table = pd.read_csv(hemoglobin_run / "predictions.csv")
    truth = wide.table.set_index("file_name").loc[table["file_name"], "hemoglobin_g_dl"]
    np.testing.assert_allclose(table["measured"], truth)
    test = table[table["split"] == "test"]
    guess = (test["measured"] - test["measured"].mean()).abs().mean()
    assert metrics["mae"]["estimate"] < 0.6 * guess  # the toy is easy
    assert not (hemoglobin_run / "checkpoints" / "decision.json").exists()
    found = evaluate(hemoglobin_run, wide, out=tmp_path / "e", device="cpu", quiet=True)
    assert found.metrics["mae"]["estimate"] == pytest.approx(metrics["mae"]["estimate"])
    assert found.lines()[0].startswith("mae: ")


def test_camera_files_are_told_labels_and_haemoglobin(label_run, hemoglobin_run, camera_file, tmp_path):
    camera_file(tmp_path / "eye.png", 160)
    (tmp_path / "text.jpg").write_text("not a photograph")
    labels = predict(label_run, [tmp_path], device="cpu", quiet=True)
    assert list(labels) == ["file", "predicted", "p_normal", "p_diabetes", "p_myopia", "problem"]
    assert set(filter(None, labels["predicted"][0].split("; "))) <= set(LABELS)
    assert labels["p_normal"].isna().tolist() == [False, True]
    image = np.random.default_rng(0).integers(0, 200, (1, 32, 32, 3)).astype(np.uint8)
    model, _ = load_classifier(label_run)
    score = ClassScore(str(label_run), "myopia")(image)
    np.testing.assert_allclose(score, predict_images(model, image, task=MANY_LABELS)[:, 2])
    number = predict(hemoglobin_run, [tmp_path], device="cpu", quiet=True)
    assert list(number) == ["file", "hemoglobin_g_dl", "problem"]
    assert 5 < number["hemoglobin_g_dl"][0] < 20 and np.isnan(number["hemoglobin_g_dl"][1]) and number["problem"][1]


def test_labels_and_haemoglobin_are_explained(hemoglobin_run, label_run, wide, tmp_path):
    for run, names, unit in ((label_run, LABELS, "logit"), (hemoglobin_run, ["lower"], "g/dL")):
        page = explain(run, wide, count=1, out=tmp_path / unit[0], device="cpu", quiet=True)
        assert "What makes haemoglobin lower" in page.read_text() or unit == "logit"
        for name in names:
            with np.load(page.parent / f"{name}-grad-cam.npz", allow_pickle=False) as kept:
                assert str(kept["unit"]) == unit and len(kept["maps"]) == len(kept["cases"]) > 0


def test_what_asks_for_one_class_refuses_them(hemoglobin_run, wide, tmp_path):
    with pytest.raises(UserError, match="does not know anemic"):
        ClassScore(str(hemoglobin_run), "anemic")(np.zeros((1, 32, 32, 3), np.uint8))
    with pytest.raises(UserError, match="one label each"):
        train(wide, target="multilabel", synthetic=["x"], out=tmp_path / "run", **QUICK)


@pytest.mark.parametrize(
    ("target", "classes"), [("multilabel", ("normal", "myopia")), ("hemoglobin", ("hemoglobin_g_dl",))]
)
def test_an_interrupted_training_continues_bit_for_bit(tmp_path, monkeypatch, target, classes):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (24, 32, 32, 3)).astype(np.uint8)
    labels = np.arange(24) % 5 + 9.0 if target == "hemoglobin" else (random.random((24, 2)) < 0.5).astype(float)
    options = TrainingOptions(size=32, steps=7, batch_size=6, evaluate_every=2, keep="best", device="cpu")

    def run_fit(name: str, resume: bool = False) -> tuple[bytes, str]:
        run = RunFolder.open_or_create(tmp_path / name, {}, resume)
        fit(images, labels, classes, options, validation=(images, labels), run=run, resume=resume, quiet=True,
            about=About(classes, target))  # fmt: skip
        return (run.checkpoints / "classifier.safetensors").read_bytes(), (run.path / "metrics.csv").read_text()

    whole, step = run_fit("whole"), SupervisedTraining.training_step

    def killed(training, number):
        if number == 5:
            raise RuntimeError("the power went")
        return step(training, number)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="power"):
        patch.setattr(SupervisedTraining, "training_step", killed)
        run_fit("broken")
    assert run_fit("broken", resume=True) == whole
