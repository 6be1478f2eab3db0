"""What stands out: the things about a dataset that a careful person would want to know before training on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...data.schema import SPLITS
from ...runtime.errors import counts
from .classes import SEVERAL, UNLABELLED
from .confounders import KINDS

if TYPE_CHECKING:
    from .collect import Description

UNSURE = 0.7  # a field of view below this confidence wants a look
_SHARE = 0.05
_FEW_PATIENTS = 30
_IMBALANCE = 5
_NEEDED = {"patient_id": "patients", "eye": "which eye", "age_years": "age", "sex": "sex", "hemoglobin_g_dl": "haemoglobin",
           "grade": "grade", "camera": "camera"}  # fmt: skip
_MEANING = {
    "camera": "a network may learn these instead of the disease",
    "light": "this may be the disease or the way the photographs were taken",
    "patient": "compare the classes at equal age and sex as well",
}


@dataclass(frozen=True)
class Finding:
    """One thing that stands out; weight 3 = figures would be wrong, 2 = they may mislead, 1 = good to know."""

    weight: int
    text: str


def find(d: Description) -> list[Finding]:
    """Everything that stands out, the weightiest first."""
    checks = (_synthetic, _unreadable, _split, _duplicates, _contradictions, _labels, _shortcuts, _imbalance, _patients,
              _fields, _sizes, _missing, _odd_values, _rejected)  # fmt: skip
    found = [finding for check in checks for finding in check(d)]
    return sorted(found, key=lambda finding: -finding.weight)


def _synthetic(d: Description) -> Iterator[Finding]:
    made = int((d.dataset.column("synthetic") == "true").sum())
    if made:
        by = counts({k: int(n) for k, n in d.dataset.column("generator").value_counts().items() if k})
        part = "All" if made == len(d.dataset) else f"{made} of {len(d.dataset)}"
        yield Finding(3, f"{part} images are synthetic, made by: {by}. They are no photographs of patients.")


def _unreadable(d: Description) -> Iterator[Finding]:
    broken = d.pictures.unreadable
    if broken:
        name, reason = broken[0]
        yield Finding(3, f"{len(broken)} images cannot be read, e.g. {name}: {reason}.")


def _labels(d: Description) -> Iterator[Finding]:
    names = d.classes.names
    if not names:
        yield Finding(3, "No image has a label or a grade.")
        return
    if len(names) == 1:
        yield Finding(2, f"There is one class only, {names[0]}: nothing can be told apart.")
    sizes = d.classes.of_image.value_counts()
    for group, what in ((SEVERAL, "have several labels"), (UNLABELLED, "have no label")):
        if group in sizes:
            yield Finding(
                1, f"{sizes[group]} of {len(d.dataset)} images {what}; training on one label leaves them out."
            )


def _imbalance(d: Description) -> Iterator[Finding]:
    table = d.class_table.set_index("class").loc[d.classes.names]
    if len(table) >= 2:
        large, small = table["images"].idxmax(), table["images"].idxmin()
        ratio = table["images"][large] / table["images"][small]
        if ratio >= _IMBALANCE:
            yield Finding(2, f"Imbalance: {large} has {ratio:.0f} times the images of {small} ({table['images'][large]} "
                             f"to {table['images'][small]}); accuracy says little, report each class.")  # fmt: skip
    tiny = table[table["patients"] < _FEW_PATIENTS]["patients"] if d.dataset.patients else []
    if len(tiny):
        yield Finding(2, f"Few patients in {counts(tiny.to_dict())}: a tenth of them is too few to test on; use folds.")


def _patients(d: Description) -> Iterator[Finding]:
    missing = int((d.dataset.column("patient_id") == "").sum())
    if missing == len(d.dataset):
        yield Finding(
            3, "No patients are named (patient_id): two pictures of one person may stand on both sides of a split."
        )
    elif missing:
        yield Finding(2, f"{missing} images name no patient (patient_id).")


def _split(d: Description) -> Iterator[Finding]:
    split = d.dataset.column("split")
    if not split.isin(SPLITS).any():
        yield Finding(1, "Not split yet: fundus-preprocess split divides it by patient.")
        return
    if not d.dataset.has_split:
        yield Finding(2, f"{(~split.isin(SPLITS)).sum()} images are in no split.")
    for part in SPLITS:
        lacking = [n for n in d.classes.names if not ((split == part) & (d.classes.of_image == n)).any()]
        if (split == part).any() and lacking:
            yield Finding(2, f"The split {part} has no {', '.join(lacking)}.")


def _duplicates(d: Description) -> Iterator[Finding]:
    if len(d.duplicates):
        conflicts = d.duplicates["in conflict"].sum()
        crossing = d.duplicates["crosses a split"].sum()
        images = int(d.duplicates["images"].sum())
        said = f"{images} images are copies of one another, in {len(d.duplicates)} groups"
        said += f"; {conflicts} groups have conflicting labels" if conflicts else ""
        said += f"; {crossing} groups cross a split" if crossing else ""
        yield Finding(3 if conflicts or crossing else 2, said + ".")
    if d.strangers:
        names = " and ".join(d.dataset.table["file_name"][row] for row in d.strangers[0])
        yield Finding(3, f"{len(d.strangers)} pairs of images show the same eye but name different patients, e.g. {names}: a "
                         "split by patient does not keep them together.")  # fmt: skip


def _contradictions(d: Description) -> Iterator[Finding]:
    for what, number in d.contradictions.items():
        yield Finding(3, f"{number} images contradict themselves: {what}.")


def _shortcuts(d: Description) -> Iterator[Finding]:
    for kind, text in _MEANING.items():
        named = [f"{f.name} (V = {f.association.v:.2f})" for f in d.factors
                 if f.kind == kind and f.association and f.association.strong]  # fmt: skip
        if named:
            yield Finding(2, f"Goes strongly with the class: {', '.join(named)}; {text}.")
    for guess in d.guesses:
        if guess.kind in KINDS and guess.tells:
            yield Finding(2, f"From {KINDS[guess.kind]} alone the class is told with a balanced accuracy of "
                             f"{guess.accuracy:.2f} (chance {guess.chance:.2f}): a network must beat that.")  # fmt: skip


def _fields(d: Description) -> Iterator[Finding]:
    confidence = d.dataset.column("fov_confidence")
    unsure = int((confidence < UNSURE).sum())
    if unsure and unsure >= _SHARE * confidence.notna().sum():
        yield Finding(
            2, f"{unsure} of {confidence.notna().sum()} fields of view are uncertain (fov_confidence < {UNSURE})."
        )


def _sizes(d: Description) -> Iterator[Finding]:
    sizes = d.pictures.files[["width", "height"]].dropna().drop_duplicates()
    if len(sizes) > 1:
        yield Finding(2, f"The images have {len(sizes)} different sizes: standardise them with fundus-preprocess run.")


def _missing(d: Description) -> Iterator[Finding]:
    parts = []
    for column, name in _NEEDED.items():
        if column in d.dataset.table and column != "patient_id":
            share = d.missing_share(column)
            if _SHARE <= share:
                parts.append(f"{name} ({share:.0%})")
    if parts:
        yield Finding(1, f"Missing values: {', '.join(parts)}.")


def _odd_values(d: Description) -> Iterator[Finding]:
    table = d.dataset
    odd = {
        "age below 5 years": table.column("age_years") < 5,
        "haemoglobin below 5 g/dL": table.column("hemoglobin_g_dl") < 5,
        "diastolic pressure not below the systolic": table.column("diastolic_mmhg") >= table.column("systolic_mmhg"),
    }
    found = {what: int(np.sum(where)) for what, where in odd.items() if where.any()}
    if found:
        yield Finding(1, f"Possible but odd, images: {counts(found)}.")


def _rejected(d: Description) -> Iterator[Finding]:
    rejected = len(d.left_out["rejected"])
    if rejected:
        yield Finding(2 if rejected >= _SHARE * len(d.dataset) else 1,
                      f"{rejected} camera files were rejected: see whether one class lost more than others.")  # fmt: skip
