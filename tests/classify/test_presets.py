from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from fundus_synth.classify.backbones import create_backbone
from fundus_synth.classify.checkpoint import load_classifier
from fundus_synth.classify.fitting import fit
from fundus_synth.classify.heads import CBAM, LINEAR
from fundus_synth.classify.metrics import BY_CLASS, WHOLE
from fundus_synth.classify.options import TrainingOptions
from fundus_synth.classify.presets import STUDIES, study_named
from fundus_synth.data.expressions import parse
from fundus_synth.data.targets import COLUMNS
from fundus_synth.runtime.errors import UserError
from fundus_synth.runtime.runs import RunFolder

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5,) * 3, (0.5,) * 3)
# The normalisation that the published weights of each were trained with.
NORMALIZATION = {
    "simple_cnn": HALF, "vgg13_bn": IMAGENET, "inception_v3": HALF, "resnet18": IMAGENET, "resnet50": IMAGENET,
    "resnext101_32x8d": IMAGENET, "densenet121": IMAGENET, "mobilenetv2_100": IMAGENET, "mobilenetv3_small_100": IMAGENET,
    "mobilenetv3_large_100": IMAGENET, "efficientnet_b0": IMAGENET, "vit_tiny_patch16_224": HALF,
    "deit_tiny_patch16_224": IMAGENET,
}  # fmt: skip


def test_every_backbone_of_a_study_is_tried_below():
    assert {name for study in STUDIES.values() for name in study.backbones} <= set(NORMALIZATION)


@pytest.mark.parametrize("study", STUDIES.values(), ids=list(STUDIES))
def test_presets_hang_together(study):
    assert study_named(study.letter.lower()) is study
    assert study.target in COLUMNS or parse(study.target)
    costs = {"parameters", "multiply_adds", "file_bytes", "milliseconds"}
    for one in study.published:
        assert one.backbone in study.backbones
        assert set(one.values) <= costs | set(WHOLE) | set(BY_CLASS) | {f"macro_{name}" for name in BY_CLASS}
        assert all(0 < one.values[name] < 1 for name in set(one.values) - costs)


@pytest.mark.slow
@pytest.mark.parametrize("study", STUDIES.values(), ids=list(STUDIES))
def test_every_backbone_of_a_study_carries_its_head(study):
    with torch.device("meta"):
        for name in study.backbones:
            assert create_backbone(name, 5, study.size, head=study.head).head == study.head


def test_other_letters_are_refused():
    with pytest.raises(UserError, match=r"no study is called 'F'.*E \(eight ocular diseases\)"):
        study_named("F")


def test_study_b_has_the_parameters_it_published():
    with torch.device("meta"):
        model = create_backbone("mobilenetv3_large_100", 2, 224, head=CBAM)
    assert sum(parameter.numel() for parameter in model.parameters()) == pytest.approx(3.52e6, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "head"),
    [*((name, LINEAR) for name in NORMALIZATION), ("mobilenetv3_small_100", CBAM), ("mobilenetv3_large_100", CBAM)],
)
def test_every_backbone_trains_is_saved_and_read_again(name, head, tmp_path):
    size = 80  # not the size of the transformers' weights; the smallest that inception_v3 takes is 75
    options = TrainingOptions(name, size, head=head, steps=1, batch_size=4, device="cpu")
    images = np.random.default_rng(0).integers(0, 255, (4, size, size, 3), dtype=np.uint8)
    labels = np.array([0, 1, 0, 1])
    run = RunFolder.open_or_create(tmp_path / "run", {}, resume=False)
    fitted = fit(images, labels, ("a", "b"), options, validation=(images, labels), run=run, quiet=True)
    torch.manual_seed(0)
    before = create_backbone(name, 2, size, head=head).network.state_dict()
    moved = [key for key, value in fitted.model.network.state_dict().items() if not torch.equal(value, before[key])]
    assert len(moved) > 0.9 * len([value for value in before.values() if value.is_floating_point()])
    again, about = load_classifier(run.path)
    batch = torch.rand(2, 3, size, size)
    with torch.inference_mode():
        torch.testing.assert_close(again(batch), fitted.model(batch))
    assert (again.name, again.head, again.size, about.classes) == (name, head, size, ("a", "b"))
    assert pd.read_csv(run.path / "metrics.csv")["train_loss"].notna().all()
    assert again.normalization == NORMALIZATION[name]


def test_a_transformer_at_another_size():
    with torch.device("meta"):
        assert create_backbone("vit_tiny_patch16_224", 2, 96).options == {"img_size": 96}
    with pytest.raises(UserError, match="vit_tiny_patch16_224 takes images of a multiple of 16 pixels, not 100"):
        create_backbone("vit_tiny_patch16_224", 2, 100)
