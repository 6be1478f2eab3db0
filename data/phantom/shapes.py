"""Outlines and places that several diseases share: blobs, flames along the nerve fibres, free places of the retina.

Outlines are float (n, 2) in fractions of the field.
"""

from __future__ import annotations

import numpy as np

from .anatomy import Eye


def free(eye: Eye, point: np.ndarray, clear: float = 0.0) -> bool:
    """Whether a place is off disc and fovea and well within the field, with `clear` to spare."""
    return bool(
        np.hypot(*(point - eye.disc)) > 1.35 * eye.disc_radius + clear
        and np.hypot(*(point - eye.fovea)) > eye.fovea_radius + clear
        and np.hypot(*point) < 0.46 - clear
    )


def free_place(eye: Eye, rng: np.random.Generator, clear: float = 0.0, spread: float = 0.17) -> np.ndarray:
    """A place in the posterior pole, off disc and fovea and well within the field."""
    point = eye.fovea
    while not free(eye, point, clear):
        point = 0.7 * eye.fovea + 0.3 * eye.disc + rng.normal(0, spread, 2)
    return point


def blob(
    centre: np.ndarray, radius: float, rng: np.random.Generator, roughness: float, stretch: float = 1.0
) -> np.ndarray:
    """A closed irregular outline about `centre`."""
    angle = np.linspace(0, 2 * np.pi, 18, endpoint=False)
    wobble = sum(rng.normal(0, roughness / k) * np.sin(k * angle + rng.uniform(0, 6.28)) for k in (2, 3, 5))
    out = radius * np.clip(1 + wobble, 0.4, 1.8)
    shape = np.stack([np.cos(angle) * out * stretch, np.sin(angle) * out / stretch], axis=1)
    return centre + shape @ rotation(rng.uniform(0, np.pi))


def ragged(centre: np.ndarray, radius: float, rng: np.random.Generator, roughness: float = 0.45) -> np.ndarray:
    """A closed outline with lobes and a finely uneven edge, as patches of atrophy have."""
    angle = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    waves = range(2, 19)
    wobble = sum(rng.normal(0, roughness / k**1.35) * np.sin(k * angle + rng.uniform(0, 6.28)) for k in waves)
    out = radius * np.clip(1 + wobble, 0.35, 2.0)
    return centre + out[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def pigment_arc(outline: np.ndarray, rng: np.random.Generator, share: float) -> np.ndarray:
    """An uneven band of pigment along about `share` of a closed outline."""
    count = len(outline)
    start, length = int(rng.integers(count)), max(int(share * count * rng.uniform(0.6, 1.4)), 5)
    edge = outline[(start + np.arange(length)) % count]
    middle = outline.mean(axis=0)
    away = edge - middle
    away = away / np.hypot(*away.T)[:, None]
    width = rng.uniform(0.0008, 0.0045, (length, 1)) * np.sin(np.linspace(0.1, 3.04, length))[:, None]
    inner = edge - away * rng.uniform(0, 0.002, (length, 1))
    return np.concatenate([inner + away * width, inner[::-1]])


def rotation(angle: float) -> np.ndarray:
    """Matrix that turns row vectors by an angle in radians, float64 (2, 2)."""
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def fibre_direction(eye: Eye, point: np.ndarray) -> float:
    """Direction of the nerve fibres at a place: away from the disc, bent around the fovea."""
    away = point - eye.disc
    from_fovea = point - eye.fovea
    bent = away / np.hypot(*away) - 0.5 * from_fovea / (np.hypot(*from_fovea) + 0.05)
    return float(np.arctan2(bent[1], bent[0]))


def flame(eye: Eye, centre: np.ndarray, length: float, rng: np.random.Generator) -> list[np.ndarray]:
    """A flame haemorrhage: frayed splinters along the nerve fibres."""
    along = np.linspace(-1, 1, 12)
    turn = rotation(fibre_direction(eye, centre))
    splinters = []
    for _ in range(int(rng.integers(4, 8))):
        half = length * rng.uniform(0.35, 1.0) / 2
        width = length * rng.uniform(0.05, 0.11) * (1 - along**2) ** 0.7
        offset = np.array([rng.normal(0, 0.16 * length), rng.normal(0, 0.075 * length)])
        bow = 0.08 * length * along**2
        upper, lower = np.stack([along * half, bow - width], 1), np.stack([along * half, bow + width], 1)[::-1]
        splinters.append(centre + (np.concatenate([upper, lower]) + offset) @ turn)
    return splinters


def cotton_wool(eye: Eye, rng: np.random.Generator) -> list[np.ndarray]:
    """An infarct of the nerve fibre layer: a few overlapping puffs across the fibres."""
    centre = free_place(eye, rng, 0.03, 0.19)
    across = fibre_direction(eye, centre) + np.pi / 2
    radius = rng.uniform(0.009, 0.017)
    count = int(rng.integers(2, 5))
    direction = np.array([np.cos(across), np.sin(across)])
    places = centre + rng.normal(0, 0.8 * radius, (count, 1)) * direction + rng.normal(0, 0.2 * radius, (count, 2))
    return [blob(place, radius * rng.uniform(0.6, 1), rng, 0.3) for place in places]


def fibre(eye: Eye, origin: float, far: np.ndarray) -> np.ndarray:
    """The course of one nerve fibre, float (n, 2), at the distances `far` (n,) from the centre of the disc.

    `origin` is the direction in which it leaves the disc: radians from the temporal horizon, downwards positive. It is
    the course that the striations of `background` follow: bent around the macula, towards the temporal raphe.
    """
    angle = np.full_like(far, origin)
    for _ in range(12):  # Newton's method on angle + 1.6 far sin(angle) = origin
        angle -= (angle + 1.6 * far * np.sin(angle) - origin) / (1 + 1.6 * far * np.cos(angle))
    return eye.disc + far[:, None] * np.stack([eye.temporal * np.cos(angle), np.sin(angle)], axis=1)


def within_field(shapes: list[np.ndarray], reach: float = 0.49) -> list[np.ndarray]:
    """The outlines no point of which lies further than `reach` from the middle of the field."""
    return [shape for shape in shapes if np.hypot(*shape.T).max() < reach]
