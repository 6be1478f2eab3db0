from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from fundus_synth.data.image_file import read_image
from fundus_synth.preprocess.camera_file import Recipe, Task, process
from fundus_synth.preprocess.dataset_masks import whole_field
from fundus_synth.preprocess.field_of_view import FieldOfView
from fundus_synth.preprocess.standardize import (
    field_mask,
    map_landmarks,
    on_whole_pixels,
    resample,
    resample_mask,
    standardize,
)
from fundus_synth.runtime.errors import UserError


def _fov(x: float, y: float, radius: float, width: int, height: int) -> FieldOfView:
    return FieldOfView(x, y, radius, 1.0, "", (0, 0, width, height))


SIZES = st.integers(64, 1024)


@settings(max_examples=20, deadline=None)
@given(st.integers(48, 300), st.floats(70, 160), st.integers(0, 9))
def test_outside_is_exactly_black_and_inside_is_the_eye(frame, size, radius, seed):
    image = frame(220, 300, 150, 110, radius, surround=12, noise=2, seed=seed)
    result = standardize(image, size)
    assert result.image.shape == (size, size, 3) and result.image.dtype == np.uint8
    assert set(np.unique(result.mask)) <= {0, 255}
    assert not result.image[result.mask == 0].any()
    inner = cv2.erode(result.mask, np.ones((5, 5)), borderValue=0) > 0
    assert np.percentile(result.image[inner].max(axis=1), 1) > 30


@settings(max_examples=25, deadline=None)
@given(SIZES, st.tuples(st.floats(150, 250), st.floats(120, 180), st.floats(90, 190)),
       st.tuples(st.floats(0, 6.3), st.floats(0, 0.5), st.floats(0.15, 0.4)))  # fmt: skip
def test_a_circle_becomes_a_circle_where_the_map_says(size, field, disc):
    """A bright disc anywhere in the field, cut circles included: centre, area and both axes by its moments."""
    width, height = 400, 300
    fov = _fov(*field, width, height)
    angle, away, share = disc
    x, y = fov.x + away * fov.radius * np.cos(angle), fov.y + away * fov.radius * np.sin(angle)
    radius = min(share * fov.radius, x - 1, y - 1, width - x - 1, height - y - 1)
    assume(radius > 8)
    column, row = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    light = 250 * np.clip(radius - np.hypot(column - x, row - y) + 0.5, 0, 1)
    result = standardize(np.rint(np.dstack([light] * 3)).astype(np.uint8), size, fov=fov)
    weight = result.image[..., 1] / 250
    scale = size / (2 * result.fov.radius)
    center = np.arange(size) + 0.5
    found_x, found_y = (weight.sum(0) @ center / weight.sum(), weight.sum(1) @ center / weight.sum())
    assert [found_x, found_y] == pytest.approx(result.fov.to_square(size) @ [x, y, 1], abs=0.02 * max(scale, 1) + 0.02)
    assert weight.sum() == pytest.approx(np.pi * (radius * scale) ** 2, rel=0.02)
    spread_x = weight.sum(0) @ (center - found_x) ** 2 / weight.sum()
    spread_y = weight.sum(1) @ (center - found_y) ** 2 / weight.sum()
    assert 2 * np.sqrt([spread_x, spread_y]) == pytest.approx(radius * scale, rel=0.02)


@given(
    SIZES,
    st.floats(-50, 5000),
    st.floats(-50, 4000),
    st.floats(10, 3000),
    st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=2),
)
def test_the_map_and_its_inverse_undo_each_other(size, x, y, radius, point):
    fov = on_whole_pixels(_fov(x, y, radius, 5000, 4000))
    there, back = fov.to_square(size), fov.from_square(size)
    scale = size / (2 * fov.radius)
    assert back @ [*(there @ [*point, 1]), 1] == pytest.approx(point, abs=1e-6)
    assert there @ [*(back @ [*point, 1]), 1] == pytest.approx(point, abs=1e-6 * max(scale, 1))
    assert there @ [fov.x, fov.y, 1] == pytest.approx([size / 2, size / 2])
    assert there @ [fov.x + fov.radius, fov.y, 1] == pytest.approx([size, size / 2])


@settings(max_examples=12, deadline=None)
@given(SIZES, st.floats(80, 150), st.sampled_from(["none", "graham", "clahe", "gray-world", "percentile"]))
def test_in_the_png_the_outside_is_exactly_black(frame, tmp_path_factory, size, radius, illumination):
    folder = tmp_path_factory.mktemp("png")
    Image.fromarray(frame(220, 300, 150, 110, radius, surround=14, noise=3)).save(folder / "camera.png")
    recipe = Recipe(folder, size, illumination, all_kinds=True)
    assert process(Task(folder / "camera.png", "images/eye.png", {}, {}), recipe).row is not None
    image, written = read_image(folder / "images" / "eye.png"), folder / "masks" / "fov" / "eye.png"
    mask = read_image(written)[..., 0] if written.exists() else whole_field(size)
    assert image.shape == (size, size, 3) and mask.shape == (size, size)
    assert not image[mask == 0].any() and image[mask == 255].mean() > 20


def test_whole_circle_gives_the_inscribed_circle(frame):
    result = standardize(frame(300, 400, 207, 151, 120), 64)
    x = np.arange(64) + 0.5 - 32
    assert np.array_equal(result.mask > 0, x[None] ** 2 + x[:, None] ** 2 <= 32**2)


