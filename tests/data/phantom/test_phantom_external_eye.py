from __future__ import annotations

import numpy as np
import pytest

from fundus_synth.data.phantom.external_eye import NOT_FUNDUS_KINDS, render_not_fundus
from fundus_synth.runtime.errors import UserError


@pytest.mark.parametrize("kind", NOT_FUNDUS_KINDS)
@pytest.mark.parametrize(("height", "width"), [(120, 160), (90, 90), (161, 120)])
def test_shape_type_and_determinism(kind, height, width):
    image = render_not_fundus(kind, 3, height, width)
    assert image.shape == (height, width, 3) and image.dtype == np.uint8
    assert np.array_equal(image, render_not_fundus(kind, 3, height, width))
    assert not np.array_equal(image, render_not_fundus(kind, 4, height, width))


def test_an_external_eye_has_skin_around_white_and_a_dark_pupil():
    tones = []
    for seed in range(8):
        image = render_not_fundus("external_eye", seed, 160, 200).astype(float)
        skin = image[-12:].reshape(-1, 3).mean(axis=0)
        tones.append(skin[0])
        assert skin[0] > skin[1] > skin[2] > 8  # no black surround, and the colour of skin
        white = (image.min(axis=2) > 140) & (np.ptp(image, axis=2) < 45)
        dark = image.max(axis=2) < 45
        assert 0.01 < white.mean() < 0.35 and dark[40:120, 50:150].mean() > 0.003
    assert max(tones) - min(tones) > 60


def test_an_anterior_segment_is_a_lit_circle_with_a_pupil():
    for seed in range(5):
        image = render_not_fundus("anterior_segment", seed, 120, 160)
        assert image[:5, :5].max() < 20 and image[-5:, -5:].max() < 20
        assert (image.max(axis=2) > 60).mean() > 0.2


def test_frames_without_an_eye_are_even():
    for seed in range(5):
        assert render_not_fundus("lens_cap", seed, 64, 80).max() < 30
        blank = render_not_fundus("blank", seed, 64, 80).astype(float)
        assert blank.reshape(-1, 3).std(axis=0).max() < 5
        mount = render_not_fundus("empty_mount", seed, 64, 80)
        assert mount[:3, :3].max() < 20 and mount[32, 40].max() > 30


def test_bad_requests_are_named():
    with pytest.raises(UserError, match="external_eye, anterior_segment"):
        render_not_fundus("nose", 0)
    with pytest.raises(UserError, match="at least 32"):
        render_not_fundus("blank", 0, 31, 400)
