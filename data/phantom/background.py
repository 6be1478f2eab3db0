"""The retina without disc, vessels and lesions, as the logarithm of its colour (natural log of display values 0..255).

Light that comes back from the fundus has been through layers that each absorb a share of it (Beer-Lambert; Preece and
Claridge, "Monte Carlo modelling of the spectral reflectance of the human eye", 2002), so layers add up in the
logarithm. The mean colour and its spread, with those of `camera`, are set so that the median colour of the central
field is distributed about as in a public collection of normal eyes (ODIR-5K; median red 157, green 88, blue 45 of 255).
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from .anatomy import Eye

DETAIL = 256
NORMAL_HEMOGLOBIN = 14.0
MEAN_LOG_COLOR = np.array([5.20, 4.80, 4.60], np.float32)
_PIGMENT = np.array([0.62, 0.95, 0.95], np.float32)
_REDNESS = np.array([0.73, -0.67, 0.11], np.float32)
_LENS = np.array([0.03, 0.17, 0.75], np.float32)
_BLOOD = np.array([0.20, 0.45, 0.46], np.float32)


@lru_cache(maxsize=4)
def field_grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """x and y of the pixel centres of a square over the field, fractions of its diameter, float32 (size, size)."""
    line = ((np.arange(size, dtype=np.float32) + 0.5) / size) - 0.5
    x, y = np.meshgrid(line, line)
    return x, y


def smooth_field(rng: np.random.Generator, cells: int, size: int) -> np.ndarray:
    """Noise of about unit variance with `cells` features across, alike at every size; float32 (size, size)."""
    coarse = rng.standard_normal((cells, cells), dtype=np.float32)
    return cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC if size > cells else cv2.INTER_AREA)


def blood_share(eye: Eye) -> float:
    """Haemoglobin as a share of the normal: how much light the same volume of blood absorbs."""
    return eye.hemoglobin / NORMAL_HEMOGLOBIN


def background_log_color(eye: Eye) -> np.ndarray:
    """Log colour of the bare retina, float32 (DETAIL, DETAIL, 3); the lower the haemoglobin, the paler."""
    rng = eye.generator(1)
    x, y = field_grid(DETAIL)
    base = (
        MEAN_LOG_COLOR
        - (eye.pigmentation - 0.5) * _PIGMENT
        + eye.redness * _REDNESS
        - eye.lens_yellowing * _LENS
        - (blood_share(eye) - 1) * _BLOOD
    )
    log = np.broadcast_to(base, (DETAIL, DETAIL, 3)).astype(np.float32)
    log += _mottling(eye, rng)
    away = np.hypot(x - eye.fovea_x, y - eye.fovea_y)
    log += _choroid(eye, rng, away)
    log += _macula(eye, away)
    log += _nerve_fibres(eye, rng, x, y)
    if eye.myopia:
        log += _staphyloma(eye, x, y)
    return log


def _mottling(eye: Eye, rng: np.random.Generator) -> np.ndarray:
    """Patches of pigment and of choroidal blood, each with its own colour."""
    pigment = sum(amount * smooth_field(rng, cells, DETAIL) for amount, cells in ((0.055, 5), (0.030, 13), (0.018, 40)))
    blood = sum(amount * smooth_field(rng, cells, DETAIL) for amount, cells in ((0.040, 4), (0.018, 24)))
    strength = 0.6 + 0.8 * eye.pigmentation
    return (strength * pigment)[..., None] * _PIGMENT + blood[..., None] * np.array([0.3, -1.0, -0.8], np.float32)


def _choroid(eye: Eye, rng: np.random.Generator, away: np.ndarray) -> np.ndarray:
    """Choroidal vessels seen through a thin pigment layer (tessellation): a red mesh, drawn out away from the pole."""
    x, y = field_grid(DETAIL)
    pole_x, pole_y = 0.5 * (eye.disc + eye.fovea)
    bent = 0.5 * smooth_field(rng, 7, DETAIL) + 0.10 * smooth_field(rng, 20, DETAIL)
    far = cv2.magnitude(x - np.float32(pole_x), y - np.float32(pole_y))
    turns = (np.arctan2(y - pole_y, x - pole_x) + bent * (0.2 + far)) / (2 * np.pi) % 1.0
    strip = cv2.resize(rng.standard_normal((26, 84), dtype=np.float32), (672, 208), interpolation=cv2.INTER_CUBIC)
    columns, rows = (turns * 670).astype(np.float32), (far + 0.03 * bent) * 208
    wave = cv2.remap(strip, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    mesh = np.exp(-np.square((wave + 0.5 * smooth_field(rng, 40, DETAIL)) / 0.55)) - 0.45
    mesh = cv2.GaussianBlur(mesh, (0, 0), 1.1)
    patchy = np.clip(0.35 + 0.6 * smooth_field(rng, 4, DETAIL) + 0.7 * (far - 0.15) + 0.5 * y, 0, 1.2)
    shown = eye.tessellation * patchy * (1 - 0.9 * np.exp(-np.square(away / 0.15)))
    if eye.myopia:
        turns = (np.arctan2(y - pole_y, x - pole_x) + 0.25 * bent * (0.2 + far)) / (2 * np.pi)
        mesh, shown = _long_eye_choroid(rng, bent, far, turns), (0.25 + shown) * (0.6 + 0.8 * eye.myopia)
    return (shown * mesh)[..., None] * np.array([-0.02, -0.20, -0.13], np.float32)


def _long_eye_choroid(rng: np.random.Generator, bent: np.ndarray, far: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """Choroidal vessels of a long eye: thick, drawn out away from the pole and joined to one another; about -0.4..0.6."""
    strip = cv2.resize(rng.standard_normal((6, 104), dtype=np.float32), (696, 160), interpolation=cv2.INTER_CUBIC)
    columns, rows = (
        ((turns + 0.01 * bent) % 1.0 * 694).astype(np.float32),
        ((far + 0.04 * bent) * 160).astype(np.float32),
    )
    wave = cv2.remap(strip, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    wave += 0.25 * smooth_field(rng, 30, DETAIL)
    return cv2.GaussianBlur(1.1 * np.exp(-np.square(wave / 0.42)) - 0.45, (0, 0), 0.9) * np.clip(far / 0.12, 0.3, 1)


def _macula(eye: Eye, away: np.ndarray) -> np.ndarray:
    """Macular pigment and tall pigment epithelium darken the macula; the foveal pit glints in the young."""
    wide = np.exp(-np.square(away / 0.105))[..., None] * np.array([0.10, 0.19, 0.20], np.float32)
    depth = 0.55 + 0.9 * eye.macular_pigment
    pit = np.exp(-np.square(away / (1.9 * eye.fovea_radius)))[..., None] * np.array([0.12, 0.20, 0.20], np.float32)
    ring = np.exp(-np.square((away - 2.6 * eye.fovea_radius) / 0.008))
    glint = np.exp(-np.square(away / 0.0055))
    shine = eye.nerve_fibre_sheen**2 * (0.05 * ring + 0.22 * glint)
    return shine[..., None] * np.array([0.6, 1.0, 1.1], np.float32) - depth * wide - depth * pit


def _nerve_fibres(eye: Eye, rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Fine pale striations that fan out of the disc above and below and bend towards the macula."""
    dx, dy = x - np.float32(eye.disc_x), y - np.float32(eye.disc_y)
    nasal = 1.0 if eye.disc_x > eye.fovea_x else -1.0
    far = cv2.magnitude(dx, dy)
    angle = np.arctan2(dy, -nasal * dx)
    origin = angle + 1.6 * far * np.sin(angle)
    strip = rng.standard_normal((8, 220), dtype=np.float32)
    strip = cv2.resize(strip, (440, 32), interpolation=cv2.INTER_CUBIC)
    columns = ((origin / (2 * np.pi) + 0.5) * 438).astype(np.float32)
    streaks = cv2.remap(strip, columns, (far * 48).astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    poles = 0.25 + np.square(np.sin(angle))
    shown = eye.nerve_fibre_sheen * poles * np.exp(-np.square((far - eye.disc_radius) / 0.17))
    halo = 0.10 * np.exp(-np.maximum(far - eye.disc_radius, 0) / 0.06) + 0.19 * np.exp(-np.square(far / 0.27))
    return (shown * (0.10 + 0.075 * streaks) + halo)[..., None] * np.array([0.55, 1.0, 1.0], np.float32)


def _staphyloma(eye: Eye, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The stretched posterior pole of a long eye: thin pigment lets the white of the sclera through."""
    middle = 0.6 * eye.disc + 0.4 * eye.fovea
    far = np.hypot(x - middle[0], (y - middle[1]) * 1.15)
    pole = eye.myopia * np.exp(-np.square(far / 0.26))
    return (pole[..., None] * np.array([0.08, 0.24, 0.18], np.float32)).astype(np.float32)
