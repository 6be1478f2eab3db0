"""The classes of simulated patients, and the course of a patient's diseases: which, how severe, in which form."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ...runtime.errors import UserError
from ..labels import odir_columns
from ..schema import ODIR_CODES, ODIR_LABELS
from .anatomy import Eye
from .diseases import DISEASES, afflicted
from .render import MASK_KINDS

DEFAULT_CLASSES = ("normal", "anemic", "diabetes")
PHANTOM_CLASSES = (*DEFAULT_CLASSES, *DISEASES)
CLASS_SETS = {"odir": tuple(ODIR_LABELS.values()), "all": PHANTOM_CLASSES}
# Masks that only these classes can fill; a dataset folder without them has no such masks.
_MASKS = {
    "glaucoma": ("peripapillary_atrophy", "pigment_clumps", "nerve_fibre_defects"),
    "amd": ("drusen", "atrophy", "pigment_clumps", "subretinal_fluid", "fibrotic_scar"),
    "hypertension": ("arteriovenous_nicking",),
    "myopia": ("atrophy", "peripapillary_atrophy", "pigment_clumps"),
    "other": ("drusen", "pigment_clumps", "myelinated_fibres", "epiretinal_membrane", "laser_scars", "asteroid_bodies"),
}
# Steps that spread severities and forms evenly over the patients, however few (Roberts' quasi-random sequence).
_SPREAD = np.array([0.7548776662466927, 0.5698402909980532])


def check_classes(classes: str | Sequence[str]) -> tuple[str, ...]:
    """The names of classes, from a sequence, from text with commas, or from "odir" or "all".

    Raises:
        UserError: an unknown class, one named twice, or none.
    """
    if isinstance(classes, str):
        classes = CLASS_SETS.get(classes, [name.strip() for name in classes.split(",")])
    unknown = sorted(set(classes) - set(PHANTOM_CLASSES))
    if unknown or not classes:
        named = ", ".join(name or "(empty)" for name in unknown) or "(none given)"
        raise UserError(
            f"phantoms have no class {named}; expected some of {', '.join(PHANTOM_CLASSES)}",
            hint="odir stands for the eight classes of ODIR-5K, all for every class.",
        )
    if len(set(classes)) < len(classes):
        raise UserError(f"classes {', '.join(classes)} name one twice; expected each once")
    return tuple(classes)


def mask_kinds(conditions: Iterable[str]) -> tuple[str, ...]:
    """The kinds of masks that eyes with these conditions come with; what none of them can show is left out."""
    special = {kind for kinds in _MASKS.values() for kind in kinds}
    present = {kind for condition in set(conditions) for kind in _MASKS.get(condition, ())}
    return tuple(kind for kind in MASK_KINDS if kind in present or kind not in special)


@dataclass(frozen=True)
class Course:
    """The diseases of one patient, the class's own first, with the severity and the form of each, both 0..1."""

    conditions: tuple[str, ...]
    severity: tuple[float, ...]
    variant: tuple[float, ...]

    @classmethod
    def sample(cls, label: str, seed: int, number: int, comorbidity: float) -> Course:
        """Drawn apart from the patient's other traits, evenly over the patients of a class."""
        start = np.random.default_rng([seed, PHANTOM_CLASSES.index(label), 1]).random(2)
        severity, variant = (start + number * _SPREAD) % 1
        rng = np.random.default_rng([seed, PHANTOM_CLASSES.index(label), 2, number])
        others = [c for c in ("diabetes", *DISEASES) if c != label]
        if label in ("normal", "anemic") or rng.random() >= comorbidity:
            return cls((label,), (float(severity),), (float(variant),))
        second = str(rng.choice(others))
        return cls((label, second), (float(severity), float(rng.random())), (float(variant), float(rng.random())))

    @property
    def eye_label(self) -> str:
        """The label of the eyes: empty when there are several, as everywhere in a dataset folder."""
        return self.conditions[0] if len(self.conditions) == 1 else ""

    def run(self, eyes: tuple[Eye, Eye]) -> tuple[Eye, ...]:
        """Both eyes with the diseases, about equally severe."""
        apart = eyes[0].generator(29).normal(0, 0.05, len(self.conditions))
        for condition, severity, variant, other in zip(
            self.conditions, self.severity, self.variant, apart, strict=True
        ):
            if condition in DISEASES:
                both = zip(eyes, (severity, severity + other), strict=True)
                eyes = tuple(afflicted(eye, condition, here, variant) for eye, here in both)
        return eyes

    @property
    def odir(self) -> dict[str, object]:
        """The columns N..O; empty for a class that ODIR does not have."""
        codes = {code for code, name in ODIR_LABELS.items() if name in self.conditions}
        return odir_columns(codes) if codes else dict.fromkeys(ODIR_CODES, "")
