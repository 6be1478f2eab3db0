"""The causal test on classifiers made by hand, of which is known what they need."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from fundus_synth.classify.decision import Decision
from fundus_synth.classify.explain.region_masks import region_masks
from fundus_synth.classify.explain.region_removal import donors_of, judge_removals, removed_area, removed_predictions
from fundus_synth.classify.explain.retinal_frame import frame_matrices
from fundus_synth.classify.explain.unseen_eyes import UnseenEyes
from fundus_synth.classify.predictions import predict_images
from fundus_synth.preprocess.dataset_masks import whole_field

_SIDE, _COUNT = 48, 60
_ROW = {
    "disc_x": 0.75, "disc_y": 0.5, "disc_r": 0.07, "fovea_x": 0.4, "fovea_y": 0.5, "disc_confidence": 1.0,
    "fovea_confidence": 1.0, "eye": "", "centred": "macula", "orientation": "ok",
}  # fmt: skip
_MASKS = region_masks(_ROW, {}, _SIDE)


class _Reader(nn.Module):
    """Tells the second class by how red the pixels under a mask are."""

    def __init__(self, mask):
        super().__init__()
        self.register_buffer("mask", torch.from_numpy(mask / mask.sum()))
        self.classes, self.size = 2, _SIDE

    def forward(self, images):
        redness = (images[:, 0] * self.mask).sum(dim=(1, 2))
        return torch.stack([torch.zeros_like(redness), 40 * (redness - 0.5)], dim=1)


def _eyes(mask, random):
    """Eyes whose label is written as redness under the mask, and a classifier that reads it there."""
    labels = np.arange(_COUNT) // 2 % 2
    images = random.integers(90, 130, (_COUNT, _SIDE, _SIDE, 3)).astype(np.float32)
    images[..., 0] += mask * (60 * labels + random.normal(0, 25, _COUNT))[:, None, None]
    images = np.clip(images, 20, 255).astype(np.uint8)
    images[:, whole_field(_SIDE) <= 127] = 0
    model = _Reader(mask)
    patients = np.array([f"p{i // 2:02}" for i in range(_COUNT)])
    told = predict_images(model, images)
    return UnseenEyes(model, None, torch.device("cpu"), None, images, np.arange(_COUNT), labels, told, patients, 0)


def _judged(eyes, regions, fills=("blank", "swap")):
    matrices = frame_matrices(pd.DataFrame([_ROW] * _COUNT))
    told = removed_predictions(eyes, np.arange(_COUNT), regions, matrices, fills, 0)
    areas = {name: np.array([removed_area(one, name) for one in regions]) for name, _ in told}
    found = judge_removals(eyes.labels, eyes.patients, eyes.probabilities, told, areas, Decision(("a", "b")))
    return {(one.region, one.fill): one for one in found}


@pytest.mark.parametrize("needed", ["disc", "macula"])
def test_the_region_that_a_classifier_reads_is_the_one_it_needs(needed):
    eyes = _eyes(_MASKS[needed], np.random.default_rng(0))
    found = _judged(eyes, [_MASKS] * _COUNT)
    other = {"disc": "macula", "macula": "disc"}[needed]
    for kind in ("blank", "swap"):
        one = found[needed, kind]
        assert one.auroc > 0.85 and one.matters and one.images == _COUNT
        # Nothing but noise is left: the AUROC falls to about a half.
        assert one.fall.estimate == pytest.approx(one.auroc - 0.5, abs=0.2)
        assert one.beyond.low > 0.1 and one.certainty.low > 0.05
        assert not found[other, kind].matters and abs(found[other, kind].fall.estimate) < 0.05
    assert ("vessels", "blank") not in found


def test_a_classifier_that_reads_the_middle_needs_the_centre():
    steps = (np.arange(_SIDE) + 0.5) / _SIDE - 0.5
    middle = (np.hypot(steps[None], steps[:, None]) < 0.1).astype(np.float32)
    found = _judged(_eyes(middle, np.random.default_rng(0)), [_MASKS] * _COUNT, ("blank",))
    one = found["centre", "blank"]
    # As much elsewhere is taken where nothing is read.
    assert one.auroc > 0.85 and one.control == pytest.approx(0, abs=0.02) and one.matters
    assert not found["rim", "blank"].matters


def test_a_label_that_is_everywhere_needs_no_single_region():
    eyes = _eyes(_MASKS["field"], np.random.default_rng(1))
    found = _judged(eyes, [_MASKS] * _COUNT, ("blank",))
    assert found["disc", "blank"].auroc > 0.85
    assert not any(one.matters for one in found.values())


def test_a_region_known_of_some_images_is_tested_on_those():
    eyes = _eyes(_MASKS["disc"], np.random.default_rng(2))
    without = {name: mask for name, mask in _MASKS.items() if name != "disc"}
    found = _judged(eyes, [_MASKS] * 40 + [without] * 20, ("blank",))
    assert found["disc", "blank"].images == 40 and found["macula", "blank"].images == _COUNT


def test_a_region_that_no_image_has_is_no_test():
    eyes = _eyes(_MASKS["disc"], np.random.default_rng(2))
    healthy = {**_MASKS, "lesions": np.zeros((_SIDE, _SIDE), np.float32)}
    assert ("lesions", "blank") not in _judged(eyes, [healthy] * _COUNT, ("blank",))
    some = {**_MASKS, "lesions": _MASKS["macula"]}
    assert _judged(eyes, [healthy] * 40 + [some] * 20, ("blank",))["lesions", "blank"].images == _COUNT


def test_p_values_are_corrected_for_all_rows():
    found = _judged(_eyes(_MASKS["disc"], np.random.default_rng(0)), [_MASKS] * _COUNT)
    assert all(one.adjusted_p >= one.beyond.p for one in found.values())
    assert found["disc", "blank"].adjusted_p == pytest.approx(8 * found["disc", "blank"].beyond.p)


def test_donors_are_other_patients_laid_on_the_eye():
    eyes = _eyes(_MASKS["disc"], np.random.default_rng(3))
    # Every image has its patient's number as its blue.
    for i in range(_COUNT):
        eyes.cache[i, ..., 2][whole_field(_SIDE) > 127] = 50 + i // 2
    mirrored = {**_ROW, "disc_x": 0.25, "fovea_x": 0.6}
    matrices = frame_matrices(pd.DataFrame([_ROW if i % 2 else mirrored for i in range(_COUNT)]))
    donors = donors_of(eyes, np.arange(_COUNT), matrices, 0)
    numbers = np.array([np.median(one[20:28, 20:28, 2]) - 50 for one in donors])
    assert (numbers != np.arange(_COUNT) // 2).all() and len(set(numbers)) > 10
    again = donors_of(eyes, np.array([7]), matrices, 0)[0]
    np.testing.assert_array_equal(again, donors[7])


def test_the_disc_of_a_donor_comes_to_lie_on_the_disc():
    rows = [_ROW, {**_ROW, "disc_x": 0.3, "disc_y": 0.45, "fovea_x": 0.6, "fovea_y": 0.55}]
    images = np.full((2, _SIDE, _SIDE, 3), 80, np.uint8)
    masks = [region_masks(row, {}, _SIDE)["disc"] for row in rows]
    for image, mask in zip(images, masks, strict=True):
        image[mask > 0.5] = 250
    eyes = UnseenEyes(_Reader(masks[0]), None, torch.device("cpu"), None, images, np.arange(2), np.arange(2), np.eye(2),
                      np.array(["a", "b"]), 0)  # fmt: skip
    laid = donors_of(eyes, np.arange(2), frame_matrices(pd.DataFrame(rows)), 0)
    for donor, mask in zip(laid, masks, strict=True):
        bright = donor[..., 0] > 165
        assert bright.sum() > 20 and mask[bright].mean() > 0.6
