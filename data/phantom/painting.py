"""How every kind of lesion looks: its colour as a change of the log colour, its softness, its texture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .anatomy import Eye
from .background import DETAIL, blood_share, field_grid, smooth_field

ARTERY = np.array([0.02, 0.36, 0.24], np.float32)
_CLOT = np.array([0.24, 0.60, 0.42], np.float32)
_CHOROIDAL_VESSEL = np.array([-0.03, -0.34, -0.36], np.float32)
_SHEEN = np.array([0.50, 0.85, 1.05], np.float32)


@dataclass(frozen=True)
class Look:
    """`color` is added to the log colour; `softness` is the blur of the outline, a fraction of the field; `blood` pales
    with the haemoglobin; `even` outlines are all as dense, so that those which overlap become one.
    """

    color: tuple[float, float, float]
    softness: float
    blood: bool = False
    even: bool = False


# Below the retinal vessels, in this order from the depth; all of it ends at the disc.
DEEP = {
    "atrophy": Look((0.12, 0.46, 0.42), 0.0016, even=True),
    "peripapillary_atrophy": Look((0.12, 0.44, 0.50), 0.0022, even=True),
    "subretinal_fluid": Look((-0.22, -0.06, -0.04), 0.0080, even=True),
    "laser_scars": Look((0.20, 0.48, 0.52), 0.0016),
    "drusen": Look((0.16, 0.38, 0.20), 0.0015),
    "fibrotic_scar": Look((0.20, 0.62, 0.85), 0.0030),
    "pigment_clumps": Look((-0.62, -0.66, -0.45), 0.0015),
    "nerve_fibre_defects": Look((-0.08, -0.27, -0.24), 0.0060),
}
# Among and in front of them.
FRONT = {
    "microaneurysms": Look(tuple(-_CLOT), 0.0010, blood=True),
    "haemorrhages": Look(tuple(-_CLOT), 0.0024, blood=True),
    "hard_exudates": Look((0.26, 0.55, 0.42), 0.0007),
    "cotton_wool_spots": Look((0.28, 0.55, 0.75), 0.0055),
    "neovascularisation": Look(tuple(-ARTERY), 0.0004, blood=True),
    "myelinated_fibres": Look((0.34, 0.80, 1.05), 0.0022),
    "epiretinal_membrane": Look((0.03, 0.06, 0.08), 0.0120),
    "asteroid_bodies": Look((0.32, 0.72, 0.80), 0.0010),
}


def add_layer(log: np.ndarray, layer: np.ndarray, color: np.ndarray) -> None:
    """Add a grey layer float32 (size, size) times a colour (3,) to the log colour, in place."""
    cv2.add(log, cv2.merge([layer * np.float32(c) for c in color]), dst=log)


def add_lesions(log: np.ndarray, eye: Eye, drawn: dict[str, np.ndarray], looks: dict[str, Look]) -> None:
    """Add what is drawn of the kinds in `looks` to the log colour, in place; `drawn` is {kind: uint8 (size, size)}."""
    size = log.shape[0]
    for kind in [kind for kind in looks if kind in drawn]:
        look = looks[kind]
        color = np.array(look.color, np.float32) * (blood_share(eye) if look.blood else 1.0)
        cover = cv2.GaussianBlur(drawn[kind].astype(np.float32) / 255, (0, 0), max(look.softness * size, 0.3))
        if kind == "nerve_fibre_defects":
            cover *= _fading(eye, size)
        add_layer(log, cover, color)
        if kind in ("atrophy", "peripapillary_atrophy"):
            add_layer(log, cover * _choroidal_vessels(eye, size), _CHOROIDAL_VESSEL)
        elif kind == "epiretinal_membrane":
            add_layer(log, cover * _folds(eye, size), _SHEEN)


def _choroidal_vessels(eye: Eye, size: int) -> np.ndarray:
    """The large vessels of the choroid, bare where the pigment epithelium is gone: a net of lines, 0..1 (size, size)."""
    rng = eye.generator(60)
    noise = smooth_field(rng, 22, DETAIL) + 0.45 * smooth_field(rng, 48, DETAIL)
    lines = np.exp(-np.square(noise / 0.24)) * np.clip(0.75 + 0.5 * smooth_field(rng, 12, DETAIL), 0, 1)
    return cv2.resize(lines, (size, size), interpolation=cv2.INTER_LINEAR)


def _fading(eye: Eye, size: int) -> np.ndarray:
    """The nerve fibre layer thins away from the disc, and with it what its loss looks like; 0..1 (size, size)."""
    x, y = field_grid(DETAIL)
    far = np.hypot(x - eye.disc_x, y - eye.disc_y)
    return cv2.resize(np.clip(1.2 - far / 0.36, 0, 1).astype(np.float32), (size, size))


def _folds(eye: Eye, size: int) -> np.ndarray:
    """Fine folds that run out of the middle of a membrane, and its uneven sheen, float32 (size, size)."""
    rng = eye.generator(61)
    x, y = field_grid(DETAIL)
    middle = eye.fovea + rng.uniform(0.03, 0.09) * _direction(rng)
    bent = 0.22 * smooth_field(rng, 14, DETAIL)
    turns = (np.arctan2(y - middle[1], x - middle[0]) + bent) / (2 * np.pi) % 1.0
    far = np.hypot(x - middle[0], y - middle[1])
    strip = cv2.resize(rng.standard_normal((6, 110), dtype=np.float32), (480, 96), interpolation=cv2.INTER_CUBIC)
    folds = cv2.remap(strip, (turns * 478).astype(np.float32), (far * 400).astype(np.float32), cv2.INTER_LINEAR,
                      borderMode=cv2.BORDER_REFLECT)  # fmt: skip
    sheen = 0.13 + 0.09 * smooth_field(rng, 18, DETAIL) + 0.07 * folds * np.clip(far / 0.04, 0, 1)
    return cv2.resize(sheen.astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR)


def _direction(rng: np.random.Generator) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([np.cos(angle), np.sin(angle)])
