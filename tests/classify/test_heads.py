from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fundus_synth.classify.backbones import create_backbone
from fundus_synth.classify.checkpoint import About, load_classifier, save_classifier
from fundus_synth.classify.fitting import TrainingOptions, fit
from fundus_synth.classify.heads import (
    CbamHead,
    ChannelAttention,
    SpatialAttention,
    corn_log_probabilities,
    corn_loss,
    regression_loss,
)
from fundus_synth.classify.images import ImageSource
from fundus_synth.classify.supervised import SupervisedTraining
from fundus_synth.classify.train import train
from fundus_synth.runtime.errors import UserError
from fundus_synth.runtime.runs import RunFolder

SMALL = "mobilenetv3_small_050"


def _count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_corn_s_probabilities_by_hand():
    """P(y > 0) = 0.8 and P(y > 1 | y > 0) = 0.25: 0.2, 0.8 x 0.75, 0.8 x 0.25."""
    logits = torch.tensor([[math.log(0.8 / 0.2), math.log(0.25 / 0.75)]])
    found = corn_log_probabilities(logits)
    torch.testing.assert_close(found.exp(), torch.tensor([[0.2, 0.6, 0.2]]))
    torch.testing.assert_close(torch.softmax(found, dim=1), torch.tensor([[0.2, 0.6, 0.2]]))
    far = corn_log_probabilities(torch.tensor([[200.0, -200.0]]))
    assert torch.isfinite(far).all() and far.argmax() == 1


def test_corn_s_loss_by_hand():
    """One image of each of three classes: class 0 answers one threshold, the others two; five answers in all."""
    first, second = [0.8, 0.6, 0.7], [0.25, 0.5, 0.9]
    logits = torch.logit(torch.tensor([first, second]).T)
    answers = [1 - 0.8, 0.6, 1 - 0.5, 0.7, 0.9]  # 0: not above 0 | 1: above 0, not above 1 | 2: above 0, above 1
    expected = -sum(map(math.log, answers)) / 5
    found = corn_loss(corn_log_probabilities(logits), torch.tensor([0, 1, 2]))
    assert float(found) == pytest.approx(expected, rel=1e-5)
    weighted = corn_loss(corn_log_probabilities(logits), torch.tensor([0, 1, 2]), torch.tensor([3.0, 1.0, 1.0]))
    assert float(weighted) == pytest.approx((3 * -math.log(0.2) + 5 * expected + math.log(0.2)) / 7, rel=1e-5)


def test_corn_s_loss_is_the_paper_s_sum_over_thresholds():
    generator = torch.Generator().manual_seed(0)
    logits, truth = torch.randn(40, 4, generator=generator), torch.randint(0, 5, (40,), generator=generator)
    total, answers = 0.0, 0
    for k in range(4):
        asked = truth >= k
        above = (truth[asked] > k).float()
        total += torch.nn.functional.binary_cross_entropy_with_logits(logits[asked, k], above, reduction="sum")
        answers += int(asked.sum())
    torch.testing.assert_close(corn_loss(corn_log_probabilities(logits), truth), total / answers)


def test_channel_attention_by_hand():
    """With shared layers that pass channel 0 on, only its mean and maximum speak."""
    attention = ChannelAttention(4)
    for layer in (attention.shared[0], attention.shared[2]):
        torch.nn.init.zeros_(layer.weight), torch.nn.init.zeros_(layer.bias)
        layer.weight.data[0, 0] = 1.0
    maps = torch.zeros(1, 4, 2, 2)
    maps[0, 0] = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    expected = torch.sigmoid(torch.tensor([3.0 + 6.0, 0.0, 0.0, 0.0]))
    torch.testing.assert_close(attention(maps)[0, :, 0, 0], expected)


def test_spatial_attention_by_hand():
    attention = SpatialAttention()
    torch.nn.init.zeros_(attention.convolution.weight)
    attention.convolution.weight.data[0, :, 3, 3] = torch.tensor([1.0, 10.0])  # the place itself: mean, 10 x maximum
    maps = torch.rand(2, 5, 3, 3)
    expected = torch.sigmoid(maps.mean(dim=1) + 10 * maps.amax(dim=1))
    torch.testing.assert_close(attention(maps)[:, 0], expected)


def test_attention_is_added_to_the_map():
    """Attention of one half everywhere and another half of that: the map and a quarter of it."""
    head = CbamHead(8, 2).eval()
    for parameter in [*head.channels.parameters(), *head.places.parameters()]:
        torch.nn.init.zeros_(parameter)
    maps = torch.rand(3, 8, 4, 4)
    torch.testing.assert_close(head(maps), head.dense(1.25 * maps.mean(dim=(2, 3))))


