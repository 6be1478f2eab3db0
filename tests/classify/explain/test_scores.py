from __future__ import annotations

import numpy as np
import pytest
import torch

from fundus_synth.classify.backbones import create_backbone
from fundus_synth.classify.checkpoint import About
from fundus_synth.classify.explain.methods import attribute
from fundus_synth.classify.explain.scores import expected_grade, scores_of
from fundus_synth.classify.images import to_batch


def _images() -> np.ndarray:
    return np.random.default_rng(0).integers(20, 256, (2, 32, 32, 3)).astype(np.uint8)


def test_expected_grade():
    probabilities = torch.tensor([[0.1, 0.2, 0.7], [1.0, 0.0, 0.0]])
    torch.testing.assert_close(expected_grade(probabilities.log()), torch.tensor([1.6, 0.0]))


def test_classes_are_their_logits():
    model = create_backbone("simple_cnn", 2, 32)
    scores = scores_of(model, About(("normal", "ill")))
    outputs = torch.rand(3, 2)
    assert scores.names == ("normal", "ill") and scores.of(outputs) is outputs and not scores.directed


@pytest.mark.parametrize(
    ("head", "target", "classes", "unit"),
    [("linear", "hemoglobin", ("hemoglobin_g_dl",), "g/dL"), ("regression", "grade", ("0", "1", "2"), "grades"),
     ("ordinal", "grade", ("0", "1", "2"), "grades")],
)  # fmt: skip
def test_numbers_have_two_directions(head, target, classes, unit):
    torch.manual_seed(0)
    model = create_backbone("mobilenetv3_small_050", len(classes), 32, head=head).eval()
    scores = scores_of(model, About(classes, target))
    assert scores.names == ("lower", "higher") and scores.unit == unit and scores.directed
    with torch.no_grad():
        outputs = model(to_batch(_images()))
        value = {"hemoglobin": outputs[:, 0], "grade": expected_grade(outputs) if head == "ordinal" else None}[target]
        if head == "regression":  # the score of grade j is -(j - v)^2 / 2
            value = torch.sqrt(-2 * outputs[:, 0]) * torch.sign(outputs[:, 1] - outputs[:, 0] + 0.5)
        torch.testing.assert_close(scores.of(outputs), torch.stack([-value, value], dim=1), atol=1e-5, rtol=1e-4)
    lower, higher = (attribute(model, _images(), [k, k], "hirescam", scores=scores) for k in (0, 1))
    assert np.abs(higher).max() > 0
    np.testing.assert_allclose(lower, -higher)
