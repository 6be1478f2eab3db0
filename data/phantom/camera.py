"""What the camera does to an eye: framing, colour cast, uneven light, flare, soft focus, sensor noise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from .background import field_grid

_YELLOW_BLUE = np.array([0.22, 0.39, 0.89])
_EXPOSURE = np.array([0.64, 0.60, 0.48])
_RED_GREEN = np.array([0.73, -0.67, 0.11])
_GHOST = np.array([190.0, 185.0, 235.0])
_DEVICES = "abcdef"


@dataclass(frozen=True)
class Camera:
    """One camera and one exposure.

    `aspect` is the frame's width over its height; `fov_radius`, `offset_x`, `offset_y` are fractions of the width;
    `cast` is added to the log colour of red, green and blue; `blur` is a fraction of the field's diameter; `noise` is
    in grey levels; `notch_angle` and `flare_angle` are in radians, clockwise from the right; the rest runs from 0 to 1.
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

    @classmethod
    def standardized(cls) -> Camera:
        """A neutral camera whose field is exactly the circle inscribed in a square image."""
        return cls()

    def in_standard_frame(self) -> Camera:
        """The same light and lens, framed as standardised images are: the inscribed circle, black outside."""
        return replace(self, aspect=1.0, fov_radius=0.5, offset_x=0.0, offset_y=0.0, notch=False)

    def next_exposure(self, rng: np.random.Generator) -> Camera:
        """Another photograph with the same device."""
        return replace(self, **_exposure(self.name, rng))

    @property
    def is_standard_frame(self) -> bool:
        """Whether the field is the inscribed circle of a square."""
        return (self.aspect, self.fov_radius, self.offset_x, self.offset_y, self.notch) == (1.0, 0.5, 0.0, 0.0, False)


def sample_camera(rng: np.random.Generator) -> Camera:
    """One of six simulated devices in one exposure.

    The field is a circle of radius 0.40..0.49 of the frame's height, a little off centre, or a larger one (up to 0.58)
    cut at top and bottom; some devices have a notch.
    """
    device = int(rng.integers(len(_DEVICES)))
    return Camera(name=f"phantom-camera-{_DEVICES[device]}").next_exposure(rng)


def _exposure(name: str, rng: np.random.Generator) -> dict[str, object]:
    """What changes from one photograph of a device to the next, given the device's habits."""
    habits = np.random.default_rng([7919, _DEVICES.index(name[-1])])
    blue = np.clip(habits.normal(0, 0.45) + rng.normal(0, 0.45), -1.3, 0.5)
    green = habits.normal(0, 0.03) + rng.normal(0, 0.035)
    bright = np.clip(rng.normal(0, 0.26) - 0.2 * blue, -0.7, 0.32)
    cast = blue * _YELLOW_BLUE + bright * _EXPOSURE + green * _RED_GREEN
    aspect = float(habits.choice([1.0, 1.25, 1.333, 1.5]))
    cut = habits.random() < 0.4 and aspect > 1.0
    radius = float((habits.uniform(0.52, 0.58) if cut else habits.uniform(0.40, 0.485)) / aspect)
    warm = float(rng.random())
    return {
        "seed": int(rng.integers(2**31)),
        "aspect": aspect,
        "fov_radius": radius,
        "offset_x": float(rng.uniform(-1, 1) * min(0.5 - radius, 0.03)),
        "offset_y": float(rng.uniform(-1, 1) * min(max(0.5 / aspect - radius, 0.0), 0.02)),
        "notch": bool(habits.random() < 0.5),
        "notch_angle": float(habits.choice([-1, 1]) * habits.uniform(0.45, 0.8)),
        "cast": tuple(float(c) for c in cast),
        "vignette": float(np.clip(rng.normal(0.30, 0.14), 0.02, 0.7)),
        "tilt_x": float(rng.normal(0, 0.22)),
        "tilt_y": float(rng.normal(0, 0.22)),
        "flare": float(rng.beta(1.2, 1.8)) if rng.random() < 0.30 else 0.0,
        "flare_angle": float(rng.uniform(0, 2 * np.pi)),
        "flare_color": (170 + 70 * warm, 190 + 15 * warm, 165 - 60 * warm),
        "rim": float(rng.beta(1.1, 2.2)) if rng.random() < 0.6 else 0.0,
        "ghost": float(rng.uniform(0.1, 0.5)) if rng.random() < 0.25 else 0.0,
        "blur": float(np.clip(rng.lognormal(np.log(0.0015), 0.35), 0.0007, 0.0045)),
        "noise": float(rng.uniform(0.8, 2.6)),
    }


def illumination(camera: Camera, size: int) -> np.ndarray:
    """What lamp and lens add to the log colour, float32 (size, size, 3): cast, fall-off to the rim, a slope."""
    x, y = field_grid(size)
    fall = -camera.vignette * np.square((x * x + y * y) * 4)
    fall -= 0.35 * camera.vignette * (x * x + y * y) * 4
    slope = camera.tilt_x * x + camera.tilt_y * y
    light = fall[..., None] * np.array([1.0, 0.85, 0.7], np.float32) + slope[..., None]
    return (light + np.array(camera.cast)).astype(np.float32)


def exposed(log: np.ndarray) -> np.ndarray:
    """Automatic exposure: a log colour map darkened until the mean of its brightest channel is at most 213 of 255."""
    return log - max(0.0, float(log.mean(axis=(0, 1)).max()) - np.float32(np.log(213.0)))


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
