from __future__ import annotations

import numpy as np
import pytest

from fundus_synth.data.phantom.torture import FRAMINGS, TORTURES, TURNS, TorturePicture, _Framing, _names, torture_set
from fundus_synth.runtime.errors import UserError

# Where the rim is hidden, or is not where the light falls to a half.
_NO_CLEAR_RIM = {
    "nearly_black",
    "fading",
    "dark_rim",
    "lid_shadow",
    "white_border",
    "glow",
    "recompressed",
    "fills_frame",
}


def _one(name: str, seed: int = 0, count: int = 1, size: int = 128) -> list[TorturePicture]:
    return list(torture_set(count, seed, size, only=name))


def _rim_errors(picture: TorturePicture) -> np.ndarray:
    """Pixels between the recorded rim and where the light falls to a half, on every ray whose rim was recorded."""
    x, y, radius = picture.circle
    left, top, right, bottom = picture.box
    light = picture.image.astype(float).max(axis=2)
    steps = np.arange(-7, 7, 0.25)
    errors = []
    for angle in np.linspace(0, 2 * np.pi, 90, endpoint=False):
        column, row = x + (radius + steps) * np.cos(angle), y + (radius + steps) * np.sin(angle)
        if not ((column > left + 1) & (column < right - 1) & (row > top + 1) & (row < bottom - 1)).all():
            continue
        profile = light[row.astype(int), column.astype(int)]
        inside, outside = np.median(profile[:16]), np.median(profile[-16:])
        errors.append(steps[np.abs(profile - (inside + outside) / 2).argmin()])
    return np.array(errors)


@pytest.mark.parametrize("name", [name for name in TORTURES if name not in _NO_CLEAR_RIM and name not in TURNS])
def test_the_recorded_circle_is_the_rim_in_the_picture(name):
    for picture in _one(name, seed=1, size=144):
        errors = _rim_errors(picture)
        assert len(errors) > 8
        assert np.median(np.abs(errors)) <= 1.0 and abs(np.median(errors)) < 0.8


def test_the_same_arguments_make_the_same_pictures():
    one, two = list(torture_set(3, 3, 96)), list(torture_set(3, 3, 96))
    for a, b in zip(one, two, strict=True):
        assert np.array_equal(a.image, b.image) and (a.name, a.circle, a.box, a.disc) == (
            b.name,
            b.circle,
            b.box,
            b.disc,
        )
    assert one[1].name.count("+") >= 1 and one[0].name == "whole"
    assert not np.array_equal(one[0].image, next(torture_set(1, 4, 96)).image)


def test_every_torture_comes_alone_and_the_others_together():
    rng = np.random.default_rng(0)
    sets = [_names(index, rng) for index in range(10 * len(TORTURES))]
    assert [names for (names,) in sets[: 2 * len(TORTURES) : 2]] == list(TORTURES)
    assert all(2 <= len(names) <= 4 and sum(name in FRAMINGS for name in names) <= 1 for names in sets[1::2])
    assert {name for names in sets[1::2] for name in names} == set(TORTURES) - {"whole"}


def _back(picture: TorturePicture) -> np.ndarray:
    return {
        "upside_down": lambda image: np.rot90(image, 2),
        "mirrored": np.fliplr,
        "rotated_left": lambda image: np.rot90(image, -1),
        "rotated_right": np.rot90,
    }[picture.turn](picture.image)


@pytest.mark.parametrize("turn", TURNS)
def test_a_turned_picture_is_the_upright_one_and_its_truth_turns_with_it(turn):
    (upright,), (turned,) = _one("whole", 5), _one(turn, 5)
    assert turned.turn == turn and turned.eye == upright.eye
    assert np.array_equal(_back(turned), upright.image) and not np.array_equal(turned.image, upright.image)
    height, width = upright.image.shape[:2]
    for (x, y), (new_x, new_y) in (
        (upright.circle[:2], turned.circle[:2]), (upright.disc, turned.disc), (upright.fovea, turned.fovea),
    ):  # fmt: skip
        marked = np.zeros((height, width))
        marked[int(y), int(x)] = 1
        where = np.argwhere(
            {"upside_down": marked[::-1, ::-1], "mirrored": marked[:, ::-1], "rotated_left": np.rot90(marked)}.get(
                turn, np.rot90(marked, 3)
            )
        )[0]
        assert (new_x, new_y) == pytest.approx((where[1] + 0.5, where[0] + 0.5), abs=0.51)


