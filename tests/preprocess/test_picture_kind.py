"""Pictures that are no fundus photographs are refused, eyes are kept whatever their state, grey ones are flagged."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.image_file import read_image
from fundus_synth.data.phantom.cohort import render_cohort
from fundus_synth.data.phantom.external_eye import render_not_fundus
from fundus_synth.preprocess import picture_kind_examples as examples
from fundus_synth.preprocess.field_of_view import FieldOfView, find_field_of_view
from fundus_synth.preprocess.picture_kind import (
    KINDS,
    REFUSE_BELOW,
    SIDE,
    WEIGHTS,
    judged,
    picture_kind,
    probabilities,
    small_copy,
)
from fundus_synth.runtime.errors import UserError


@pytest.fixture(scope="module")
def eyes():
    cohort = render_cohort(3, 256, 11, True, ["normal", "diabetes", "cataract", "myopia"])
    return [(image, masks["vessels"]) for _, image, masks in cohort]


def told(image: np.ndarray):
    return picture_kind(image, find_field_of_view(image))


def test_eyes_are_kept(eyes):
    found = [told(image) for image, _ in eyes]
    assert [one.kind for one in found] == ["fundus"] * len(eyes)
    assert all(one.reason == "" and one.confidence > 0.5 and not one.refused for one in found)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda eye: (eye * 0.12).astype(np.uint8),
        lambda eye: cv2.GaussianBlur(eye, (0, 0), 6),
        lambda eye: ((0.45 * eye + 110) * (eye.max(2, keepdims=True) > 10)).astype(np.uint8),
        lambda eye: cv2.copyMakeBorder(eye, 40, 40, 200, 160, cv2.BORDER_CONSTANT),
        lambda eye: np.ascontiguousarray(eye[30:-30]),
        lambda eye: cv2.resize(eye, (256, 220)),
    ],
    ids=["nearly black", "out of focus", "hazy", "wide frame", "cut", "stretched"],
)
def test_eyes_in_a_bad_state_are_kept(eyes, spoil):
    assert not any(told(spoil(image)).refused for image, _ in eyes)


@pytest.mark.parametrize(
    ("made", "kind", "least"),
    [
        ("external_eye", "external_eye", 11), ("anterior_segment", "external_eye", 11), ("blank", "blank", 12),
        ("lens_cap", "blank", 12), ("empty_mount", "blank", 11),
    ],
)  # fmt: skip
def test_what_the_camera_sees_without_a_fundus(made, kind, least):
    found = [told(render_not_fundus(made, 5000 + seed, 240, 320)) for seed in range(12)]
    assert sum(one.kind == kind for one in found) >= least
    assert all(one.reason and one.retina < 0.5 for one in found if one.kind == kind)


def test_pages_and_scenes_are_refused():
    for make, kind in ((examples.text, "text"), (examples.scene, "photograph")):
        found = [told(make(np.random.default_rng([77, seed]))) for seed in range(10)]
        assert sum(one.kind == kind for one in found) >= 8
        assert sum(one.refused for one in found) >= 5


def test_photographs_that_training_never_saw_are_refused():
    datasets = pytest.importorskip("sklearn.datasets")
    image = datasets.load_sample_image("china.jpg")
    y, x = np.ogrid[: image.shape[0], : image.shape[1]]
    far = np.hypot(x - image.shape[1] / 2, y - image.shape[0] / 2)
    assert told(image).kind == "photograph"
    assert told(image * (far < 200)[..., None].astype(np.uint8)).retina < 0.5


@pytest.mark.parametrize("kind", ["red_free", "fluorescein"])
def test_eyes_in_one_color_are_kept_and_flagged(eyes, kind):
    rng = np.random.default_rng(3)
    make = {"red_free": lambda eye, _: examples.red_free(eye, rng),
            "fluorescein": lambda eye, vessels: examples.fluorescein(eye, vessels, rng)}[kind]  # fmt: skip
    found = [told(make(*eye)) for eye in eyes]
    assert sum(one.kind == kind for one in found) >= len(eyes) - 1
    assert not any(one.refused for one in found)
    assert all(one.reason for one in found if one.kind == kind)


def gradient(side: int) -> np.ndarray:
    line = (np.arange(side) + 0.5) / side
    x, y = np.meshgrid(line, line)
    return np.stack([200 * x, 200 * y, 100 + 0 * x], 2).astype(np.uint8)


def test_the_copy_is_the_square_around_the_circle():
    frame = cv2.copyMakeBorder(gradient(400), 100, 60, 300, 20, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    copy = small_copy(frame, FieldOfView(500, 300, 200, 1.0, "", (0, 0, 720, 560)))
    assert copy.shape == (SIDE, SIDE, 3)
    expected = cv2.resize(gradient(400), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    assert np.abs(copy[1:-1, 1:-1].astype(int) - expected[1:-1, 1:-1]).max() <= 3


def test_outside_the_frame_the_copy_is_black():
    copy = small_copy(np.full((100, 300, 3), 200, np.uint8), FieldOfView(150, 50, 100, 1.0, "", (0, 0, 300, 100)))
    assert copy[SIDE // 2, 1:-1].min() == 200 and copy[: SIDE // 4 - 1].max() == 0


@settings(max_examples=25, deadline=None)
@given(st.integers(96, 700))
def test_the_copy_does_not_depend_on_the_pixels(side):
    copies = [small_copy(gradient(s), None).astype(int)[2:-2, 2:-2] for s in (side, 1024)]
    assert np.abs(copies[0] - copies[1]).max() <= 4


def test_a_frame_without_a_field_of_view_is_looked_at_whole():
    frame = gradient(300)
    hopeless = FieldOfView(40, 40, 10, 0.05, "no round rim", (0, 0, 300, 300))
    assert np.array_equal(small_copy(frame, hopeless), small_copy(frame, None))
    assert not np.array_equal(
        small_copy(frame, FieldOfView(40, 40, 10, 0.9, "", hopeless.box)), small_copy(frame, None)
    )


def test_probabilities_are_shares_of_each_picture_alone():
    copies = np.random.default_rng(0).integers(0, 256, (5, SIDE, SIDE, 3), dtype=np.uint8)
    together = probabilities(copies)
    assert together.shape == (5, len(KINDS)) and np.all(together >= 0)
    assert together.sum(1) == pytest.approx(np.ones(5), abs=1e-5)
    assert probabilities(copies[3:4])[0] == pytest.approx(together[3], abs=1e-5)


@pytest.mark.parametrize("retina", [1.1 * REFUSE_BELOW, 0.9 * REFUSE_BELOW])
def test_a_picture_is_refused_only_below_the_limit(retina):
    found = judged(np.array([0, retina / 2, retina / 2, *(np.array([0.3, 0.1, 0.1, 0.5]) * (1 - retina))]))
    assert (found.kind, found.refused) == ("photograph", retina < REFUSE_BELOW)
    assert (found.confidence, found.retina) == (pytest.approx(0.5 * (1 - retina)), pytest.approx(retina))


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 900, 3), (900, 2, 3), (17, 23, 3)])
def test_any_size_gets_an_answer(shape):
    assert told(np.zeros(shape, np.uint8)).kind in KINDS


def test_a_circle_beside_the_frame_gets_an_answer():
    aside = FieldOfView(-300, 50, 100, 0.9, "", (0, 0, 100, 100))
    assert picture_kind(np.full((100, 100, 3), 90, np.uint8), aside).kind in KINDS


@pytest.mark.parametrize(
    "image", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3), np.float32), np.zeros((0, 9, 3), np.uint8)]
)
def test_other_arrays_are_named(image):
    with pytest.raises(UserError, match="uint8 RGB"):
        picture_kind(image, None)


def test_the_weights_are_few():
    assert WEIGHTS.stat().st_size < 50_000


def test_real_eyes_are_kept(real_data):
    dataset = FundusDataset.open(real_data / "odir")
    rows = np.random.default_rng(3).permutation(len(dataset))[:60]
    assert sum(told(dataset.read(int(i))).refused for i in rows) == 0


def test_real_photographs_are_refused(real_data):
    paths = sorted((real_data / "not_fundus").glob("*.jpg"))
    assert len(paths) == 6
    assert sum(told(read_image(path)).refused for path in paths) >= 4
