"""Macular degeneration as outlines: drusen, pigment clumps, geographic atrophy, and what leaking new vessels leave.

Sizes follow the clinical classification (Ferris et al., Ophthalmology 2013): small drusen are under 63 micrometres
(0.0047 of a field of 13.5 mm), large ones over 125 (0.0093); early disease has medium drusen, intermediate disease
large drusen or pigment changes, late disease geographic atrophy or new vessels.
"""

from __future__ import annotations

import numpy as np

from .anatomy import Eye
from .shapes import blob, pigment_arc, ragged, within_field


def drusen(eye: Eye) -> dict[str, list[np.ndarray]]:
    """Drusen about the fovea: small hard ones, and with rising severity large soft ones that run together."""
    rng = eye.generator(40)
    spread = rng.uniform(0.035, 0.060)
    hard = eye.fovea + rng.standard_t(5, (int(rng.integers(18, 60)), 2)) * spread * 1.2
    soft = eye.fovea + rng.normal(0, spread, (int(rng.poisson(8 + 55 * eye.amd)), 2))
    shapes = [blob(c, 0.0022 * np.exp(rng.normal(0, 0.3)), rng, 0.15) for c in hard]
    large = 0.0038 + 0.0042 * eye.amd
    shapes += [blob(c, min(large * np.exp(rng.normal(0, 0.35)), 0.013), rng, 0.25, 1.1) for c in soft]
    return {"drusen": within_field(shapes)}


def hard_drusen(eye: Eye) -> dict[str, list[np.ndarray]]:
    """Scattered small drusen without macular degeneration, in the macula or along the arcades."""
    rng = eye.generator(41)
    around = eye.fovea if rng.random() < 0.5 else 0.5 * (eye.fovea + eye.disc)
    spread = rng.uniform(0.05, 0.16)
    places = around + rng.normal(0, spread, (int(rng.integers(14, 110)), 2))
    size = rng.uniform(0.0016, 0.0030)
    shapes = [blob(c, min(size * np.exp(rng.normal(0, 0.4)), 0.009), rng, 0.2, 1.1) for c in places]
    return {"drusen": within_field(shapes)}


def pigment_changes(eye: Eye) -> dict[str, list[np.ndarray]]:
    """Clumps of pigment near the fovea."""
    rng = eye.generator(42)
    places = eye.fovea + rng.normal(0, 0.022, (int(rng.integers(3, 9)), 2))
    return {"pigment_clumps": [_clump(c, rng.uniform(0.0018, 0.0060), rng) for c in places]}


def geographic_atrophy(eye: Eye) -> dict[str, list[np.ndarray]]:
    """Sharply bounded atrophy of the pigment epithelium at the fovea: a few patches that run together."""
    rng = eye.generator(43)
    size = 0.022 + 0.055 * max(eye.amd - 0.5, 0)
    places = eye.fovea + rng.normal(0, 0.8 * size, (int(rng.integers(1, 5)), 2))
    patches = [ragged(c, size * rng.uniform(0.7, 1.6), rng) for c in places]
    arcs = [pigment_arc(patch, rng, 0.2) for patch in patches for _ in range(2)]
    clumps = eye.fovea + rng.normal(0, 0.7 * size, (int(rng.integers(0, 5)), 2))
    return {"atrophy": patches, "pigment_clumps": arcs + [_clump(c, rng.uniform(0.002, 0.006), rng) for c in clumps]}


def choroidal_neovascularisation(eye: Eye) -> dict[str, list[np.ndarray]]:
    """New vessels under the macula: a raised grey lesion with blood and exudates at its edge, or the scar it becomes."""
    rng = eye.generator(44)
    centre = eye.fovea + rng.normal(0, 0.012, 2)
    size = rng.uniform(0.050, 0.090)
    found = {"subretinal_fluid": [ragged(centre, size, rng, 0.35)]}
    ring = rng.uniform(0, 2 * np.pi)
    around = ring + rng.normal(0, 1.0, int(rng.integers(3, 8)))
    blood = centre + size * rng.uniform(0.3, 0.95, (len(around), 1)) * _unit(around)
    found["haemorrhages"] = [ragged(c, rng.uniform(0.010, 0.026), rng, 0.7) for c in blood]
    rim = ring + np.pi + rng.normal(0, 0.9, int(rng.integers(15, 50)))
    fat = centre + size * rng.normal(1.15, 0.10, (len(rim), 1)) * _unit(rim)
    found["hard_exudates"] = [blob(c, 0.0024 * np.exp(rng.normal(0, 0.45)), rng, 0.3, 1.15) for c in fat]
    if rng.random() < 0.45:
        scars = centre + rng.normal(0, 0.3 * size, (int(rng.integers(2, 5)), 2))
        found["fibrotic_scar"] = [ragged(c, size * rng.uniform(0.25, 0.5), rng, 0.8) for c in scars]
        clumps = centre + rng.normal(0, 0.5 * size, (int(rng.integers(4, 12)), 2))
        found["pigment_clumps"] = [_clump(c, rng.uniform(0.003, 0.009), rng) for c in clumps]
    return {kind: within_field(shapes) for kind, shapes in found.items()}


def _clump(centre: np.ndarray, radius: float, rng: np.random.Generator) -> np.ndarray:
    return blob(centre, radius, rng, 0.7, 1.3)


def _unit(angle: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)
