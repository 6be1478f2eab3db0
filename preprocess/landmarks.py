"""Optic disc and fovea of a standardised eye, which eye it is, and what the picture is centred on.

A small network (`landmark_net`) says how likely each place is; disc and fovea are then chosen together, as the pair of
peaks that is likely and lies as far apart as anatomy wants: about five radii of the disc (2.5 disc diameters; Hogan,
Alvarado and Weddell 1971, and the prior of Niemeijer et al., Medical Image Analysis 2009).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from .landmark_net import LandmarkNet, Maps

VISIBLE = 0.5
"""From this confidence on a landmark counts as found."""

_APART, _APART_SPREAD, _APART_WEIGHT = np.log(5.0), 0.25, 1.0
_CENTRED_WITHIN = 0.16
_PEAKS = 4
_BATCH = 16


@dataclass(frozen=True)
class Landmarks:
    """Positions are fractions of the width of the standardised image, from its upper left corner.

    Attributes:
        disc_x, disc_y, disc_r: centre and radius of the optic disc.
        fovea_x, fovea_y: the fovea.
        disc_confidence, fovea_confidence: 0..1; below `VISIBLE` the place is a guess.
        eye: "right" or "left", as it is in a picture that is neither mirrored nor upside down: the disc lies nasally.
        eye_confidence: 0..1, 0 when the side is a coin's toss.
        centred: "macula", "disc" or "neither": what lies within 0.16 of the width of the centre, the nearer one.
    """

    disc_x: float
    disc_y: float
    disc_r: float
    fovea_x: float
    fovea_y: float
    disc_confidence: float
    fovea_confidence: float
    eye: str
    eye_confidence: float
    centred: str

    @property
    def disc_visible(self) -> bool:
        """Whether the centre of the optic disc is in the picture and was found."""
        return self.disc_confidence >= VISIBLE

    @property
    def fovea_visible(self) -> bool:
        """Whether the fovea is in the picture and was found."""
        return self.fovea_confidence >= VISIBLE

    def columns(self) -> dict[str, object]:
        """What metadata.csv says of them; the place of what was not found is empty."""
        disc = [round(value, 5) if self.disc_visible else "" for value in (self.disc_x, self.disc_y, self.disc_r)]
        fovea = [round(value, 5) if self.fovea_visible else "" for value in (self.fovea_x, self.fovea_y)]
        return {
            "disc_x": disc[0], "disc_y": disc[1], "disc_r": disc[2], "fovea_x": fovea[0], "fovea_y": fovea[1],
            "disc_confidence": round(self.disc_confidence, 4), "fovea_confidence": round(self.fovea_confidence, 4),
            "eye": self.eye if self.eye_confidence >= VISIBLE else "", "centred": self.centred,
        }  # fmt: skip


def find_landmarks(image: np.ndarray) -> Landmarks:
    """Disc and fovea of one standardised image, uint8 (side, side, 3) RGB, of any side; illumination not corrected."""
    return find_landmarks_batch([image])[0]


def find_landmarks_batch(images: Sequence[np.ndarray], network: LandmarkNet | None = None) -> list[Landmarks]:
    """As `find_landmarks`, for many images; `network` is the one that comes with the package when not given."""
    from .landmark_net import as_batch, look, trained_network

    network = network or trained_network()
    found = []
    for start in range(0, len(images), _BATCH):
        found += decoded(look(network, as_batch(images[start : start + _BATCH])))
    return found


def decoded(maps: Maps) -> list[Landmarks]:
    """The landmarks that the network's maps speak for."""
    import torch

    n, grid = maps.disc.shape[:2]
    disc, fovea = (torch.softmax(m.flatten(1), 1).reshape(n, grid, grid).numpy() for m in (maps.disc, maps.fovea))
    radius, present = torch.exp(maps.log_radius).numpy(), torch.sigmoid(maps.present).numpy()
    direction = maps.direction.numpy()
    return [_decoded_one(*one) for one in zip(disc, fovea, radius, present, direction, strict=True)]


