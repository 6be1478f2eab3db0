"""The retinal vessel trees: arcades that arch around the macula, nasal trunks, and all that grows from them."""

from __future__ import annotations

import numpy as np

from .anatomy import Eye
from .branching import STEP, Occupancy, Seeds, Vessel, branch_points, grow_order, merge_seeds, thinned

_ORDERS = 3
_NO_PARENT = -9


def grow_vessels(eye: Eye) -> list[Vessel]:
    """Both trees of an eye: the trunks, then order after order of branches; a vessel thins where a daughter leaves."""
    rng = eye.generator(11)
    occupied = Occupancy()
    grown = _trunks(eye, False, rng) + _trunks(eye, True, rng)
    for index, trunk in enumerate(grown):
        occupied.mark(trunk.points @ [1, 1j], np.intp(trunk.artery), index + 1)
    waiting = [_direct_branches(eye, artery, rng) for artery in (False, True)]
    vessels: list[Vessel] = []
    for order in range(1, _ORDERS + 1):
        for vessel in grown:
            branches = branch_points(eye, vessel, len(vessels), rng)
            vessels.append(thinned(vessel, branches.radius, branches.points))
            waiting.append(branches)
        grown = grow_order(eye, merge_seeds(waiting), order, occupied, len(vessels), rng)
        waiting = []
        if not grown:
            break
    vessels += grown
    if eye.grade >= 3:
        trunks = [not v.artery and v.order == 0 for v in vessels]
        vessels = [_beaded(v, eye.generator(100 + i)) if trunks[i] else v for i, v in enumerate(vessels)]
    return vessels


def _axes(eye: Eye) -> tuple[np.ndarray, np.ndarray]:
    """Vector from disc to fovea, and the one of the same length across it that points upwards."""
    temporal = eye.fovea - eye.disc
    upward = np.array([temporal[1], -temporal[0]])
    return temporal, upward if upward[1] < 0 else -upward


def _trunks(eye: Eye, artery: bool, rng: np.random.Generator) -> list[Vessel]:
    """Superior and inferior, temporal and nasal trunks in coordinates where the fovea is at (1, 0) and up is (0, 1)."""
    temporal, upward = _axes(eye)
    width = eye.artery_width if artery else eye.vein_width
    # A deep cup pushes the trunks to the nasal rim.
    root = np.array([-0.04 - 0.09 * eye.glaucoma, 0.0]) + rng.normal(0, 0.015, 2)
    apart = eye.generator(14).choice([-1, 1], 4) * eye.generator(15).uniform(0.022, 0.050, 4) * (1 if artery else -1)
    closing = eye.generator(16).beta(1.3, 1.3, 2)
    trunks = []
    for up, height in ((1, eye.arcade_superior), (-1, eye.arcade_inferior)):
        out, aside = apart[:2] if up > 0 else apart[2:]
        high, reach = height + rng.normal(0, 0.03), closing[0 if up > 0 else 1]
        arcade = [
            (0, 0), (-0.03 - 0.6 * out, 0.13), (0.02 - out, 0.36 * high), (0.22 - out, 0.80 * high + out),
            (0.62, 1.06 * high + out),
            (1.12, (1.20 - 0.16 * reach) * high + 1.5 * out), (1.60, (1.28 - 0.45 * reach) * high + 2 * out),
            (2.05, (1.3 - 0.65 * reach) * high), (2.6, (1.3 - 0.75 * reach) * high),
        ]  # fmt: skip
        nasal = [
            (0, 0), (-0.05 - aside, 0.12), (-0.22 - aside, 0.36), (-0.55, 0.62 + 2 * aside + rng.normal(0, 0.05)),
            (-1.0, 0.86 + 3 * aside + rng.normal(0, 0.1)), (-1.7, 1.15),
        ]  # fmt: skip
        for controls, share in ((arcade, rng.uniform(0.92, 1.05)), (nasal, rng.uniform(0.60, 0.78))):
            line = np.array(controls) * [1, up] + root
            line[2:] += rng.normal(0, 0.028, (len(line) - 2, 2))
            points = _wavy(_even(_smooth(eye.disc + line[:, :1] * temporal + line[:, 1:] * upward)), eye, rng)
            radius = np.linspace(1.0, 0.72, len(points)) * share * width / 2
            trunks.append(Vessel(points, radius, artery, 0))
    return trunks


