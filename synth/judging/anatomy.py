"""Is it an eye? The share of images with one optic disc, a fovea where it belongs, vessels and a round field of view.

Read from the features of the `retina` space, so nothing is measured twice. What is plausible is not set here but taken from
real eyes, one half of the patients; the shares of the other half stand beside those of the synthetic eyes. The landmark
network sees no disc in one of ten normal eyes and in half of those with a cataract, so no share is to be read alone.

Of 203 ODIR-5K eyes whose disc was painted over 40 % still have "one disc" (the vessels point to it), of the same eyes with a
second disc painted in 23 %, of the 150 normal eyes among those they were chosen from 90 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from ...preprocess.landmarks import VISIBLE
from ..distance_intervals import Estimate

FIGURES = {
    "one_disc": "exactly one optic disc",
    "fovea": "a fovea at the right distance and side",
    "vessels": "plausible vessel density",
    "field": "a round field of view",
    "all": "all of these",
}
"""What is counted, and how it is called."""
FEWEST = 40
"""Real images below which there are no limits to take from them."""

_OTHER_DISC = 0.2  # of what the network believes of the disc's place, on any other place
_BRIGHTER = 0.05  # ln of green, the disc over the ring around it
_LIMITS = (1, 99)  # percentiles of real eyes


@dataclass(frozen=True)
class Limits:
    """What is plausible: 1st and 99th percentile of real eyes.

    Attributes:
        distance: of disc and fovea, logarithm of it in radii of the disc; of eyes that show both.
        angle: of the line from disc to fovea below the horizontal, radians; likewise.
        density: share of the field that is vessel.
        radius: of what is lit, share of the width.
        roundness: least overlap of what is lit with a circle, 0..1.
    """

    distance: tuple[float, float]
    angle: tuple[float, float]
    density: tuple[float, float]
    radius: tuple[float, float]
    roundness: float


@dataclass(frozen=True)
class Anatomy:
    """Shares of synthetic and of real eyes, {one of FIGURES: estimate with its 95 % interval (Wilson 1927)}."""

    synthetic: dict[str, Estimate]
    real: dict[str, Estimate]
    limits: Limits
    images: int
    real_images: int

    def plain_values(self) -> dict:
        """For JSON."""
        return asdict(self)


def check_anatomy(
    names: Sequence[str], real: np.ndarray, patients: np.ndarray, made: np.ndarray, seed: int = 0
) -> Anatomy | None:
    """Shares of synthetic eyes, and of one half of the real patients, that have the anatomy of the other half.

    Args:
        names: of the columns: `RetinaSpace.feature_names`.
        real, made: float (n, d) and (m, d), features of the retina space as measured.
        patients: whose eye each real one is.

    Returns:
        None where there are fewer than 40 real images, or only one patient.
    """
    people, codes = np.unique(patients, return_inverse=True)
    if len(real) < FEWEST or len(people) < 2:
        return None
    first = (np.random.default_rng(seed).permutation(len(people)) < len(people) // 2)[codes]
    limits = limits_of(names, real[first])
    found = [shares(has_anatomy(names, rows, limits)) for rows in (made, real[~first])]
    return Anatomy(*found, limits, len(made), int((~first).sum()))


def limits_of(names: Sequence[str], real: np.ndarray) -> Limits:
    """The limits that real eyes set; where none shows disc and fovea, none that any eye could keep for these two."""
    column = _columns(names, real)
    both = (column["disc_confidence"] >= VISIBLE) & (column["fovea_confidence"] >= VISIBLE)
    return Limits(
        _range(column["disc_fovea_distance"][both]),
        _range(column["disc_fovea_angle"][both]),
        _range(column["vessel_density"]),
        _range(column["field_radius"]),
        _range(column["field_roundness"])[0],
    )


def has_anatomy(names: Sequence[str], features: np.ndarray, limits: Limits) -> dict[str, np.ndarray]:
    """{one of FIGURES: whether each image has it, bool (n,)}."""
    column = _columns(names, features)
    disc = (column["disc_confidence"] >= VISIBLE) & (column["disc_contrast"] > _BRIGHTER)
    placed = _within(column["disc_fovea_distance"], limits.distance) & _within(column["disc_fovea_angle"], limits.angle)
    found = {
        "one_disc": disc & (column["other_disc"] < _OTHER_DISC),
        "fovea": (column["fovea_confidence"] >= VISIBLE) & placed & _towards_middle(column),
        "vessels": _within(column["vessel_density"], limits.density),
        "field": _within(column["field_radius"], limits.radius) & (column["field_roundness"] >= limits.roundness),
    }
    return {**found, "all": np.logical_and.reduce(list(found.values()))}


def shares(found: dict[str, np.ndarray]) -> dict[str, Estimate]:
    """The share of images with each, with Wilson's interval."""
    return {name: _share(values) for name, values in found.items()}


def _share(values: np.ndarray) -> Estimate:
    from scipy.stats import binomtest

    low, high = binomtest(int(values.sum()), len(values)).proportion_ci(method="wilson")
    return Estimate(float(values.mean()), float(low), float(high))


def _towards_middle(column: dict[str, np.ndarray]) -> np.ndarray:
    """Whether the fovea lies from the disc towards the middle of the picture, bool (n,).

    A disc off the middle lies nasally, in right eyes and left, so that the macula is in the picture. The features fold both
    sides onto each other; which one the fovea is on follows from how far the two are apart and from the middle.
    """
    apart = np.exp(column["disc_fovea_distance"]) * column["disc_radius"]
    across = apart * np.cos(column["disc_fovea_angle"])
    disc, fovea = column["disc_off_middle"], column["fovea_off_middle"]
    return np.abs(fovea - np.abs(disc - across)) <= np.abs(fovea - (disc + across)) + 1e-4


def _columns(names: Sequence[str], features: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(names, features.T.astype(np.float64), strict=True))


def _range(values: np.ndarray) -> tuple[float, float]:
    if not len(values):
        return 0.0, 0.0
    low, high = np.percentile(values, _LIMITS)
    return float(low), float(high)


def _within(values: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    return (values >= limits[0]) & (values <= limits[1])
