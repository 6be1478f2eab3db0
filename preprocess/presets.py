"""Named recipes: how three published studies standardised their photographs. What is given explicitly wins."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..runtime.errors import UserError


@dataclass(frozen=True)
class Preset:
    """A recipe.

    Attributes:
        size: side of the images made, pixels.
        illumination: see `illumination.py`.
        source: the study, and what in it is not part of the recipe.
    """

    size: int
    illumination: str
    source: str


PRESETS = {
    # Pallor is the label, so colour stays as the camera recorded it.
    "anemia": Preset(224, "none", "anaemia from fundus photographs, ISI Kolkata 2021: 224 px, colour kept"),
    "dr": Preset(512, "graham", "diabetic retinopathy on a smartphone, IIT Madras 2024: circle crop, 512 px, local "
                                "average subtracted"),
    # The study rescaled to percentiles only the copies that it added (an augmentation), so the images stay as they are.
    "odir": Preset(512, "none", "eight ocular diseases of ODIR-5K, 2021: 512 px; its percentile rescaling is an "
                                "augmentation"),
}  # fmt: skip

_DEFAULT = Preset(512, "none", "")


def recipe_for(preset: str | None, size: int | None = None, illumination: str | None = None) -> Preset:
    """The preset with what is given explicitly put in its place; without a preset, 512 px and no correction.

    Raises:
        UserError: no such preset.
    """
    if preset is not None and preset not in PRESETS:
        raise UserError(f"--preset {preset} is not known", hint=f"Use {', '.join(PRESETS)}.")
    chosen = PRESETS[preset] if preset else _DEFAULT
    given = {"size": size, "illumination": illumination}
    return replace(chosen, **{name: value for name, value in given.items() if value is not None})
