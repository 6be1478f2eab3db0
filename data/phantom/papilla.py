"""What lies around the optic disc in glaucoma and myopia: atrophy, defects of the nerve fibre layer, a haemorrhage."""

from __future__ import annotations

import numpy as np

from .anatomy import Eye
from .shapes import blob, fibre, pigment_arc, ragged, within_field


def peripapillary_atrophy(eye: Eye) -> dict[str, list[np.ndarray]]:
    """Atrophy next to the disc, widest on the temporal side; with rising myopia a wide cone, in the end all around."""
    rng = eye.generator(45)
    angle = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    widest = (0.0 if eye.temporal > 0 else np.pi) + rng.normal(0, 0.35)
    facing = (1 + np.cos(angle - widest)) / 2
    if eye.myopia:
        around = np.clip(1.5 * eye.myopia - 0.55, 0, 0.7) * rng.uniform(0.4, 1)
        extent = rng.uniform(0.35, 0.6) + 1.7 * eye.myopia**1.5 * rng.uniform(0.6, 1.1)
    else:
        around, extent = rng.uniform(0, 0.25), rng.uniform(0.22, 0.55)
    reach = extent * (around + (1 - around) * facing ** rng.uniform(1.6, 3.0))
    wobble = sum(rng.normal(0, 0.22 / k) * np.sin(k * angle + rng.uniform(0, 6.28)) for k in (2, 3, 5, 8, 11, 14))
    radius = disc_margin(eye, angle) + eye.disc_radius * np.maximum(reach * (1 + wobble), -0.1)
    outline = eye.disc + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    arcs = [pigment_arc(outline, rng, 0.16) for _ in range(int(rng.integers(1, 4)))]
    return {"peripapillary_atrophy": [outline], "pigment_clumps": within_field(arcs)}


def disc_margin(eye: Eye, angle: np.ndarray) -> np.ndarray:
    """Distance of the disc's margin from its centre, fractions of the field, in directions given in radians."""
    stretch = np.sqrt(eye.disc_aspect)
    turned = angle - eye.disc_tilt
    return eye.disc_radius / np.hypot(np.cos(turned) * stretch, np.sin(turned) / stretch)


def nerve_fibre_defects(eye: Eye) -> dict[str, list[np.ndarray]]:
    """Dark wedges along the nerve fibres where these have died: below first, then above the macula."""
    rng = eye.generator(46)
    far = np.linspace(0.85 * eye.disc_radius, rng.uniform(0.30, 0.42), 26)
    wedges = []
    for side in (1.0, -1.0)[: 1 + int(eye.glaucoma > 0.6)]:
        middle, half = side * rng.uniform(0.9, 1.5), rng.uniform(0.06, 0.10) + 0.14 * eye.glaucoma
        edges = [fibre(eye, middle + half * turn, far) for turn in (-1, 1)]
        wedges.append(np.concatenate([edges[0], edges[1][::-1]]))
    return {"nerve_fibre_defects": wedges}


def disc_haemorrhage(eye: Eye) -> dict[str, list[np.ndarray]]:
    """A splinter of blood across the margin of the disc, mostly below."""
    rng = eye.generator(47)
    origin = rng.uniform(0.7, 1.6) * rng.choice([1, 1, -1])
    course = fibre(eye, origin, np.linspace(0.9, 1.0 + rng.uniform(0.35, 0.7), 8) * eye.disc_radius)
    along = np.gradient(course, axis=0)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1) / np.hypot(*along.T)[:, None]
    width = rng.uniform(0.0024, 0.004) * np.sin(np.linspace(0.25, np.pi, 8))[:, None]
    return {"haemorrhages": [np.concatenate([course + across * width, (course - across * width)[::-1]])]}


def patchy_atrophy(eye: Eye) -> dict[str, list[np.ndarray]]:
    """Chorioretinal atrophy of pathological myopia: pale patches in the macula, some with pigment."""
    rng = eye.generator(48)
    count = int(rng.integers(1, 4) + rng.poisson(5 * max(eye.myopia - 0.5, 0)))
    patches, clumps = [], []
    for _ in range(count):
        centre = eye.fovea + rng.normal(0, 0.085, 2)
        size = rng.uniform(0.008, 0.016) + 0.030 * eye.myopia * rng.random()
        patches += [ragged(centre + rng.normal(0, 0.7 * size, 2), size * rng.uniform(0.6, 1.3), rng)
                    for _ in range(int(rng.integers(1, 4)))]  # fmt: skip
        if rng.random() < 0.5:
            clumps += [
                pigment_arc(patches[-1], rng, 0.25),
                blob(centre, 0.4 * size * rng.random() + 0.002, rng, 0.9, 1.4),
            ]
    return {"atrophy": within_field(patches), "pigment_clumps": within_field(clumps)}


def myelinated_fibres(eye: Eye) -> dict[str, list[np.ndarray]]:
    """Nerve fibres with myelin: a white feathered patch that begins at the disc and follows the fibres."""
    rng = eye.generator(49)
    middle, half = rng.uniform(0.7, 2.2) * rng.choice([-1, 1]), rng.uniform(0.22, 0.60)
    length = eye.disc_radius * rng.uniform(1.0, 3.0)
    streaks = []
    for origin in middle + half * np.linspace(-1, 1, int(90 * half) + 8):
        offside = (origin - middle) / half
        reach = length * max(1 - 0.6 * offside**2 + rng.normal(0, 0.18), 0.15)
        far = np.linspace(1.02 * disc_margin(eye, np.array([0.0]))[0], eye.disc_radius + reach, 12)
        left, right = (fibre(eye, origin + turn * rng.uniform(0.010, 0.030), far) for turn in (-1, 1))
        left[-1] = right[-1] = 0.5 * (left[-1] + right[-1])
        streaks.append(np.concatenate([left, right[::-1]]))
    return {"myelinated_fibres": within_field(streaks)}
