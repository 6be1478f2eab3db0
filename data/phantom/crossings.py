"""Arteriovenous crossings, and what high blood pressure does to them: the stiff artery squeezes the vein beneath it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .anatomy import Eye
from .branching import STEP, Vessel

_THICK = 0.0014
_REACH = 0.010


@dataclass(frozen=True)
class Crossing:
    """Where an artery runs over a vein: the place float (2,), the artery's radius there, the vein's number."""

    point: np.ndarray
    artery_radius: float
    vein: int


def find_crossings(eye: Eye, vessels: list[Vessel]) -> list[Crossing]:
    """The crossings of vessels thick enough to judge, outside the disc and within the field, at steep angles."""
    arteries, veins = (_points([v.artery == kind for v in vessels], vessels) for kind in (True, False))
    if not len(arteries.place) or not len(veins.place):
        return []
    gap = np.abs(arteries.place[:, None] - veins.place[None])
    slant = np.abs(np.sin(arteries.heading[:, None] - veins.heading[None]))
    rows, columns = np.nonzero((gap < 0.75 * STEP) & (slant > 0.5))
    found: list[Crossing] = []
    for row, column in sorted(zip(rows, columns, strict=True), key=lambda pair: gap[pair]):
        point = np.array([veins.place[column].real, veins.place[column].imag])
        clear = all(np.hypot(*(point - other.point)) > 2 * _REACH for other in found)
        if clear and np.hypot(*(point - eye.disc)) > 1.7 * eye.disc_radius and np.hypot(*point) < 0.48:
            found.append(Crossing(point, float(arteries.radius[row]), int(veins.owner[column])))
    return found


@dataclass(frozen=True)
class _Points:
    place: np.ndarray
    heading: np.ndarray
    radius: np.ndarray
    owner: np.ndarray


def _points(chosen: list[bool], vessels: list[Vessel]) -> _Points:
    """All points of the chosen thick vessels as complex numbers, and what belongs to each."""
    parts = [(i, v) for i, v in enumerate(vessels) if chosen[i] and len(v.points) > 3 and v.radius.max() > _THICK]
    lines = [v.points @ [1, 1j] for _, v in parts] or [np.zeros(0, complex)]
    headings = [np.angle(np.gradient(line)) for line in lines if len(line)] or [np.zeros(0)]
    radius = np.concatenate([v.radius for _, v in parts] or [np.zeros(0)])
    owner = np.concatenate([np.full(len(v.points), i) for i, v in parts] or [np.zeros(0, int)])
    thick = radius > _THICK
    return _Points(np.concatenate(lines)[thick], np.concatenate(headings)[thick], radius[thick], owner[thick])


def nicked(eye: Eye, vessels: list[Vessel]) -> tuple[list[Vessel], list[np.ndarray]]:
    """The vessels with veins squeezed at some crossings, the more the worse the hypertension, and a circle around each.

    Returns:
        All vessels in their order, and outlines float (n, 2) of the squeezed crossings.
    """
    rng = eye.generator(55)
    crossings = find_crossings(eye, vessels)
    squeezed = [c for c in crossings if rng.random() < 0.45 + 0.5 * eye.hypertension] or crossings[:1]
    vessels = list(vessels)
    for crossing in squeezed:
        vein = vessels[crossing.vein]
        away = np.hypot(*(vein.points - crossing.point).T)
        reach = 2.2 * crossing.artery_radius + 0.003
        pinch = (0.55 + 0.3 * eye.hypertension) * np.exp(-((away / reach) ** 4))
        vessels[crossing.vein] = replace(vein, radius=vein.radius * (1 - pinch))
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    circle = _REACH * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return vessels, [c.point + circle for c in squeezed]
