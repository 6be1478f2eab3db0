"""The retinal vessel trees: arcades that arch around the macula, and branches grown from them.

Branches obey Murray's law (the cubes of the daughters' radii add up to the cube of the parent's; Murray, PNAS 1926), taper, wander,
keep clear of vessels of their own kind and stop before the foveal avascular zone. All branches of one order grow in step, which
keeps the work in numpy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .anatomy import Eye

STEP = 0.006
MAX_STEPS = 64
THINNEST = 0.0005
_GRID = 176
_REACH = 0.56
_ORDERS = 4


@dataclass(frozen=True)
class Vessel:
    """A centre line and its calibre: `points` float (n, 2) and `radius` float (n,), fractions of the field's diameter."""

    points: np.ndarray
    radius: np.ndarray
    artery: bool
    order: int


@dataclass
class _Seeds:
    """Where the branches of one order start: arrays of the same length."""

    points: np.ndarray
    heading: np.ndarray
    radius: np.ndarray
    parent: np.ndarray
    inward: np.ndarray

    def chosen(self, rows: np.ndarray) -> _Seeds:
        return _Seeds(self.points[rows], self.heading[rows], self.radius[rows], self.parent[rows], self.inward[rows])


def grow_vessels(eye: Eye) -> list[Vessel]:
    """Both trees of an eye, veins first (arteries mostly cross over veins)."""
    vessels: list[Vessel] = []
    for artery in (False, True):
        vessels += _grow_tree(eye, artery, eye.generator(11 if artery else 12))
    if eye.grade >= 3:
        vessels = [_beaded(v, eye.generator(100 + i)) if not v.artery and v.order == 0 else v for i, v in enumerate(vessels)]
    return vessels


def _grow_tree(eye: Eye, artery: bool, rng: np.random.Generator) -> list[Vessel]:
    occupied = _Occupancy()
    tree = _trunks(eye, artery, rng)
    seeds = [_direct_branches(eye, artery, rng, len(tree))]
    for index, trunk in enumerate(tree):
        occupied.mark(trunk.points, index + 1)
        seeds.append(_branch_points(eye, trunk, index, rng))
    tree = [_thinned(trunk, s.radius, s.points) for trunk, s in zip(tree, seeds[1:], strict=True)]
    for order in range(1, _ORDERS + 1):
        merged = _merge(seeds)
        if not len(merged.radius):
            break
        start = len(tree)
        grown = _grow_order(eye, merged, artery, order, rng, occupied, start)
        seeds = []
        for index, vessel in enumerate(grown):
            branches = _branch_points(eye, vessel, start + index, rng)
            seeds.append(branches)
            tree.append(_thinned(vessel, branches.radius, branches.points))
    return tree


