"""python benchmarks/odir_labels.py FOLDER

What ODIR's table says of patients, what its keywords say of their eyes, and what Kaggle's table says: class counts of all
eyes through the reader, and how often the three differ. FOLDER has full_df.csv (or ODIR's workbook); the pictures need not
be there, for eyes without one get a blank.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path

import pandas as pd

from fundus_synth.data.labels import odir_codes, split_keywords
from fundus_synth.data.readers import Collection, ReaderOptions, read_collection
from fundus_synth.data.readers.tree import find_files
from fundus_synth.data.schema import ODIR_CODES, ODIR_LABELS
from fundus_synth.data.sheets import read_sheet


def _read_with_blanks(path: Path, patients: pd.DataFrame) -> Collection:
    """The table through the reader, with an empty file in the place of every picture."""
    with tempfile.TemporaryDirectory() as folder:
        for number in patients["ID"]:
            for eye in ("left", "right"):
                Path(folder, f"{number}_{eye}.jpg").touch()
        return read_collection(folder, "odir", ReaderOptions(table=path.resolve()))


def _codes_of_eyes(patient: dict) -> list[set[str]]:
    return [odir_codes(split_keywords(patient[f"{side}-Diagnostic Keywords"])) for side in ("Left", "Right")]


def _of_patient(patient: dict) -> set[str]:
    return {code for code in ODIR_CODES if patient[code] == "1"}


def _print_reader(found: Collection, patients: pd.DataFrame) -> None:
    print(f"{len(patients)} patients, {len(found.rows)} eyes read, {len(found.ignored)} left out:")
    for reason, number in Counter(reason for _, reason in found.ignored).most_common():
        print(f"  {number:5d}  {reason}")
    flags = Counter(flag for row in found.rows for flag in row["picture_flags"].split("|") if flag)
    print("flagged: " + ", ".join(f"{flag} {number}" for flag, number in flags.most_common()))
    single = Counter(row["label"] for row in found.rows if row["label"])
    grades = Counter(row["grade"] for row in found.rows)
    print(f"one class: {sum(single.values())}, several: {sum('N' in r and not r['label'] for r in found.rows)}, "
          f"none: {sum('N' not in r for r in found.rows)}")  # fmt: skip
    print(f"{'code':6}{'class':14}{'single label':>13}{'all eyes':>10}")
    for code in ODIR_CODES:
        name = ODIR_LABELS[code]
        print(f"{code:6}{name:14}{single[name]:13d}{sum(row.get(code, 0) for row in found.rows):10d}")
    print("grades: " + ", ".join(f"{grade}: {grades[grade]}" for grade in range(5)) + f", none: {grades['']}")


def _print_patients(found: Collection, patients: pd.DataFrame) -> None:
    by_id = {f"odir-{row['ID']}": row for row in patients.to_dict("records")}
    merged = 0
    for patient in by_id.values():
        both = set().union(*_codes_of_eyes(patient))
        merged += (both - {"N"} if len(both) > 1 else both) != _of_patient(patient)
    print(f"\npatients whose N..O are not what their two eyes' keywords give together: {merged} of {len(by_id)}")
    eyes = [(row, _of_patient(by_id[row["patient_id"]])) for row in found.rows if "N" in row]
    wrong = sum({code for code in ODIR_CODES if row[code]} != codes for row, codes in eyes)
    print(f"eyes whose own codes are not the patient's: {wrong} of {len(eyes)} ({wrong / len(eyes):.1%})")
    print(f"{'code':6}{'patient has, eye has not':>26}{'eye has, patient has not':>26}")
    for code in ODIR_CODES:
        lacking = sum(code in codes and not row[code] for row, codes in eyes)
        surplus = sum(code not in codes and row[code] for row, codes in eyes)
        print(f"{code:6}{lacking:26d}{surplus:26d}")


def _print_kaggle(table: pd.DataFrame) -> None:
    """Kaggle's column `labels` gives every eye one code."""
    pairs = Counter()
    for row in table.to_dict("records"):
        codes = _codes_of_eyes(row)["right" in row["filename"]]
        pairs["".join(code for code in ODIR_CODES if code in codes), row["labels"].strip("[]'")] += 1
    same = sum(number for (own, theirs), number in pairs.items() if own == theirs)
    several = sum(number for (own, theirs), number in pairs.items() if len(own) > 1 and theirs in own)
    print(f"\nKaggle's one label an eye: {same} of {len(table)} the same, {several} one of several of ours, others:")
    for (own, theirs), number in pairs.most_common():
        if theirs not in own:
            print(f"  {number:5d}  ours {own or '(none)'}, Kaggle's {theirs}")


def main() -> None:
    src = Path(sys.argv[1])
    path = next(iter(find_files(src, r"full_df\.csv") or find_files(src, r"odir-5k_training.*\.xlsx|data\.xlsx")))
    table = read_sheet(path)
    patients = table.drop_duplicates("ID")
    found = _read_with_blanks(path, patients)
    _print_reader(found, patients)
    _print_patients(found, patients)
    if "labels" in table.columns:
        _print_kaggle(table)


if __name__ == "__main__":
    main()
