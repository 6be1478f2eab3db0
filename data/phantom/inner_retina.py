"""Findings of the retina's inner side and of the vitreous: hypertensive bleeding, vein occlusion, membrane, laser."""

from __future__ import annotations

import numpy as np

from .anatomy import Eye
from .shapes import blob, cotton_wool, fibre, flame, free, within_field


def hypertensive_haemorrhages(eye: Eye) -> dict[str, list[np.ndarray]]:
    """A few flame haemorrhages near disc and arcades, with rising severity also cotton-wool spots."""
    rng = eye.generator(50)
    flames = [
        _near_disc(eye, rng) for _ in range(int(rng.integers(1, 3) + rng.poisson(6 * max(eye.hypertension - 0.55, 0))))
    ]
    found = {"haemorrhages": [s for c in flames for s in flame(eye, c, rng.uniform(0.018, 0.042), rng)]}
    if eye.hypertension > 0.7:
        found["cotton_wool_spots"] = [s for _ in range(int(rng.integers(1, 6))) for s in cotton_wool(eye, rng)]
    return found


def _near_disc(eye: Eye, rng: np.random.Generator) -> np.ndarray:
    """A place within about three disc diameters of the disc."""
    while True:
        point = eye.disc + rng.normal(0, 2.6 * eye.disc_radius, 2)
        if free(eye, point, 0.02):
            return point


def branch_vein_occlusion(eye: Eye) -> dict[str, list[np.ndarray]]:
    """Bleeding in the sector that one branch vein drains: flames and blots between arcade and raphe."""
    rng = eye.generator(51)
    upward = rng.choice([-1.0, -1.0, 1.0])
    start = rng.uniform(0.10, 0.2)
    found = {"haemorrhages": [], "cotton_wool_spots": [], "hard_exudates": []}

    def inside() -> np.ndarray:
        while True:
            point = fibre(eye, upward * rng.uniform(0.55, 1.35), np.array([rng.uniform(start, 0.46)]))[0]
            if free(eye, point, 0.015):
                return point

    for _ in range(int(rng.integers(22, 60))):
        if rng.random() < 0.65:
            found["haemorrhages"] += flame(eye, inside(), rng.uniform(0.02, 0.055), rng)
        else:
            found["haemorrhages"].append(blob(inside(), rng.uniform(0.003, 0.009), rng, 0.35, 1.2))
    for _ in range(int(rng.integers(0, 4))):
        found["cotton_wool_spots"].append(blob(inside(), rng.uniform(0.008, 0.014), rng, 0.35, 1.2))
    for _ in range(int(rng.integers(0, 20))):
        found["hard_exudates"].append(blob(inside(), rng.uniform(0.0015, 0.004), rng, 0.3, 1.1))
    return {kind: within_field(shapes) for kind, shapes in found.items()}


def epiretinal_membrane(eye: Eye) -> dict[str, list[np.ndarray]]:
    """A membrane that wrinkles the macula: its outline; `painting` adds sheen and folds."""
    rng = eye.generator(52)
    centre = eye.fovea + rng.normal(0, 0.025, 2)
    return {"epiretinal_membrane": [blob(centre, rng.uniform(0.075, 0.125), rng, 0.35, 1.15)]}


def laser_scars(eye: Eye) -> dict[str, list[np.ndarray]]:
    """Burns of panretinal photocoagulation: pale spots in rows outside the arcades, most with pigment in the middle."""
    rng = eye.generator(53)
    gap = rng.uniform(0.040, 0.056)
    line = np.arange(-0.5, 0.5, gap)
    grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2) + rng.normal(0, 0.22 * gap, (len(line) ** 2, 2))
    keep = np.hypot(*(grid - eye.fovea).T) > rng.uniform(0.24, 0.29)
    keep &= (np.hypot(*(grid - eye.disc).T) > 2.3 * eye.disc_radius) & (np.hypot(*grid.T) < 0.475)
    places = grid[keep & (rng.random(len(grid)) < 0.85)]
    radius = rng.uniform(0.008, 0.013) * np.exp(rng.normal(0, 0.2, len(places)))
    dark = rng.random(len(places)) < 0.7
    scars = [blob(c, r, rng, 0.2) for c, r in zip(places, radius, strict=True)]
    clumps = [
        blob(c, r * rng.uniform(0.3, 0.7), rng, 0.6, 1.2) for c, r in zip(places[dark], radius[dark], strict=True)
    ]
    return {"laser_scars": within_field(scars, 0.498), "pigment_clumps": within_field(clumps)}


def asteroid_bodies(eye: Eye) -> dict[str, list[np.ndarray]]:
    """Asteroid hyalosis, a degeneration of the vitreous: many bright specks in front of the retina."""
    rng = eye.generator(54)
    places = rng.normal(0, 0.22, 2) * 0.4 + rng.normal(0, 0.19, (int(rng.integers(60, 220)), 2))
    specks = [blob(c, min(0.0022 * np.exp(rng.normal(0, 0.45)), 0.007), rng, 0.15) for c in places]
    return {"asteroid_bodies": within_field(specks)}
