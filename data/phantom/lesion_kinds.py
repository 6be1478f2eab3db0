"""Every kind of lesion that a phantom can show. Each is a mask of the dataset folder, and `painting` knows its look."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np


def _outlines() -> list[np.ndarray]:
    return field(default_factory=list)


@dataclass
class Lesions:
    """Outlines, float (n, 2) each in fractions of the field; for `neovascularisation` centre lines of new vessels.

    `atrophy` is geographic or patchy chorioretinal atrophy; `arteriovenous_nicking` marks crossings where a stiff
    artery squeezes the vein.
    """

    microaneurysms: list[np.ndarray] = _outlines()
    haemorrhages: list[np.ndarray] = _outlines()
    hard_exudates: list[np.ndarray] = _outlines()
    cotton_wool_spots: list[np.ndarray] = _outlines()
    neovascularisation: list[np.ndarray] = _outlines()
    drusen: list[np.ndarray] = _outlines()
    atrophy: list[np.ndarray] = _outlines()
    peripapillary_atrophy: list[np.ndarray] = _outlines()
    pigment_clumps: list[np.ndarray] = _outlines()
    subretinal_fluid: list[np.ndarray] = _outlines()
    fibrotic_scar: list[np.ndarray] = _outlines()
    nerve_fibre_defects: list[np.ndarray] = _outlines()
    arteriovenous_nicking: list[np.ndarray] = _outlines()
    myelinated_fibres: list[np.ndarray] = _outlines()
    epiretinal_membrane: list[np.ndarray] = _outlines()
    laser_scars: list[np.ndarray] = _outlines()
    asteroid_bodies: list[np.ndarray] = _outlines()

    def add(self, more: dict[str, list[np.ndarray]]) -> None:
        """Add outlines, {kind: outlines}."""
        for kind, shapes in more.items():
            getattr(self, kind).extend(shapes)


LESION_KINDS = tuple(f.name for f in fields(Lesions))
