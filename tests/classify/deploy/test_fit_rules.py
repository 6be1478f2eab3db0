from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from fundus_synth.classify.backbones import create_backbone
from fundus_synth.classify.checkpoint import About, load_classifier
from fundus_synth.classify.decision import Decision, load_decision
from fundus_synth.classify.deploy import fit_rules as fit_rules_module
from fundus_synth.classify.deploy.answer import Rules, give_answer
from fundus_synth.classify.deploy.features import feature_layer, told_and_features
from fundus_synth.classify.deploy.fit_rules import fit_rules, rules_of
from fundus_synth.classify.predictions import predict_images
from fundus_synth.classify.tasks import MANY_LABELS
from fundus_synth.data.cache import image_cache
from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.schema import patient_hash
from fundus_synth.preprocess.dataset_masks import whole_field
from fundus_synth.runtime.errors import UserError


@pytest.fixture(scope="module")
def toy_rules(toy_run, toy_path) -> Rules:
    return fit_rules(toy_run, toy_path, device="cpu", quiet=True)


def _images(count: int, size: int) -> np.ndarray:
    images = np.random.default_rng(0).integers(0, 256, (count, size, size, 3)).astype(np.uint8)
    images[:, whole_field(size) == 0] = 0
    return images


def test_rules_rest_on_the_validation_patients_of_the_run(toy_run, toy_path, toy_rules):
    _, about = load_classifier(toy_run)
    dataset = FundusDataset.open(toy_path)
    val = {name for name in dataset.patients if patient_hash(name) in about.patients["val"]}
    labels = dict(zip(dataset.column("patient_id"), dataset.column("label"), strict=True))
    expected = tuple(sum(labels[name] == c for name in val) for c in about.classes)
    assert toy_rules.sets.patients == expected
    assert toy_rules.classes == about.classes
    assert toy_rules.attained == min(toy_rules.sets.levels) < 0.9
    assert len(toy_rules.notes) == 2 and "validation patients cannot show 90%" in toy_rules.notes[0]


def test_every_validation_image_of_a_class_with_few_patients_is_covered_and_familiar(toy_run, toy_path, toy_rules):
    model, about = load_classifier(toy_run)
    dataset = FundusDataset.open(toy_path)
    rows = [i for i, name in enumerate(dataset.patient_keys) if patient_hash(name) in about.patients["val"]]
    told, features = told_and_features(model, np.asarray(image_cache(dataset, model.size))[rows])
    probabilities = load_decision(toy_run, about).calibrated(told)
    truth = [about.classes.index(dataset.column("label")[i]) for i in rows]
    assert toy_rules.sets.members(probabilities)[np.arange(len(rows)), truth].all()
    far = toy_rules.familiarity.unfamiliarity(features)
    assert far.max() == pytest.approx(1)
    noise = told_and_features(model, 255 - _images(4, model.size) // 8)[1]
    assert (toy_rules.familiarity.unfamiliarity(noise) > 1).all()


def test_rules_of_a_run_answer_after_json(toy_rules):
    back = Rules.from_dict(json.loads(json.dumps(toy_rules.to_dict(), allow_nan=False)))
    found = give_answer(back, np.array([0.999, 0.001]), back.familiarity.means[0], 0.9, "", 1.0)
    assert (found.action, found.label) == ("answer", back.classes[0])


@pytest.mark.parametrize(("backbone", "head"), [("simple_cnn", "linear"), ("mobilenetv3_small_050", "dense"),
                                                ("mobilenetv3_small_050", "cbam"), ("simple_cnn", "ordinal")])  # fmt: skip
def test_features_times_the_last_weights_are_the_logits(backbone, head):
    torch.manual_seed(0)
    model = create_backbone(backbone, 3, 32, head=head).eval()
    images = _images(5, 32)
    told, features = told_and_features(model, images, batch_size=2)
    layer = feature_layer(model)
    assert features.shape == (5, layer.in_features) and features.dtype == np.float32
    with torch.inference_mode():
        scores = layer(torch.from_numpy(features))
    np.testing.assert_allclose(torch.softmax(scores.double(), 1), told, atol=1e-5)
    np.testing.assert_allclose(told, predict_images(model, images), atol=1e-6)
    assert not layer._forward_pre_hooks


def test_what_lies_outside_the_circle_does_not_count():
    model = create_backbone("simple_cnn", 2, 32)
    images = _images(3, 32)
    bright = np.where(whole_field(32)[..., None] == 0, 255, images).astype(np.uint8)
    np.testing.assert_array_equal(told_and_features(model, bright)[1], told_and_features(model, images)[1])
    assert bright[0, 0, 0, 0] == 255  # the given array stays as it was
    assert told_and_features(model, images[:0], MANY_LABELS)[1].shape == (0, 64)


def test_a_network_without_a_last_linear_layer_is_refused():
    model = create_backbone("simple_cnn", 2, 32)
    model.network.head = torch.nn.Identity()
    with pytest.raises(UserError, match="does not end in a linear layer"):
        told_and_features(model, _images(1, 32))


def test_another_dataset_is_refused(toy_run, write_toy, tmp_path):
    other = write_toy(tmp_path / "other", patients=3, prefix="other")
    with pytest.raises(UserError, match="no image of the run's train patients"):
        fit_rules(toy_run, other, device="cpu", quiet=True)


def test_several_labels_get_sets_of_their_own():
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 2, (60, 2))
    truth[:, 1] = np.arange(60) < 4
    told = 1 / (1 + np.exp(-3 * (truth - 0.5) - rng.normal(size=(60, 2))))
    decision = Decision(("amd", "myopia"), 1.5, thresholds=(0.5, 0.4))
    rules = rules_of(About(decision.classes, "multilabel"), decision, truth, told, np.arange(60))
    assert rules.present.patients == (int(truth[:, 0].sum()), 4) and rules.absent.patients[1] == 56
    assert rules.attained == pytest.approx(0.8)
    assert rules.notes == ("myopia: 4 validation patients cannot show 90%; its coverage is guaranteed to 80% only.",)
    # On calibrated probabilities, as the model file gives them.
    calibrated = decision.calibrated(told)
    assert rules.present.least[1] == pytest.approx(calibrated[:4, 1].min(), rel=1e-5)


