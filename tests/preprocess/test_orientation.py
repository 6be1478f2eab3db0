"""Which way up, from disc, fovea and eye: hand-placed landmarks turned by known maps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fundus_synth.preprocess.landmarks import Landmarks, mirrored
from fundus_synth.preprocess.orientation import ORIENTATIONS, find_orientation, shared_orientation, upright

RIGHT = Landmarks(0.80, 0.46, 0.06, 0.48, 0.50, 1.0, 1.0, "right", 1.0, "macula")
LEFT = mirrored(RIGHT)


def turned(found: Landmarks, state: str) -> Landmarks:
    if state == "mirrored":
        return mirrored(found)
    if state == "upside_down":
        return mirrored(found, down=True)
    if state == "ok":
        return found
    sign = 1 if state == "turned_clockwise" else -1

    def turn(x, y):
        # Clockwise as seen, with y down: right goes to the bottom.
        return (0.5 - sign * (y - 0.5), 0.5 + sign * (x - 0.5))

    (dx, dy), (fx, fy) = turn(found.disc_x, found.disc_y), turn(found.fovea_x, found.fovea_y)
    return replace(found, disc_x=dx, disc_y=dy, fovea_x=fx, fovea_y=fy)


@pytest.mark.parametrize("state", ORIENTATIONS)
@pytest.mark.parametrize("eye", [RIGHT, LEFT], ids=["right", "left"])
def test_with_the_eye_known_every_orientation_is_told(state, eye):
    pictures = [turned(eye, state)] * 3
    assert shared_orientation(pictures, [eye.eye] * 3).state == state


def test_one_picture_with_its_disc_on_the_wrong_side_is_never_called_ok():
    for state in ("mirrored", "upside_down"):
        assert find_orientation(turned(RIGHT, state), "right").state in (state, "unknown")
        assert find_orientation(turned(RIGHT, state), "right").confidence > 0.6


def test_without_the_eye_a_mirrored_picture_passes_for_the_other_eye():
    assert find_orientation(mirrored(RIGHT)).state == "ok"


def test_without_the_eye_many_pictures_show_that_a_camera_is_upside_down():
    pictures = [turned(RIGHT, "upside_down"), turned(LEFT, "upside_down")] * 5
    assert find_orientation(pictures[0]).state != "upside_down"
    assert shared_orientation(pictures, [""] * 10).state == "upside_down"


def test_nothing_is_said_where_a_landmark_is_missing():
    for name in ("disc_confidence", "fovea_confidence"):
        found = find_orientation(replace(mirrored(RIGHT), **{name: 0.2}), "right")
        assert (found.state, found.confidence) == ("unknown", 0.0)


@pytest.mark.parametrize("state", ORIENTATIONS)
def test_upright_undoes_it(state):
    picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    spoil = {
        "ok": lambda p: p, "mirrored": np.fliplr, "upside_down": lambda p: np.rot90(p, 2),
        "turned_clockwise": lambda p: np.rot90(p, -1), "turned_counterclockwise": np.rot90,
    }  # fmt: skip
    np.testing.assert_array_equal(upright(spoil[state](picture), state), picture)
