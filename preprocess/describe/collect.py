"""Everything the page says, computed once: what the findings judge and the sections show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...data.dataset import FundusDataset
from ...data.duplicates import SAME_EYE
from ...data.labels import who_anemia
from ...data.schema import SPLITS, is_missing, read_csv
from .classes import Classes, find_classes
from .confounders import Factor, Guess, find_factors, guess_class
from .copies import Copies
from .pictures import Pictures, look

_NOT_ANEMIC = ("normal", "not_anemic", "non_anemic", "non-anemic")


@dataclass(frozen=True)
class Description:
    """A dataset, described.

    Attributes:
        class_table: one row a group of images: class, images, share (0..1), patients, and for each split that is there
            the images and patients in it.
        duplicates: one row a group of copies: images, kind, labels, files, in conflict, crosses a split.
        strangers: pairs of rows that show the same eye but name different patients.
        left_out: {"rejected" | "ignored": table of camera_file and reason}, empty tables when there are none.
        contradictions: {what: images}: rows whose values cannot both be right.
    """

    dataset: FundusDataset
    classes: Classes
    pictures: Pictures
    class_table: pd.DataFrame
    factors: list[Factor]
    guesses: list[Guess]
    duplicates: pd.DataFrame
    strangers: list[tuple[int, int]]
    left_out: dict[str, pd.DataFrame]
    contradictions: dict[str, int]
    seed: int
    per_class: int

    def missing_share(self, column: str) -> float:
        """Share of images without a value, 0..1."""
        return float(np.mean([is_missing(value) for value in self.dataset.column(column)]))

    def people(self, column: str) -> pd.DataFrame:
        """One row a patient (an image where no patient is named): sex, class, eye and this column, where it is known."""
        names = self.dataset.column("patient_id").astype(str)
        table = pd.DataFrame({
            "patient": names.where(names != "", [f"\0image {i}" for i in names.index]),
            "sex": self.dataset.column("sex"), "class": self.classes.of_image, "value": self.dataset.column(column),
        })  # fmt: skip
        return table[table["value"].map(lambda v: not is_missing(v))].drop_duplicates("patient")


def collect(
    dataset: FundusDataset, copies: Copies, seed: int = 0, per_class: int = 500, quiet: bool = True
) -> Description:
    """Describe a dataset.

    Args:
        copies: what the search for copies found.
        seed: draws the images that are looked at and the patients' one image that associations are tested on.
        per_class: how many images of a class are decoded at most.
    """
    classes = find_classes(dataset)
    pictures = look(dataset, classes, per_class, seed=seed, quiet=quiet)
    known = {name for name, _ in pictures.unreadable}
    pictures.unreadable += [item for item in copies.unreadable if item[0] not in known]
    factors = find_factors(dataset, classes, pictures, seed)
    return Description(
        dataset, classes, pictures, class_table(dataset, classes), factors,
        guess_class(dataset, classes, pictures, factors), duplicate_table(dataset, classes, copies),
        strangers(dataset, copies),
        {name: _left_out(dataset, name) for name in ("rejected", "ignored")}, contradictions(dataset), seed, per_class,
    )  # fmt: skip


def class_table(dataset: FundusDataset, classes: Classes) -> pd.DataFrame:
    """See `Description.class_table`."""
    patient, split = dataset.column("patient_id"), dataset.column("split")
    rows = []
    for name in classes.groups:
        here = classes.of_image == name
        row = {"class": name, "images": int(here.sum()), "share": here.mean(), "patients": _count(patient[here])}
        for part in SPLITS:
            if (split == part).any():
                inside = here & (split == part)
                row |= {f"{part} images": int(inside.sum()), f"{part} patients": _count(patient[inside])}
        rows.append(row)
    return pd.DataFrame(rows)


def duplicate_table(dataset: FundusDataset, classes: Classes, copies: Copies) -> pd.DataFrame:
    """See `Description.duplicates`; the largest groups first."""
    columns = ["images", "kind", "labels", "files", "in conflict", "crosses a split"]
    groups, rows = pd.Series(copies.groups), []
    kinds: dict[int, set[str]] = {}
    for a, _, kind in copies.pairs:
        if kind != SAME_EYE:
            kinds.setdefault(int(copies.groups[a]), set()).add(kind)
    for group, members in groups.groupby(groups):
        if len(members) < 2:
            continue
        labels = classes.of_image[members.index]
        known = set(labels) & set(classes.names)
        splits = set(dataset.column("split")[members.index]) & set(SPLITS)
        files = ", ".join(dataset.table["file_name"][members.index[:4]]) + (", ..." if len(members) > 4 else "")
        kind = ", ".join(sorted(kinds[group]))
        rows.append((len(members), kind, ", ".join(sorted(set(labels))), files, len(known) > 1, len(splits) > 1))
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values(["in conflict", "crosses a split", "images"], ascending=False, kind="stable")


def strangers(dataset: FundusDataset, copies: Copies) -> list[tuple[int, int]]:
    """See `Description.strangers`; copies count as well as other photographs of an eye."""
    patient = dataset.column("patient_id")
    return [(a, b) for a, b, _ in copies.pairs if patient[a] and patient[b] and patient[a] != patient[b]]


def contradictions(dataset: FundusDataset) -> dict[str, int]:
    """{what: images} of labels that disagree with haemoglobin or grade, and patients of two sexes."""
    label, grade = dataset.column("label"), dataset.column("grade")
    patient, sex = dataset.column("patient_id"), dataset.column("sex")
    sexes = sex[(sex != "") & (patient != "")].groupby(patient).transform("nunique")
    found = {
        "label normal and a grade of 1 or more": int(((label == "normal") & (grade >= 1)).sum()),
        "their patient is named as female and as male": int((sexes > 1).sum()),
    }
    if (label == "anemic").any():
        wrong = sum(said != below for said, below in _anemia(dataset))
        found["label against the WHO's haemoglobin cut-off (unless it was made by another rule)"] = wrong
    return {what: number for what, number in found.items() if number}


def _anemia(dataset: FundusDataset) -> list[tuple[bool, bool]]:
    """(labelled anaemic, below the cut-off) of each image that is labelled so or normal and whose Hb and sex are known."""
    columns = [dataset.column(c) for c in ("label", "sex", "hemoglobin_g_dl", "age_years")]
    return [
        (label == "anemic", who_anemia(sex, hemoglobin, age))
        for label, sex, hemoglobin, age in zip(*columns, strict=True)
        if label in ("anemic", *_NOT_ANEMIC) and sex and not np.isnan(hemoglobin) and not age < 0.5
    ]


def missing_table(d: Description) -> pd.DataFrame:
    """One row a column that is not full: column, images without it, and the share in each class."""
    rows = []
    for column in d.dataset.table.columns:
        missing = d.dataset.table[column].map(is_missing)
        if missing.any():
            by_class = {name: f"{missing[d.classes.of_image == name].mean():.0%}" for name in d.classes.groups}
            rows.append({"column": column, "missing": int(missing.sum()), "share": f"{missing.mean():.1%}", **by_class})
    return pd.DataFrame(rows)


def _count(patients: pd.Series) -> int:
    return len(set(patients) - {""})


def _left_out(dataset: FundusDataset, name: str) -> pd.DataFrame:
    path = dataset.path / f"{name}.csv"
    if not path.is_file():
        return pd.DataFrame(columns=["camera_file", "reason"])
    return read_csv(path).reindex(columns=["camera_file", "reason"], fill_value="")
