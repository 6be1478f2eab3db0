"""What the labels mean: anaemia by haemoglobin, ODIR's keywords of one eye, the ICDR grade."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

import numpy as np

from ..runtime.errors import UserError
from .schema import ODIR_CODES, ODIR_LABELS


class Cutoffs(NamedTuple):
    """Haemoglobin in g/dL below which a person is anaemic, moderately and severely so; equal is not below."""

    anemia: float
    moderate: float
    severe: float


# WHO 2024, "Guideline on haemoglobin cutoffs to define anaemia in individuals and populations": people who live below
# 500 m and do not smoke. It names adults up to 65 years; older people are held to the same cut-offs, as is usual.
WHO_CHILDREN = (  # (from this age in years, cut-offs), boys and girls alike; from 15 on sex decides
    (12.0, Cutoffs(12.0, 11.0, 8.0)),
    (5.0, Cutoffs(11.5, 11.0, 8.0)),
    (2.0, Cutoffs(11.0, 10.0, 7.0)),
    (0.5, Cutoffs(10.5, 9.5, 7.0)),
)
WHO_ADULTS = {"male": Cutoffs(13.0, 11.0, 8.0), "female": Cutoffs(12.0, 11.0, 8.0)}
WHO_PREGNANT = {1: Cutoffs(11.0, 10.0, 7.0), 2: Cutoffs(10.5, 9.5, 7.0), 3: Cutoffs(11.0, 10.0, 7.0)}
# Mitani et al. 2020, "Detection of anaemia from retinal fundus images via deep learning", for men and women.
MODERATE_G_DL = 11.0
ANEMIA_RULES = ("who", "moderate", "approximate")

# International Clinical Diabetic Retinopathy scale, Wilkinson et al. 2003.
ICDR_GRADES = ("no retinopathy", "mild", "moderate", "severe", "proliferative")
REFERABLE_GRADE = 2  # from this grade on a patient is referred to an ophthalmologist

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


def who_cutoffs(sex: str, age_years: float | None = None, pregnancy_trimester: int | None = None) -> Cutoffs:
    """The WHO's cut-offs of 2024 for a person, g/dL.

    Args:
        sex: "male" or "female"; not looked at below 15 years.
        age_years: None or NaN stands for an adult.
        pregnancy_trimester: 1, 2 or 3; None or NaN when not pregnant.

    Raises:
        UserError: sex is needed and is neither, a child under six months, or a pregnancy that cannot be.
    """
    age = None if _unknown(age_years) else float(age_years)
    if not _unknown(pregnancy_trimester):
        return _pregnant(sex, pregnancy_trimester)
    if age is not None and age < 15:
        found = next((cutoffs for youngest, cutoffs in WHO_CHILDREN if age >= youngest), None)
        if found is None:
            raise UserError(f"age_years is {age:g}; the WHO gives cut-offs from six months (0.5 years) on")
        return found
    if sex not in WHO_ADULTS:
        raise UserError(f"sex is {sex!r}; expected male or female, because the cut-off depends on it")
    return WHO_ADULTS[sex]


def who_anemia(
    sex: str, hemoglobin_g_dl: float, age_years: float | None = None, pregnancy_trimester: int | None = None
) -> bool:
    """True when haemoglobin (g/dL) is below the WHO's cut-off, for adults 13 (men) and 12 (women); equal is not anaemic.

    Raises:
        UserError: see `who_cutoffs`.
    """
    return hemoglobin_g_dl < who_cutoffs(sex, age_years, pregnancy_trimester).anemia


def anemia_severity(
    sex: str, hemoglobin_g_dl: float, age_years: float | None = None, pregnancy_trimester: int | None = None
) -> str:
    """ "none", "mild", "moderate" or "severe" by the WHO's cut-offs of 2024.

    Raises:
        UserError: see `who_cutoffs`.
    """
    cutoffs = who_cutoffs(sex, age_years, pregnancy_trimester)
    if hemoglobin_g_dl < cutoffs.severe:
        return "severe"
    if hemoglobin_g_dl < cutoffs.moderate:
        return "moderate"
    return "mild" if hemoglobin_g_dl < cutoffs.anemia else "none"


def anemia_label(
    rule: str, sex: str, hemoglobin_g_dl: float, age_years: float | None = None,
    pregnancy_trimester: int | None = None, approximate_g_dl: float | None = None,
) -> str:  # fmt: skip
    """The class of a person by haemoglobin: "anemic" or "normal".

    Args:
        rule: "who" (`who_anemia`), or one of the two cut-offs for both sexes of Mitani et al. 2020: "moderate" (below
            11 g/dL) and "approximate" (below `approximate_g_dl`).
        sex: "male" or "female"; only "who" looks at it.
        hemoglobin_g_dl: haemoglobin, g/dL.
        age_years, pregnancy_trimester: see `who_cutoffs`; only "who" looks at them.
        approximate_g_dl: the cut-off of "approximate", g/dL. The paper's abstract does not name it, so it has no
            default here: take it from the study that is to be repeated.

    Raises:
        UserError: unknown rule, no haemoglobin, "approximate" without its cut-off, or see `who_cutoffs`.
    """
    if rule not in ANEMIA_RULES:
        raise UserError(f"anaemia rule {rule!r} is not known", hint=f"Use {', '.join(ANEMIA_RULES)}.")
    if _unknown(hemoglobin_g_dl):
        raise UserError("haemoglobin is missing; expected g/dL, because the class follows from it")
    if rule == "who":
        return _anemic(who_anemia(sex, hemoglobin_g_dl, age_years, pregnancy_trimester))
    if rule == "moderate":
        return _anemic(hemoglobin_g_dl < MODERATE_G_DL)
    if approximate_g_dl is None:
        raise UserError("the approximate rule has no cut-off; expected one in g/dL for men and women alike")
    return _anemic(hemoglobin_g_dl < approximate_g_dl)


def referable(grade: int | np.ndarray) -> bool | np.ndarray:
    """True for diabetic retinopathy that is referred: ICDR grade 2 (moderate) or worse; one grade or an array."""
    return grade >= REFERABLE_GRADE


def _pregnant(sex: str, trimester: int) -> Cutoffs:
    if sex != "female":
        raise UserError(f"sex is {sex!r} and pregnancy_trimester is {trimester:g}; expected female")
    if trimester not in WHO_PREGNANT:
        raise UserError(f"pregnancy_trimester is {trimester:g}; expected 1, 2 or 3, or empty when not pregnant")
    return WHO_PREGNANT[trimester]


def _anemic(anemic: bool) -> str:
    return "anemic" if anemic else "normal"


def _unknown(value: float | None) -> bool:
    return value is None or math.isnan(value)


def split_keywords(text: str) -> list[str]:
    """ODIR's keywords of one eye: separated by a comma or the full-width comma U+FF0C; lower case, no empty ones."""
    return [word for part in re.split("[,\uff0c]", text) if (word := " ".join(part.lower().split()))]


def odir_codes(keywords: list[str]) -> set[str]:
    """The ODIR codes that one eye's keywords name; keywords about the picture name none, unknown diseases are O."""
    codes = set()
    for keyword in keywords:
        if keyword in PICTURE_KEYWORDS or keyword in NO_FUNDUS_KEYWORDS:
            continue
        codes.add(_code_of(keyword))
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

    "non proliferative" contains "proliferative", hence the order; of several grades the worst counts. Diabetic
    retinopathy of no named grade is None, even beside "normal fundus".
    """
    diabetic = [_grade_of(keyword) for keyword in keywords if _code_of(keyword) == "D"]
    if diabetic:
        return max((grade for grade in diabetic if grade is not None), default=None)
    return 0 if "normal fundus" in keywords else None


def _code_of(keyword: str) -> str:
    return next((code for code, pattern in _KEYWORD_PATTERNS if re.search(pattern, keyword)), "O")


def _grade_of(keyword: str) -> int | None:
    if re.search(r"non[ -]?proliferative", keyword):
        return next((g for g, word in ((1, "mild"), (2, "moderate"), (3, "severe")) if word in keyword), None)
    return 4 if "proliferative" in keyword else None
