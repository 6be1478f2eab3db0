"""How a picture was turned on its way: upright, mirrored, upside down, or on its side.

The only evidence is the way from the fovea to the optic disc. In an upright picture of a right eye it leads to the right
and some 7 degrees upwards (disc-fovea angle 7.8 +- 3.6 degrees; Rohrschneider, Invest Ophthalmol Vis Sci 2004); in a left eye, to
the left. What follows, and no more:

- With the eye known, a disc on the wrong side means mirrored or upside down; which of the two rests on those 7 degrees.
- Without it a mirrored right eye *is* an upright left eye. Upside down shows only by a fovea above the disc, which a tilted
  head also does, so one picture is hardly ever enough; `shared_orientation` adds up those of one camera.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .landmarks import Landmarks

ORIENTATIONS = ("ok", "mirrored", "upside_down", "turned_clockwise", "turned_counterclockwise")
SURE = 0.8
"""Below this probability an orientation is reported as unknown."""

_PRIOR = np.array([0.96, 0.015, 0.015, 0.005, 0.005])
_UPWARDS, _SPREAD = 7.0, 7.0
_OUTLIERS = 0.02
# What undoes each, as a map of directions (x to the right, y down).
_UNDO = np.array([[[1, 0], [0, 1]], [[-1, 0], [0, 1]], [[-1, 0], [0, -1]], [[0, 1], [-1, 0]], [[0, -1], [1, 0]]])


@dataclass(frozen=True)
class Orientation:
    """`state` is one of ORIENTATIONS or "unknown"; `confidence` 0..1 is the probability of the likeliest of them."""

    state: str
    confidence: float


def find_orientation(found: Landmarks, eye: str = "") -> Orientation:
    """How one picture is turned.

    Args:
        eye: "right" or "left" as the data say it, never as guessed from the picture; "" when unknown.
    """
    return shared_orientation([found], [eye])


def shared_orientation(found: Sequence[Landmarks], eyes: Sequence[str]) -> Orientation:
    """How all of these are turned, if they are turned alike, as the pictures of one camera are; arguments as above."""
    evidence = [_log_likelihood(one, eye) for one, eye in zip(found, eyes, strict=True) if _both_visible(one)]
    if not evidence:
        return Orientation("unknown", 0.0)
    score = np.log(_PRIOR) + np.sum(evidence, axis=0)
    probability = np.exp(score - score.max())
    probability /= probability.sum()
    best = int(np.argmax(probability))
    return Orientation(ORIENTATIONS[best] if probability[best] >= SURE else "unknown", float(probability[best]))


def upright(image: np.ndarray, state: str) -> np.ndarray:
    """A square picture or mask put right; "ok" and "unknown" leave it as it is."""
    if state == "mirrored":
        image = image[:, ::-1]
    elif state == "upside_down":
        image = image[::-1, ::-1]
    elif state == "turned_clockwise":
        image = np.rot90(image)
    elif state == "turned_counterclockwise":
        image = np.rot90(image, -1)
    return np.ascontiguousarray(image)


def upright_place(x: float, y: float, state: str) -> tuple[float, float]:
    """Where `upright` takes a place; fractions of the width."""
    if state == "unknown":
        return x, y
    moved = _UNDO[ORIENTATIONS.index(state)] @ np.array([x - 0.5, y - 0.5]) + 0.5
    return float(moved[0]), float(moved[1])


def is_mirrored(found: Landmarks, state: str) -> bool:
    """Whether a picture turned like this must be mirrored to become an upright right eye.

    With an "unknown" state it is taken to be upright.
    """
    disc_x, _ = upright_place(found.disc_x, found.disc_y, state)
    fovea_x, _ = upright_place(found.fovea_x, found.fovea_y, state)
    return (disc_x < fovea_x) != (state == "mirrored")


def _both_visible(found: Landmarks) -> bool:
    return found.disc_visible and found.fovea_visible


def _log_likelihood(found: Landmarks, eye: str) -> np.ndarray:
    """Log-likelihood of each of ORIENTATIONS, float (5,)."""
    way = _UNDO @ np.array([found.disc_x - found.fovea_x, found.disc_y - found.fovea_y])
    sides = {"right": [1.0], "left": [-1.0]}.get(eye, [1.0, -1.0])
    return np.log(np.mean([_density(way * [side, 1.0]) for side in sides], axis=0))


def _density(way: np.ndarray) -> np.ndarray:
    """Density per degree of the way from fovea to disc in an upright right eye, with a floor for what is found wrongly."""
    degrees = np.rad2deg(np.arctan2(-way[:, 1], way[:, 0]))
    normal = np.exp(-((degrees - _UPWARDS) ** 2) / (2 * _SPREAD**2)) / (_SPREAD * np.sqrt(2 * np.pi))
    return (1 - _OUTLIERS) * normal + _OUTLIERS / 360
