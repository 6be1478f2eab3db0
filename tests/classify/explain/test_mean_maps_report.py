from __future__ import annotations

import numpy as np
import pytest

from fundus_synth.classify.explain import mean_maps_report as module
from fundus_synth.preprocess.registration import DISC, FOVEA


def _side(picture: np.ndarray) -> np.ndarray:
    """Blue minus red, int (n,), of pixels uint8 (..., 3)."""
    return picture[..., 2].astype(int).ravel() - picture[..., 0].astype(int).ravel()


@pytest.mark.parametrize("sign", [1, -1])
def test_what_speaks_for_the_score_is_blue_on_the_photograph_alone_and_in_the_bar(sign):
    mean = np.full((8, 8), sign, np.float32)
    grey = np.full((module._TILE, module._TILE, 3), 120, np.uint8)
    laid, alone = module._laid_over(grey, mean, 1.0, True), module._colored(mean, 1.0, True)
    for tile in (laid, alone):
        assert (sign * _side(tile) > 60).all()
    (bar,) = module._color_bar(1.0, True, key=True).axes[0].images
    end = bar.get_array()[:, -1 if sign > 0 else 0]
    assert len(end) == 2 and (sign * _side(end) > 60).all()
    # The bar shows the very colours of the tiles.
    np.testing.assert_allclose(end[1].astype(int), alone[0, 0].astype(int), atol=1)
    np.testing.assert_allclose(end[0].astype(int), laid[0, 0].astype(int), atol=12)


def test_the_bar_of_maps_without_signs_has_both_colours():
    (bar,) = module._color_bar(2.0, key=True).axes[0].images
    assert bar.get_extent() == [0, 2.0, 2, 0]
    alone = module._colored(np.full((4, 4), 2.0), 2.0)
    np.testing.assert_allclose(bar.get_array()[1, -1].astype(int), alone[0, 0].astype(int), atol=1)
    on = bar.get_array()[0, -1].astype(int)
    assert on[1] > on[0] and on[1] > on[2]  # green


def test_the_disc_of_the_frame_is_a_fifth_of_the_way_to_the_fovea():
    assert module._DISC_RADIUS == pytest.approx(np.hypot(DISC[0] - FOVEA[0], DISC[1] - FOVEA[1]) / 5)
