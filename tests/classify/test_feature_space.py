import numpy as np
import pytest
import torch

from fundus_synth.classify.checkpoint import load_classifier
from fundus_synth.classify.feature_space import classifier_space, with_classifiers
from fundus_synth.data.dataset import FundusDataset
from fundus_synth.runtime.errors import UserError


def test_its_features_times_the_last_layer_are_the_logits(toy_run, toy_path):
    dataset = FundusDataset.open(toy_path)
    space, (model, _) = classifier_space(toy_run), load_classifier(toy_run)
    images = np.stack([dataset.read(row) for row in range(20)])
    head = [layer for layer in model.network.modules() if isinstance(layer, torch.nn.Linear)][-1]
    with torch.inference_mode():
        batch = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        expected = model(torch.nn.functional.interpolate(batch, (model.size, model.size)))
        found = head(torch.from_numpy(space.features(images)))
    assert images.shape[1] == model.size, "else the interpolation above is another than the toolkit's"
    assert found.shape == expected.shape
    assert np.allclose(found, expected, atol=1e-4)


def test_only_classifiers_are_opened(toy_run):
    spaces = with_classifiers(["retina", f"classifier:{toy_run}"])
    assert spaces[0] == "retina"
    assert spaces[1].name == f"classifier:{toy_run}"
    assert spaces[1].version.startswith("1 ")


def test_a_folder_without_a_classifier_is_named(tmp_path):
    with pytest.raises(UserError, match="holds no classifier"):
        classifier_space(tmp_path)
