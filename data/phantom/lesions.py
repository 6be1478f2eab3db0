"""Lesions of diabetic retinopathy as vector shapes, by ICDR grade (Wilkinson et al., Ophthalmology 2003).

1: microaneurysms only. 2: also haemorrhages, hard exudates, some cotton-wool spots. 3: many haemorrhages in all four
quadrants (venous beading is drawn by `vessels`). 4: new vessels at the disc or elsewhere, sometimes a preretinal
haemorrhage.
"""

from __future__ import annotations

import numpy as np

from .anatomy import Eye
from .diseases import FINDINGS
from .lesion_kinds import Lesions
from .shapes import blob, cotton_wool, flame, free, free_place


def sample_lesions(eye: Eye) -> Lesions:
    """The lesions that the eye's grade and its other findings call for, the same at every size."""
    lesions = _retinopathy(eye)
    for finding in eye.findings:
        lesions.add(FINDINGS[finding](eye))
    return lesions


def _retinopathy(eye: Eye) -> Lesions:
    rng = eye.generator(21)
    lesions = Lesions()
    if eye.grade == 0:
        return lesions
    count = rng.integers(*{1: (4, 13), 2: (10, 26), 3: (24, 50), 4: (15, 40)}[eye.grade])
    lesions.microaneurysms = [blob(free_place(eye, rng), rng.uniform(0.0022, 0.0046), rng, 0.12) for _ in range(count)]
    if eye.grade == 1:
        return lesions
    lesions.haemorrhages = _haemorrhages(eye, rng)
    clusters = int(rng.integers(1, 5)) if eye.grade == 2 else int(rng.integers(1, 4))
    lesions.hard_exudates = [spot for _ in range(clusters) for spot in _exudates(eye, rng)]
    woolly = {2: (0, 3), 3: (1, 6), 4: (0, 4)}[eye.grade]
    lesions.cotton_wool_spots = [spot for _ in range(rng.integers(*woolly)) for spot in cotton_wool(eye, rng)]
    if eye.grade == 4:
        lesions.neovascularisation = _new_vessels(eye, rng)
        if rng.random() < 0.6:
            lesions.haemorrhages.append(_preretinal(eye, rng))
    return lesions


def _place_in_quadrant(eye: Eye, rng: np.random.Generator, quadrant: int, clear: float) -> np.ndarray:
    """A place in one of the four quadrants about the middle between disc and fovea."""
    middle = 0.5 * (eye.disc + eye.fovea)
    signs = np.array([1 if quadrant % 2 else -1, 1 if quadrant // 2 else -1])
    while True:
        point = middle + signs * np.abs(rng.normal([0.14, 0.17], [0.12, 0.09]))
        if free(eye, point, clear):
            return point


def _haemorrhages(eye: Eye, rng: np.random.Generator) -> list[np.ndarray]:
    if eye.grade == 3:
        places = [_place_in_quadrant(eye, rng, q, 0.01) for q in range(4) for _ in range(rng.integers(6, 13))]
    else:
        places = [free_place(eye, rng, 0.01) for _ in range(rng.integers(3, 13) + (6 if eye.grade == 4 else 0))]
    shapes = []
    for place in places:
        if rng.random() < 0.28:
            shapes += flame(eye, place, rng.uniform(0.022, 0.055), rng)
        else:
            radius = 0.0045 * np.exp(abs(rng.normal(0, 0.55)))
            shapes.append(blob(place, min(radius, 0.02), rng, 0.30, rng.uniform(1.0, 1.25)))
    return shapes


def _exudates(eye: Eye, rng: np.random.Generator) -> list[np.ndarray]:
    """A cluster of small crisp deposits, some of them in a ring around a leaking point (circinate)."""
    centre = free_place(eye, rng, 0.03, 0.13)
    count = int(rng.integers(8, 36))
    if rng.random() < 0.4:
        angle = rng.normal(rng.uniform(0, 6.28), 1.3, count)
        away = rng.normal(rng.uniform(0.025, 0.05), 0.005, count)
        offset = np.stack([np.cos(angle) * away, np.sin(angle) * away], axis=1)
    else:
        offset = rng.standard_t(3, (count, 2)) * rng.uniform(0.009, 0.022) * rng.uniform(0.6, 1.4, 2)
    radius = 0.0024 * np.exp(rng.normal(0, 0.5, count))
    spots = zip(centre + offset, np.minimum(radius, 0.009), strict=True)
    return [blob(place, size, rng, 0.3, 1.15) for place, size in spots if free(eye, place, -0.01)]


def _new_vessels(eye: Eye, rng: np.random.Generator) -> list[np.ndarray]:
    """Nets of fine looping vessels on the disc, elsewhere, or both."""
    at_disc = rng.random() < 0.6
    elsewhere = int(rng.integers(0, 3)) if at_disc else int(rng.integers(1, 4))
    nets = [eye.disc + rng.normal(0, 0.4 * eye.disc_radius, 2)] if at_disc else []
    nets += [free_place(eye, rng, 0.06, 0.22) for _ in range(elsewhere)]
    lines = []
    for centre in nets:
        main = rng.uniform(0, 2 * np.pi)
        for _ in range(int(rng.integers(9, 18))):
            steps = int(rng.integers(14, 34))
            heading = main + rng.normal(0, 1.1) + np.cumsum(rng.normal(0.05 * rng.choice([-1, 1]), 0.33, steps))
            path = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], 1) * 0.0034, axis=0)
            lines.append(centre + rng.normal(0, 0.006, 2) + path)
    return [line for line in lines if np.hypot(*line.T).max() < 0.47]


def _preretinal(eye: Eye, rng: np.random.Generator) -> np.ndarray:
    """Blood in front of the retina settles: a boat with a level top."""
    width, depth = rng.uniform(0.05, 0.10), rng.uniform(0.03, 0.07)
    angle = np.linspace(0, np.pi, 24)
    boat = np.stack([np.cos(angle) * width, np.sin(angle) ** 0.8 * depth], axis=1)
    centre = free_place(eye, rng, 0.08, 0.2)
    return centre + boat
