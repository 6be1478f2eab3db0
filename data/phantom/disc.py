"""The optic disc: a tilted oval with a rim of nerve fibres, a pale cup and, on the temporal side, a crescent."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .anatomy import Eye
from .background import blood_share, smooth_field

_RIM = np.array([0.22, 0.46, 0.58], np.float32)
_CUP = np.array([0.10, 0.32, 0.48], np.float32)
_PINK = np.array([0.02, 0.32, 0.27], np.float32)
_CRESCENT = np.array([0.20, 0.34, 0.30], np.float32)
_FINE = 768
_PIGMENT_EDGE = np.array([0.35, 0.50, 0.35], np.float32)


def _window(eye: Eye, size: int) -> tuple[slice, slice]:
    """Rows and columns of a square canvas over the field that hold the disc and its surroundings."""
    reach = 2.0 * eye.disc_radius
    bounds = []
    for centre in (eye.disc_y, eye.disc_x):
        low, high = int((centre - reach + 0.5) * size), int(np.ceil((centre + reach + 0.5) * size))
        bounds.append(slice(max(low, 0), min(high, size)))
    return bounds[0], bounds[1]


@dataclass(frozen=True)
class DiscMap:
    """Around the disc, float32: distance in disc radii (1 = margin) and in cup radii, and how far to the nose."""

    window: tuple[slice, slice]
    margin: np.ndarray
    cup: np.ndarray
    nasal: np.ndarray

    @property
    def inside(self) -> np.ndarray:
        """1 within the disc, 0 outside, soft at the margin and softer on the nasal side."""
        return 1 - _step(self.margin, 0.88 - 0.04 * self.nasal, 1.07)


def disc_map(eye: Eye, size: int) -> DiscMap:
    """Where the disc lies on a square canvas over the field."""
    window = _window(eye, size)
    nasal = 1.0 if eye.side == "right" else -1.0
    rows, columns = (np.arange(w.start, w.stop, dtype=np.float32) for w in window)
    x = ((columns + 0.5) / size - 0.5 - eye.disc_x)[None] / eye.disc_radius
    y = ((rows + 0.5) / size - 0.5 - eye.disc_y)[:, None] / eye.disc_radius
    cos, sin = np.cos(eye.disc_tilt), np.sin(eye.disc_tilt)
    stretch = np.sqrt(eye.disc_aspect)
    u, v = (x * cos + y * sin) * stretch, (-x * sin + y * cos) / stretch
    phase = eye.generator(2).uniform(0, 2 * np.pi, 3)
    angle = np.arctan2(v, u)
    waves = ((0.018, 2), (0.014, 3), (0.010, 5))
    uneven = 1 + sum(size * np.sin(n * angle + start) for (size, n), start in zip(waves, phase, strict=True))
    margin = cv2.magnitude(u, v) * uneven
    cup = np.hypot(u + 0.16 * nasal * (1 - eye.glaucoma), v * 0.96 / eye.cup_height) / eye.cup_ratio
    if eye.cup_notch:
        apart = np.angle(np.exp(1j * (np.arctan2(y, x) - eye.cup_notch_angle)))
        cup = cup / (1 + eye.cup_notch * np.exp(-np.square(apart / 0.45)))
    return DiscMap(window, margin.astype(np.float32), cup.astype(np.float32), (nasal * u).astype(np.float32))


def _step(x: np.ndarray, low: float, high: float) -> np.ndarray:
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def add_disc(log: np.ndarray, eye: Eye, disc: DiscMap) -> None:
    """Add the disc to a log colour map over the field, float32 (size, size, 3), in place."""
    margin, nasal, inside = disc.margin, disc.nasal, disc.inside
    rng = eye.generator(3)
    texture = smooth_field(rng, 12, 96) + 0.7 * smooth_field(rng, 30, 96)
    texture = cv2.resize(texture, margin.shape[::-1], interpolation=cv2.INTER_LINEAR)
    # The wall of a glaucomatous cup is steep.
    excavation = 1 - _step(disc.cup, 0.25 + 0.45 * eye.glaucoma, 1.45 - 0.25 * eye.glaucoma)
    pinkness = (blood_share(eye) - 0.25 * eye.disc_paleness) * (0.75 + 0.30 * nasal) + 0.08 * texture
    glow = np.exp(-np.square(margin / 1.25)) * 0.10
    gain = (inside * (1 + 0.04 * texture) + glow)[..., None] * (_RIM + 0.25 * eye.pigmentation)
    gain += (inside * (excavation * (0.55 + 0.5 * eye.disc_paleness) + 0.10))[..., None] * _CUP
    gain -= (inside * (1 - 0.75 * excavation) * pinkness)[..., None] * _PINK
    ring = _step(margin, 0.95, 1.05) * (1 - _step(margin, 1.10 + 0.22 * eye.crescent, 1.22 + 0.30 * eye.crescent))
    temporal = np.clip(0.25 - 0.9 * nasal, 0, 1)
    gain += (ring * temporal * eye.crescent * (1 + 0.15 * texture))[..., None] * _CRESCENT
    edge = np.exp(-np.square((margin - 1.12 - 0.28 * eye.crescent) / 0.05)) * np.clip(0.4 + 0.6 * texture, 0, 1)
    edge *= temporal * max(eye.pigmentation - 0.35, 0)
    gain -= edge[..., None] * _PIGMENT_EDGE
    # In a long eye the pole around the disc is bright itself; in glaucoma the rim pales.
    log[disc.window] += gain * (1 - 0.40 * eye.myopia - 0.15 * eye.glaucoma)


def disc_masks(disc: DiscMap, size: int) -> dict[str, np.ndarray]:
    """Masks of the disc and of its cup, uint8 0/255 (size, size)."""
    masks = {kind: np.zeros((size, size), np.uint8) for kind in ("optic_disc", "optic_cup")}
    masks["optic_disc"][disc.window] = np.where(disc.margin <= 1, 255, 0)
    masks["optic_cup"][disc.window] = np.where((disc.cup <= 1) & (disc.margin <= 1), 255, 0)
    return masks


def cup_to_disc(eye: Eye) -> float:
    """Height of the cup over the height of the disc, measured on a fine grid."""
    masks = disc_masks(disc_map(eye, _FINE), _FINE)
    cup, disc = (np.ptp(np.flatnonzero(masks[kind].any(axis=1))) + 1 for kind in ("optic_cup", "optic_disc"))
    return round(float(cup / disc), 3)