def _smooth(controls: np.ndarray, rounds: int = 4) -> np.ndarray:
    """Chaikin's corner cutting: a quadratic B-spline from few control points."""
    line = controls
    for _ in range(rounds):
        cut = np.empty((2 * len(line), 2))
        cut[0], cut[-1] = line[0], line[-1]
        cut[1:-1:2] = 0.75 * line[:-1] + 0.25 * line[1:]
        cut[2:-1:2] = 0.25 * line[:-1] + 0.75 * line[1:]
        line = cut
    return line


def _even(line: np.ndarray) -> np.ndarray:
    """The line resampled at equal steps along its length."""
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    steps = np.arange(0, along[-1], STEP)
    return np.stack([np.interp(steps, along, line[:, 0]), np.interp(steps, along, line[:, 1])], axis=1)


def _wavy(line: np.ndarray, eye: Eye, rng: np.random.Generator) -> np.ndarray:
    """Move the line sideways by smooth noise of two wavelengths; nothing moves within the disc."""
    heading = np.gradient(line, axis=0)
    across = np.stack([-heading[:, 1], heading[:, 0]], axis=1) / STEP
    size = len(line)
    amplitude = 0.35 + eye.tortuosity
    noise = amplitude * (0.0085 * _smooth_noise(size, 25, rng) + 0.0024 * _smooth_noise(size, 11, rng))
    ramp = np.clip(np.arange(size) * STEP / 0.1, 0, 1)
    return line + across * (noise * ramp)[:, None]


def _smooth_noise(size: int, wavelength: int, rng: np.random.Generator) -> np.ndarray:
    raw = rng.standard_normal(size + 2 * wavelength)
    kernel = np.hanning(wavelength + 2)
    return np.convolve(raw, kernel / np.sqrt((kernel**2).sum()), mode="same")[wavelength : wavelength + size]


def _direct_branches(eye: Eye, artery: bool, rng: np.random.Generator) -> Seeds:
    """Thin vessels that leave the disc by themselves: a few to the macula, a few to the nasal side."""
    temporal, _ = _axes(eye)
    towards = np.arctan2(temporal[1], temporal[0])
    macular, nasal = int(rng.integers(1, 4)), int(rng.integers(2, 4))
    angles = np.concatenate(
        [
            towards + rng.uniform(0.15, 0.75, macular) * rng.choice([-1, 1], macular),
            towards + np.pi + rng.uniform(-0.75, 0.75, nasal),
        ]
    )
    direction = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    share = np.concatenate([rng.uniform(0.20, 0.34, macular), rng.uniform(0.34, 0.55, nasal)])
    return Seeds(
        points=eye.disc + direction * eye.disc_radius * np.where(np.arange(len(angles)) < macular, 0.88, 0.15)[:, None],
        heading=angles,
        radius=share * (eye.artery_width if artery else eye.vein_width) / 2,
        parent=np.full(len(angles), _NO_PARENT),
        inward=np.arange(len(angles)) < macular,
        artery=np.full(len(angles), artery),
    )


def _beaded(vein: Vessel, rng: np.random.Generator) -> Vessel:
    """Venous beading: a stretch where the calibre swells and narrows like a string of beads."""
    along = np.arange(len(vein.points)) * STEP
    centre = rng.uniform(0.15, max(0.2, along[-1] * 0.7))
    envelope = np.exp(-(((along - centre) / 0.10) ** 2))
    swell = 1 + 0.42 * envelope * np.sin(2 * np.pi * along / rng.uniform(0.026, 0.036))
    return Vessel(vein.points, vein.radius * swell, vein.artery, vein.order)
