from __future__ import annotations

import re

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fundus_synth.data.phantom.torture import TORTURES, torture_set
from fundus_synth.preprocess.field_of_view import HOPELESS, FieldOfView, find_field_of_view
from fundus_synth.preprocess.rim_candidates import retina_likeness

WIDTH, HEIGHT = 400, 300


def _error(fov: FieldOfView, x: float, y: float, radius: float) -> float:
    return max(abs(fov.x - x), abs(fov.y - y), abs(fov.radius - radius))


@settings(max_examples=40, deadline=None)
@given(
    radius=st.floats(60, 190), dx=st.floats(-40, 40), dy=st.floats(-30, 30), gain=st.sampled_from([1.0, 0.3, 0.08]),
    side_light=st.sampled_from([0.0, 0.5, -0.8]), seed=st.integers(0, 99),
)  # fmt: skip
def test_circle_within_one_percent_of_the_width(frame, radius, dx, dy, gain, side_light, seed):
    """Whole, off-centre, cut by one or more sides of the frame, evenly lit or not, bright or nearly black."""
    x, y = WIDTH / 2 + dx, HEIGHT / 2 + dy
    image = frame(HEIGHT, WIDTH, x, y, radius, gain=gain, side_light=side_light, noise=2 * gain, seed=seed)
    fov = find_field_of_view(image)
    assert _error(fov, x, y, radius) < 0.01 * WIDTH
    assert fov.confidence > 0.7 and fov.reason == ""


@settings(max_examples=25, deadline=None)
@given(side=st.integers(0, 3), depth=st.floats(0.1, 0.9), seed=st.integers(0, 99))
def test_straight_black_cut_inside_the_frame_is_found(frame, side, depth, seed):
    image = frame(HEIGHT, WIDTH, 200, 150, 140, seed=seed)
    image = np.ascontiguousarray(np.rot90(image, side))
    height, width = image.shape[:2]
    cut = round(height / 2 - 140 + depth * 140)
    image[:cut] = 0
    fov = find_field_of_view(image)
    assert _error(fov, width / 2, height / 2, 140) < 0.01 * width
    assert fov.box == pytest.approx((0, cut, width, height), abs=1)


def test_notch_date_stamp_black_level_and_noise_do_not_matter(frame):
    image = frame(HEIGHT, WIDTH, 200, 150, 130, surround=18, noise=5)
    cv2.circle(image, (292, 58), 9, (190, 95, 50), -1)
    cv2.putText(image, "2011-04-12", (5, 290), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1)
    fov = find_field_of_view(image)
    assert _error(fov, 200, 150, 130) < 1 and fov.confidence > 0.7


@pytest.mark.parametrize("color", [(235, 228, 205), (100, 130, 70), (255, 255, 255), (90, 90, 120), (150, 150, 150)])
def test_hazy_greenish_overexposed_bluish_and_grey_pictures(frame, color):
    fov = find_field_of_view(frame(HEIGHT, WIDTH, 190, 155, 120, color=color))
    assert _error(fov, 190, 155, 120) < 1 and fov.reason == ""


def test_large_camera_file_is_found_to_a_fraction_of_a_permille(frame):
    fov = find_field_of_view(frame(1100, 1500, 755.3, 542.6, 500.4, noise=4))
    assert _error(fov, 755.3, 542.6, 500.4) < 0.001 * 1500


def test_only_the_corners_are_black(frame):
    fov = find_field_of_view(frame(256, 256, 127, 130, 155))
    assert _error(fov, 127, 130, 155) < 0.01 * 256


def test_an_eye_that_fills_the_frame_is_kept_whole_and_says_so(frame):
    image = frame(HEIGHT, WIDTH, 200, 150, 400)
    fov = find_field_of_view(image)
    assert HOPELESS <= fov.confidence < 0.7 and "fills the frame" in fov.reason
    assert fov.mask(HEIGHT, WIDTH).all()


def test_standardised_picture_is_its_own_circle(frame):
    fov = find_field_of_view(frame(256, 256, 128.4, 127.8, 127.6))
    assert (fov.x, fov.y, fov.radius) == (128, 128, 128)


def test_oval_from_stretching_is_enclosed_and_flagged(frame):
    image = cv2.resize(frame(256, 256, 128, 128, 126), (200, 256))
    image = cv2.copyMakeBorder(image, 0, 0, 28, 28, cv2.BORDER_CONSTANT)
    fov = find_field_of_view(image)
    lit = image.max(axis=2) > 30
    assert (fov.mask(256, 256)[lit] > 0).mean() > 0.995
    assert HOPELESS <= fov.confidence < 0.7
    ratio = re.fullmatch(r"the field is an oval \(axes ([\d.]+) : 1\)", fov.reason)
    assert ratio and float(ratio[1]) == pytest.approx(200 / 256, abs=0.015)


def _text_page() -> np.ndarray:
    page = np.full((400, 300, 3), 255, np.uint8)
    for line in range(12):
        cv2.putText(page, "the quick brown fox 123", (8, 30 + 32 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 0, 0), 2)
    return page


