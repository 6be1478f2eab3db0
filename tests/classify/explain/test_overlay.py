from __future__ import annotations

import numpy as np
import pytest

from fundus_synth.classify.explain.overlay import (
    color_key,
    color_scale,
    evidence_colors,
    lay_over,
    overlay,
    signed_overlay,
)
from fundus_synth.classify.explain.sheets import CHANNELS, channel_row, channel_shares, draw, grid, plain, save_maps


def _image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)


def test_overlay_of_nothing_is_the_photograph():
    np.testing.assert_array_equal(overlay(_image(), np.zeros((8, 8)), 1.0), _image())
    np.testing.assert_array_equal(overlay(_image(), np.zeros((8, 8)), 0.0), _image())


def test_maps_alone_have_the_colours_of_maps_on_a_photograph():
    alone, key = evidence_colors()(np.array([0.0, 0.5, 1.0]))[:, :3] * 255, color_key(True, 3, 1)[0].astype(int)
    np.testing.assert_allclose(alone[1], 255, atol=1)
    for end in (0, 2):
        # Nine tenths of the colour, over a middle grey.
        assert np.abs(key[end] - alone[end]).max() < 16
    assert alone[2, 2] > alone[2, 0] and alone[0, 0] > alone[0, 2]


def test_one_scale_keeps_weak_maps_weak():
    grey = np.full((4, 4, 3), 128, np.uint8)
    maps = np.stack([np.full((4, 4), 1.0), np.full((4, 4), 0.05)])
    strong, weak = (overlay(grey, one, color_scale(maps)) for one in maps)
    change = [np.abs(shown.astype(int) - 128).mean() for shown in (strong, weak)]
    assert change[0] > 40 and change[1] < 8
    # Full strength: 70 % of the last colour, (0, 255, 128), over 30 % of the photograph.
    np.testing.assert_allclose(strong[0, 0], [0.3 * 128, 0.7 * 255 + 0.3 * 128, 128], atol=1)
    assert color_scale(np.zeros((0, 4, 4))) == 0 and color_scale(np.zeros((2, 4, 4)), outliers=True) == 0


def test_scale_is_the_largest_magnitude_or_leaves_outliers_out():
    maps = np.linspace(-1, 1, 2001).reshape(1, -1)
    maps[0, 0] = -50
    assert color_scale(maps) == 50
    assert color_scale(maps, outliers=True) == pytest.approx(0.995, abs=0.01)
    # What is 0 is no evidence, however much of it there is.
    padded = np.concatenate([maps, np.zeros((50, 2001))])
    assert color_scale(padded, outliers=True) == color_scale(maps, outliers=True)


def test_signs_are_blue_and_orange_on_grey():
    grey = np.full((1, 3, 3), 128, np.uint8)
    against, nothing, for_ = signed_overlay(grey, np.array([[-1.0, 0.0, 1.0]]), 1.0)[0].astype(int)
    assert len(set(nothing)) == 1
    assert for_[2] - for_[0] > 120 and against[0] - against[2] > 120
    assert (signed_overlay(grey * 0, np.zeros((1, 3)), 1.0) == 0).all()  # black outside stays black
    assert (signed_overlay(grey, np.zeros((1, 3)), 0.0) == nothing).all()
    image = np.zeros((1, 1, 3), np.uint8)
    image[..., 1] = 200
    red, green = (signed_overlay(image, np.zeros((1, 1)), 1.0, channel=c)[0, 0, 0] for c in (0, 1))
    assert green - red == round(0.55 * 200)
    np.testing.assert_array_equal(lay_over(grey, np.ones((1, 3)), 1, True), signed_overlay(grey, np.ones((1, 3)), 1))
    assert color_key(True).shape == color_key(False).shape == (12, 160, 3)


def test_draw_one_map_and_three():
    image, one = _image(), np.random.default_rng(1).random((4, 4))
    assert draw(image, one, 1.0, False, 16).shape == (16, 16, 3) and plain(image, 16).shape == (16, 16, 3)
    three = np.zeros((8, 8, 3))
    three[..., 1] = 1  # only green speaks
    strip = draw(image, three, 1.0, True, 8).astype(int)
    colorful = np.abs(strip[..., 2] - strip[..., 0]).mean(axis=0).reshape(3, 8).mean(axis=1)
    assert strip.shape == (8, 24, 3) and colorful[1] > 100 and colorful[0] == colorful[2] == 0
    apart = plain(image, 8, channels=True)
    np.testing.assert_array_equal(apart[:, 8:16, 0], image[..., 1])


def test_grid_leaves_white_between():
    sheet = grid([np.zeros((4, 5, 3), np.uint8)] * 3, 2)
    assert sheet.shape == (4 + 6 + 4, 5 + 6 + 5, 3)
    assert (sheet[:4, 5:11] == 255).all() and (sheet[10:, 11:] == 255).all() and (sheet[10:, :5] == 0).all()


def test_shares_of_channels():
    maps = np.zeros((3, 2, 2, 3))
    maps[0, 0, 0] = (3, -1, 0)
    maps[1, :, :, 2] = 2
    shares, sums = channel_shares(maps)
    np.testing.assert_allclose(shares[:2], [[0.75, 0.25, 0], [0, 0, 1]])
    assert np.isnan(shares[2]).all()
    np.testing.assert_allclose(sums, [[3, -1, 0], [0, 0, 8], [0, 0, 0]])
    row = channel_row(maps)
    assert row["images"] == 3 and row["red"] == "38 % (0 to 75)" and row["sum blue"] == pytest.approx(8 / 3)
    assert [channel_row(maps[2:])[name] for name in CHANNELS] == ["-"] * 3


def test_maps_are_kept_as_numbers_without_pickle(tmp_path):
    maps = np.random.default_rng(0).normal(size=(2, 4, 4)).astype(np.float32)
    save_maps(
        tmp_path / "maps.npz", maps, ["images/a.png", "b.png"], ["best: p = 0.9", "worst"], "Evidence for x", "logit"
    )
    with np.load(tmp_path / "maps.npz", allow_pickle=False) as found:
        np.testing.assert_array_equal(found["maps"], maps)
        assert found["files"].tolist() == ["images/a.png", "b.png"] and found["cases"][0] == "best: p = 0.9"
        assert str(found["about"]) == "Evidence for x" and str(found["unit"]) == "logit"
    assert [path.name for path in tmp_path.iterdir()] == ["maps.npz"]
