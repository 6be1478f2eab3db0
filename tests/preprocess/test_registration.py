"""Similarity maps to the canonical eye, and what is left of a disc after an affine map."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_synth.preprocess.landmarks import Landmarks
from fundus_synth.preprocess.registration import (
    DISC,
    FOVEA,
    canonical_map,
    disc_survives,
    inverted,
    register,
    warp,
)
from fundus_synth.runtime.errors import UserError


def landmarks(disc=(0.75, 0.45), fovea=(0.45, 0.5), disc_confidence=1.0, fovea_confidence=1.0) -> Landmarks:
    side = "right" if disc[0] > fovea[0] else "left"
    return Landmarks(*disc, 0.06, *fovea, disc_confidence, fovea_confidence, side, 1.0, "macula")


def moved(matrix, points):
    return np.asarray(points) @ matrix[:, :2].T + matrix[:, 2]


place = st.tuples(st.floats(0.1, 0.9), st.floats(0.2, 0.8))


@given(place, place, st.sampled_from([160, 512]), st.sampled_from([128, 256]))
def test_landmarks_land_on_the_fixed_points_of_the_canonical_eye(disc, fovea, side, size):
    if abs(disc[0] - fovea[0]) < 0.05:
        return
    matrix = canonical_map(landmarks(disc, fovea), side, size)
    np.testing.assert_allclose(moved(matrix, [np.multiply(disc, side)])[0] / size, DISC, atol=1e-9)
    np.testing.assert_allclose(moved(matrix, [np.multiply(fovea, side)])[0] / size, FOVEA, atol=1e-9)


def test_it_is_a_similarity_and_mirrors_left_eyes_only():
    for disc, fovea, sign in (((0.75, 0.45), (0.45, 0.5), 1), ((0.2, 0.45), (0.5, 0.5), -1)):
        linear = canonical_map(landmarks(disc, fovea), 200, 200)[:, :2]
        scale = abs(np.linalg.det(linear))
        np.testing.assert_allclose(linear.T @ linear, scale * np.eye(2), atol=1e-12)
        assert np.sign(np.linalg.det(linear)) == sign


@given(place, place)
def test_there_and_back_is_the_same_place(disc, fovea):
    if abs(disc[0] - fovea[0]) < 0.05:
        return
    matrix = canonical_map(landmarks(disc, fovea), 300, 256)
    points = np.array([[10.0, 20.0], [150.0, 150.0], [299.0, 0.0]])
    np.testing.assert_allclose(moved(inverted(matrix), moved(matrix, points)), points, atol=1e-6)


@pytest.mark.parametrize("size", [128, 256, 400])
@pytest.mark.parametrize("disc, fovea", [((0.75, 0.42), (0.45, 0.5)), ((0.2, 0.45), (0.5, 0.52))])
def test_the_pixels_follow_the_matrix_within_half_a_pixel(size, disc, fovea):
    picture = np.zeros((256, 256), np.uint8)
    pixel = int(disc[0] * 256), int(disc[1] * 256)
    cv2.circle(picture, pixel, 12, 255, -1, cv2.LINE_AA)
    disc = tuple((np.array(pixel) + 0.5) / 256)
    result = register(cv2.merge([picture] * 3), landmarks(disc, fovea), size)
    assert np.hypot(*(center_of_mass(result.image[..., 0]) - np.multiply(DISC, size))) < 0.5
    back = warp(result.image[..., 0], result.inverse, 256)
    assert np.hypot(*(center_of_mass(back) - center_of_mass(picture))) < 0.5


def center_of_mass(picture):
    y, x = np.mgrid[: picture.shape[0], : picture.shape[1]] + 0.5
    weight = picture.astype(float)
    return np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()


def test_masks_keep_their_values():
    mask = np.zeros((200, 200), np.uint8)
    mask[60:90, 120:160] = 255
    result = warp(mask, canonical_map(landmarks(), 200, 90), 90, nearest=True)
    assert set(np.unique(result)) == {0, 255}


@pytest.mark.parametrize(
    "confidence, missing", [({"disc_confidence": 0.1}, "optic disc"), ({"fovea_confidence": 0.1}, "fovea")]
)
def test_an_eye_without_landmarks_is_refused(confidence, missing):
    with pytest.raises(UserError, match=missing):
        register(np.zeros((64, 64, 3), np.uint8), landmarks(**confidence), 64)


def shift(x, y=0.0):
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y]])


def test_a_disc_survives_until_half_of_it_has_left_the_picture():
    assert disc_survives(shift(0), 0.5, 0.5, 0.06, 100)
    assert disc_survives(shift(49), 0.5, 0.5, 0.06, 100)
    assert not disc_survives(shift(51), 0.5, 0.5, 0.06, 100)
    assert not disc_survives(shift(0, -51), 0.5, 0.5, 0.06, 100)


def test_a_disc_that_was_outside_the_field_does_not_appear():
    assert not disc_survives(shift(-10), 1.02, 0.5, 0.06, 100)


@given(st.floats(0, 360))
def test_turning_about_the_centre_keeps_a_central_disc_and_a_scale_does_not_matter(degrees):
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    linear = np.array([[c, -s], [s, c]])
    for size in (64, 512):
        center = np.full(2, size / 2)
        matrix = np.column_stack([linear, center - linear @ center])
        assert disc_survives(matrix, 0.7, 0.5, 0.07, size)
