"""What the camera does to an eye: framing, colour cast, uneven light, flare, soft focus, sensor noise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from .artefacts import Artefacts
from .background import field_grid

_GHOST = np.array([190.0, 185.0, 235.0])


@dataclass(frozen=True)
class Camera:
    """One camera and one exposure.

    `aspect` is the frame's width over its height; `fov_radius`, `offset_x`, `offset_y` are fractions of the width;
    `cast` is added to the log colour of red, green and blue; `blur` is a fraction of the field's diameter; `noise` is
    in grey levels; `notch_angle` and `flare_angle` are in radians, clockwise from the right; `zoom` (at least 1) is how
    many times smaller than 45 degrees the field is; the rest runs from 0 to 1. `aim` is the way from the pose of the
    eye to the optic disc, as far as a field with `zoom` can be moved without leaving the 45 degrees.
    """

    name: str = "phantom-standard"
    seed: int = 0
    aspect: float = 1.0
    fov_radius: float = 0.5
    offset_x: float = 0.0
    offset_y: float = 0.0
    notch: bool = False
    notch_angle: float = -0.6
    cast: tuple[float, float, float] = (0.0, 0.0, 0.0)
    vignette: float = 0.25
    tilt_x: float = 0.0
    tilt_y: float = 0.0
    flare: float = 0.0
    flare_angle: float = 0.0
    flare_color: tuple[float, float, float] = (215.0, 205.0, 160.0)
    rim: float = 0.0
    ghost: float = 0.0
    blur: float = 0.0014
    noise: float = 1.6
    zoom: float = 1.0
    aim: float = 0.0
    artefacts: Artefacts = Artefacts()

    @classmethod
    def standardized(cls) -> Camera:
        """A neutral camera whose field is exactly the circle inscribed in a square image."""
        return cls()

    def in_standard_frame(self) -> Camera:
        """The same light and lens, framed as standardised images are: the inscribed circle, black outside, no writing."""
        plain = replace(self.artefacts, stamp="")
        return replace(self, aspect=1.0, fov_radius=0.5, offset_x=0.0, offset_y=0.0, notch=False, artefacts=plain)

    @property
    def is_standard_frame(self) -> bool:
        """Whether the field is the inscribed circle of a square."""
        return (self.aspect, self.fov_radius, self.offset_x, self.offset_y, self.notch) == (1.0, 0.5, 0.0, 0.0, False)


@dataclass(frozen=True)
class View:
    """The part of an eye that a camera sees: `size` of the `full` pixels that 45 degrees take, from `left` and `top`."""

    size: int
    full: int
    left: int
    top: int

    @classmethod
    def of(cls, camera: Camera, disc: np.ndarray, size: int) -> View:
        """The view of an eye whose disc is at `disc` (x, y), on a square canvas of `size` pixels over the field."""
        full = round(size * camera.zoom)
        left, top = (int(np.clip(round(camera.aim * d * full + (full - size) / 2), 0, full - size)) for d in disc)
        return cls(size, full, left, top)

    @property
    def zoom(self) -> float:
        """45 degrees over the field's."""
        return self.full / self.size

    @property
    def centre(self) -> tuple[float, float]:
        """What the camera aims at, x and y in fractions of 45 degrees, as the eye's own positions."""
        return tuple((start + self.size / 2) / self.full - 0.5 for start in (self.left, self.top))

    def crop(self, canvas: np.ndarray) -> np.ndarray:
        """The seen part of a square canvas of any size over 45 degrees."""
        scale = len(canvas) / self.full
        rows, columns = (slice(round(a * scale), round((a + self.size) * scale)) for a in (self.top, self.left))
        return canvas[rows, columns]


def illumination(camera: Camera, size: int, view: View | None = None) -> np.ndarray:
    """What lamp and lens add to the log colour, float32 (size, size, 3): cast, fall-off to the rim, a slope.

    The grid lies over the field, or over the 45 degrees of which the field is the `view`.
    """
    x, y = field_grid(size)
    if view:
        x, y = ((line - np.float32(at)) * np.float32(view.zoom) for line, at in zip((x, y), view.centre, strict=True))
    fall = -camera.vignette * np.square((x * x + y * y) * 4)
    fall -= 0.35 * camera.vignette * (x * x + y * y) * 4
    slope = camera.tilt_x * x + camera.tilt_y * y
    light = fall[..., None] * np.array([1.0, 0.85, 0.7], np.float32) + slope[..., None]
    return (light + np.array(camera.cast)).astype(np.float32)