def _stripes() -> np.ndarray:
    return np.tile(np.repeat(np.array([[[20, 120, 40], [200, 60, 160]]], np.uint8), 8, 1), (300, 25, 1))


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((300, 400, 3), np.uint8),
        np.full((300, 400, 3), 128, np.uint8),
        np.full((300, 400, 3), 255, np.uint8),
        np.random.default_rng(0).integers(0, 256, (300, 400, 3)).astype(np.uint8),
        _text_page(),
        _stripes(),
        np.zeros((1, 1, 3), np.uint8),
        np.full((3, 900, 3), 90, np.uint8),
    ],
    ids="black grey white noise page stripes pixel ribbon".split(),
)
def test_what_is_not_a_fundus_photograph_is_hopeless_with_a_reason(image):
    fov = find_field_of_view(image)
    assert fov.confidence < HOPELESS and fov.reason


def test_finder_is_deterministic(frame):
    image = frame(HEIGHT, WIDTH, 210, 140, 160, noise=6)
    assert find_field_of_view(image) == find_field_of_view(image.copy())


@given(st.floats(-50, 500), st.floats(-50, 500), st.floats(5, 400), st.integers(16, 1024))
def test_map_to_the_square_and_back(x, y, radius, size):
    fov = FieldOfView(x, y, radius, 1.0, "", (0, 0, 500, 500))
    there, back = fov.to_square(size), fov.from_square(size)
    points = np.array([[x, y], [x - radius, y - radius], [x + radius, y + radius]])
    moved = points @ there[:, :2].T + there[:, 2]
    assert np.allclose(moved, [[size / 2] * 2, [0, 0], [size, size]], atol=1e-6)
    assert np.allclose(moved @ back[:, :2].T + back[:, 2], points, atol=1e-6)


def test_mask_by_hand():
    fov = FieldOfView(2, 2, 1.6, 1.0, "", (0, 0, 4, 4))
    corners_out = np.array([[0, 255, 255, 0], [255] * 4, [255] * 4, [0, 255, 255, 0]], np.uint8)
    assert np.array_equal(fov.mask(4, 4), corners_out)
    cut = FieldOfView(2, 2, 1.6, 1.0, "", (0, 2, 4, 4)).mask(4, 4)
    assert not cut[:2].any() and np.array_equal(cut[2:], corners_out[2:])


def test_an_eye_that_fades_into_the_dark_is_not_taken_for_an_oval(frame):
    image = frame(HEIGHT, WIDTH, 200, 150, 140).astype(float)
    image *= np.clip((np.arange(WIDTH) - 120) / 150, 0, 1)[None, :, None] ** 2
    fov = find_field_of_view(image.astype(np.uint8))
    assert _error(fov, 200, 150, 140) < 0.01 * WIDTH
    assert fov.confidence > HOPELESS


def test_retina_is_told_from_other_pictures(frame):
    lit = np.ones((HEIGHT, WIDTH), bool)
    assert retina_likeness(frame(HEIGHT, WIDTH, 200, 150, 400), lit) > 0.9
    assert retina_likeness(np.ascontiguousarray(frame(HEIGHT, WIDTH, 200, 150, 400)[..., ::-1]), lit) < 0.3


def test_real_photographs(real_data):
    from fundus_synth.data.image_file import read_image

    eyes = [
        *sorted((real_data / "camera_frames").glob("*.jp*g")),
        *sorted((real_data / "drive/images").glob("*.png"))[:6],
    ]
    assert all(find_field_of_view(read_image(path)).confidence > 0.9 for path in eyes)
    others = sorted((real_data / "not_fundus").glob("*.jpg"))
    assert others and all(find_field_of_view(read_image(path)).confidence < HOPELESS for path in others)


def test_field_of_view_agrees_with_the_published_masks(real_data):
    from fundus_synth.data.image_file import read_image

    shares = []
    for path in sorted((real_data / "drive/images").glob("*.png"))[::8]:
        published = read_image(real_data / "drive/masks/fov" / path.name)[..., 0] > 127
        found = find_field_of_view(read_image(path)).mask(*published.shape) > 0
        shares.append((found & published).sum() / (found | published).sum())
    assert min(shares) > 0.98


_EASY = [t for t in TORTURES if t not in ("dark_rim", "fills_frame")]