class _Occupancy:
    """Which vessel of one tree passes through which cell of a coarse grid; 0 is free."""

    def __init__(self) -> None:
        self.owner = np.zeros((_GRID, _GRID), np.int32)

    def _cells(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        cells = np.clip(((points + _REACH) * (_GRID / (2 * _REACH))).astype(np.int32), 0, _GRID - 1)
        return cells[:, 1], cells[:, 0]

    def mark(self, points: np.ndarray, owner: np.ndarray | int) -> None:
        self.owner[self._cells(points)] = owner

    def at(self, points: np.ndarray) -> np.ndarray:
        return self.owner[self._cells(points)]


def _axes(eye: Eye) -> tuple[np.ndarray, np.ndarray]:
    """Vector from disc to fovea, and the one of the same length across it that points upwards."""
    temporal = eye.fovea - eye.disc
    upward = np.array([temporal[1], -temporal[0]])
    return temporal, upward if upward[1] < 0 else -upward


def _trunks(eye: Eye, artery: bool, rng: np.random.Generator) -> list[Vessel]:
    """Superior and inferior, temporal and nasal trunks in coordinates where the fovea is at (1, 0) and up is (0, 1)."""
    temporal, upward = _axes(eye)
    width = eye.artery_width if artery else eye.vein_width
    root = np.array([-0.04, 0.0]) + rng.normal(0, 0.015, 2)
    apart = eye.generator(14).choice([-1, 1], 4) * eye.generator(15).uniform(0.022, 0.050, 4) * (1 if artery else -1)
    closing = eye.generator(16).beta(1.3, 1.3, 2)
    trunks = []
    for up, height in ((1, eye.arcade_superior), (-1, eye.arcade_inferior)):
        out, aside = apart[:2] if up > 0 else apart[2:]
        high, reach = height + rng.normal(0, 0.03), closing[0 if up > 0 else 1]
        arcade = [
            (0, 0), (-0.03 - 0.6 * out, 0.13), (0.02 - out, 0.36 * high), (0.22 - out, 0.80 * high + out), (0.62, 1.06 * high + out),
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


def _direct_branches(eye: Eye, artery: bool, rng: np.random.Generator, trunks: int) -> _Seeds:
    """Thin vessels that leave the disc by themselves: a few to the macula, a few to the nasal side."""
    temporal, _ = _axes(eye)
    towards = np.arctan2(temporal[1], temporal[0])
    macular, nasal = int(rng.integers(1, 4)), int(rng.integers(2, 4))
    angles = np.concatenate([
        towards + rng.uniform(0.15, 0.75, macular) * rng.choice([-1, 1], macular),
        towards + np.pi + rng.uniform(-0.75, 0.75, nasal),
    ])
    direction = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    share = np.concatenate([rng.uniform(0.20, 0.34, macular), rng.uniform(0.34, 0.55, nasal)])
    return _Seeds(
        points=eye.disc + direction * eye.disc_radius * 0.15,
        heading=angles,
        radius=share * (eye.artery_width if artery else eye.vein_width) / 2,
        parent=np.full(len(angles), -trunks - 1),
        inward=np.arange(len(angles)) < macular,
    )


def _branch_points(eye: Eye, vessel: Vessel, index: int, rng: np.random.Generator) -> _Seeds:
    """Where a vessel gives off daughters, how thick they are and which way they set out."""
    length = len(vessel.points)
    if length < 8 or vessel.radius[0] < 1.5 * THINNEST:
        return _no_seeds()
    gap = 0.066 if vessel.order == 0 else 0.052
    gaps = rng.gamma(2.5, gap / 2.5, 24) / STEP
    first = eye.disc_radius * 1.05 / STEP if vessel.order == 0 else 0.4 * gap / STEP
    at = (first + np.cumsum(gaps)).astype(int)
    at = at[(at < length - 3) & (np.abs(vessel.points[np.minimum(at, length - 1)]).max(axis=1) < 0.5)]
    thin, thick = rng.uniform(0.15, 0.42, len(at)), rng.uniform(0.5, 0.88, len(at))
    share = np.where(rng.random(len(at)) < 0.33, thick, thin) if vessel.order == 0 else rng.uniform(0.45, 0.88, len(at))
    radius = np.maximum(share * vessel.radius[at], THINNEST)
    keep = (vessel.radius[at] > 1.15 * THINNEST) & (share * vessel.radius[at] > 0.8 * THINNEST)
    at, radius, share = at[keep], radius[keep], share[keep]
    side = np.where(np.arange(len(at)) % 2 == int(rng.integers(2)), 1.0, -1.0) * rng.choice([1, 1, -1], len(at))
    ahead = vessel.points[np.minimum(at + 2, length - 1)] - vessel.points[np.maximum(at - 2, 0)]
    heading = np.arctan2(ahead[:, 1], ahead[:, 0]) 
    heading += side * (np.radians(72) - np.radians(38) * share) * rng.uniform(0.65, 1.15, len(at))
    to_fovea = eye.fovea - vessel.points[at]
    distance = np.hypot(to_fovea[:, 0], to_fovea[:, 1])
    facing = (np.cos(heading) * to_fovea[:, 0] + np.sin(heading) * to_fovea[:, 1]) / (distance + 1e-9)
    reach = np.hypot(*(eye.fovea - eye.disc)) * 1.35
    return _Seeds(vessel.points[at], heading, radius, np.full(len(at), index), (facing > 0.1) & (distance < reach))


def _no_seeds() -> _Seeds:
    return _Seeds(np.zeros((0, 2)), np.zeros(0), np.zeros(0), np.zeros(0, int), np.zeros(0, bool))


def _thinned(vessel: Vessel, daughters: np.ndarray, where: np.ndarray) -> Vessel:
    """The parent after its daughters took their share of the cubed radius (Murray), smoothly."""
    if not len(daughters):
        return vessel
    places = np.abs(vessel.points[:, None] - where[None]).sum(axis=2).argmin(axis=0)
    taken = np.zeros(len(vessel.points))
    np.add.at(taken, places, daughters**3)
    left = np.maximum(vessel.radius**3 - np.cumsum(taken), (0.35 * vessel.radius) ** 3) ** (1 / 3)
    padded = np.pad(left, 3, mode="edge")
    smooth = np.convolve(padded, np.full(7, 1 / 7), mode="valid")
    return Vessel(vessel.points, np.minimum.accumulate(np.maximum(smooth, THINNEST)), vessel.artery, vessel.order)


def _merge(seeds: list[_Seeds]) -> _Seeds:
    return _Seeds(*(np.concatenate([getattr(s, name) for s in seeds]) for name in _Seeds.__dataclass_fields__))


def _grow_order(
    eye: Eye, seeds: _Seeds, artery: bool, order: int, rng: np.random.Generator, occupied: _Occupancy, first: int
) -> list[Vessel]:
    """Grow all branches of one order at once, a step at a time, until each is spent or meets its own kind."""
    count = len(seeds.radius)
    reach = np.minimum((seeds.radius / 0.0028) ** 0.8 * rng.uniform(0.14, 0.30, count), MAX_STEPS * STEP)
    steps = np.clip((reach / STEP).astype(int), 6, MAX_STEPS)
    stop_radius = eye.fovea_radius * rng.uniform(1.35, 3.6, count)
    bend = rng.normal(0, 0.30, count)
    wiggle = _wiggles(count, eye, rng) * np.clip(0.0018 / seeds.radius, 0.5, 1)
    track = np.empty((MAX_STEPS + 1, count, 2))
    track[0] = position = seeds.points.copy()
    heading = seeds.heading.copy()
    pull = 0.085 * np.clip(0.0018 / seeds.radius, 0.2, 1)
    alive, lived = np.ones(count, bool), np.zeros(count, int)
    own = first + 1 + np.arange(count)
    for step in range(int(steps.max())):
        turn = _wanted(eye, position, seeds.inward) + bend - heading
        heading = heading + pull * np.sin(turn)
        angle = heading + wiggle[step]
        move = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        ahead = occupied.at(position + 0.011 * move)
        free = (ahead == 0) | (ahead == own) | ((ahead == seeds.parent + 1) & (step < 8)) | (step < 2)
        near = np.hypot(*(position - eye.fovea).T) < stop_radius
        alive &= free & ~near & (step < steps) & (np.abs(position).max(axis=1) < _REACH)
        position = position + STEP * move
        lived += alive
        track[step + 1] = position
        occupied.mark(position[alive], own[alive])
    return [_finished(track[: lived[i] + 1, i], seeds.radius[i], artery, order) for i in range(count)]


def _wiggles(count: int, eye: Eye, rng: np.random.Generator) -> np.ndarray:
    """Smooth wandering of the heading, radians, (MAX_STEPS, count)."""
    raw = rng.standard_normal((MAX_STEPS + 10, count))
    running = np.cumsum(raw, axis=0)
    short = (running[4:] - running[:-4])[: MAX_STEPS] / 2.0
    long = (running[10:] - running[:-10])[: MAX_STEPS] / np.sqrt(10)
    return (0.14 + 0.30 * eye.tortuosity) * (0.65 * short + 0.75 * long)


def _wanted(eye: Eye, position: np.ndarray, inward: np.ndarray) -> np.ndarray:
    """The heading that a branch is drawn to: to the fovea within the arcades, away from disc and fovea outside."""
    to_fovea = eye.fovea - position
    to_fovea /= np.hypot(to_fovea[:, 0], to_fovea[:, 1])[:, None] + 1e-9
    from_disc = position - eye.disc
    from_disc /= np.hypot(from_disc[:, 0], from_disc[:, 1])[:, None] + 1e-9
    goal = np.where(inward[:, None], to_fovea, from_disc - 0.8 * to_fovea)
    return np.arctan2(goal[:, 1], goal[:, 0])


def _finished(points: np.ndarray, radius: float, artery: bool, order: int) -> Vessel:
    taper = np.linspace(1.0, 0.68, len(points)) * radius
    to_end = np.arange(len(points))[::-1] * STEP
    taper = np.minimum(taper, THINNEST + 0.022 * to_end)
    return Vessel(points, np.maximum(taper, THINNEST), artery, order)


def _beaded(vein: Vessel, rng: np.random.Generator) -> Vessel:
    """Venous beading: a stretch where the calibre swells and narrows like a string of beads."""
    along = np.arange(len(vein.points)) * STEP
    centre = rng.uniform(0.15, max(0.2, along[-1] * 0.7))
    envelope = np.exp(-(((along - centre) / 0.10) ** 2))
    swell = 1 + 0.42 * envelope * np.sin(2 * np.pi * along / rng.uniform(0.026, 0.036))
    return Vessel(vein.points, vein.radius * swell, vein.artery, vein.order)