def exposed(log: np.ndarray, view: View | None = None) -> np.ndarray:
    """Automatic exposure: a log colour map darkened until its brightest channel, on average over the view, is at most 213."""
    seen = view.crop(log) if view else log
    return log - max(0.0, float(seen.mean(axis=(0, 1)).max()) - np.float32(np.log(213.0)))


def veil(camera: Camera, haze: float, color: np.ndarray, size: int) -> np.ndarray:
    """Stray light as a layer over the image: colour times cover (3 channels) and cover 0..1, float32 (size, size, 4).

    `haze` is scattered by a cloudy lens in the image's mean `color` (3,); a flare enters past the rim of the pupil; the
    lens of the camera may leave a bluish reflection (ghost) near the middle.
    """
    x, y = field_grid(size)
    rng = np.random.default_rng([camera.seed, 1])
    uneven = cv2.resize(rng.uniform(0.6, 1.4, (4, 4)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    scatter = np.clip(0.75 * haze * uneven, 0, 0.7)
    towards = x * np.cos(camera.flare_angle) + y * np.sin(camera.flare_angle)
    start = 0.46 - 0.36 * camera.flare
    crescent = np.clip((towards + 0.35 * (np.hypot(x, y) - 0.5) - start) / 0.28, 0, 1) ** 1.5
    flare = np.clip(crescent * (0.5 + 0.6 * camera.flare), 0, 0.92) if camera.flare else np.zeros_like(x)
    ghost = camera.ghost * _ghost(rng, x, y)
    edge = np.clip((np.hypot(x, y) - 0.30) / 0.21, 0, 1) ** 2 * 0.75 * camera.rim
    grey = 0.75 * color + 0.25 * color.mean()
    rim_color = 0.45 * color + 0.55 * np.array(camera.flare_color)
    light, cover = np.zeros((size, size, 3), np.float32), np.zeros((size, size), np.float32)
    for share, tint in ((scatter, grey), (edge, rim_color), (flare, np.array(camera.flare_color)), (ghost, _GHOST)):
        light = light * (1 - share[..., None]) + share[..., None] * tint
        cover = cover + share - cover * share
    return np.dstack([light, cover]).astype(np.float32)


def _ghost(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A bluish reflection of the lens near the middle, 0..1."""
    left, top = rng.normal(0, 0.06, 2)
    radius = rng.uniform(0.012, 0.04)
    return np.exp(-((np.hypot(x - left, (y - top) * rng.uniform(0.6, 1.1)) / radius) ** 2))


def sensor_noise(camera: Camera, size: int) -> np.ndarray:
    """Noise in grey levels, float32 (size, size, 3): in the brightness, and coarser in the colour as JPEG leaves it."""
    rng = np.random.default_rng([camera.seed, 3])
    color = rng.standard_normal((size // 2, size // 2, 3), dtype=np.float32)
    color = cv2.resize(color, (size, size), interpolation=cv2.INTER_LINEAR)
    brightness = rng.standard_normal((size, size), dtype=np.float32)
    return camera.noise * (0.9 * cv2.merge([brightness] * 3) + 0.7 * color)


def field_mask(camera: Camera, size: int) -> np.ndarray:
    """The lit field on a square canvas over it, uint8 0..255 (size, size), anti-aliased; a notch stands out of it."""
    far = cv2.magnitude(*field_grid(size))
    mask = (np.clip((0.5 - far) * size + 0.5, 0, 1) * 255).astype(np.uint8)
    if camera.notch:
        out = np.array([np.cos(camera.notch_angle), np.sin(camera.notch_angle)])
        across = np.array([-out[1], out[0]])
        corners = [u * out + v * across for u, v in ((0.49, -0.028), (0.49, 0.028), (0.522, 0.012), (0.522, -0.012))]
        fixed = np.round(((np.array(corners) + 0.5) * size - 0.5) * 16).astype(np.int32)
        cv2.fillConvexPoly(mask, fixed, 255, cv2.LINE_AA, 4)
    return mask