def _decoded_one(
    disc: np.ndarray, fovea: np.ndarray, radius: np.ndarray, present: np.ndarray, direction: np.ndarray
) -> Landmarks:
    at_disc, at_fovea = _likely_pair(disc, fovea, radius)
    (disc_x, disc_y, disc_mass), (fovea_x, fovea_y, fovea_mass) = _refined(disc, at_disc), _refined(fovea, at_fovea)
    disc_confidence = float(present[0] * disc_mass)
    fovea_confidence = float(present[1] * fovea_mass)
    across = _across(disc_x - fovea_x, min(disc_confidence, fovea_confidence), float(direction[0]))
    return Landmarks(
        disc_x, disc_y, float(radius[at_disc]), fovea_x, fovea_y, disc_confidence, fovea_confidence,
        "right" if across >= 0 else "left", min(abs(across), 1.0),
        _centred(disc_x, disc_y, disc_confidence, fovea_x, fovea_y, fovea_confidence),
    )  # fmt: skip


def _likely_pair(disc: np.ndarray, fovea: np.ndarray, radius: np.ndarray) -> tuple[tuple[int, int], tuple[int, int]]:
    """The cells of disc and fovea whose probabilities and distance together are the most likely."""

    def score(pair: tuple[tuple[int, int], tuple[int, int]]) -> float:
        at_disc, at_fovea = pair
        apart = np.hypot(*np.subtract(at_disc, at_fovea)) / len(disc) / radius[at_disc]
        misfit = (np.log(max(apart, 0.05)) - _APART) / _APART_SPREAD
        # A bounded penalty: in a picture without a fovea the disc must not be moved by a guess.
        geometry = -_APART_WEIGHT * min(misfit**2 / 2, 3.0)
        return float(np.log(disc[at_disc] + 1e-9) + np.log(fovea[at_fovea] + 1e-9) + geometry)

    return max(product(_peaks(disc), _peaks(fovea)), key=score)


def _peaks(heat: np.ndarray) -> list[tuple[int, int]]:
    """The highest local maxima, row and column."""
    highest = cv2.dilate(heat, np.ones((5, 5), np.uint8)) == heat
    cells = np.argwhere(highest)
    order = np.argsort(-heat[highest], kind="stable")[:_PEAKS]
    return [(int(row), int(column)) for row, column in cells[order]]


def _refined(heat: np.ndarray, cell: tuple[int, int], reach: int = 2) -> tuple[float, float, float]:
    """Centre of mass around a cell, x and y as fractions of the width, and the mass there, 0..1."""
    top, left = max(cell[0] - reach, 0), max(cell[1] - reach, 0)
    window = heat[top : cell[0] + reach + 1, left : cell[1] + reach + 1]
    mass = float(window.sum())
    x = (window.sum(0) @ (np.arange(window.shape[1]) + left + 0.5)) / max(mass, 1e-12) / len(heat)
    y = (window.sum(1) @ (np.arange(window.shape[0]) + top + 0.5)) / max(mass, 1e-12) / len(heat)
    return float(x), float(y), min(mass, 1.0)


def _across(disc_from_fovea: float, confidence: float, direction_x: float) -> float:
    """-1..1, positive when the disc lies to the right of the fovea: from both places if found, else as the vessels run."""
    if confidence >= VISIBLE:
        return float(np.tanh(disc_from_fovea / 0.06))
    return float(np.clip(-direction_x, -1, 1))


def _centred(
    disc_x: float, disc_y: float, disc_confidence: float, fovea_x: float, fovea_y: float, fovea_confidence: float
) -> str:
    far = {
        "macula": np.hypot(fovea_x - 0.5, fovea_y - 0.5) if fovea_confidence >= VISIBLE else np.inf,
        "disc": np.hypot(disc_x - 0.5, disc_y - 0.5) if disc_confidence >= VISIBLE else np.inf,
    }
    nearest = min(far, key=far.get)
    return nearest if far[nearest] <= _CENTRED_WITHIN else "neither"


def mirrored(found: Landmarks, *, across: bool = True, down: bool = False) -> Landmarks:
    """What they are in the picture mirrored left to right (`across`), top to bottom (`down`), or both (turned by 180)."""
    other = {"right": "left", "left": "right"}
    if across:
        found = replace(found, disc_x=1 - found.disc_x, fovea_x=1 - found.fovea_x, eye=other[found.eye])
    return replace(found, disc_y=1 - found.disc_y, fovea_y=1 - found.fovea_y) if down else found
