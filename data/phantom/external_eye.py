"""Pictures of a fundus camera that show no fundus: the eye from outside, its front through the mount, empty frames.

They are what a detector of wrong pictures is tested with. Lengths are fractions of the frame's height.
"""

from __future__ import annotations

import cv2
import numpy as np

from ...runtime.errors import UserError
from .background import smooth_field

NOT_FUNDUS_KINDS = ("external_eye", "anterior_segment", "blank", "lens_cap", "empty_mount")

_SKIN = np.array([[236, 190, 165], [214, 160, 128], [176, 120, 88], [128, 82, 58], [84, 54, 42]], np.float32)
_IRIS = np.array(
    [[92, 58, 34], [58, 38, 26], [118, 96, 52], [92, 116, 118], [110, 136, 160], [98, 110, 72]], np.float32
)
_SCLERA = np.array([226, 214, 206], np.float32)
_VEIN = np.array([190, 74, 70], np.float32)
_CARUNCLE = np.array([206, 122, 112], np.float32)


def render_not_fundus(kind: str, seed: int, height: int = 480, width: int = 640) -> np.ndarray:
    """A picture without a fundus, uint8 (height, width, 3) RGB; the same arguments give the same bytes.

    Args:
        kind: "external_eye" (lids, lashes, iris), "anterior_segment" (iris and pupil close up, behind the round mount of
            the camera), "blank" (one tone), "lens_cap" (black with noise), "empty_mount" (the lit circle without an eye).

    Raises:
        UserError: an unknown kind, or a frame smaller than 32 pixels.
    """
    if kind not in NOT_FUNDUS_KINDS:
        raise UserError(f"phantoms have no picture {kind!r}; expected one of {', '.join(NOT_FUNDUS_KINDS)}")
    if min(height, width) < 32:
        raise UserError(f"a frame of {width} x {height} pixels was asked for; expected at least 32 x 32")
    rng = np.random.default_rng([seed, NOT_FUNDUS_KINDS.index(kind)])
    if kind == "external_eye":
        image = render_external_eye(rng, height, width)
    elif kind == "anterior_segment":
        image = _mounted(_front_of_eye(rng, height, width), rng)
    elif kind == "blank":
        image = np.full((height, width, 3), rng.uniform(15, 250) * rng.uniform(0.85, 1.0, 3), np.float32)
    elif kind == "lens_cap":
        image = np.full((height, width, 3), rng.uniform(0, 6), np.float32)
    else:
        tone = rng.uniform(60, 230) * np.array([1.0, rng.uniform(0.8, 1), rng.uniform(0.6, 1)], np.float32)
        light = 1 + 0.12 * cv2.resize(smooth_field(rng, 4, 64), (width, height), interpolation=cv2.INTER_CUBIC)
        image = _mounted(light[..., None] * tone, rng)
    noise = rng.uniform(1.0, 3.0) * rng.standard_normal((height, width, 3), dtype=np.float32)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def render_external_eye(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """An eye from outside with skin of any tone, lids, lashes, sclera, iris and pupil; float32 (height, width, 3)."""
    x, y = _grid(height, width)
    x, y = x - rng.normal(0, 0.06), y - rng.normal(0, 0.05)
    scale = rng.uniform(0.75, 1.25)
    x, y = x / scale, y / scale
    image = _skin(rng, x, y)
    upper, lower = _lids(rng, x)
    opening = _soft(y - upper, 0.006) * _soft(lower - y, 0.006)
    ball = _eyeball(rng, x, y)
    shade = 1 - 0.45 * np.exp(-np.maximum(y - upper, 0) / 0.05) - 0.15 * np.exp(-np.maximum(lower - y, 0) / 0.03)
    image = image * (1 - opening[..., None]) + ball * shade[..., None] * opening[..., None]
    _draw_lashes(image, rng, x, y, upper[0], lower[0])
    return cv2.GaussianBlur(image, (0, 0), max(0.0016 * height, 0.3))


def _grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """x and y of the pixel centres from the middle of the frame, fractions of its height, float32 (height, width)."""
    x, y = (np.arange(width) + 0.5 - width / 2) / height, (np.arange(height) + 0.5) / height - 0.5
    return np.meshgrid(x.astype(np.float32), y.astype(np.float32))


def _soft(distance: np.ndarray, softness: float) -> np.ndarray:
    """0 below, 1 above a distance of 0, with a ramp."""
    return np.clip(distance / softness + 0.5, 0, 1)


def _tone(rng: np.random.Generator, palette: np.ndarray) -> np.ndarray:
    """A colour between two neighbours of a palette."""
    first = int(rng.integers(len(palette) - 1))
    share = rng.random()
    return palette[first] * (1 - share) + palette[first + 1] * share


def _noise(rng: np.random.Generator, cells: int, shape: tuple[int, int]) -> np.ndarray:
    """Smooth noise over a frame, `cells` features along its longer side."""
    longest = max(shape)
    return smooth_field(rng, cells, longest)[: shape[0], : shape[1]]


def _skin(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Skin around the eye: a tone, pores, the shadow of the socket and the crease above the lid."""
    tone = _tone(rng, _SKIN)
    light = 1 + 0.05 * _noise(rng, 6, x.shape) + 0.022 * _noise(rng, 120, x.shape) + rng.normal(0, 0.15) * x
    light -= 0.30 * np.exp(-np.square((y + 0.32 - 0.35 * np.square(x)) / 0.10))
    crease = rng.uniform(0.27, 0.32) - 0.42 * np.square(x)
    light -= 0.22 * np.exp(-np.square((y + crease) / 0.012)) * (np.abs(x) < 0.7)
    bag = 0.30 - 0.30 * np.square(x)
    light -= 0.08 * np.exp(-np.square((y - bag) / 0.025))
    red = 0.05 * _noise(rng, 5, x.shape)[..., None] * np.array([0.4, -0.6, -0.5], np.float32)
    return np.clip(light[..., None] + red, 0.1, 1.6) * tone


def _lids(rng: np.random.Generator, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """y of the upper and of the lower lid's edge over x, (height, width) each; beyond the corners they have met."""
    half, tilt = rng.uniform(0.50, 0.60), rng.normal(0, 0.05)
    along = np.clip(np.abs(x) / half, 0, 1)
    arch = 1 - along**2.2
    open_above, open_below = rng.uniform(0.14, 0.23), rng.uniform(0.14, 0.19)
    return tilt * x - open_above * arch, tilt * x + open_below * arch


def _eyeball(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Sclera with veins, caruncle, iris and pupil."""
    look_x, look_y, radius = rng.normal(0, 0.07), rng.normal(-0.01, 0.02), rng.uniform(0.18, 0.22)
    ball = np.broadcast_to(_SCLERA, (*x.shape, 3)) * (1 - 0.35 * np.square(x / 0.6))[..., None]
    ball = ball * (1 + 0.03 * _noise(rng, 9, x.shape))[..., None]
    veins = _scleral_veins(rng, x.shape, radius)
    ball = ball * (1 - veins) + veins * _VEIN
    corner = 0.53 * rng.choice([-1, 1])
    meat = np.exp(-np.square(np.hypot(x - corner, (y - 0.02) * 1.3) / 0.06))[..., None]
    ball = ball * (1 - meat) + meat * _CARUNCLE
    return _with_iris(ball, rng, x - look_x, y - look_y, radius)


def _scleral_veins(rng: np.random.Generator, shape: tuple[int, int], clear: float) -> np.ndarray:
    """Cover 0..1 of thin winding veins that run from the corners towards the iris, (height, width, 1)."""
    height, width = shape
    drawn = np.zeros(shape, np.uint8)
    for _ in range(int(rng.integers(14, 40))):
        side = rng.choice([-1, 1])
        along = np.linspace(0.58, clear + rng.uniform(0.0, 0.15), 14)
        across = rng.uniform(-0.14, 0.14) + np.cumsum(rng.normal(0, 0.008, 14))
        points = np.stack([side * along * height + width / 2, (across + 0.5) * height], 1)
        thick = max(1, round(rng.uniform(0.001, 0.005) * height))
        fixed = np.round(points * 16).astype(np.int32)
        cv2.polylines(drawn, [fixed], False, int(rng.integers(50, 150)), thick, cv2.LINE_AA, 4)
    return cv2.GaussianBlur(drawn, (0, 0), max(0.0015 * height, 0.3)).astype(np.float32)[..., None] / 255


def _with_iris(image: np.ndarray, rng: np.random.Generator, x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    """Iris, pupil and the lamp's reflection over an eyeball; x and y from the middle of the pupil."""
    far, angle = np.hypot(x, y), np.arctan2(y, x)
    fibres = cv2.resize(rng.standard_normal((4, 180), dtype=np.float32), (720, 64), interpolation=cv2.INTER_CUBIC)
    columns = ((angle / (2 * np.pi) + 0.5) * 719).astype(np.float32)
    streaks = cv2.remap(
        fibres, columns, (far / radius * 50).astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    pupil = radius * rng.uniform(0.25, 0.62)
    light = 1 + 0.22 * streaks + 0.35 * np.exp(-np.square((far - 1.5 * pupil) / (0.2 * radius)))
    light *= 1 - 0.75 * np.square(np.clip(far / radius, 0, 1)) ** 4
    iris = light[..., None] * _tone(rng, _IRIS)
    inside = _soft(radius - far, 0.018)[..., None]
    image = image * (1 - inside) + iris * inside
    hole = _soft(pupil - far, 0.008)[..., None]
    # The flash that comes back through the pupil: black in most pictures, red in some.
    image = image * (1 - hole) + hole * np.array([120, 30, 20] if rng.random() < 0.2 else [9, 7, 8], np.float32)
    for _ in range(int(rng.integers(1, 3))):
        dx, dy = rng.uniform(-0.4, 0.4, 2) * radius
        spot = _soft(rng.uniform(0.05, 0.14) * radius - np.hypot(x - dx, y - dy), 0.008)[..., None]
        image = image * (1 - spot) + 252 * spot
    return image.astype(np.float32)


def _draw_lashes(
    image: np.ndarray, rng: np.random.Generator, x: np.ndarray, y: np.ndarray, upper: np.ndarray, lower: np.ndarray
) -> None:
    """Dark curved hairs on both lids, in place; `upper` and `lower` are the lids' y over the columns."""
    height, width = x.shape
    color = [float(c) for c in rng.uniform(8, 40) * np.array([1.0, 0.85, 0.75])]
    for edge, up, count, length in ((upper, -1, 90, 0.13), (lower, 1, 50, 0.05)):
        for start in rng.uniform(-0.52, 0.52, count):
            column = int(np.abs(x[0] - start).argmin())
            along = np.linspace(0, 1, 8)
            reach = length * rng.uniform(0.6, 1.1)
            # Pixels from positions: both axes were moved and scaled together.
            step = x[0, 1] - x[0, 0]
            foot = (edge[column] - y[0, 0]) / step
            px = column + (0.55 * start + rng.normal(0, 0.03)) * reach / 0.13 * along**1.5 * 0.5 / step
            py = foot + up * reach / step * (along - 0.35 * along**2)
            fixed = np.round(np.stack([px, py], 1) * 16).astype(np.int32)
            cv2.polylines(image, [fixed], False, color, max(1, round(0.004 * height)), cv2.LINE_AA, 4)


def _front_of_eye(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Iris and pupil so close that the lids are out of sight, float32 (height, width, 3)."""
    x, y = _grid(height, width)
    ball = np.broadcast_to(_SCLERA * rng.uniform(0.6, 1.0), (height, width, 3))
    veins = _scleral_veins(rng, (height, width), 0.38)
    ball = ball * (1 - veins) + veins * _VEIN
    image = _with_iris(ball, rng, x - rng.normal(0, 0.05), y - rng.normal(0, 0.05), rng.uniform(0.28, 0.42))
    light = np.clip(1 + rng.normal(0, 0.5) * x + rng.normal(0, 0.5) * y - 0.5 * (x * x + y * y), 0.15, 1.4)
    return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.002, 0.012) * height) * light[..., None]


def _mounted(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A picture behind the round mount of a fundus camera: black outside a circle."""
    x, y = _grid(*image.shape[:2])
    radius = rng.uniform(0.40, 0.56)
    return image * _soft(radius - np.hypot(x, y), 1.5 / len(image))[..., None]
