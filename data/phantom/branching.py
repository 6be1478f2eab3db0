"""How vessels branch: where daughters set out, how thick they are, and how they grow.

Branches obey Murray's law (the cubes of the daughters' radii add up to the cube of the parent's; Murray, PNAS 1926),
taper, wander, keep clear of vessels of their own kind and stop before the foveal avascular zone. All branches of one
order grow in step, which keeps the work in numpy.
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


@dataclass(frozen=True)
class Vessel:
    """A centre line, `points` float (n, 2), and its `radius` float (n,), in fractions of the field's diameter."""

    points: np.ndarray
    radius: np.ndarray
    artery: bool
    order: int


@dataclass
class Seeds:
    """Where the branches of one order start: `points` float (n, 2), the others (n,); `parent` is a vessel's number."""

    points: np.ndarray
    heading: np.ndarray
    radius: np.ndarray
    parent: np.ndarray
    inward: np.ndarray
    artery: np.ndarray

    def chosen(self, rows: np.ndarray) -> Seeds:
        """The seeds where `rows` is true."""
        return Seeds(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


class Occupancy:
    """Which vessel passes through which cell of a coarse grid, a layer each for veins and arteries; 0 is free.

    Points are complex numbers here, x + iy in fractions of the field.
    """

    def __init__(self) -> None:
        self.owner = np.zeros((2, _GRID, _GRID), np.int32)

    def _cells(self, points: np.ndarray, artery: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        scaled = (points + complex(_REACH, _REACH)) * (_GRID / (2 * _REACH))
        x, y = scaled.real.astype(np.intp), scaled.imag.astype(np.intp)
        return artery, y.clip(0, _GRID - 1), x.clip(0, _GRID - 1)

    def mark(self, points: np.ndarray, artery: np.ndarray, owner: np.ndarray) -> None:
        """Write who passes through the cells of these points."""
        self.owner[self._cells(points, artery)] = owner

    def at(self, points: np.ndarray, artery: np.ndarray) -> np.ndarray:
        """Who passes through the cells of these points, int (n,)."""
        return self.owner[self._cells(points, artery)]


def branch_points(eye: Eye, vessel: Vessel, index: int, rng: np.random.Generator) -> Seeds:
    """Where a vessel gives off daughters, how thick they are and which way they set out."""
    if len(vessel.points) < 8 or vessel.radius[0] < 1.5 * THINNEST:
        return Seeds(np.zeros((0, 2)), np.zeros(0), np.zeros(0), np.zeros(0, int), *np.zeros((2, 0), bool))
    at, share = _forks(eye, vessel, rng)
    ahead = vessel.points[at + 2] - vessel.points[at - 2]
    side = np.where(np.arange(len(at)) % 2 == int(rng.integers(2)), 1.0, -1.0) * rng.choice([1, 1, -1], len(at))
    # The thicker the daughter, the smaller her angle to the parent.
    turn = (np.radians(72) - np.radians(38) * share) * rng.uniform(0.65, 1.15, len(at))
    heading = np.arctan2(ahead[:, 1], ahead[:, 0]) + side * turn
    inward = _faces_macula(eye, vessel.points[at], heading)
    radius = np.maximum(share * vessel.radius[at], THINNEST)
    seeds = Seeds(vessel.points[at], heading, radius, np.full(len(at), index), inward, np.full(len(at), vessel.artery))
    # Outside the arcades thin side branches are rarer.
    return seeds.chosen(inward | (share > 0.45) | (rng.random(len(at)) < 0.55))


def _forks(eye: Eye, vessel: Vessel, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Which points of a vessel fork, and the daughters' share of the radius there; trunks mostly give off twigs."""
    gap = 0.078 if vessel.order == 0 else 0.056
    first = 1.05 * eye.disc_radius if vessel.order == 0 else 0.4 * gap
    at = ((first + np.cumsum(rng.gamma(2.5, gap / 2.5, 24))) / STEP).astype(int)
    at = at[(at > 1) & (at < len(vessel.points) - 3)]
    at = at[np.abs(vessel.points[at]).max(axis=1) < 0.5]
    thin, thick = rng.uniform(0.15, 0.42, len(at)), rng.uniform(0.5, 0.88, len(at))
    share = np.where(rng.random(len(at)) < (0.33 if vessel.order == 0 else 0.8), thick, thin)
    keep = (vessel.radius[at] > 1.15 * THINNEST) & (share * vessel.radius[at] > 0.8 * THINNEST)
    return at[keep], share[keep]


def _faces_macula(eye: Eye, points: np.ndarray, heading: np.ndarray) -> np.ndarray:
    """Whether branches that set out at `points` go to the macula."""
    to_fovea = eye.fovea - points
    distance = np.hypot(to_fovea[:, 0], to_fovea[:, 1])
    facing = (np.cos(heading) * to_fovea[:, 0] + np.sin(heading) * to_fovea[:, 1]) / (distance + 1e-9)
    return (facing > 0.1) & (distance < 1.35 * np.hypot(*(eye.fovea - eye.disc)))


def thinned(vessel: Vessel, daughters: np.ndarray, where: np.ndarray) -> Vessel:
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


def merge_seeds(seeds: list[Seeds]) -> Seeds:
    """The seeds of several vessels as one."""
    return Seeds(*(np.concatenate([getattr(s, name) for s in seeds]) for name in Seeds.__dataclass_fields__))


def grow_order(
    eye: Eye, seeds: Seeds, order: int, occupied: Occupancy, first: int, rng: np.random.Generator
) -> list[Vessel]:
    """Grow all branches of one order at once, a step at a time, until each is spent or meets its own kind.

    `first` is the number of vessels so far: the new ones are numbered from there in `occupied`.
    """
    count = len(seeds.radius)
    if not count:
        return []
    reach = np.minimum((seeds.radius / 0.0028) ** 0.8 * rng.uniform(0.18, 0.36, count), MAX_STEPS * STEP)
    steps = np.clip((reach / STEP).astype(int), 6, MAX_STEPS)
    stop_radius = eye.fovea_radius * rng.uniform(1.35, 3.6, count)
    bend = rng.normal(0, 0.30, count)
    wiggle = _wiggles(count, eye, rng) * np.clip(0.0018 / seeds.radius, 0.5, 1)
    pull = 0.085 * np.clip(0.0018 / seeds.radius, 0.2, 1)
    fovea, disc, layer = complex(*eye.fovea), complex(*eye.disc), seeds.artery.astype(np.intp)
    position, heading = seeds.points[:, 0] + 1j * seeds.points[:, 1], seeds.heading
    track = np.empty((MAX_STEPS + 1, count), complex)
    track[0] = position
    alive, lived, own = np.ones(count, bool), np.zeros(count, int), first + 1 + np.arange(count)
    for step in range(int(steps.max())):
        wanted, distance = _wanted(position, fovea, disc, seeds.inward)
        heading = heading + pull * np.sin(wanted + bend - heading)
        move = np.exp(1j * (heading + wiggle[step]))
        ahead = occupied.at(position + 0.011 * move, layer)
        # A branch may run beside its parent at first.
        free = (ahead == 0) | (ahead == own) | ((ahead == seeds.parent + 1) & (step < 8)) | (step < 2)
        alive &= free & (distance > stop_radius) & (step < steps) & (np.abs(position) < _REACH)
        if not alive.any():
            break
        position = position + STEP * move
        lived += alive
        track[step + 1] = position
        occupied.mark(position[alive], layer[alive], own[alive])
    return [_finished(track[: lived[i] + 1, i], seeds.radius[i], bool(seeds.artery[i]), order) for i in range(count)]


def _wiggles(count: int, eye: Eye, rng: np.random.Generator) -> np.ndarray:
    """Smooth wandering of the heading, radians, (MAX_STEPS, count)."""
    raw = rng.standard_normal((MAX_STEPS + 10, count))
    running = np.cumsum(raw, axis=0)
    short = (running[4:] - running[:-4])[:MAX_STEPS] / 2.0
    long = (running[10:] - running[:-10])[:MAX_STEPS] / np.sqrt(10)
    return (0.14 + 0.30 * eye.tortuosity) * (0.65 * short + 0.75 * long)


def _wanted(position: np.ndarray, fovea: complex, disc: complex, inward: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The heading that branches are drawn to and their distance from the fovea.

    Within the arcades they are drawn to the fovea, outside away from disc and fovea.
    """
    to_fovea, from_disc = fovea - position, position - disc
    distance = np.abs(to_fovea)
    to_fovea = to_fovea / (distance + 1e-9)
    goal = np.where(inward, to_fovea, from_disc / (np.abs(from_disc) + 1e-9) - 0.8 * to_fovea)
    return np.angle(goal), distance


def _finished(track: np.ndarray, radius: float, artery: bool, order: int) -> Vessel:
    """A grown branch: it narrows slowly, and to a thread at its end, however soon that came."""
    to_end = np.arange(len(track))[::-1] * STEP
    taper = np.minimum(np.linspace(1.0, 0.68, len(track)) * radius, THINNEST + 0.013 * to_end)
    return Vessel(np.stack([track.real, track.imag], axis=1), np.maximum(taper, THINNEST), artery, order)
