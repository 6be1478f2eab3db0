"""What the labels mean: anaemia by the WHO's cut-offs, ODIR's keywords of one eye, the ICDR grade."""

from __future__ import annotations

import re

from ..runtime.errors import UserError
from .schema import ODIR_CODES, ODIR_LABELS

# WHO 2011, "Haemoglobin concentrations for the diagnosis of anaemia", adults at sea level, non-pregnant women; g/dL.
WHO_CUTOFF_G_DL = {"male": 13.0, "female": 12.0}

# ODIR's diagnostic keywords of one eye that say something about the picture, not about a disease.
PICTURE_KEYWORDS = ("lens dust", "low image quality", "image offset", "optic disk photographically invisible")
# The picture shows no retina: the eye is dropped.
NO_FUNDUS_KEYWORDS = ("anterior segment image", "no fundus image")

# Searched in this order inside one keyword; the first that matches decides its code.
_KEYWORD_PATTERNS: tuple[tuple[str, str], ...] = (
    ("N", r"^normal fundus$"),
    ("D", r"diabetic|proliferative retinopathy|proliferative diabetic"),
    ("G", r"glaucoma"),
    ("C", r"cataract"),
    ("A", r"age-related macular degeneration"),
    ("H", r"hypertensive"),
    ("M", r"myopi"),
)


def who_anemia(sex: str, hemoglobin_g_dl: float) -> bool:
    """True when haemoglobin (g/dL) is below the WHO's cut-off: 13 for men, 12 for women (equal is not anaemic).

    Raises:
        UserError: `sex` is neither male nor female.
    """
    if sex not in WHO_CUTOFF_G_DL:
        raise UserError(f"sex is {sex!r}; expected male or female, because the cut-off depends on it")
    return hemoglobin_g_dl < WHO_CUTOFF_G_DL[sex]


def split_keywords(text: str) -> list[str]:
    """ODIR's keywords of one eye: separated by a comma or the full-width comma U+FF0C; lower case, no empty ones."""
    return [word for part in re.split("[,\uff0c]", text) if (word := " ".join(part.lower().split()))]


def odir_codes(keywords: list[str]) -> set[str]:
    """The ODIR codes that one eye's keywords name; keywords about the picture name none, unknown diseases are O."""
    codes = set()
    for keyword in keywords:
        if keyword in PICTURE_KEYWORDS or keyword in NO_FUNDUS_KEYWORDS:
            continue
        codes.add(next((code for code, pattern in _KEYWORD_PATTERNS if re.search(pattern, keyword)), "O"))
    if len(codes) > 1:
        codes.discard("N")  # an eye with a disease is not normal, whatever else was written
    return codes


def odir_label(codes: set[str]) -> str:
    """The single class name of an eye, or "" when it has none or several."""
    return ODIR_LABELS[next(iter(codes))] if len(codes) == 1 else ""


def odir_columns(codes: set[str]) -> dict[str, int]:
    """The 0/1 columns N..O."""
    return {code: int(code in codes) for code in ODIR_CODES}


def icdr_grade(keywords: list[str]) -> int | None:
    """ICDR grade that one eye's keywords name: normal 0, mild 1, moderate 2, severe 3, proliferative 4; else None.

    "non proliferative" contains "proliferative", hence the order; of several grades the worst counts.
    """
    grades = [grade for keyword in keywords if (grade := _grade_of(keyword)) is not None]
    return max(grades, default=None)


def _grade_of(keyword: str) -> int | None:
    if keyword == "normal fundus":
        return 0
    if "retinopathy" not in keyword or "hypertensive" in keyword:
        return None
    if re.search(r"non[ -]?proliferative", keyword):
        return next((g for g, word in ((1, "mild"), (2, "moderate"), (3, "severe")) if word in keyword), None)
    return 4 if "proliferative" in keyword else None