@pytest.mark.parametrize("torture", TORTURES)
def test_no_confident_failure_on_what_is_hard(torture):
    """What is awkward but visible is found; what is not found says so."""
    (picture,) = torture_set(1, seed=5, size=320, only=torture)
    fov = find_field_of_view(picture.image)
    right = picture.circle is not None and _error(fov, *picture.circle) <= 0.01 * picture.image.shape[1]
    assert right or (fov.confidence < 0.7 and fov.reason)
    assert right or torture not in _EASY


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 99), st.sampled_from([(1, -1), (-1, 1), (-1, -1)]))
def test_a_flipped_frame_has_the_flipped_circle(frame, seed, flip):
    image = frame(HEIGHT, WIDTH, 210, 140, 160, seed=seed)
    fov, flipped = find_field_of_view(image), find_field_of_view(np.ascontiguousarray(image[:: flip[0], :: flip[1]]))
    x = fov.x if flip[1] > 0 else WIDTH - fov.x
    y = fov.y if flip[0] > 0 else HEIGHT - fov.y
    assert _error(flipped, x, y, fov.radius) < 0.5


def test_half_the_pixels_halve_the_circle(frame):
    image = frame(600, 800, 410, 290, 260)
    full, half = (
        find_field_of_view(image),
        find_field_of_view(cv2.resize(image, (400, 300), interpolation=cv2.INTER_AREA)),
    )
    assert _error(half, full.x / 2, full.y / 2, full.radius / 2) < 0.5


@pytest.mark.parametrize(
    ("x", "y", "radius", "black_rows", "cuts"),
    [
        (200, 150, 140, 0, ()),
        (200, 150, 149, 0, ()),
        (200, 150, 170, 0, ("top", "bottom")),
        (80, 150, 130, 0, ("left",)),
        (330, 150, 130, 0, ("right",)),
        (200, 150, 140, 60, ("top",)),
        (200, 150, 230, 0, ("left", "top", "right", "bottom")),
    ],
)
def test_cuts_name_the_sides_that_cut_the_circle(frame, x, y, radius, black_rows, cuts):
    image = frame(HEIGHT, WIDTH, x, y, radius)
    image[:black_rows] = 0
    assert find_field_of_view(image).cuts == cuts


def test_a_cut_counts_from_one_percent_of_the_radius():
    box = (0, 0, 400, 300)
    assert FieldOfView(99.5, 150, 100, 1.0, "", box).cuts == ()
    assert FieldOfView(98.5, 150, 100, 1.0, "", box).cuts == ("left",)


def test_an_eye_on_white_is_found(frame):
    image = frame(HEIGHT, WIDTH, 190, 155, 120)
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    image[np.hypot(x - 190, y - 155) > 120] = 240
    fov = find_field_of_view(image)
    assert _error(fov, 190, 155, 120) < 0.01 * WIDTH and fov.confidence > 0.7


def _beyond(x: float, y: float, radius: float) -> np.ndarray:
    """How far outside a circle each pixel lies, pixels; (HEIGHT, WIDTH, 1)."""
    py, px = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    return (np.hypot(px - x, py - y) - radius)[..., None]


def test_an_eye_of_one_grey_level_in_noise_is_found(frame):
    """Its mean is 1 and the noise 0.6: in whole grey levels of a small copy there is nothing left of it."""
    image = frame(HEIGHT, WIDTH, 190, 155, 120, color=(110, 60, 30)).astype(float) / 110 * 1.6
    image += np.random.default_rng(0).normal(0, 0.6, image.shape)
    fov = find_field_of_view(np.rint(image).clip(0, 255).astype(np.uint8))
    assert _error(fov, 190, 155, 120) < 0.01 * WIDTH and fov.confidence > 0.7


def test_light_around_the_eye_does_not_hide_its_rim(frame):
    beyond = _beyond(190, 155, 110)
    glow = 60 * np.exp(-np.maximum(beyond, 0) / 40) * (beyond > 0)
    fov = find_field_of_view((frame(HEIGHT, WIDTH, 190, 155, 110) + glow).clip(0, 255).astype(np.uint8))
    assert _error(fov, 190, 155, 110) < 0.01 * WIDTH and fov.confidence > 0.7


def test_light_that_fails_towards_the_rim_never_makes_a_smaller_circle_certain():
    for picture in torture_set(6, seed=17, size=320, only="dark_rim"):
        fov = find_field_of_view(picture.image)
        assert _error(fov, *picture.circle) <= 0.01 * picture.image.shape[1] or (fov.confidence < 0.7 and fov.reason)


def test_a_dark_margin_in_a_lighter_border_belongs_to_the_eye(frame):
    beyond = _beyond(190, 155, 120)
    image = frame(HEIGHT, WIDTH, 190, 155, 120) * np.clip(-beyond / 30, 0.02, 1)
    image = np.where(beyond > 0, 40, image).astype(np.uint8)
    fov = find_field_of_view(image)
    assert _error(fov, 190, 155, 120) < 0.01 * WIDTH or fov.confidence < 0.7


@pytest.mark.parametrize("shape", [(1201, 1603), (1025, 1370), (513, 700)])
def test_odd_sizes_lose_no_pixel_of_the_box(frame, shape):
    height, width = shape
    fov = find_field_of_view(frame(height, width, width / 2 + 3, height / 2, 0.45 * height))
    assert fov.box == (0, 0, width, height)
    assert _error(fov, width / 2 + 3, height / 2, 0.45 * height) < 0.002 * width