def test_shrinking_by_a_whole_factor_is_the_mean_of_blocks():
    image = np.random.default_rng(0).integers(0, 256, (120, 120, 3)).astype(np.uint8)
    small = resample(image, _fov(60, 60, 60, 120, 120), 30)
    blocks = image.reshape(30, 4, 30, 4, 3).mean((1, 3))
    assert np.abs(small - blocks).max() <= 0.51


def test_shrinking_by_any_factor_weights_by_area():
    """Against the integral: every output pixel is the exact mean over its square, parts of pixels included."""
    image = np.random.default_rng(1).integers(0, 256, (50, 50)).astype(np.uint8)
    small = resample(image, _fov(25, 25, 25, 50, 50), 32)
    edges = np.arange(33) * 50 / 32
    overlap = np.clip(np.minimum(edges[1:, None], np.arange(1, 51)) - np.maximum(edges[:-1, None], np.arange(50)), 0, 1)
    exact = overlap @ image.astype(float) @ overlap.T / (50 / 32) ** 2
    assert np.abs(small - exact).max() <= 1


def test_beyond_the_frame_is_black():
    image = np.full((60, 100, 3), 200, np.uint8)
    square = resample(image, _fov(50, 30, 50, 100, 60), 100)
    assert np.array_equal(square[20:80], image)
    assert not square[:20].any() and not square[80:].any()


def test_enlarging_is_bicubic():
    image = np.random.default_rng(2).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    large = resample(image, _fov(20, 20, 20, 40, 40), 96)
    assert np.array_equal(large, cv2.resize(image, (96, 96), interpolation=cv2.INTER_CUBIC))


def test_a_standardised_image_stays_as_it_is(frame):
    once = standardize(frame(400, 500, 251, 207, 180), 128)
    twice = standardize(once.image, 128)
    assert np.array_equal(twice.image, once.image)
    assert twice.fov.x == twice.fov.y == twice.fov.radius == 64


@given(st.floats(0, 300), st.floats(0, 300), st.floats(10, 200))
@example(0.0, 2.220446049250313e-16, 11.5)
def test_whole_pixels_move_the_circle_by_half_a_pixel_at_most(x, y, radius):
    moved = on_whole_pixels(_fov(x, y, radius, 300, 300))
    rounding = 1e-9
    assert abs(moved.radius - radius) <= 0.25 + rounding
    assert max(abs(moved.x - x), abs(moved.y - y)) <= 0.5 + rounding
    for value in (moved.x - moved.radius, moved.y - moved.radius, 2 * moved.radius):
        assert value == int(value)


def test_field_mask_is_the_camera_mask_seen_through_the_map(frame):
    fov = FieldOfView(160, 90, 100, 1.0, "", (0, 20, 300, 180))
    camera, size = fov.mask(180, 300), 150
    mask = field_mask(fov, (180, 300), size)
    matrix = fov.from_square(size)
    x, y = np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5)
    column = np.floor(matrix[0, 0] * x + matrix[0, 2]).astype(int)
    row = np.floor(matrix[1, 1] * y + matrix[1, 2]).astype(int)
    inside = (column >= 0) & (column < 300) & (row >= 0) & (row < 180)
    looked_up = np.where(inside, camera[row.clip(0, 179), column.clip(0, 299)], 0)
    assert (mask != looked_up).mean() < 0.01
    assert not mask[:22].any() and mask[25, 75]


def test_masks_take_the_same_map_as_the_image():
    image = np.zeros((240, 320, 3), np.uint8)
    cv2.circle(image, (200, 100), 30, (255, 255, 255), -1)
    fov = _fov(160, 120, 110, 320, 240)
    moved = resample_mask(image[..., 0], fov, 64)
    assert set(np.unique(moved)) == {0, 255}
    y, x = np.nonzero(moved)
    expected = fov.to_square(64) @ [200.5, 100.5, 1]
    assert np.allclose([x.mean() + 0.5, y.mean() + 0.5], expected, atol=0.15)
    assert moved.astype(bool).sum() == pytest.approx((image[..., 0] > 0).sum() * (64 / 220) ** 2, rel=0.03)


def test_binary_masks_are_half_of_the_area_and_soft_ones_are_averaged():
    fov = _fov(4, 4, 4, 8, 8)
    binary = np.zeros((8, 8), np.uint8)
    binary[0, :2], binary[4, 4] = 1, 1
    assert np.array_equal(np.argwhere(resample_mask(binary, fov, 4)), [[0, 0]])
    soft = np.zeros((8, 8), np.uint8)
    soft[0, :2], soft[4, 4] = 64, 255
    assert resample_mask(soft, fov, 4)[[0, 2], [0, 2]].tolist() == [32, 64]


def test_landmarks_move_with_the_image(frame):
    fov = _fov(160, 120, 110, 320, 240)
    moved = map_landmarks({"disc_x": "0.625", "disc_y": 0.3125, "disc_r": 0.05, "fovea_x": "", "label": "x"}, fov, 320)
    assert moved == {"disc_x": 0.681818, "disc_y": 0.409091, "disc_r": 0.072727}


@pytest.mark.parametrize("illumination", ["Graham", "", "retinex"])
def test_unknown_illumination(frame, illumination):
    with pytest.raises(UserError, match="none, graham, clahe"):
        standardize(frame(100, 100, 50, 50, 45), 64, illumination)
