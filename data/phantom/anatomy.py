"""What one simulated eye is: its side, its landmarks, its colour and its disease, as plain numbers.

Lengths are fractions of the diameter of a 45-degree field of view; positions are measured from the centre of that
field, x to the right and y downwards as in the photograph. Proportions follow textbook averages: a disc of 1.5-1.9 mm
on a field of about 13.5 mm, the fovea 2.5 disc diameters temporal of the disc and a little below it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

SIDES = ("left", "right")


@dataclass(frozen=True)
class Eye:
    """Every parameter of one eye. `render` is a function of this, a camera and a size, and of nothing else.

    `hemoglobin` is in g/dL, `grade` is the ICDR grade 0..4, traits named without a unit run from 0 to 1. `glaucoma`
    to `myopia` are severities (0 = healthy; `diseases` draws them and the traits that follow); `cup_height` is the
    cup's height over its width, `cup_notch` the share by which the cup reaches further at `cup_notch_angle` (radians,
    clockwise from the right), `cataract_color` chooses the tint of a clouded lens; `findings` names what else is to
    be drawn (see `diseases.FINDINGS`).
    """

    side: str
    seed: int
    label: str = "normal"
    grade: int = 0
    hemoglobin: float = 14.0
    pigmentation: float = 0.5
    redness: float = 0.0
    lens_yellowing: float = 0.2
    haze: float = 0.1
    tessellation: float = 0.3
    nerve_fibre_sheen: float = 0.4
    macular_pigment: float = 0.5
    disc_x: float = 0.29
    disc_y: float = -0.01
    disc_radius: float = 0.066
    disc_aspect: float = 1.1
    disc_tilt: float = 0.0
    disc_paleness: float = 0.5
    cup_ratio: float = 0.4
    crescent: float = 0.2
    fovea_x: float = -0.03
    fovea_y: float = 0.03
    fovea_radius: float = 0.02
    artery_width: float = 0.0100
    vein_width: float = 0.0135
    vessel_contrast: float = 1.0
    tortuosity: float = 0.5
    arcade_superior: float = 0.85
    arcade_inferior: float = 0.90
    glaucoma: float = 0.0
    cataract: float = 0.0
    cataract_color: float = 0.5
    amd: float = 0.0
    hypertension: float = 0.0
    myopia: float = 0.0
    cup_height: float = 1.0
    cup_notch: float = 0.0
    cup_notch_angle: float = 0.0
    findings: tuple[str, ...] = ()

    @property
    def disc(self) -> np.ndarray:
        """Centre of the optic disc, float64 (2,)."""
        return np.array([self.disc_x, self.disc_y])

    @property
    def fovea(self) -> np.ndarray:
        """Centre of the fovea, float64 (2,)."""
        return np.array([self.fovea_x, self.fovea_y])

    @property
    def temporal(self) -> float:
        """The sign of x towards the temple."""
        return -1.0 if self.side == "right" else 1.0

    def generator(self, stream: int) -> np.random.Generator:
        """A random generator of this eye; every organ draws from its own stream, so one does not disturb another."""
        return np.random.default_rng([self.seed, stream])


def sample_eye(
    rng: np.random.Generator,
    *,
    side: str | None = None,
    label: str = "normal",
    grade: int = 0,
    hemoglobin: float = 14.0,
    age_years: float = 50.0,
    systolic_mmhg: float = 120.0,
) -> Eye:
    """Draw one eye. Age yellows the lens and dulls the nerve fibre layer; blood pressure narrows the arteries."""
    side = side or str(rng.choice(SIDES))
    aged = float(np.clip((age_years - 20) / 60, 0, 1))
    narrowing = float(np.clip((systolic_mmhg - 120) / 60, -0.5, 1))
    vein_width = rng.normal(0.0125, 0.0010)
    ratio = np.clip(rng.normal(0.76 - 0.10 * narrowing, 0.05), 0.5, 0.9)
    eye = Eye(
        side=side,
        seed=int(rng.integers(2**31)),
        label=label,
        grade=grade,
        hemoglobin=float(hemoglobin),
        pigmentation=float(rng.beta(2.0, 2.0)),
        redness=float(np.clip(rng.normal(0, 0.07), -0.13, 0.13)),
        lens_yellowing=float(np.clip(0.5 * aged + rng.normal(0.1, 0.15), 0, 1)),
        haze=float(np.clip(rng.gamma(1.2, 0.07) + 0.12 * aged**2, 0, 0.6)),
        tessellation=float(rng.beta(0.9, 2.2)),
        nerve_fibre_sheen=float(np.clip((1 - aged) * rng.uniform(0.3, 1.0) + rng.normal(0.1, 0.1), 0, 1)),
        macular_pigment=float(rng.beta(2.5, 2.5)),
        disc_radius=float(np.clip(rng.normal(0.066, 0.005), 0.052, 0.084)),
        disc_aspect=float(np.clip(rng.normal(1.1, 0.06), 0.96, 1.28)),
        disc_tilt=float(rng.normal(0, 0.15)),
        disc_paleness=float(rng.uniform(0.2, 0.8)),
        cup_ratio=float(np.clip(rng.normal(0.42, 0.12), 0.15, 0.75)),
        crescent=float(rng.beta(1.0, 3.0)),
        fovea_radius=float(np.clip(rng.normal(0.020, 0.003), 0.014, 0.028)),
        artery_width=float(vein_width * ratio),
        vein_width=float(vein_width),
        vessel_contrast=float(np.exp(rng.normal(0, 0.16))),
        tortuosity=float(rng.beta(2.0, 2.5)),
        arcade_superior=float(np.clip(rng.normal(0.88, 0.10), 0.65, 1.10)),
        arcade_inferior=float(np.clip(rng.normal(0.93, 0.12), 0.68, 1.20)),
    )
    return _placed(eye, rng)


def fellow_eye(eye: Eye, rng: np.random.Generator, grade: int | None = None) -> Eye:
    """The other eye of the same patient: mirrored, alike in every trait, the same in none of its details."""
    jittered = {
        name: float(np.clip(getattr(eye, name) + rng.normal(0, spread), low, high))
        for name, (spread, low, high) in _FELLOW_SPREAD.items()
    }
    other = replace(
        eye,
        side=SIDES[1 - SIDES.index(eye.side)],
        seed=int(rng.integers(2**31)),
        grade=eye.grade if grade is None else grade,
        artery_width=eye.artery_width * float(np.exp(rng.normal(0, 0.04))),
        vein_width=eye.vein_width * float(np.exp(rng.normal(0, 0.04))),
        **jittered,
    )
    return _placed(other, rng)


_FELLOW_SPREAD = {
    "haze": (0.03, 0.0, 0.6),
    "tessellation": (0.06, 0.0, 1.0),
    "nerve_fibre_sheen": (0.06, 0.0, 1.0),
    "disc_radius": (0.0018, 0.052, 0.084),
    "disc_aspect": (0.03, 0.96, 1.28),
    "disc_tilt": (0.1, -0.5, 0.5),
    "cup_ratio": (0.04, 0.15, 0.75),
    "crescent": (0.08, 0.0, 1.0),
    "tortuosity": (0.05, 0.0, 1.0),
    "arcade_superior": (0.05, 0.65, 1.10),
    "arcade_inferior": (0.05, 0.68, 1.20),
}


def _placed(eye: Eye, rng: np.random.Generator) -> Eye:
    """Aim the camera: mostly between disc and macula, sometimes at the disc; the disc lies on the nasal side."""
    nasal = 1.0 if eye.side == "right" else -1.0
    distance = 2 * eye.disc_radius * rng.normal(2.5, 0.12)
    tilt = rng.normal(0.13, 0.05)
    at_disc = rng.random() < 0.12
    fovea_along = rng.normal(-0.26, 0.03) if at_disc else rng.normal(-0.02, 0.05)
    disc_along = min(fovea_along + distance * np.cos(tilt), 0.43)
    fovea_along = disc_along - distance * np.cos(tilt)
    fovea_y = rng.normal(0.015, 0.03)
    return replace(
        eye,
        fovea_x=float(nasal * fovea_along),
        fovea_y=float(fovea_y),
        disc_x=float(nasal * disc_along),
        disc_y=float(fovea_y - distance * np.sin(tilt)),
    )