def test_study_b_s_parameters():
    """960-240-960 with biases, 7 x 7 x 2, 960-64, 64-2; and no layer that the last map does not need."""
    with torch.device("meta"):
        head = CbamHead(960, 2)
    shared = 960 * 240 + 240 + 240 * 960 + 960
    assert _count(head) == shared + 7 * 7 * 2 + (960 * 64 + 64) + (64 * 2 + 2) == 523_732
    model = create_backbone("mobilenetv3_large_100", 2, 64, head="cbam")
    assert 3.45e6 < _count(model) < 3.55e6  # the study says 3.52 million
    assert _count(model) == _count(model.network.backbone) + 523_732
    assert all(parameter.grad is None for parameter in model.parameters())
    model(torch.rand(2, 3, 64, 64)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(("name", "head"), [("simple_cnn", "dense"), ("simple_cnn", "ordinal"), (SMALL, "dense"),
                                            (SMALL, "ordinal"), (SMALL, "cbam"), ("resnet10t", "cbam")])  # fmt: skip
def test_images_in_logits_out_and_the_file_remembers(name, head, tmp_path):
    model = create_backbone(name, 3, 64, head=head).eval()
    images = torch.rand(2, 3, 64, 64)
    logits = model(images)
    assert logits.shape == (2, 3) and model.head == head
    assert len({*map(id, model.head_parameters()), *map(id, model.backbone_parameters())}) == len([*model.parameters()])
    assert 0 < len(model.head_parameters()) < len([*model.parameters()])
    save_classifier(tmp_path, model, About(("a", "b", "c")))
    loaded, _ = load_classifier(tmp_path)
    assert loaded.head == head
    torch.testing.assert_close(loaded(images), logits)
    maps = []
    loaded.gradcam_layer().register_forward_hook(lambda module, _, out: maps.append(out.shape))
    loaded(images)
    assert len(maps[0]) == 4 and maps[0][-1] >= 4


def test_study_a_s_head():
    model = create_backbone("resnet10t", 2, 64, head="dense")
    assert sum(p.numel() for p in model.head_parameters()) == 512 * 256 + 256 + 256 * 2 + 2
    assert isinstance(model.network.fc[1], torch.nn.ReLU)


def test_a_file_that_does_not_say_is_linear(tmp_path):
    model = create_backbone("simple_cnn", 2, 32).eval()
    save_classifier(tmp_path, model, About(("a", "b")))
    path = tmp_path / "classifier.json"
    facts = json.loads(path.read_text())
    assert facts.pop("head") == "linear"
    path.write_text(json.dumps(facts))
    loaded, _ = load_classifier(tmp_path)
    images = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(loaded(images), model(images))
    path.write_text(json.dumps({**facts, "head": "hydra"}))
    with pytest.raises(UserError, match="hydra"):
        load_classifier(tmp_path)


def test_weights_fill_the_backbone_under_another_head(tmp_path):
    source = create_backbone(SMALL, 2, 64)
    save_file(source.network.state_dict(), tmp_path / "w.safetensors", {"timm": SMALL})
    for head in ("cbam", "dense"):
        model = create_backbone(SMALL, 2, 64, weights=tmp_path / "w.safetensors", head=head)
        backbone = model.network.backbone if head == "cbam" else model.network
        torch.testing.assert_close(backbone.conv_stem.weight, source.network.conv_stem.weight)
        assert model.loaded.endswith("with a new head")


@pytest.mark.parametrize("name", ["simple_cnn", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_attention_needs_a_map(name):
    with pytest.raises(UserError, match="channels first"):
        create_backbone(name, 2, 224, head="cbam")


def test_unknown_heads_are_told():
    for make in (lambda: create_backbone("simple_cnn", 2, 32, head="hydra"), lambda: TrainingOptions(head="hydra")):
        with pytest.raises(UserError, match="cbam"):
            make()
    with pytest.raises(UserError, match="ordinal"):
        TrainingOptions(head="ordinal", label_smoothing=0.1)


@pytest.mark.parametrize(("head", "loss"), [("ordinal", corn_loss), ("regression", regression_loss)])
def test_heads_for_grades_train_on_their_losses(tmp_path, head, loss):
    random = np.random.default_rng(0)
    labels = np.arange(48) % 3
    images = random.integers(0, 60, (48, 32, 32, 3)).astype(np.uint8)
    images[:, 8:24, 8:24, 0] += (60 * labels[:, None, None]).astype(np.uint8)
    options = TrainingOptions(size=32, steps=40, batch_size=12, evaluate_every=20, device="cpu", head=head)
    training = SupervisedTraining(create_backbone("simple_cnn", 3, 32, head=head), ImageSource(images), labels, options)
    log, truth = torch.log_softmax(torch.randn(6, 3), 1), torch.tensor([0, 1, 2, 2, 1, 0])
    torch.testing.assert_close(training._loss(log, truth), loss(log, truth))
    run = RunFolder.open_or_create(tmp_path / "run", {}, False)
    fitted = fit(images, labels, ("0", "1", "2"), options, validation=(images, labels), run=run, quiet=True)
    assert fitted.model.head == head and fitted.history["val_accuracy"].iloc[-1] > 0.9


def test_an_ordinal_head_wants_an_order(toy_path, tmp_path):
    quick = {"steps": 2, "batch_size": 8, "size": 32, "device": "cpu", "quiet": True, "head": "ordinal"}
    for more in ({}, {"target": "grade", "classes": ["2", "0"]}, {"target": "ill: grade >= 1"}):
        with pytest.raises(UserError, match="ordinal"):
            train(toy_path, out=tmp_path / "run", **quick, **more)
        assert not (tmp_path / "run").exists()
    run = train(toy_path, out=tmp_path / "run", target="grade", **quick)
    assert json.loads((run.path / "checkpoints" / "classifier.json").read_text())["head"] == "ordinal"
    assert "ordinal" in (run.path / "report.html").read_text()
