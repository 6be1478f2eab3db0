from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fundus_synth.data.phantom.anatomy import Eye
from fundus_synth.data.phantom.artefacts import Artefacts, _disc_kernel, _line_kernel, spoil, write_stamp
from fundus_synth.data.phantom.camera import Camera
from fundus_synth.data.phantom.render import render


def _texture(size: int = 128) -> np.ndarray:
    return np.random.default_rng(0).uniform(40, 160, (size, size, 3)).astype(np.float32)


def _energy(image: np.ndarray) -> tuple[float, float]:
    """Mean squared differences from left to right and from top to bottom."""
    return tuple(float(np.square(np.diff(image, axis=axis)).mean()) for axis in (1, 0))


def test_no_artefact_no_change():
    image = _texture()
    assert spoil(image, Artefacts(), 0) is image
    assert spoil(image, Artefacts(stamp="12:30", dust_seed=4, motion_angle=1.0), 0) is image


def test_motion_blurs_along_its_direction_only():
    across, down = _energy(_texture())
    for angle, first in ((0.0, True), (np.pi / 2, False)):
        moved = _energy(spoil(_texture(), Artefacts(motion=9 / 128, motion_angle=angle), 0))
        along, aside = moved if first else moved[::-1]
        # The mean of ten pixels has a tenth of their variance; differences along the path almost vanish.
        assert along < 0.05 * across and 0.05 * down < aside < 0.2 * down


@settings(max_examples=40, deadline=None)
@given(length=st.floats(1.0, 40.0), angle=st.floats(0, np.pi), radius=st.floats(0.5, 15.0))
def test_blur_kernels_have_the_moments_of_a_line_and_of_a_disc(length, angle, radius):
    line, disc = _line_kernel(length, angle), _disc_kernel(radius)
    assert line.sum() == pytest.approx(1, abs=1e-5) and disc.sum() == pytest.approx(1, abs=1e-5)
    reach = len(line) // 2
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    along = (line * np.square(x * np.cos(angle) + y * np.sin(angle))).sum()
    aside = (line * np.square(y * np.cos(angle) - x * np.sin(angle))).sum()
    assert along == pytest.approx(length**2 / 12, rel=0.2, abs=0.35) and aside < 0.4
    reach = len(disc) // 2
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    assert (disc * (x * x + y * y)).sum() == pytest.approx(radius**2 / 2, rel=0.15, abs=0.35)


def test_defocus_blurs_in_every_direction():
    before, after = _energy(_texture()), _energy(spoil(_texture(), Artefacts(defocus=4 / 128), 0))
    assert all(a < 0.05 * b for a, b in zip(after, before, strict=True))


@pytest.mark.parametrize("stops", [-2.0, -0.5, 1.0])
def test_exposure_in_stops(stops):
    brighter = spoil(_texture(), Artefacts(exposure=stops), 0)
    assert np.square(brighter.mean() / _texture().mean()) ** 1.1 == pytest.approx(2**stops, rel=1e-4)
    eye = Eye("left", 4)
    plain, changed = (render(eye, Camera(artefacts=a), 96) for a in (Artefacts(), Artefacts(exposure=stops)))
    assert (changed.image.mean() > plain.image.mean()) == (stops > 0)
    assert (changed.image.max(axis=2) == 255).mean() >= (plain.image.max(axis=2) == 255).mean() * (stops > 0)


def _changed(artefacts: Artefacts, seed: int, size: int = 128) -> np.ndarray:
    grey = np.full((size, size, 3), 100, np.float32)
    return np.abs(spoil(grey, artefacts, seed) - 100).max(axis=2) > 8


def test_dust_stays_where_it_is_on_one_lens():
    one, again = (_changed(Artefacts(dust=8, dust_seed=3), seed) for seed in (1, 2))
    other = _changed(Artefacts(dust=8, dust_seed=4), 1)
    more = _changed(Artefacts(dust=20, dust_seed=3), 1)
    assert np.array_equal(one, again) and 10 < one.sum() < 0.05 * one.size
    assert (one & other).sum() < 0.5 * one.sum() and (more >= one).all()


def test_dust_keeps_its_place_at_another_size():
    small, large = _changed(Artefacts(dust=6, dust_seed=1), 0, 128), _changed(Artefacts(dust=6, dust_seed=1), 0, 512)
    assert large.mean() == pytest.approx(small.mean(), rel=0.35)
    rows, columns = np.nonzero(small)
    assert large[4 * rows + 2, 4 * columns + 2].mean() > 0.8


def test_glare_adds_white_light_and_the_more_the_stronger():
    grey = np.full((128, 128, 3), 100, np.float32)
    weak, strong = (spoil(grey, Artefacts(glare=g), 5) for g in (0.3, 1.0))
    assert weak.min() >= 100 - 1e-3 and strong.mean() > weak.mean() > 100.2
    assert strong[..., 2].max() > 225
    assert not np.array_equal(strong, spoil(grey, Artefacts(glare=1.0), 6))


def test_lashes_shade_one_edge():
    for seed in range(6):
        grey = np.full((128, 128, 3), 100, np.float32)
        shaded = spoil(grey, Artefacts(lashes=0.8), seed)[..., 0]
        edges = sorted([shaded[:8].mean(), shaded[-8:].mean()])
        assert edges[0] < 30 and edges[1] > 90 and shaded[64].mean() > 60


def test_fringe_moves_red_outwards_and_blue_inwards():
    x, y = np.meshgrid(*[np.arange(201) - 100.0] * 2)
    step = np.repeat((np.hypot(x, y) < 60).astype(np.float32)[..., None] * 200, 3, axis=2)
    areas = spoil(step, Artefacts(fringe=0.02), 0).sum(axis=(0, 1)) / 200
    radii = np.sqrt(areas / np.pi)
    assert radii == pytest.approx(60 * np.array([1.02, 1.0, 0.98]), abs=0.1)


@pytest.mark.parametrize("corner", range(4))
def test_the_stamp_is_written_in_its_corner_only(corner):
    image = np.zeros((200, 300, 3), np.uint8)
    write_stamp(image, Artefacts(stamp="00042\n2003-01-02", stamp_corner=corner))
    rows, columns = np.nonzero(image.max(axis=2))
    assert len(rows) > 50
    assert (rows < 60).all() if corner < 2 else (rows >= 140).all()
    assert (columns < 150).all() if corner in (0, 2) else (columns >= 150).all()
    untouched = np.zeros((200, 300, 3), np.uint8)
    write_stamp(untouched, Artefacts())
    assert not untouched.any()


def test_a_stamp_shows_in_a_camera_frame_and_not_in_a_standardised_one():
    camera = Camera(aspect=1.5, fov_radius=0.3, noise=0.5, artefacts=Artefacts(stamp="8888", stamp_corner=3))
    frame = render(Eye("left", 1), camera, 120)
    assert frame.image[100:, 130:].max() > 100 and frame.masks["fov"][100:, 140:].max() == 0
    assert camera.in_standard_frame().artefacts.stamp == ""


def test_what_is_there_is_said_in_words():
    assert str(Artefacts()) == ""
    assert str(Artefacts(motion_angle=1.0, dust_seed=3)) == ""
    spoiled = Artefacts(motion=0.0125, motion_angle=0.5, dust=4, dust_seed=1234567, exposure=-1.5, stamp="1\n2")
    assert (
        str(spoiled)
        == "motion=0.0125; motion_angle=0.5; dust=4; dust_seed=1234567; exposure=-1.5; stamp=1 2; stamp_corner=2"
    )
