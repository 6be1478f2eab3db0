"""The diseases of ODIR-5K besides diabetes: how they change an eye's traits, and which findings they bring.

Each disease has one severity from 0 to 1 that both eyes of a patient nearly share; everything else follows from it
and from the eye's own random streams, so that a healthy eye stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from .anatomy import Eye
from .inner_retina import (
    asteroid_bodies,
    branch_vein_occlusion,
    epiretinal_membrane,
    hypertensive_haemorrhages,
    laser_scars,
)  # fmt: skip
from .macula import choroidal_neovascularisation, drusen, geographic_atrophy, hard_drusen, pigment_changes
from .papilla import (
    disc_haemorrhage,
    myelinated_fibres,
    nerve_fibre_defects,
    patchy_atrophy,
    peripapillary_atrophy,
)  # fmt: skip

# What an eye may show, and the outlines of each.
FINDINGS: dict[str, Callable[[Eye], dict[str, list[np.ndarray]]]] = {
    "peripapillary atrophy": peripapillary_atrophy,
    "nerve fibre defect": nerve_fibre_defects,
    "disc haemorrhage": disc_haemorrhage,
    "drusen": drusen,
    "pigment changes": pigment_changes,
    "geographic atrophy": geographic_atrophy,
    "choroidal neovascularisation": choroidal_neovascularisation,
    "flame haemorrhages": hypertensive_haemorrhages,
    "patchy atrophy": patchy_atrophy,
    "hard drusen": hard_drusen,
    "epiretinal membrane": epiretinal_membrane,
    "myelinated nerve fibres": myelinated_fibres,
    "branch retinal vein occlusion": branch_vein_occlusion,
    "laser scars": laser_scars,
    "asteroid hyalosis": asteroid_bodies,
}
# Kinds of `other`, in shares that roughly follow ODIR-5K's keywords (counts of eyes there).
_OTHER = {
    "hard drusen": 110, "epiretinal membrane": 150, "myelinated nerve fibres": 60, "asteroid hyalosis": 30,
    "branch retinal vein occlusion": 25, "laser scars": 25,
}  # fmt: skip


def afflicted(eye: Eye, disease: str, severity: float, variant: float) -> Eye:
    """The same eye with a disease of DISEASES; `severity` 0..1, `variant` 0..1 chooses among the disease's forms.

    The label is left to the caller.
    """
    rng = eye.generator(30 + tuple(DISEASES).index(disease))
    severity = float(np.clip(severity, 0.02, 1))
    return DISEASES[disease](eye, severity, variant, rng)


def _with(eye: Eye, *findings: str, **traits: object) -> Eye:
    new = tuple(f for f in findings if f not in eye.findings)
    return replace(eye, findings=eye.findings + new, **traits)


def _glaucoma(eye: Eye, severity: float, variant: float, rng: np.random.Generator) -> Eye:
    """A cup 0.65 to 0.95 of the disc's height, notched below or above (the ISNT rule is broken), and what follows."""
    height = float(rng.uniform(1.06, 1.18))
    vertical = float(0.65 + 0.28 * severity)
    notch = float(np.clip(0.35 * rng.random(), 0, 0.94 / vertical - 1)) if severity > 0.25 else 0.0
    down = 1 if rng.random() < 0.7 else -1
    findings = ["nerve fibre defect"] if severity > 0.3 else []
    findings += ["peripapillary atrophy"] if rng.random() < 0.6 else []
    findings += ["disc haemorrhage"] if rng.random() < 0.12 else []
    return _with(
        eye, *findings, glaucoma=severity, cup_height=height, cup_ratio=0.96 * vertical / height, cup_notch=notch,
        cup_notch_angle=float(np.arctan2(down, eye.temporal * rng.uniform(0.2, 0.6))),
        disc_paleness=float(min(0.6 + 0.4 * severity, 1)), nerve_fibre_sheen=max(eye.nerve_fibre_sheen, 0.45),
    )  # fmt: skip


def _cataract(eye: Eye, severity: float, variant: float, rng: np.random.Generator) -> Eye:
    return replace(
        eye, cataract=severity, cataract_color=float(variant), haze=max(eye.haze, 0.35 * severity),
        lens_yellowing=float(min(eye.lens_yellowing + 0.3 * severity, 1)),
    )  # fmt: skip


def _amd(eye: Eye, severity: float, variant: float, rng: np.random.Generator) -> Eye:
    """Early: drusen; intermediate: also pigment changes; late: geographic atrophy (dry) or new vessels (wet)."""
    findings = ["drusen"]
    findings += ["pigment changes"] if severity > 0.35 else []
    if severity > 0.6:
        findings.append("geographic atrophy" if variant < 0.55 else "choroidal neovascularisation")
    return _with(eye, *findings, amd=severity, nerve_fibre_sheen=0.5 * eye.nerve_fibre_sheen)


def _hypertension(eye: Eye, severity: float, variant: float, rng: np.random.Generator) -> Eye:
    """Arteries 0.60 to 0.42 times as wide as veins, a wide light reflex, squeezed crossings, in the end blood."""
    ratio = float(np.clip(0.60 - 0.16 * severity + rng.normal(0, 0.01), 0.40, 0.60))
    findings = ["flame haemorrhages"] if severity > 0.55 else []
    return _with(eye, *findings, hypertension=severity, artery_width=eye.vein_width * ratio)


def _myopia(eye: Eye, severity: float, variant: float, rng: np.random.Generator) -> Eye:
    """A long eye: tilted oval disc, crescent or wide cone, tessellation, stretched vessels; in the end atrophy."""
    findings = ["peripapillary atrophy", *(["patchy atrophy"] if severity > 0.45 else [])]
    return _with(
        eye, *findings, myopia=severity, tessellation=float(min(0.65 + 0.3 * severity + 0.2 * rng.random(), 1)),
        pigmentation=eye.pigmentation * (0.85 - 0.5 * severity), tortuosity=0.25 * eye.tortuosity, crescent=0.3 * eye.crescent,
        disc_aspect=float(rng.uniform(1.12, 1.25) + 0.25 * severity), disc_tilt=float(rng.normal(0, 0.3)),
        arcade_superior=eye.arcade_superior * (1 - 0.12 * severity), macular_pigment=0.5 * eye.macular_pigment,
        arcade_inferior=eye.arcade_inferior * (1 - 0.12 * severity),
        nerve_fibre_sheen=0.3 * eye.nerve_fibre_sheen, vein_width=0.92 * eye.vein_width,
        artery_width=0.92 * eye.artery_width,
    )  # fmt: skip


def _other(eye: Eye, severity: float, variant: float, rng: np.random.Generator) -> Eye:
    shares = np.cumsum(list(_OTHER.values())) / sum(_OTHER.values())
    finding = list(_OTHER)[min(int(np.searchsorted(shares, variant)), len(_OTHER) - 1)]
    wrinkled = {"tortuosity": min(eye.tortuosity + 0.4, 1.0)} if finding == "epiretinal membrane" else {}
    return _with(eye, finding, **wrinkled)


DISEASES: dict[str, Callable[[Eye, float, float, np.random.Generator], Eye]] = {
    "glaucoma": _glaucoma,
    "cataract": _cataract,
    "amd": _amd,
    "hypertension": _hypertension,
    "myopia": _myopia,
    "other": _other,
}