def test_haemoglobin_gets_an_interval():
    truth = np.linspace(8, 16, 30)
    told = (truth + np.r_[np.full(29, 0.5), 2.0])[:, None]
    about = About(("hemoglobin_g_dl",), "hemoglobin")
    rules = rules_of(about, Decision(about.classes), truth, told, np.arange(30))
    assert rules.half_width == pytest.approx(0.5) and rules.sets is None and rules.attained == 0.9
    assert rules.limits == (12.0, 13.0) and len(rules.notes) == 1
    assert "below 12.0 g/dL in women and below 13.0 in men" in rules.notes[0]
    assert Rules.from_dict(rules.to_dict()) == rules


def test_an_interval_that_few_patients_show_says_so():
    about = About(("hemoglobin_g_dl",), "hemoglobin")
    rules = rules_of(about, Decision(about.classes), np.full(4, 12.0), np.full((4, 1), 12.5), np.arange(4))
    assert rules.attained == pytest.approx(0.8)
    assert rules.notes[1:] == (
        "4 validation patients cannot show 90%; the interval is guaranteed to hold the right number for 80% only.",
    )


def test_a_network_that_sees_nothing_is_a_user_error(toy_run, toy_path, monkeypatch):
    def blind(model, source, *_, **__):
        return np.full((len(source), 2), 0.5), np.ones((len(source), 8), np.float32)

    monkeypatch.setattr(fit_rules_module, "told_and_features", blind)
    with pytest.raises(UserError, match="tells nothing apart"):
        fit_rules(toy_run, toy_path, device="cpu", quiet=True)


def test_a_class_without_patients_is_never_excluded_and_says_so():
    rng = np.random.default_rng(2)
    decision = Decision(("a", "b", "c"), multipliers=(1.0, 1.0, 1.0))
    rules = rules_of(
        About(decision.classes), decision, np.repeat([0, 1], 30), rng.dirichlet([1, 1, 1], 60), np.arange(60)
    )
    assert rules.notes == ("c: 0 validation patients cannot show 90%; it can never be excluded.",)
    assert give_answer(rules, np.array([1.0, 0, 0]), None, 1, "", 1).action == "refer"
