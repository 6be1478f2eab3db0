from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fundus_synth.classify.deploy.damages import DAMAGES, SEVERITIES, damage, recorded_field
from fundus_synth.data.phantom.cohort import render_cohort
from fundus_synth.preprocess.dataset_masks import whole_field
from fundus_synth.runtime.errors import UserError

SIDE = 96
GROWING = [kind for kind in DAMAGES if kind not in ("narrow-field", "rotation")]


@pytest.fixture(scope="module")
def eye() -> np.ndarray:
    return next(iter(render_cohort(1, 256, 3, True)))[1]


def disc(color: tuple[int, int, int], side: int = SIDE) -> np.ndarray:
    """A field of one colour."""
    return cv2.copyTo(np.full((side, side, 3), color, np.uint8), whole_field(side))


def inside(side: int = SIDE) -> np.ndarray:
    return whole_field(side) > 0


def factor(stops: float) -> float:
    return 2 ** (stops / 2.2)


@settings(deadline=None, max_examples=25)
@given(kind=st.sampled_from(list(DAMAGES)), severity=st.sampled_from(SEVERITIES), seed=st.integers(0, 2**31))
def test_outside_stays_black_and_chance_is_of_the_seed_alone(kind, severity, seed):
    image = np.random.default_rng(1).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    before = image.copy()
    spoilt = damage(image, kind, severity, seed)
    assert spoilt.shape == image.shape and spoilt.dtype == np.uint8
    assert not spoilt[~inside(40)].any() and spoilt[inside(40)].any()
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(damage(image, kind, severity, seed), spoilt)


@pytest.mark.parametrize("kind", DAMAGES)
def test_severity_0_is_the_picture_itself_and_1_is_not(eye, kind):
    np.testing.assert_array_equal(damage(eye, kind, 0), eye)
    assert (damage(eye, kind, 1) != eye).any()


@pytest.mark.parametrize("kind", GROWING)
def test_every_severity_is_farther_from_the_picture_than_the_one_before(eye, kind):
    far = [np.abs(damage(eye, kind, severity, 5).astype(float) - eye).mean() for severity in (0, *SEVERITIES)]
    assert (np.diff(far) > 0).all()


@pytest.mark.parametrize("kind", ["blur", "defocus", "pixelation"])
@pytest.mark.parametrize("severity", [1, 5])
def test_what_is_black_outside_does_not_leak_in(kind, severity):
    even = disc((150, 80, 40))
    spoilt = damage(even, kind, severity, 2).astype(int)
    assert np.abs(spoilt - even)[inside()].max() <= 1


def test_blur_is_longer_than_it_is_wide_and_defocus_is_round():
    image = disc((60, 60, 60), 256)
    image[126:130, 126:130] = 255

    def widths(kind: str) -> np.ndarray:
        light = damage(image, kind, 5, 4)[..., 0].astype(float) - 60
        light[light < 2] = 0
        points = np.argwhere(light > 0)
        return np.sqrt(np.linalg.eigvalsh(np.cov(points.T, aweights=light[tuple(points.T)])))

    thin, long = widths("blur")
    assert long > 2.5 * thin
    thin, long = widths("defocus")
    assert long < 1.1 * thin
    # A disc of radius r has the standard deviation r / 2 along each axis.
    assert thin == pytest.approx(0.025 * 256 / 2, rel=0.2)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_exposure_follows_the_stops(severity):
    grey = disc((40, 40, 40), 256)
    dark, light = DAMAGES["dark"].levels[severity - 1], DAMAGES["over-exposed"].levels[severity - 1]
    assert damage(grey, "dark", severity)[inside(256)].mean() == pytest.approx(40 * factor(-dark), abs=0.6)
    expected = min(255, 40 * factor(light))
    assert damage(grey, "over-exposed", severity)[inside(256)].mean() == pytest.approx(expected, abs=0.6)


