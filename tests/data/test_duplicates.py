"""Copies are found and other eyes are not, on phantoms and on real eyes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fundus_synth.data.alignment import overlay, turn
from fundus_synth.data.appearance import ANGLES, agreement, describe_appearance
from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.dataset_writer import DatasetWriter
from fundus_synth.data.duplicates import DuplicateReport, Pair, find_duplicates
from fundus_synth.data.phantom.cohort import write_phantom_dataset
from fundus_synth.data.splits import same_photographs
from fundus_synth.runtime.errors import UserError


@pytest.fixture(scope="module")
def eyes(tmp_path_factory) -> FundusDataset:
    """Twelve phantom eyes of six patients, 128 px."""
    path = tmp_path_factory.mktemp("eyes") / "eyes"
    return write_phantom_dataset(path, 4, size=128, seed=5, workers=1, quiet=True)


def write(path, images, **columns) -> FundusDataset:
    with DatasetWriter(path, {"name": path.name}) as writer:
        for number, image in enumerate(images):
            row = {name: values[number] for name, values in columns.items()}
            writer.add({"file_name": f"images/{number}.png", **row}, image)
    return FundusDataset.open(path)


def rotated(image, degrees):
    centre = ((len(image) - 1) / 2,) * 2
    return cv2.warpAffine(image, cv2.getRotationMatrix2D(centre, degrees, 1), image.shape[:2])


def brightened(image, gain=1.2, gamma=1.2):
    return (((image / 255) ** gamma) * gain * 255).clip(0, 255).astype(np.uint8)


def recompressed(image, quality=40):
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


def cropped(image):
    side = len(image)
    return cv2.resize(image[4 : side - 6, 7 : side - 5], (side, side), interpolation=cv2.INTER_CUBIC)


CHANGES = {
    "exact": (lambda image: image, "exact"),
    "half the size": (lambda image: cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA), "near"),
    "larger": (lambda image: cv2.resize(image, (190, 190), interpolation=cv2.INTER_CUBIC), "near"),
    "recompressed": (recompressed, "near"),
    "brighter": (brightened, "near"),
    "darker": (lambda image: brightened(image, 0.7, 0.9), "near"),
    "left and right": (lambda image: image[:, ::-1], "near"),
    "top and bottom": (lambda image: image[::-1], "near"),
    "cropped": (cropped, "near"),
    "a little turned": (lambda image: rotated(image, 8), "sibling"),
    "turned": (lambda image: rotated(image, 131), "sibling"),
    "turned, mirrored, darker": (lambda image: brightened(rotated(image[:, ::-1], -50), 0.8), "sibling"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_copies_are_found_and_named(name, eyes, tmp_path):
    change, kind = CHANGES[name]
    copies = write(tmp_path / "copies", [np.ascontiguousarray(change(eyes.read(i))) for i in range(4)])
    report = find_duplicates([eyes, copies], workers=1)
    assert [(p.a, p.b, p.kind) for p in report.pairs] == [(i, len(eyes) + i, kind) for i in range(4)]
    assert report.name(report.pairs[0].b) == "copies/images/0.png"
    assert report.where(len(eyes) + 2) == (1, 2)


def test_phantom_eyes_are_not_copies(eyes):
    assert find_duplicates([eyes], workers=1).pairs == ()
    assert same_photographs(eyes, workers=1).tolist() == list(range(len(eyes)))


def test_another_photograph_of_an_eye_is_no_copy(eyes, tmp_path):
    field = (np.hypot(*(np.mgrid[:96, :96] - 47.5)) < 48)[..., None]
    slope = np.linspace(0.85, 1.1, 96)[None, :, None]
    images = []
    for i in range(0, 8, 2):  # the eye moves behind the field of view, and the light falls differently
        eye = eyes.read(i)
        images += [eye[16:112, 16:112] * field, (eye[18:114, 15:111] * field * slope).clip(0, 255).astype(np.uint8)]
    report = find_duplicates([write(tmp_path / "eyes", images)], workers=1)
    assert report.groups().tolist() == list(range(8))
    assert {(p.a, p.b) for p in report.of_kind("same_eye")} == {(0, 1), (2, 3), (4, 5), (6, 7)}


def test_an_image_without_any_structure_matches_nothing(eyes, tmp_path):
    blank = [np.full((128, 128, 3), level, np.uint8) for level in (0, 90, 255)]
    blank[1][10:20] = 95
    assert find_duplicates([eyes, write(tmp_path / "blank", blank)], workers=1).of_kind("near", "sibling") == []


def test_one_image_and_none_are_fine(eyes):
    assert find_duplicates([eyes.subset([0])], workers=1).pairs == ()
    assert find_duplicates([], workers=1).groups().tolist() == []


def test_damaged_images_are_named(eyes, tmp_path):
    broken = write(tmp_path / "broken", [eyes.read(0)])
    broken.image_path(0).write_bytes(b"not a picture")
    with pytest.raises(UserError, match="not an image"):
        find_duplicates([broken], workers=1)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29)), max_size=40))
def test_groups_are_the_connected_components(size, links):
    links = [(a % size, b % size) for a, b in links]
    dataset = FundusDataset.__new__(FundusDataset)
    dataset.table = range(size)
    groups = DuplicateReport((dataset,), tuple(Pair(a, b, "near") for a, b in links if a != b)).groups()
    reachable = np.eye(size, dtype=bool)
    for a, b in links:
        reachable[a, b] = reachable[b, a] = True
    for middle in range(size):  # Warshall's closure as the reference
        reachable |= reachable[:, [middle]] & reachable[[middle]]
    assert ((groups[:, None] == groups[None, :]) == reachable).all()
    assert sorted(set(groups.tolist())) == list(range(groups.max() + 1))


def test_conflicting_labels_of_copies(eyes, tmp_path):
    images = [eyes.read(0), brightened(eyes.read(0)), eyes.read(5), recompressed(eyes.read(5))]
    labels, grades = ["normal", "anemic", "diabetes", ""], ["", "1", "2", "3"]
    report = find_duplicates([write(tmp_path / "set", images, label=labels, grade=grades)], workers=1)
    said = [(part.tolist(), column, values) for part, column, values in report.conflicts()]
    assert said == [([0, 1], "label", ["anemic", "normal"]), ([2, 3], "grade", ["2", "3"])]
    assert report.summary()["images_that_are_copies"] == 2
    assert "2 groups of copies" in report.lines()[1]


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("step", [0, 17, 100])
def test_the_rotation_is_recovered(eyes, mirrored, step):
    image = eyes.read(2)
    original = describe_appearance(image)
    matrix = turn(step, mirrored).astype(float)
    matrix[:, 2] = 63.5 - matrix[:, :2] @ [63.5, 63.5]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    copy = describe_appearance(cv2.warpAffine(image, matrix, (128, 128), flags=flags))
    best = int(agreement(original.spectrum[None], copy.spectrum[None]).argmax())
    assert (best % ANGLES, best >= ANGLES) == (step, mirrored)
    found = overlay(original, copy, turn(step, mirrored))
    assert found.structure > 0.97 and found.tone > 0.99
    assert found.mirrored == mirrored and found.shift < 0.002
    if not mirrored:
        assert found.angle == pytest.approx(min(step, ANGLES - step) * 360 / ANGLES, abs=0.5)


def test_the_descriptor_does_not_turn(eyes):
    one = describe_appearance(eyes.read(1)).descriptor
    turned = describe_appearance(rotated(eyes.read(1)[:, ::-1], 77)).descriptor
    other = describe_appearance(eyes.read(7)).descriptor
    assert one @ turned > 0.99 > one @ other


def test_real_eyes(real_data, tmp_path):
    whole = FundusDataset.open(real_data / "odir")
    eyes = whole.subset(np.arange(0, len(whole), len(whole) // 60))
    changes = [change for change, _ in CHANGES.values()]
    images = [np.ascontiguousarray(changes[i % len(changes)](eyes.read(i))) for i in range(24)]
    report = find_duplicates([eyes, write(tmp_path / "copies", images)], workers=1)
    groups = report.groups()
    assert sum(groups[i] == groups[len(eyes) + i] for i in range(24)) >= 23
    assert len(set(groups[: len(eyes)].tolist())) == len(eyes)
