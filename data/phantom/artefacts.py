"""What spoils a photograph: dust, motion, defocus, colour fringes, glare, lashes, a wrong exposure, writing on the frame."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import cv2
import numpy as np

from .background import field_grid

# Display values follow light to the power 1 / 2.2: one stop multiplies them by 2 ** (1 / 2.2).
_GAMMA = 2.2
_LASH_COUNT = 14
_STAMP_COLORS = ((235, 235, 235), (255, 170, 60), (250, 250, 120), (120, 240, 140))


@dataclass(frozen=True)
class Artefacts:
    """The artefacts of one photograph; 0 and "" mean none.

    Attributes:
        defocus: radius of the circle into which a point is blurred, fraction of the field's diameter.
        motion: length of the path the eye moved during the flash, fraction of the field's diameter.
        motion_angle: direction of that path, radians, clockwise from the right.
        fringe: lateral chromatic aberration: red is magnified by this share, blue reduced by it.
        dust: number of specks on the lens.
        dust_seed: the lens; the same lens has its specks at the same places in every photograph.
        glare: 0..1, reflections of the lamp on cornea and lens.
        lashes: 0..1, how deep the shadow of the lid and its lashes reaches into the field.
        exposure: stops too much (positive) or too little (negative) light.
        stamp: text written over the frame, ASCII, a line feed between lines.
        stamp_corner: 0 upper left, 1 upper right, 2 lower left, 3 lower right.
    """

    defocus: float = 0.0
    motion: float = 0.0
    motion_angle: float = 0.0
    fringe: float = 0.0
    dust: int = 0
    dust_seed: int = 0
    glare: float = 0.0
    lashes: float = 0.0
    exposure: float = 0.0
    stamp: str = ""
    stamp_corner: int = 2

    def __str__(self) -> str:
        """Every artefact that is present, for metadata.csv: `motion=0.0120; motion_angle=0.40; dust=6`."""
        idle = {"motion_angle": self.motion, "dust_seed": self.dust, "stamp_corner": self.stamp}
        present = ((f.name, getattr(self, f.name)) for f in fields(self))
        return "; ".join(f"{name}={_short(value)}" for name, value in present if value and idle.get(name, True))

    @property
    def in_the_field(self) -> bool:
        """Whether anything changes the picture of the eye itself."""
        return replace(self, stamp="", stamp_corner=2, motion_angle=0.0, dust_seed=0) != Artefacts()


def _short(value: float | int | str) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return " ".join(str(value).split())


def spoil(image: np.ndarray, artefacts: Artefacts, seed: int) -> np.ndarray:
    """The square picture of the field, float32 (size, size, 3), after every artefact but the writing.

    Args:
        image: grey levels, not yet clipped to 0..255. seed: of this photograph (places of glare and lashes).
    """
    if not artefacts.in_the_field:
        return image
    if artefacts.fringe:
        image = _fringed(image, artefacts.fringe)
    if artefacts.defocus:
        image = cv2.filter2D(image, -1, _disc_kernel(artefacts.defocus * len(image)), borderType=cv2.BORDER_REFLECT)
    if artefacts.motion:
        kernel = _line_kernel(artefacts.motion * len(image), artefacts.motion_angle)
        image = cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT)
    if artefacts.lashes:
        image = image * (1 - _lash_shadow(artefacts.lashes, seed, len(image)))[..., None]
    if artefacts.glare:
        image = _with_glare(image, artefacts.glare, seed)
    if artefacts.dust:
        image = _with_dust(image, artefacts)
    return image * np.float32(2 ** (artefacts.exposure / _GAMMA))


def _fringed(image: np.ndarray, fringe: float) -> np.ndarray:
    """Red a little larger and blue a little smaller than green, about the centre."""
    middle = (len(image) - 1) / 2
    channels = list(cv2.split(image))
    for channel, share in ((0, 1 + fringe), (2, 1 - fringe)):
        turn = cv2.getRotationMatrix2D((middle, middle), 0, share)
        channels[channel] = cv2.warpAffine(channels[channel], turn, image.shape[:2], borderMode=cv2.BORDER_REPLICATE)
    return cv2.merge(channels)


def _disc_kernel(radius: float) -> np.ndarray:
    """A uniform disc of any radius in pixels, anti-aliased, sum 1."""
    reach = int(np.ceil(radius)) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    kernel = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1).astype(np.float32)
    return kernel / kernel.sum()


def _line_kernel(length: float, angle: float) -> np.ndarray:
    """A straight line of any length in pixels through the middle, anti-aliased, sum 1."""
    reach = int(np.ceil(length / 2)) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    kernel = np.clip(length / 2 + 0.5 - np.abs(along), 0, 1) * np.clip(1 - np.abs(across), 0, 1)
    return (kernel / kernel.sum()).astype(np.float32)


def _lash_shadow(depth: float, seed: int, size: int) -> np.ndarray:
    """Share of the light that lid and lashes keep out, float32 (size, size): from above or from below, out of focus."""
    rng = np.random.default_rng([seed, 5])
    side, tilt = rng.choice([-1.0, 1.0]), rng.normal(0, 0.25)
    x, y = field_grid(256)
    into = side * y + tilt * x + 0.5 * np.square(x) + 0.5
    lid = np.clip((0.42 * depth - into) / 0.22 + 0.5, 0, 1)
    streaks = np.zeros((256, 256), np.float32)
    for start in rng.uniform(-0.45, 0.45, _LASH_COUNT):
        along = np.linspace(0, 1, 12)
        reach = depth * rng.uniform(0.3, 0.75)
        points = np.stack(
            [start * (1 + 0.5 * along) + rng.normal(0, 0.05) * along**2, side * (along * reach - 0.52)], 1
        )
        fixed = np.round((points + 0.5) * 256 * 16).astype(np.int32)
        cv2.polylines(streaks, [fixed], False, 1.0, int(rng.integers(2, 5)), cv2.LINE_AA, 4)
    shadow = 0.9 * lid + 0.7 * (1 - lid) * cv2.GaussianBlur(streaks, (0, 0), 4.0)
    return cv2.resize(np.clip(shadow, 0, 0.95).astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR)


def _with_glare(image: np.ndarray, strength: float, seed: int) -> np.ndarray:
    """Reflections of the lamp: one to three white spots with a halo, and a pale arc of the lens."""
    rng = np.random.default_rng([seed, 6])
    x, y = field_grid(256)
    cover = np.zeros_like(x)
    for _ in range(int(rng.integers(1, 4))):
        far, angle = 0.36 * np.sqrt(rng.random()), rng.uniform(0, 2 * np.pi)
        dx, dy = x - far * np.cos(angle), (y - far * np.sin(angle)) * rng.uniform(0.7, 1.4)
        away, radius = np.hypot(dx, dy), strength * rng.uniform(0.015, 0.06)
        cover = np.maximum(cover, np.clip((1.25 * radius - away) / (0.5 * radius), 0, 1))
        cover = np.maximum(cover, 0.6 * strength * np.exp(-away / (3.0 * radius)))
    bow, towards = rng.uniform(0.33, 0.44), rng.uniform(0, 2 * np.pi)
    arc = np.exp(-np.square((np.hypot(x, y) - bow) / 0.02)) * np.clip(np.cos(np.arctan2(y, x) - towards), 0, 1) ** 3
    cover = np.maximum(cover, 0.5 * strength * arc)
    cover = cv2.resize(cover.astype(np.float32), (len(image),) * 2, interpolation=cv2.INTER_LINEAR)[..., None]
    return image * (1 - cover) + cover * np.array([255.0, 250.0, 240.0], np.float32)


def _with_dust(image: np.ndarray, artefacts: Artefacts) -> np.ndarray:
    """Specks out of focus: dark ones on the sensor's side, pale ones lit by the lamp on the front lens."""
    rng = np.random.default_rng([artefacts.dust_seed, 7])
    dark, pale = np.zeros((512, 512), np.float32), np.zeros((512, 512), np.float32)
    x, y = field_grid(512)
    for _ in range(artefacts.dust):
        far, angle = 0.47 * np.sqrt(rng.random()), rng.uniform(0, 2 * np.pi)
        away = np.hypot(x - far * np.cos(angle), y - far * np.sin(angle))
        radius, amount = rng.uniform(0.004, 0.016), rng.uniform(0.25, 0.7)
        spot = amount * np.clip((radius - away) / (0.45 * radius) + 0.5, 0, 1).astype(np.float32)
        into = dark if rng.random() < 0.5 else pale
        np.maximum(into, spot, out=into)
    dark, pale = (
        cv2.resize(layer, (len(image),) * 2, interpolation=cv2.INTER_LINEAR)[..., None] for layer in (dark, pale)
    )
    return image * (1 - dark) * (1 - 0.6 * pale) + 0.6 * pale * np.array([190.0, 200.0, 205.0], np.float32)


def write_stamp(image: np.ndarray, artefacts: Artefacts) -> None:
    """Write the stamp into a corner of the frame, uint8 (height, width, 3), in place; the text is about 3 % high."""
    if not artefacts.stamp:
        return
    height, width = image.shape[:2]
    lines = artefacts.stamp.split("\n")
    scale, margin = height * 0.0011, round(0.02 * height) + 1
    thick = max(1, round(scale * 1.6))
    color = _STAMP_COLORS[artefacts.dust_seed % len(_STAMP_COLORS)]
    for index, line in enumerate(lines):
        (long, high), below = cv2.getTextSize(line, cv2.FONT_HERSHEY_SIMPLEX, scale, thick)
        left = margin if artefacts.stamp_corner in (0, 2) else width - margin - long
        step = round(1.6 * (high + below / 2))
        foot = margin + high + index * step
        if artefacts.stamp_corner in (2, 3):
            foot = height - margin - (len(lines) - 1 - index) * step
        cv2.putText(image, line, (left, foot), cv2.FONT_HERSHEY_SIMPLEX, scale, color, thick, cv2.LINE_AA)