def _field(picture: TorturePicture) -> np.ndarray:
    x, y, radius = picture.circle
    height, width = picture.image.shape[:2]
    rows, columns = np.mgrid[:height, :width] + 0.5
    return np.hypot(columns - x, rows - y) < radius - 2


@pytest.mark.parametrize(("name", "low", "high"), [("dark", 2.5, 15.5), ("nearly_black", 0.5, 3.5)])
def test_dark_pictures_have_the_level_that_is_promised(name, low, high):
    for picture in _one(name, count=2):
        assert low <= picture.image[_field(picture)].mean() <= high


def test_haze_is_pale_and_overexposure_saturates():
    assert all(p.image[_field(p)].mean(axis=0).min() > 80 for p in _one("hazy_white", count=2))
    assert all(p.image[_field(p)].max(axis=1).mean() > 200 for p in _one("overexposed", count=2))


def test_borders_are_as_named():
    for picture in _one("grey_border", count=2):
        x, y, radius = picture.circle
        height, width = picture.image.shape[:2]
        rows, columns = np.mgrid[:height, :width] + 0.5
        outside = picture.image[np.hypot(columns - x, rows - y) > radius + 3].astype(float)
        assert outside.mean() > 8 and np.ptp(outside.mean(axis=0)) < 2
    assert all(p.image[0, 0].min() > 190 for p in _one("white_border", count=1))


def test_framings_lie_as_named():
    def reach(name: str) -> np.ndarray:
        """How far the circle sticks out of left, top, right and bottom, shares of its radius; a row a picture."""
        plans = [_Framing.sample(name, np.random.default_rng(i)) for i in range(200)]
        r, wide = np.array([[p.radius, p.aspect / 2] for p in plans]).T
        x, y = np.array([[p.x, p.y] for p in plans]).T
        return np.stack([r - x - wide, r - y - 0.5, r + x - wide, r + y - 0.5], axis=1) / r[:, None]

    assert (reach("cut_top_bottom")[:, [1, 3]] > 0).all() and (reach("cut_sides")[:, [0, 2]] > 0).all()
    assert ((reach("cut_one_side") > 0.01).sum(axis=1) == 1).all()
    assert (np.abs(reach("touches_frame")).min(axis=1) < 0.03).all() and (reach("touches_frame") < 0.03).all()
    assert (reach("small") < 0).all() and (reach("whole") < 0).all()
    assert (np.abs(reach("off_centre")).max(axis=1) > 0.2).all() and (reach("off_centre") < 0.5).all()


def test_black_bars_are_outside_the_box():
    for picture in _one("black_bars", count=2):
        left, top, right, bottom = (int(v) for v in picture.box)
        height, width = picture.image.shape[:2]
        assert (bottom - top) * (right - left) < height * width and picture.rim_share < 1
        outside = np.ones((height, width), bool)
        outside[top:bottom, left:right] = False
        assert picture.image[outside].max() <= 6 and picture.image[top:bottom, left:right].mean() > 10


def test_a_field_larger_than_the_frame_has_no_rim():
    for picture in _one("fills_frame", count=2):
        assert picture.circle is None and picture.rim_share == 0
        assert picture.image.max(axis=2)[[0, 0, -1, -1], [0, -1, 0, -1]].min() > 10
    assert all(p.circle is not None and p.rim_share > 0.2 for n in ("cut_one_side", "off_centre") for p in _one(n))


def test_bad_requests_are_named():
    with pytest.raises(UserError, match="whole, small"):
        torture_set(1, only="squashed")
    with pytest.raises(UserError, match="at least 96"):
        torture_set(1, size=64)
