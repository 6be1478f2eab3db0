"""The biomarkers, each on a picture in which its value is known; then phantoms and real eyes."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.phantom.cohort import render_cohort
from fundus_synth.preprocess.field_of_view import find_field_of_view
from fundus_synth.preprocess.landmarks import Landmarks, mirrored
from fundus_synth.synth.distances import kid, precision_recall
from fundus_synth.synth.feature_spaces import comparable
from fundus_synth.synth.features.color import color_features
from fundus_synth.synth.features.eye import SIDE, Eye
from fundus_synth.synth.features.layout import field_features, landmark_features, symmetry_features
from fundus_synth.synth.features.retina import RetinaSpace, _features
from fundus_synth.synth.features.texture import texture_features
from fundus_synth.synth.features.vessels import curvature, find_lines, vessel_features

FOUND = Landmarks(0.75, 0.45, 0.07, 0.4, 0.5, 0.9, 0.8, "right", 1.0, "macula")
Y, X = np.mgrid[:SIDE, :SIDE] + 0.5
FAR = np.hypot(X - SIDE / 2, Y - SIDE / 2)


def eye(pixels=(150, 90, 60), found: Landmarks = FOUND, heat=None) -> Eye:
    """An eye of one colour, or of the given pixels, in its circle."""
    image = np.broadcast_to(np.asarray(pixels), (SIDE, SIDE, 3)) * (FAR <= SIDE / 2)[..., None]
    return Eye(
        image.round().clip(0, 255).astype(np.uint8), found, np.full((32, 32), 1 / 1024) if heat is None else heat
    )


def drawn(darker: np.ndarray) -> Eye:
    """An even eye whose green and red are multiplied by 1 - `darker`, float (SIDE, SIDE)."""
    return eye(np.array([150, 120, 60]) * (1 - darker)[..., None])


def lines(*strokes, width=3) -> Eye:
    """Dark lines between points in pixels."""
    canvas = np.zeros((SIDE, SIDE), np.float32)
    for stroke in strokes:
        cv2.polylines(canvas, [np.int32(stroke)], False, 0.3, width, cv2.LINE_AA)
    return drawn(canvas)


def dots(places, radius, darker) -> Eye:
    canvas = np.zeros((SIDE, SIDE), np.float32)
    for x, y in places:
        cv2.circle(canvas, (x, y), radius, darker, -1, cv2.LINE_AA)
    return drawn(canvas)


def test_the_field_is_where_the_light_is():
    whole = field_features(eye())
    assert [whole[n] for n in ("field_x", "field_y", "field_radius")] == pytest.approx([0.5] * 3, abs=0.004)
    assert whole["field_roundness"] > 0.985 and whole["surround_light"] == 0
    small = field_features(eye(np.where(np.hypot(X - 100, Y - 140)[..., None] < 64, 120, 0) * np.ones(3)))
    expected = [100 / SIDE, 140 / SIDE, 64 / SIDE]
    assert [small[n] for n in ("field_x", "field_y", "field_radius")] == pytest.approx(expected, abs=0.004)
    square = field_features(eye(np.where(np.maximum(abs(X - 128), abs(Y - 128))[..., None] < 60, 120, 0) * np.ones(3)))
    # A square and the circle of its area share 0.909 of the one, so 0.833 of both.
    assert square["field_roundness"] == pytest.approx(0.833, abs=0.02)


def test_landmarks_are_folded_to_one_side():
    found = landmark_features(eye())
    assert found["disc_off_middle"] == pytest.approx(0.25) and found["fovea_off_middle"] == pytest.approx(0.1)
    assert found["disc_fovea_distance"] == pytest.approx(np.log(np.hypot(0.35, 0.05) / 0.07))
    assert found["disc_fovea_angle"] == pytest.approx(np.arctan2(0.05, 0.35))
    left = landmark_features(eye(found=mirrored(FOUND)))
    assert left == pytest.approx(found)


def test_a_bright_disc_and_a_dark_macula_stand_out():
    at_disc = np.hypot(X - 0.75 * SIDE, Y - 0.45 * SIDE) < 0.07 * SIDE
    at_fovea = np.hypot(X - 0.4 * SIDE, Y - 0.5 * SIDE) < 0.05 * SIDE
    green = np.where(at_disc, 160, np.where(at_fovea, 60, 80))
    found = landmark_features(eye(np.stack([np.full_like(green, 140), green, np.full_like(green, 50)], 2)))
    assert found["disc_contrast"] == pytest.approx(np.log(168 / 88), abs=0.02)
    assert found["disc_color_contrast"] == pytest.approx(-np.log(168 / 88), abs=0.02)
    assert found["fovea_contrast"] == pytest.approx(np.log(68 / 88), abs=0.02)


def test_another_place_that_looks_like_a_disc_is_told():
    heat = np.zeros((32, 32))
    heat[14, 24] = 0.7
    assert landmark_features(eye(heat=heat))["other_disc"] == 0
    heat[16, 6] = 0.3
    assert landmark_features(eye(heat=heat))["other_disc"] == pytest.approx(0.3, abs=1e-5)


def test_colors_of_regions():
    pixels = np.broadcast_to(np.array([150, 90, 60]), (SIDE, SIDE, 3)).copy()
    pixels[np.hypot(X - 0.75 * SIDE, Y - 0.45 * SIDE) < 0.08 * SIDE] = (240, 220, 160)
    found = color_features(eye(pixels))
    for region, color in {"disc": (240, 220, 160), "macula": (150, 90, 60), "centre": (150, 90, 60)}.items():
        lab = cv2.cvtColor(np.uint8([[color]]), cv2.COLOR_RGB2LAB)[0, 0] / 255
        assert [found[f"{region}_{c}_mean"] for c in "Lab"] == pytest.approx(lab, abs=0.005), region
        assert found[f"{region}_L_sd"] == pytest.approx(0, abs=0.01)
    assert found["middle_L_sd"] > 0.05 > 0.01 > found["centre_L_sd"]
    assert found["haze"] == pytest.approx(np.log(62 / 152), abs=0.1)
    share = 0.08**2 / 0.5**2
    assert found["bright_share"] == pytest.approx(share, rel=0.1) and found["dark_share"] == 0


def test_an_even_eye_has_no_vessels_and_no_blobs():
    found = vessel_features(eye())
    assert found["vessel_density"] == found["vessel_density_at_disc"] == found["vessel_density_at_fovea"] == 0
    assert [found[n] for n in ("dark_blobs", "bright_blobs", "bright_patches", "largest_patch")] == [0, 0, 0, 0]


def test_density_and_number_of_lines():
    rows = [[(60, y), (196, y)] for y in (70, 100, 130, 160)]
    one, four = vessel_features(lines(rows[0])), vessel_features(lines(*rows))
    assert four["vessel_density"] == pytest.approx(4 * one["vessel_density"], rel=0.1)
    area = np.pi * (0.92 * SIDE / 2) ** 2
    assert 1 <= one["vessel_density"] / (136 * 3 / area) <= 2.5
    assert (one["vessel_pieces"], four["vessel_pieces"]) == pytest.approx((np.log(2), np.log(5)))
    assert four["longest_vessel"] == pytest.approx(0.25, abs=0.03)


def test_caliber_grows_with_width():
    found = [vessel_features(lines([(60, 80), (196, 150)], width=w))["vessel_caliber"] for w in (1, 3, 6)]
    assert found == sorted(found) and found[2] > found[0] + 0.1


@pytest.mark.parametrize(("end", "across"), [((220, 128), 1), ((128, 220), -1), ((210, 210), 0)])
def test_which_way_vessels_run(end, across):
    start = tuple(256 - v for v in end)
    assert vessel_features(lines([start, end]))["vessels_across"] == pytest.approx(across, abs=0.1)


def test_vessels_from_the_disc_and_around_it():
    centre = np.array([0.75 * SIDE, 0.45 * SIDE])
    ways = [np.array([np.cos(a), np.sin(a)]) for a in np.arange(8) * np.pi / 4 + 0.3]
    spokes = lines(*[[centre + 20 * w, centre + 75 * w] for w in ways])
    angle = np.linspace(0, 2 * np.pi, 90)
    ring = lines(*[centre + r * np.stack([np.cos(angle), np.sin(angle)], 1) for r in (30, 45)])
    assert vessel_features(spokes)["vessels_from_disc"] > 0.8
    assert vessel_features(ring)["vessels_from_disc"] < -0.8
    assert vessel_features(spokes)["vessel_density_at_disc"] > 2 * vessel_features(spokes)["vessel_density"]


def test_winding_vessels_are_less_straight():
    x = np.arange(50, 206)
    straight, winding = (lines(np.stack([x, 128 + a * np.sin(x / 5)], 1)) for a in (0, 6))
    assert vessel_features(straight)["vessel_straightness"] > vessel_features(winding)["vessel_straightness"] + 0.05


def test_blobs_are_counted_and_the_disc_is_not_one():
    places = [(60, 90), (90, 60), (90, 180), (128, 90), (128, 160), (60, 140), (150, 190)]
    dark, bright = vessel_features(dots(places, 2, 0.3)), vessel_features(dots(places, 2, -0.3))
    assert dark["dark_blobs"] == pytest.approx(np.log1p(7)) and dark["bright_blobs"] < np.log1p(3)
    assert bright["bright_blobs"] == pytest.approx(np.log1p(7)) and bright["dark_blobs"] == 0
    at_disc = vessel_features(dots([(192, 115)], 14, -0.5))
    assert at_disc["bright_patches"] == 0
    elsewhere = vessel_features(dots([(70, 115)], 18, -0.5))
    assert elsewhere["bright_patches"] > 0 and elsewhere["largest_patch"] == pytest.approx(1, abs=0.3)


def test_curvature_has_its_analytic_value():
    # exp(-(u^2 / 2 a^2)) smoothed with s: second derivative at the ridge -a / (a^2 + s^2)^(3/2), times s^2.
    u = (X - 128.5) * np.cos(0.5) + (Y - 128.5) * np.sin(0.5)
    found = curvature((-np.exp(-(u**2) / 2 / 9)).astype(np.float32), 3.2)
    assert found.large[128, 128] == pytest.approx(3.2**2 * 3 / (9 + 3.2**2) ** 1.5, rel=0.05)
    assert found.small[128, 128] == pytest.approx(0, abs=0.02)
    across = np.arctan2(found.sine[128, 128], found.cosine[128, 128]) / 2
    assert across == pytest.approx(0.5, abs=0.05)


def test_a_wave_is_in_the_octave_of_its_length():
    for level, length in enumerate((3, 6, 12, 24)):
        found = texture_features(drawn(0.1 * np.sin(2 * np.pi * (X + 0.5 * Y) / length)))
        octaves = [found[f"light_octave_{i}"] for i in range(5)]
        assert int(np.argmax(octaves)) == level


def test_noise_and_blur_are_told_apart():
    random = np.random.default_rng(0)
    rough = drawn(0.04 * random.normal(size=(SIDE, SIDE)))
    soft = replace(rough, image=cv2.GaussianBlur(rough.image, (0, 0), 1.5))
    noisy, blurred = texture_features(rough), texture_features(soft)
    assert noisy["light_octave_0"] > blurred["light_octave_0"] + 1
    assert noisy["correlation_across"] < 0 < 0.15 < blurred["correlation_across"]
    assert noisy["kurtosis_0"] == pytest.approx(3**0.25, abs=0.05)
    assert abs(noisy["skewness_0"] ** 3) < 0.2 and abs(noisy["slope_ratio"]) < 0.05
    striped = texture_features(drawn(0.1 * np.sin(X)))
    assert striped["slope_ratio"] > 1 and striped["correlation_down"] > 0.9


def test_symmetry_of_a_slope():
    across = symmetry_features(eye(100 + 60 * (X[..., None] / SIDE - 0.5) * np.ones(3)))
    assert across["mirror_symmetry"] == pytest.approx(-1, abs=0.1)
    assert across["flip_symmetry"] == pytest.approx(1, abs=0.1)
    assert across["half_turn_symmetry"] == pytest.approx(-1, abs=0.1)


@pytest.fixture(scope="module")
def phantoms() -> np.ndarray:
    return np.stack([image for _, image, _ in render_cohort(16, 128, 0, True, classes="normal,diabetes")])


@pytest.fixture(scope="module")
def space() -> RetinaSpace:
    return RetinaSpace()


def test_a_left_eye_is_a_right_eye_in_the_mirror(phantoms):
    image = cv2.resize(phantoms[0], (SIDE, SIDE))
    one, other = _features(eye(image)), _features(replace(eye(image[:, ::-1]), landmarks=mirrored(FOUND)))
    assert one.pop("field_x") == pytest.approx(1 - other.pop("field_x"), abs=0.005)
    assert one.keys() == other.keys()
    for name in one:
        assert one[name] == pytest.approx(other[name], abs=0.03), name


def test_features_have_names_and_depend_on_one_image_alone(phantoms, space):
    found = space.features(phantoms[:19])
    assert found.shape == (19, len(space.feature_names)) and found.dtype == np.float32
    assert len(set(space.feature_names)) == space.dimensions
    assert np.array_equal(space.features(phantoms[17:18]), found[17:18])
    assert np.array_equal(space.features(phantoms[:19][::-1])[::-1], found)
    assert (found.std(axis=0) > 0).all()


def test_known_eyes_have_their_landmarks(space):
    names = list(space.feature_names)
    for row, image, _ in render_cohort(3, 256, 5, True, classes="normal"):
        found = dict(zip(names, space.features(image[None])[0], strict=True))
        assert found["disc_height"] == pytest.approx(row["disc_y"], abs=0.03)
        assert found["disc_off_middle"] == pytest.approx(abs(row["disc_x"] - 0.5), abs=0.03)
        assert found["vessels_from_disc"] > 0.1 and found["disc_contrast"] > 0.1


@pytest.mark.parametrize("side", [64, 128, 256, 300])
def test_any_size_from_64_pixels_on(phantoms, space, side):
    images = np.stack([cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA) for image in phantoms[:2]])
    found = dict(zip(space.feature_names, space.features(images)[0], strict=True))
    usual = dict(zip(space.feature_names, space.features(phantoms[:1])[0], strict=True))
    for name in ("disc_height", "field_radius", "centre_L_mean", "centre_a_mean", "disc_fovea_distance"):
        assert found[name] == pytest.approx(usual[name], abs=0.06), name


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(["noise", "even", "black", "white", "half", "spot"]))
def test_every_picture_has_finite_features(seed, kind):
    random = np.random.default_rng(seed)
    image = np.full((64, 64, 3), random.integers(0, 256, 3), np.uint8)
    if kind == "noise":
        image = random.integers(0, 256, image.shape, dtype=np.uint8)
    elif kind in ("black", "white"):
        image[:] = 255 * (kind == "white")
    elif kind == "half":
        image[:, 32:] = 0
    elif kind == "spot":
        image[:] = 0
        image[20:22, 40:42] = 255
    assert np.isfinite(RetinaSpace().features(image[None])).all()


def test_planted_damage_is_noticed_and_more_of_it_more(phantoms, space):
    reference, images = phantoms[::2], phantoms[1::2]
    real = space.features(reference)

    def distance(changed):
        return kid(*comparable(space, real, space.features(changed)))

    blurred = [distance(np.stack([cv2.GaussianBlur(i, (0, 0), s) for i in images])) for s in (0.6, 1.2, 2.4)]
    cast = [distance(np.clip(images * np.array([g, 1, 1 / g]), 0, 255).astype(np.uint8)) for g in (1.1, 1.25, 1.6)]
    as_is = distance(images)
    for values in (blurred, cast):
        assert [as_is, *values] == sorted([as_is, *values]) and values[-1] > as_is + 0.5
    collapsed = comparable(space, real, space.features(images[np.arange(16) % 2]))
    assert (
        precision_recall(*collapsed).recall
        < 0.3
        < precision_recall(*comparable(space, real, space.features(images)))[1]
    )


def test_lines_are_vessels(real_data):
    drive = FundusDataset.open(real_data / "drive")
    areas = []
    for index in range(0, len(drive), 5):
        image, truth = drive.read(index), cv2.imread(str(drive.mask_path(index, "vessels")), cv2.IMREAD_GRAYSCALE)
        to_square = find_field_of_view(image).to_square(SIDE)
        image, truth = (cv2.warpAffine(v, to_square, (SIDE, SIDE), flags=cv2.INTER_AREA) for v in (image, truth))
        one = Eye(image, FOUND, np.ones((32, 32)) / 1024)
        found = find_lines(one, [curvature(one.flat, scale) for scale in (1.0, 1.8, 3.2)])
        areas.append(roc_auc_score(truth[one.inside] > 100, found.strength[one.inside]))
    assert np.mean(areas) > 0.88
