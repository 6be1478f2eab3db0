from __future__ import annotations

import json
import shutil

import pytest
import torch

from fundus_synth.classify.backbones import create_backbone
from fundus_synth.classify.checkpoint import About, load_classifier, save_classifier
from fundus_synth.runtime.errors import UserError
from fundus_synth.version import __version__

ABOUT = About(("normal", "anemic"), "label", "toy", "ab12", "clahe", {"train": ["11"], "val": ["22"], "test": ["33"]})


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    save_classifier(tmp_path, create_backbone("simple_cnn", 2, 32), ABOUT)
    return tmp_path


def test_what_is_saved_is_loaded(folder):
    model, about = load_classifier(folder)
    torch.manual_seed(0)
    original = create_backbone("simple_cnn", 2, 32).eval()
    images = torch.rand(3, 3, 32, 32)
    torch.testing.assert_close(model(images), original(images))
    assert about == ABOUT and not model.training
    facts = json.loads((folder / "classifier.json").read_text())
    assert facts["version"] == __version__ and facts["started_from"] == "random weights"


def test_options_and_normalisation_survive(tmp_path):
    options, normalization = {"pad_type": "same"}, ((0.5,) * 3, (0.5,) * 3)
    model = create_backbone("mobilenetv3_small_050", 2, 64, options=options, normalization=normalization).eval()
    save_classifier(tmp_path, model, ABOUT)
    images = torch.rand(2, 3, 65, 65)
    torch.testing.assert_close(load_classifier(tmp_path)[0](images), model(images))


def test_our_own_classifier_is_a_weights_file(folder):
    model = create_backbone("simple_cnn", 3, 32, weights=folder / "classifier.safetensors")
    assert "new head" in model.loaded
    with pytest.raises(UserError, match="holds weights of simple_cnn"):
        create_backbone("resnet10t", 2, 32, weights=folder / "classifier.safetensors")


def test_things_that_are_no_classifier(folder, tmp_path):
    with pytest.raises(UserError, match="holds no classifier"):
        load_classifier(tmp_path / "nowhere")
    for content, told in (("{", "not JSON"), ('{"kind": "generator"}', "not a classifier")):
        (folder / "classifier.json").write_text(content)
        with pytest.raises(UserError, match=told):
            load_classifier(folder)


@pytest.mark.parametrize(
    "change", [{"size": None}, {"backbone": "no_such_net"}, {"classes": ["a", "b", "c"]}, {"mean": 1}]
)
def test_damaged_facts(folder, change):
    facts = json.loads((folder / "classifier.json").read_text())
    (folder / "classifier.json").write_text(json.dumps({**facts, **change}))
    with pytest.raises(UserError):
        load_classifier(folder)


def test_damaged_or_missing_tensors(folder):
    path = folder / "classifier.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="damaged"):
        load_classifier(folder)
    path.unlink()
    with pytest.raises(UserError, match="missing"):
        load_classifier(folder)
    shutil.rmtree(folder)
