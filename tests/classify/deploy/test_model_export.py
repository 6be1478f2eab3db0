from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml

from fundus_synth.classify.checkpoint import load_classifier
from fundus_synth.classify.decision import load_decision
from fundus_synth.classify.deploy import export as export_module
from fundus_synth.classify.deploy.answer import Rules
from fundus_synth.classify.deploy.export import export
from fundus_synth.classify.deploy.fit_rules import fit_rules
from fundus_synth.classify.deploy.model_file import KEY, open_model
from fundus_synth.classify.deploy.parity import Parity, ValidationImages, measure_parity, training_images
from fundus_synth.classify.deploy.quantise import to_half, to_int8
from fundus_synth.classify.predictions import predict_images
from fundus_synth.data.cache import fit_square
from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.schema import patient_hash
from fundus_synth.preprocess.dataset_masks import whole_field
from fundus_synth.runtime.errors import UserError


@pytest.fixture(scope="module")
def toy(toy_run, toy_path):
    model, about = load_classifier(toy_run)
    return model, about, load_decision(toy_run, about), FundusDataset.open(toy_path)


def test_the_file_says_what_pytorch_says_of_images_of_any_side(toy, toy_model):
    model, _, decision, _ = toy
    file = open_model(toy_model)
    for side in (64, 128, 300, 512):
        images = np.random.default_rng(side).integers(0, 256, (3, side, side, 3)).astype(np.uint8)
        images[:, whole_field(side) == 0] = 0
        told = decision.calibrated(predict_images(model, np.stack([fit_square(image, 64) for image in images])))
        # By fractions, single pixels of the small image differ by one level.
        assert np.abs(file.look(images).probabilities - told).max() < (2e-3 if side == 300 else 1e-5)


def test_parity_is_measured_on_every_validation_image(toy, toy_exported):
    _, about, _, dataset = toy
    val = sum(patient_hash(name) in about.patients["val"] for name in dataset.patient_keys)
    assert toy_exported.parity.images == toy_exported.parity.same == val > 0
    assert toy_exported.parity.difference < 1e-5
    assert toy_exported.parity.torch == pytest.approx(toy_exported.parity.file, abs=1e-6)


def test_the_facts_are_those_of_the_run(toy, toy_run, toy_exported):
    _, about, decision, _ = toy
    facts = open_model(toy_exported.path).facts
    assert (facts["classes"], facts["target"], facts["size"]) == (list(about.classes), "label", 64)
    assert facts["decision"] == {"multipliers": list(decision.multipliers)}
    assert facts["trained_on"]["patients"] == {split: len(names) for split, names in about.patients.items()}
    assert facts["trained_on"]["fingerprint"] == about.fingerprint
    assert facts["metrics"] == json.loads((toy_run / "metrics.json").read_text())["test"]
    assert facts["parity"]["images"] == toy_exported.parity.images and facts["precision"] == "fp32"


def test_neither_patients_nor_paths_are_in_the_file(toy, toy_path, toy_exported):
    _, about, _, dataset = toy
    content = toy_exported.path.read_bytes()
    secrets = [
        *dataset.patients,
        *about.patients["train"],
        str(toy_path.parent),
        str(Path(export_module.__file__).parent),
    ]
    assert not [text for text in secrets if text.encode() in content]
    assert b"torch/" not in content and b".py" not in content


def test_it_is_a_valid_model_of_standard_operators_with_a_card_beside_it(toy_exported):
    model = onnx.load(toy_exported.path)
    onnx.checker.check_model(model, full_check=True)
    assert {item.domain for item in model.opset_import} <= {"", "ai.onnx"}
    assert [item.key for item in model.metadata_props] == [KEY]
    assert sorted(path.name for path in toy_exported.path.parent.iterdir()) == [
        "toy.card.html",
        "toy.card.md",
        "toy.onnx",
    ]


def test_half_precision_halves_the_file_and_hardly_changes_the_answer(toy_model, tmp_path):
    small = tmp_path / "half.onnx"
    onnx.save(to_half(onnx.load(toy_model)), small)
    images = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3)).astype(np.uint8)
    told, before = (open_model(path).look(images).probabilities for path in (small, toy_model))
    assert small.stat().st_size < 0.6 * toy_model.stat().st_size
    assert 0 < np.abs(told - before).max() < 5e-3


def test_int8_quarters_the_file_and_keeps_the_validation_metrics(toy, toy_exported, tmp_path):
    model, about, decision, dataset = toy
    small = to_int8(onnx.load(toy_exported.path), training_images(dataset, about, 64, 16), tmp_path)
    onnx.save(small, tmp_path / "small.onnx")
    assert (tmp_path / "small.onnx").stat().st_size < 0.4 * toy_exported.path.stat().st_size
    kinds = {tensor.data_type for tensor in small.graph.initializer if tensor.name.endswith("_quantized")}
    assert onnx.TensorProto.INT8 in kinds
    images = ValidationImages.of(dataset, about, 64)
    told = images.told_by_file(open_model(tmp_path / "small.onnx"), True)
    parity = measure_parity(told, images.told_by_torch(model, decision, True), images)
    assert parity.difference > 1e-6 and parity.loss < 0.01


