from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from fundus_synth.classify.backbones import create_backbone
from fundus_synth.runtime.errors import UserError

SMALL = "mobilenetv3_small_050"


def test_unknown_name_lists_close_matches():
    with pytest.raises(UserError, match="mobilenetv2_100"):
        create_backbone("mobilenet_v2_100", 2, 64)


@pytest.mark.parametrize("name", ["simple_cnn", SMALL, "resnet10t"])
def test_images_in_logits_out(name):
    model = create_backbone(name, 3, 64).eval()
    images = torch.rand(2, 3, 64, 64)
    assert model(images).shape == (2, 3)
    assert model.loaded == "random weights"
    mean, std = (torch.tensor(part).view(1, 3, 1, 1) for part in model.normalization)
    torch.testing.assert_close(model(images), model.network((images - mean) / std))


@pytest.mark.parametrize("name", ["simple_cnn", SMALL, "resnet10t", "vgg11"])
def test_gradcam_looks_at_a_map(name):
    with torch.device("meta"):  # shapes are enough
        model = create_backbone(name, 2, 64).eval()
    seen = []
    handle = model.gradcam_layer().register_forward_hook(lambda module, _, out: seen.append(out.shape))
    model(torch.zeros(1, 3, 64, 64, device="meta"))
    handle.remove()
    assert len(seen[0]) == 4 and 4 <= seen[0][-1] < 64


def test_transformers_have_no_map():
    model = create_backbone("vit_tiny_patch16_224", 2, 64)
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 2)
    with pytest.raises(UserError, match="no convolutional map"):
        model.gradcam_layer()


@pytest.mark.parametrize(("name", "size"), [("simple_cnn", 16), ("inception_v3", 32)])
def test_sizes_a_network_cannot_take(name, size):
    with pytest.raises(UserError, match=str(size)):
        create_backbone(name, 2, size)


def test_simple_cnn_has_nothing_to_download():
    with pytest.raises(UserError, match="no pretrained weights"):
        create_backbone("simple_cnn", 2, 64, pretrained=True)


def test_a_failed_download_is_one_line(monkeypatch):
    def fail(*args, **kwargs):
        if kwargs["pretrained"]:
            raise ConnectionError("no route to host\nsecond line")

    monkeypatch.setattr("timm.create_model", fail)
    with pytest.raises(UserError, match="could not fetch weights.*--weights") as caught:
        create_backbone(SMALL, 2, 64, pretrained=True)
    assert "\n" not in str(caught.value) and "second line" not in str(caught.value)


def test_facts_of_the_file_are_obeyed(tmp_path):
    """Weights from TensorFlow: other padding, another normalisation, half precision, another head."""
    source = create_backbone(SMALL, 11, 64, options={"pad_type": "same"})
    file = tmp_path / "w.safetensors"
    facts = {"timm": SMALL, "mean": "0.5", "std": "0.5", "pad_type": "same"}
    save_file(
        {k: v.half() if v.is_floating_point() else v for k, v in source.network.state_dict().items()}, file, facts
    )
    model = create_backbone(SMALL, 2, 64, weights=file)
    assert model.normalization == ((0.5,) * 3, (0.5,) * 3) and model.options == {"pad_type": "same"}
    assert "new head" in model.loaded and "w.safetensors" in model.loaded
    assert model.network.conv_stem.weight.dtype == torch.float32
    images = torch.rand(1, 3, 65, 65)
    features = [m.eval().network.forward_features(2 * images - 1) for m in (source, model)]
    torch.testing.assert_close(*features, atol=0.05, rtol=0.05)
    torch.testing.assert_close(model.network.conv_stem.weight, source.network.conv_stem.weight, atol=1e-3, rtol=1e-3)


def test_weights_of_another_backbone_are_named(tmp_path):
    file = tmp_path / "w.safetensors"
    save_file({"a": torch.zeros(1)}, file, {"timm": "resnet18"})
    with pytest.raises(UserError, match="holds weights of resnet18, not mobilenetv3_small_050"):
        create_backbone(SMALL, 2, 64, weights=file)


def test_real_imagenet_weights_load(real_data):
    for name, head in (("mobilenetv2_035", "classifier"), ("mobilenetv2_100", "classifier")):
        file = real_data / "weights" / f"{name}.imagenet.safetensors"
        model = create_backbone(name, 2, 64, weights=file)
        assert "new head" in model.loaded and model.options == {"pad_type": "same"}
        assert model.normalization == ((0.5,) * 3, (0.5,) * 3)
        assert getattr(model.network, head).out_features == 2


@pytest.mark.parametrize("name", ["simple_cnn", SMALL, "mobilenetv2_100", "resnet10t", "densenet121"])
def test_two_classes_begin_undecided(name):
    """A head that begins with large logits spends its first epochs unlearning them."""
    torch.manual_seed(0)
    model = create_backbone(name, 2, 64)
    images = torch.rand(16, 3, 64, 64)
    loss = torch.nn.functional.cross_entropy(model.train()(images), torch.arange(16) % 2)
    assert float(loss.detach()) < 1.2
