"""Photographs that are hard on whoever looks for the field of view, each with the circle that is really there.

A torture is one way in which a camera file is awkward: how the circle lies in the frame, how it is lit, what else is on
the frame, or which way round it is. Every second picture of a set has one torture, the others two to four of different
families. Coordinates are continuous pixels: the frame's upper left corner is (0, 0) and pixel i covers [i, i + 1).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from ...runtime.errors import UserError
from .anatomy import sample_eye
from .artefacts import Artefacts
from .camera_models import sample_camera
from .render import Phantom, render
from .torture_frame import painted

FRAMINGS = (
    "whole", "small", "cut_top_bottom", "cut_sides", "cut_one_side", "touches_frame", "off_centre", "black_bars",
    "fills_frame",
)  # fmt: skip
LIGHTS = (
    "dark", "nearly_black", "hazy_white", "overexposed", "fading", "dark_rim", "lid_shadow", "out_of_focus", "glare",
)  # fmt: skip
MARKS = (
    "notch", "date_stamp", "clutter", "grey_border", "tinted_border", "white_border", "soft_rim", "glow", "noisy",
    "recompressed",
)  # fmt: skip
TURNS = ("upside_down", "mirrored", "rotated_left", "rotated_right")
TORTURES = FRAMINGS + LIGHTS + MARKS + TURNS
_FAMILIES = (FRAMINGS[1:], LIGHTS, MARKS, TURNS)
_SMALLEST = 96


@dataclass(frozen=True)
class TorturePicture:
    """One picture and the truth about it.

    Attributes:
        name: its tortures, with "+" between them.
        image: uint8 (height, width, 3) RGB.
        circle: x, y and radius of the field of view, pixels of the frame; None when no part of the rim is in the frame.
        box: left, top, right, bottom of what was recorded, pixels; smaller than the frame behind black bars.
        rim_share: share of the rim that lies in the box, 0..1.
        eye: "left" or "right", of the person, whichever way round the picture is.
        turn: "upright", or one of `TURNS`: what was done to the upright picture.
        disc, fovea: x and y in pixels of the frame; they may lie outside it.
    """

    name: str
    image: np.ndarray
    circle: tuple[float, float, float] | None
    box: tuple[float, float, float, float]
    rim_share: float
    eye: str
    turn: str
    disc: tuple[float, float]
    fovea: tuple[float, float]


def torture_set(count: int, seed: int = 0, size: int = 512, only: str | None = None) -> Iterator[TorturePicture]:
    """`count` pictures, at most `size` pixels high before they are turned; each depends on seed, size and its number.

    Args:
        only: one torture, for all pictures alone; None for all of them in turn, alone and together.

    Raises:
        UserError: an unknown torture, or pictures of fewer than 96 pixels.
    """
    if only is not None and only not in TORTURES:
        raise UserError(f"there is no torture {only!r}; expected one of {', '.join(TORTURES)}")
    if size < _SMALLEST:
        raise UserError(f"pictures {size} pixels high were asked for; expected at least {_SMALLEST}")
    return (_torture(index, seed, size, only) for index in range(count))


def _torture(index: int, seed: int, size: int, only: str | None) -> TorturePicture:
    rng = np.random.default_rng([seed, index])
    names = [only] if only is not None else _names(index, rng)
    height = round(size * rng.uniform(0.6, 1.0))
    plan = _Framing.sample(next((n for n in names if n in FRAMINGS), "whole"), rng)
    phantom = _photograph(plan, names, height, rng)
    image, box = painted(phantom, plan.bars, names, rng)
    turn = next((n for n in names if n in TURNS), "upright")
    return _turned("+".join(names), image, phantom, box, plan.rim_visible, turn)


def _names(index: int, rng: np.random.Generator) -> list[str]:
    """The tortures of a picture: each alone in turn, and after each two to four of different families."""
    if index % 2 == 0:
        return [TORTURES[index // 2 % len(TORTURES)]]
    families = sorted(rng.choice(len(_FAMILIES), int(rng.integers(2, 5)), replace=False))
    return [str(rng.choice(_FAMILIES[family])) for family in families]


@dataclass(frozen=True)
class _Framing:
    """Where the circle lies: `radius`, `x`, `y` (from the middle) in heights of the frame; `bars` in radii, l t r b."""

    aspect: float
    radius: float
    x: float = 0.0
    y: float = 0.0
    bars: tuple[float, float, float, float] = field(default=(0.0, 0.0, 0.0, 0.0))
    rim_visible: bool = True

    @classmethod
    def sample(cls, name: str, rng: np.random.Generator) -> _Framing:
        aspect = float(rng.choice([1.0, 1.25, 4 / 3, 1.5, 16 / 9]))
        short = 0.5 * min(aspect, 1.0)
        if name == "small":
            return cls(aspect, rng.uniform(0.24, 0.34), *(rng.uniform(-1, 1, 2) * [0.1 * aspect, 0.1]))
        if name == "cut_top_bottom":
            radius = rng.uniform(0.52, 0.66)
            return cls(max(aspect, 1.25), radius, *(rng.uniform(-1, 1, 2) * [0.02, 0.8 * (radius - 0.5)]))
        if name == "cut_sides":
            # As real files are: cut left and right, in wider frames on all four sides.
            aspect, wide = rng.uniform(0.70, 1.1), rng.uniform(0.52, 0.60)
            return cls(aspect, wide * aspect, *(rng.uniform(-1, 1, 2) * [0.8 * (wide - 0.5) * aspect, 0.02]))
        if name == "cut_one_side":
            angle, radius = rng.choice(4) * np.pi / 2, short * rng.uniform(0.7, 0.95)
            edge = 0.5 * (aspect if abs(np.cos(angle)) > 0.5 else 1.0)
            far = edge - radius * rng.uniform(0.55, 0.95)
            return cls(aspect, radius, far * np.cos(angle), far * np.sin(angle))
        if name == "touches_frame":
            return cls(aspect, short)
        if name == "off_centre":
            radius = rng.uniform(0.28, 0.40)
            reach = np.array([0.5 * aspect - 0.8 * radius, 0.5 - 0.8 * radius])
            return cls(aspect, radius, *(rng.choice([-1, 1], 2) * rng.uniform(0.5, 1.0, 2) * reach))
        if name == "black_bars":
            depth, upright = rng.uniform(0.06, 0.35, 2), rng.random() < 0.5
            bars = (depth[0], 0.0, depth[1], 0.0) if upright else (0.0, depth[0], 0.0, depth[1])
            return cls(aspect, 0.95 * short, bars=bars)
        if name == "fills_frame":
            return cls(aspect, 0.5 * np.hypot(aspect, 1.0) * rng.uniform(1.04, 1.25), rim_visible=False)
        return cls(aspect, short * rng.uniform(0.8, 0.97), *(rng.uniform(-1, 1, 2) * 0.01))


def _photograph(plan: _Framing, names: list[str], height: int, rng: np.random.Generator) -> Phantom:
    """The eye in its frame, with what the camera model itself knows: notch, focus, glare, haze."""
    eye = sample_eye(rng, **({"label": "diabetes", "grade": int(rng.integers(1, 5))} if rng.random() < 0.3 else {}))
    if "hazy_white" in names:
        eye = replace(eye, haze=float(rng.uniform(0.6, 1.0)))
    camera = replace(
        sample_camera(rng), aspect=plan.aspect, fov_radius=plan.radius / plan.aspect, offset_x=plan.x / plan.aspect,
        offset_y=plan.y / plan.aspect, notch="notch" in names, notch_angle=float(rng.uniform(-np.pi, np.pi)),
    )  # fmt: skip
    return render(eye, replace(camera, artefacts=_artefacts(names, rng)), height)


def _artefacts(names: list[str], rng: np.random.Generator) -> Artefacts:
    blurred, reflecting = "out_of_focus" in names, "glare" in names
    return Artefacts(
        defocus=rng.uniform(0.006, 0.02) * blurred,
        motion=rng.uniform(0.0, 0.05) * blurred,
        motion_angle=float(rng.uniform(0, np.pi)),
        glare=rng.uniform(0.7, 1.0) * reflecting,
        lashes=rng.uniform(0.6, 1.0) * ("lid_shadow" in names),
        dust=int(rng.integers(3, 12)) * reflecting,
        dust_seed=int(rng.integers(1000)),
        exposure=rng.uniform(2.0, 3.5) * ("overexposed" in names),
    )


def _turned(
    name: str, image: np.ndarray, phantom: Phantom, box: tuple[float, float, float, float], rim_visible: bool, turn: str
) -> TorturePicture:
    """The picture turned or mirrored, with all that is known about it."""
    height, width = image.shape[:2]
    known = phantom.labels
    turned = {
        "upright": (image, lambda x, y: (x, y)),
        "upside_down": (image[::-1, ::-1], lambda x, y: (width - x, height - y)),
        "mirrored": (image[:, ::-1], lambda x, y: (width - x, y)),
        "rotated_left": (np.rot90(image), lambda x, y: (y, width - x)),
        "rotated_right": (np.rot90(image, 3), lambda x, y: (height - y, x)),
    }
    pixels, move = turned[turn]
    corners = move(box[0], box[1]), move(box[2], box[3])
    box = tuple(pick(pair) for pick in (min, max) for pair in zip(*corners, strict=True))
    x, y = move(known["fov_x"], known["fov_y"])
    share = _rim_share((x, y, known["fov_r"]), box)
    disc, fovea = (move(known[f"{part}_x"] * width, known[f"{part}_y"] * width) for part in ("disc", "fovea"))
    circle = (x, y, known["fov_r"]) if rim_visible else None
    return TorturePicture(name, np.ascontiguousarray(pixels), circle, box, share, known["eye"], turn, disc, fovea)


def _rim_share(circle: tuple[float, float, float], box: tuple[float, float, float, float]) -> float:
    """Share of a circle's rim that lies in a box."""
    angle = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    x, y = circle[0] + circle[2] * np.cos(angle), circle[1] + circle[2] * np.sin(angle)
    return float(((x > box[0]) & (x < box[2]) & (y > box[1]) & (y < box[3])).mean())
