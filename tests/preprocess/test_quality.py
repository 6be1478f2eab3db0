"""The quality score: independent of the pixel size, falls with every planted fault, says why, refuses bad input."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.dataset_writer import DatasetWriter
from fundus_synth.data.image_file import read_image
from fundus_synth.data.phantom.camera_models import camera_names
from fundus_synth.data.phantom.cohort import render_cohort
from fundus_synth.preprocess.field_of_view import find_field_of_view
from fundus_synth.preprocess.quality import measure_quality, quality_report
from fundus_synth.preprocess.standardize import standardize
from fundus_synth.runtime.errors import UserError


@pytest.fixture(scope="module")
def eyes():
    return [image for _, image, _ in render_cohort(2, 512, 3, True, classes="normal,diabetes", cameras="tabletop-2240")]


def spoilt(image: np.ndarray, kind: str) -> np.ndarray:
    values = image.astype(np.float32)
    lit = (image.max(2) > 10)[..., None]
    if kind == "blur":
        values = cv2.GaussianBlur(values, (0, 0), 12)
    elif kind == "dark":
        values = 0.12 * values
    elif kind == "haze":
        values = 0.2 * values + 0.8 * np.array([190, 180, 160])
    elif kind == "noise":
        grain = np.random.default_rng(1).normal(0, 40, (200, 200, 3)).astype(np.float32)
        values = values + cv2.resize(grain, image.shape[:2], interpolation=cv2.INTER_LINEAR)
    else:
        values = 4 * values + 20
    return (values * lit).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def large_eyes():
    """An eye by each camera, and the same a little blurred, where the score is steepest."""
    made = {}
    for camera in camera_names():
        _, made[camera], _ = next(render_cohort(1, 640, 5, True, classes="normal", cameras=camera))
        made[f"{camera}, soft"] = cv2.GaussianBlur(made[camera], (0, 0), 3.2)
    return made


def test_score_does_not_depend_on_the_size(large_eyes):
    for name, image in large_eyes.items():
        scores = {
            size: measure_quality(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)).score
            for size in (224, 256, 300, 338, 512)
        }
        scores[640] = measure_quality(image).score
        assert max(scores.values()) - min(scores.values()) <= 0.025, (name, scores)


def test_camera_files_have_one_score_at_any_size(real_data):
    for name in ("IDRiD_01.jpg", "15_left.jpeg"):
        image = read_image(real_data / "camera_frames" / name)
        fov = find_field_of_view(image)
        made = [standardize(image, size, "none", fov) for size in (224, 512, round(2 * fov.radius))]
        scores = [measure_quality(m.image, m.mask).score for m in made]
        assert max(scores) - min(scores) <= 0.05, (name, scores)


def test_grain_does_not_depend_on_the_size(large_eyes):
    image = spoilt(large_eyes["tabletop-2240"], "noise")
    small = cv2.resize(image, (224, 224), interpolation=cv2.INTER_AREA)
    assert measure_quality(small).noise == pytest.approx(measure_quality(image).noise, rel=0.05)


def test_a_black_strip_is_neither_detail_nor_noise(eyes):
    cut = eyes[0].copy()
    cut[:70] = 0
    mask = np.full(cut.shape[:2], 255, np.uint8)
    mask[:70] = 0
    found, known, whole = measure_quality(cut), measure_quality(cut, mask), measure_quality(eyes[0])
    for part in ("contrast", "sharpness", "noise"):
        assert getattr(found, part) == pytest.approx(getattr(known, part), rel=0.05)
    assert found.score == pytest.approx(known.score, abs=0.03)
    assert found.score < whole.score


@pytest.mark.parametrize("kind", ["blur", "dark", "haze", "overexposed", "noise"])
def test_planted_fault_lowers_the_score(eyes, kind):
    for image in eyes:
        found = measure_quality(spoilt(image, kind))
        assert found.score < measure_quality(image).score - 0.05


def test_parts_follow_their_fault(eyes):
    clean = measure_quality(eyes[0])
    assert measure_quality(spoilt(eyes[0], "haze")).haze > clean.haze + 0.1
    assert measure_quality(spoilt(eyes[0], "blur")).sharpness < clean.sharpness
    assert measure_quality(spoilt(eyes[0], "haze")).contrast < clean.contrast
    assert measure_quality(spoilt(eyes[0], "dark")).exposure < clean.exposure - 0.5
    assert measure_quality(spoilt(eyes[0], "noise")).noise > 2 * clean.noise
    assert measure_quality(spoilt(eyes[0], "blur")).noise < clean.noise


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("blur", "blurred"), ("dark", "too dark"), ("haze", "hazy or with little contrast"), ("overexposed", "overexposed"),
        ("noise", "noisy"),
    ],
)  # fmt: skip
def test_reason_names_the_fault(eyes, kind, reason):
    assert [measure_quality(spoilt(image, kind)).reason for image in eyes] == [reason] * len(eyes)


def test_reason_only_below_half(eyes):
    dark = measure_quality(spoilt(eyes[0], "dark"))
    assert dark.score < 0.5
    assert dark.reason
    found = [measure_quality(image) for image in eyes]
    assert all((f.reason == "") == (f.score >= 0.5) for f in found)


def test_unrecorded_half_counts_against_the_picture(eyes):
    mask = np.full(eyes[0].shape[:2], 255, np.uint8)
    mask[:256] = 0
    half, whole = measure_quality(eyes[0], mask), measure_quality(eyes[0])
    assert half.visible_fraction == pytest.approx(0.5 * whole.visible_fraction, abs=0.03)
    assert half.score < whole.score


@pytest.mark.parametrize(
    ("image", "mask", "message"),
    [
        (np.zeros((64, 80, 3), np.uint8), None, "square"),
        (np.zeros((64, 64, 3), np.float32), None, "uint8"),
        (np.zeros((16, 16, 3), np.uint8), None, "at least 32"),
        (np.zeros((64, 64, 3), np.uint8), np.zeros((32, 32), np.uint8), "mask has shape"),
        (np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.uint8), "leaves nothing"),
    ],
)
def test_bad_input(image, mask, message):
    with pytest.raises(UserError, match=message):
        measure_quality(image, mask)


def test_black_and_white_pictures_score_nothing():
    for tone in (0, 255):
        assert measure_quality(np.full((64, 64, 3), tone, np.uint8)).score == 0


def test_report_shows_worst_kept_and_best_dropped(tmp_path, eyes):
    with DatasetWriter(tmp_path / "set", {"name": "set"}) as writer:
        for number, score in enumerate((0.9, 0.31, 0.6)):
            writer.add({"file_name": f"images/eye{number}.png", "quality": score}, eyes[0])
    kept = FundusDataset.open(tmp_path / "set")
    page = quality_report(kept, [(eyes[1], "bad.png", 0.1), (eyes[1], "near.png", 0.29)], tmp_path / "q.html", 2)
    text = page.read_text("utf-8")
    order = [text.index(t) for t in ("0.31 eye1", "0.60 eye2", "0.29 near", "0.10 bad")]
    assert order == sorted(order)
    assert "eye0" not in text


def test_report_without_scores(tmp_path, eyes):
    with DatasetWriter(tmp_path / "set", {"name": "set"}) as writer:
        writer.add({"file_name": "images/a.png"}, eyes[0])
    with pytest.raises(UserError, match="no column quality"):
        quality_report(FundusDataset.open(tmp_path / "set"), [], tmp_path / "q.html")