def test_calibration_sees_training_patients_only(toy):
    _, about, _, dataset = toy
    pictures = [image.tobytes() for image in training_images(dataset, about, 64, 1000)]
    rows = [i for i, name in enumerate(dataset.patient_keys) if patient_hash(name) in about.patients["train"]]
    assert sorted(pictures) == sorted(dataset.read(i).tobytes() for i in rows)


def _of_wrong_sign(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same, which answers the opposite."""
    worse = onnx.ModelProto()
    worse.CopyFrom(model)
    last = next(tensor for tensor in worse.graph.initializer if tensor.name == "last.weight")
    last.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(last), last.name))
    return worse


def test_int8_that_costs_too_much_is_for_the_weights_alone_and_says_so(
    toy_run, toy_path, tmp_path, monkeypatch, toy_exported
):
    plain = onnx.load(toy_exported.path)
    monkeypatch.setattr(export_module, "trace", lambda *_: plain)
    monkeypatch.setattr(export_module, "to_int8", lambda model, images, folder: _of_wrong_sign(model))
    found = export(toy_run, tmp_path / "m.onnx", precision="int8", data=toy_path, device="cpu", quiet=True)
    assert found.precision == "int8-weights" == open_model(found.path).facts["precision"]
    assert found.note.startswith("int8 was not kept") and found.note.endswith("; written as int8-weights")
    assert found.size < 0.4 * toy_exported.size and found.parity.loss < 0.01


def test_8_bits_that_cost_too_much_become_half_precision_and_say_so(
    toy_run, toy_path, tmp_path, monkeypatch, toy_exported
):
    plain = onnx.load(toy_exported.path)
    monkeypatch.setattr(export_module, "trace", lambda *_: plain)
    monkeypatch.setattr(export_module, "to_int8", lambda model, images, folder: _of_wrong_sign(model))
    monkeypatch.setattr(export_module, "to_int8_weights", _of_wrong_sign)
    found = export(toy_run, tmp_path / "m.onnx", precision="int8", data=toy_path, device="cpu", quiet=True)
    assert found.precision == "fp16" == open_model(found.path).facts["precision"]
    images = found.parity.images
    assert found.note.startswith("int8 was not kept") and found.note.endswith("; written as fp16")
    assert "; int8-weights was not kept" in found.note
    assert found.note.count(f"{images} of {images} decisions") == 2 and found.note in found.lines()
    assert found.size < 0.7 * toy_exported.size and found.parity.loss < 0.01


def test_half_precision_that_costs_too_much_is_not_kept_either(toy_run, toy_path, tmp_path, monkeypatch, toy_exported):
    plain = onnx.load(toy_exported.path)
    monkeypatch.setattr(export_module, "trace", lambda *_: plain)
    monkeypatch.setattr(export_module, "to_half", _of_wrong_sign)
    found = export(toy_run, tmp_path / "m.onnx", precision="fp16", data=toy_path, device="cpu", quiet=True)
    assert found.precision == "fp32" == open_model(found.path).facts["precision"]
    assert found.note.startswith("fp16 was not kept") and found.note.endswith("; written as fp32")
    assert found.parity.loss < 0.01


def _scaled(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same with weights of the last layer that are 0.7 of what they were."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for tensor in changed.graph.initializer:
        if tensor.name == "last.weight":
            tensor.CopyFrom(onnx.numpy_helper.from_array(0.7 * onnx.numpy_helper.to_array(tensor), tensor.name))
    return changed


def test_rules_are_those_of_what_the_chosen_file_says(toy, toy_run, toy_path, tmp_path, monkeypatch, toy_exported):
    _, about, _, dataset = toy
    plain = onnx.load(toy_exported.path)
    monkeypatch.setattr(export_module, "trace", lambda *_: plain)
    monkeypatch.setattr(export_module, "to_half", _scaled)
    found = export(toy_run, tmp_path / "m.onnx", precision="fp16", data=toy_path, device="cpu", quiet=True)
    assert found.precision == "fp16" and found.parity.difference > 1e-3
    file, images = open_model(found.path), ValidationImages.of(dataset, about, 64)
    told, before = images.told_by_file(file, True), open_model(toy_exported.path).rules
    # Few patients: the smallest probability of each class, and the largest distance.
    least = [told.values[images.truth == k, k].min() for k in range(2)]
    assert file.rules.sets.least == pytest.approx(least, rel=1e-5)
    assert np.abs(np.subtract(least, before.sets.least)).max() > 1e-3
    assert file.rules.familiarity.unfamiliarity(told.features).max() == pytest.approx(1)


def test_rules_of_single_precision_are_those_of_pytorch(toy_run, toy_path, toy_exported):
    ours, fitted = open_model(toy_exported.path).rules, fit_rules(toy_run, toy_path, device="cpu", quiet=True)
    assert ours.sets.least == pytest.approx(fitted.sets.least, rel=1e-4)
    assert ours.familiarity.limit == pytest.approx(fitted.familiarity.limit, rel=1e-4)
    assert np.array_equal(ours.familiarity.means, fitted.familiarity.means)
    assert (ours.notes, ours.multipliers, ours.attained) == (fitted.notes, fitted.multipliers, fitted.attained)


def test_a_run_whose_training_has_not_ended_is_refused_before_the_long_work(toy_run, toy_path, tmp_path, monkeypatch):
    shutil.copytree(toy_run, tmp_path / "run")
    (tmp_path / "run" / "metrics.json").unlink()
    monkeypatch.setattr(export_module, "fit_rules", lambda *_, **__: pytest.fail("long work"))
    with pytest.raises(UserError, match="training has not ended"):
        export(tmp_path / "run", tmp_path / "m.onnx", data=toy_path, device="cpu", quiet=True)


def test_the_card_reads_the_dataset_that_was_given(toy_run, toy_path, tmp_path, monkeypatch, toy_exported):
    """Where the dataset lay in training, there is none any more."""
    shutil.copytree(toy_run, tmp_path / "run")
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text()) | {"data": str(tmp_path / "gone")}
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.setattr(export_module, "trace", lambda *_: onnx.load(toy_exported.path))
    export(tmp_path / "run", tmp_path / "m.onnx", data=toy_path, device="cpu", quiet=True)
    card = (tmp_path / "m.card.md").read_text()
    assert "no longer where it was" not in card and "| train | 48 | 96 | 48 | 48 |" in card


def test_kappa_of_grades_counts_steps_over_grades_that_nobody_has(toy):
    """Of 0, 1 and 4, told as 0, 4 and 4, by the formula of Cohen (1968) with squared distances."""
    _, about, _, dataset = toy
    images = ValidationImages(dataset, replace(about, classes=tuple("01234"), target="grade"), 64)
    truth, told = np.array([0, 1, 4, 0]), np.array([0, 4, 4, 0])
    expected = 1 - np.square(truth - told).mean() / np.square(truth[:, None] - told[None]).mean()
    assert images._kappa(truth, [str(k) for k in told]) == pytest.approx(expected)


def test_what_the_validation_images_cannot_tell_is_no_loss():
    nan = float("nan")
    assert Parity(
        9, 0.1, 9, {"macro_auroc": nan, "kappa": 0.5}, {"macro_auroc": nan, "kappa": 0.48}
    ).loss == pytest.approx(0.02)
    assert np.isnan(Parity(9, 0.1, 9, {"macro_auroc": 0.5}, {"macro_auroc": nan}).loss)


def test_a_graph_that_says_something_else_is_not_written(toy_run, toy_path, tmp_path, monkeypatch, toy_exported):
    wrong = onnx.load(toy_exported.path)
    last = next(tensor for tensor in wrong.graph.initializer if tensor.name == "last.weight")
    last.CopyFrom(onnx.numpy_helper.from_array(1.1 * onnx.numpy_helper.to_array(last), last.name))
    monkeypatch.setattr(export_module, "trace", lambda *_: wrong)
    with pytest.raises(UserError, match="differs from PyTorch's by"):
        export(toy_run, tmp_path / "m.onnx", data=toy_path, device="cpu", quiet=True)
    assert not list(tmp_path.iterdir())


def test_loss_is_that_of_the_worst_metric():
    parity = Parity(10, 0.1, 9, {"macro_auroc": 0.9, "kappa": 0.5}, {"macro_auroc": 0.91, "kappa": 0.47})
    assert parity.loss == pytest.approx(0.03)
    assert Parity(10, 0.1, None, {"mae": 2.0}, {"mae": 2.1}).loss == pytest.approx(0.05)


def test_bad_requests_are_user_errors(toy_run, toy_path, tmp_path, write_toy):
    with pytest.raises(UserError, match=r"is called \*.onnx"):
        export(toy_run, tmp_path / "model.bin")
    with pytest.raises(UserError, match="no precision is called 'int4'"):
        export(toy_run, tmp_path / "m.onnx", precision="int4")
    (tmp_path / "m.onnx").write_text("mine")
    with pytest.raises(UserError, match="already exists"):
        export(toy_run, tmp_path / "m.onnx")
    with pytest.raises(UserError, match="holds no classifier"):
        export(tmp_path, tmp_path / "n.onnx")
    other = write_toy(tmp_path / "other", patients=8, prefix="other")
    with pytest.raises(UserError, match="has no image of the run's val patients.*--data"):
        export(toy_run, tmp_path / "n.onnx", data=other, device="cpu", quiet=True)
    assert (tmp_path / "m.onnx").read_text() == "mine"


def test_a_number_without_known_errors_is_not_exported(toy_run, toy_path, tmp_path, monkeypatch):
    unknown = Rules(("hemoglobin_g_dl",), half_width=float("inf"))
    monkeypatch.setattr(export_module, "fit_rules", lambda *_, **__: unknown)
    with pytest.raises(UserError, match="too few validation patients"):
        export(toy_run, tmp_path / "m.onnx", data=toy_path, device="cpu", quiet=True)
    assert not list(tmp_path.iterdir())


def test_missing_packages_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(export_module, "find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(UserError, match=r"export needs onnxscript. pip install 'fundus-synth\[onnx\]'"):
        export(tmp_path, tmp_path / "m.onnx")
