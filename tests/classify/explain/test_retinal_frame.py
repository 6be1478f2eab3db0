from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fundus_synth.classify.explain.retinal_frame import fields_in_frame, frame_matrices, to_frame
from fundus_synth.preprocess.registration import DISC, FOVEA


def _row(disc=(0.75, 0.45), fovea=(0.45, 0.5), **more):
    return {
        "disc_x": disc[0], "disc_y": disc[1], "disc_r": 0.06, "fovea_x": fovea[0], "fovea_y": fovea[1],
        "disc_confidence": 1.0, "fovea_confidence": 1.0, "eye": "", "centred": "macula", "orientation": "ok", **more,
    }  # fmt: skip


def _blob(x, y, side=128, width=0.02):
    steps = (np.arange(side) + 0.5) / side
    return np.exp(-((steps[None] - x) ** 2 + (steps[:, None] - y) ** 2) / (2 * width**2)).astype(np.float32)


def _centre(heat):
    steps = (np.arange(len(heat)) + 0.5) / len(heat)
    return (heat.sum(0) @ steps / heat.sum(), heat.sum(1) @ steps / heat.sum())


@pytest.mark.parametrize("mirrored", [False, True])
def test_disc_and_fovea_come_to_lie_at_their_places_from_left_and_right_eyes(mirrored):
    places = [(0.75, 0.45), (0.45, 0.5)]
    if mirrored:
        places = [(1 - x, y) for x, y in places]
    matrices = frame_matrices(pd.DataFrame([_row(*places)]))
    for place, wanted in zip(places, (DISC, FOVEA), strict=True):
        laid = to_frame(_blob(*place)[None], matrices, 96)[0]
        assert laid.shape == (96, 96)
        assert _centre(laid) == pytest.approx(wanted, abs=0.004)


def test_a_left_eye_is_the_mirror_image_of_the_right_one():
    right, left = _row(), _row((0.25, 0.45), (0.55, 0.5))
    maps = np.stack([_blob(0.6, 0.3), _blob(0.6, 0.3)[:, ::-1]])
    laid = to_frame(maps, frame_matrices(pd.DataFrame([right, left])), 64)
    assert laid[0].max() > 0.5
    np.testing.assert_allclose(laid[0], laid[1], atol=1e-3)


def test_what_was_not_found_is_not_a_place():
    table = pd.DataFrame([
        _row(), _row(fovea_confidence=0.3), _row(disc_x=np.nan), _row(fovea=(1.2, 0.5)), _row(fovea=(0.74, 0.45)),
    ])  # fmt: skip
    assert np.isfinite(frame_matrices(table)).all(axis=(1, 2)).tolist() == [True, False, False, False, False]
    assert frame_matrices(table[:0]).shape == (0, 2, 3)


def test_the_field_in_the_frame_is_the_circle_moved_along():
    matrices = frame_matrices(pd.DataFrame([_row(), _row((0.95, 0.45), (0.65, 0.5))]))
    fields = fields_in_frame(matrices, 64)
    assert fields.shape == (2, 64, 64) and fields.dtype == bool
    # The second camera looked to the left: what lies beyond the disc was not photographed.
    assert fields[0, 31, 60] and not fields[1, 31, 60]
    given = fields_in_frame(matrices[:1], 64, [np.zeros((32, 32), np.uint8)])
    assert not given.any()