def test_haze_is_a_share_of_veil_and_keeps_a_share_of_the_contrast():
    image = disc((100, 100, 100))
    image[40:50, 40:50] = 140
    for severity, share in zip(SEVERITIES, DAMAGES["haze"].levels, strict=True):
        hazy = damage(image, "haze", severity).astype(float)
        assert hazy[45, 45, 1] - hazy[20, 45, 1] == pytest.approx(40 * (1 - share), abs=1)
        assert hazy[20, 45, 0] > hazy[20, 45, 2]


@pytest.mark.parametrize("severity", [1, 3])
def test_noise_has_the_standard_deviation_it_is_said_to_have(severity):
    grey = disc((128, 128, 128), 256)
    moved = damage(grey, "noise", severity, 9).astype(float)[inside(256)] - 128
    assert moved.std() == pytest.approx(DAMAGES["noise"].levels[severity - 1], rel=0.05)
    assert abs(moved.mean()) < 0.5
    # Colours are independent of each other.
    assert np.abs(np.corrcoef(moved.T) - np.eye(3)).max() < 0.05


def test_a_cast_changes_red_over_blue_by_its_level_either_way():
    grey, level = disc((80, 80, 80)), DAMAGES["colour-cast"].levels[2]
    found = set()
    for seed in range(8):
        red, green, blue = damage(grey, "colour-cast", 3, seed)[SIDE // 2, SIDE // 2].astype(float)
        assert abs(np.log(red / blue)) == pytest.approx(level, abs=0.03) and green == 80
        found.add(red > blue)
    assert found == {True, False}


def test_jpeg_keeps_red_red():
    spoilt = damage(disc((200, 60, 20), 128), "jpeg", 1)[64, 64].astype(int)
    np.testing.assert_allclose(spoilt, (200, 60, 20), atol=8)


def test_pixelation_leaves_so_many_values_across():
    image = np.random.default_rng(0).integers(0, 256, (256, 256, 3)).astype(np.uint8)
    row = damage(image, "pixelation", 5)[128, :, 0].astype(int)
    assert np.flatnonzero(np.diff(row)).size <= DAMAGES["pixelation"].levels[4]


def test_half_a_turn_is_the_picture_upside_down_and_mirrored(eye):
    turned, expected = damage(eye, "rotation", 5), eye[::-1, ::-1]
    middle = cv2.erode(whole_field(256), np.ones((5, 5), np.uint8)) > 0
    assert np.abs(turned.astype(int) - expected)[middle].max() <= 1


def test_a_narrow_field_is_the_middle_enlarged():
    half = np.zeros((128, 128, 3), np.uint8)
    half[:] = (90, 40, 20)
    # A disc of a third of the width fills three times as many pixels when 15 of 45 degrees are seen.
    cv2.circle(half, (64, 64), 10, (200, 100, 60), -1)
    spoilt = damage(cv2.copyTo(half, whole_field(128)), "narrow-field", 5)
    wide, before = (spoilt[64, :, 0] > 145).sum(), (half[64, :, 0] > 145).sum()
    assert wide == pytest.approx(3 * before, abs=3)


def test_the_field_has_no_holes_and_ends_at_a_cut():
    image = disc((120, 60, 30), 128)
    image[60:70, 50:70] = 0
    image[:20] = 0
    field = recorded_field(image)
    assert field[60:70, 50:70].all() and not field[:18].any() and field[22, 64] == 1
    np.testing.assert_array_equal(recorded_field(np.zeros((64, 64, 3), np.uint8)), whole_field(64) > 0)


def test_a_cut_stays_black():
    image = disc((120, 60, 30), 128)
    image[:20] = 0
    for kind in DAMAGES:
        assert not damage(image, kind, 5, 1)[:18].any(), kind


@pytest.mark.parametrize(
    ("kind", "severity", "what"), [("rain", 1, "no damage is called 'rain'"), ("blur", 6, "1 to 5")]
)
def test_unknown_damages_are_refused(kind, severity, what):
    with pytest.raises(UserError, match=what):
        damage(disc((9, 9, 9)), kind, severity)
