"""`idrid`: IDRiD, published in three parts whose numbers have nothing to do with each other.

A, segmentation: lesion and disc masks. B, disease grading: ICDR grade and risk of macular oedema; the numbers begin again
in the testing set. C, localisation: centres of the optic disc and the fovea, in pixels. The same eyes occur in several
parts under other numbers, so nothing is ever joined across parts.

Porwal et al. 2018, "Indian Diabetic Retinopathy Image Dataset (IDRiD): A Database for Diabetic Retinopathy Screening
Research", Data 3(3):25.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image

from ...runtime.errors import UserError
from ..sheets import read_sheet
from .base import Collection, Reader, ReaderOptions, list_images
from .cells import needed_column, retinopathy_label, whole_number
from .tree import find_files, folder_with_pictures, join_by_split, lie_apart, split_of, stem_key

MASK_KINDS = {
    "MA": "microaneurysms",
    "HE": "haemorrhages",
    "EX": "hard_exudates",
    "SE": "cotton_wool_spots",  # IDRiD calls them soft exudates
    "OD": "optic_disc",
}
_PICTURE = r"idrid_\d+"
_MASK = rf"(idrid_\d+)_({'|'.join(MASK_KINDS)})"
# What a part is recognised by.
_EVIDENCE = {
    "segmentation": rf"{_MASK}\.(tif|tiff|png)",
    "grading": r".*idrid.*grading.*(train|test).*\.csv",
    "localisation": r".*idrid_(od|fovea)_cent(er|re)_(train|test).*\.csv",
}
_LETTERS = {"segmentation": "a", "grading": "b", "localisation": "c"}

_SEVERAL = (
    "The parts A, B and C of IDRiD show the same eyes under other numbers. Their own split is kept as idrid_split only: as "
    "one split it could have an eye on both sides. Read one part (--part), or group near-duplicates before splitting."
)
_ABSENT = "A lesion without a mask in part A is absent from the eye; the column absent_lesions lists which."

Found = tuple[list[dict], list[tuple[str, str]]]
"""What reading a part gives: rows, and what it left out."""


def detect(src: Path) -> str:
    """Recognises the parts by their tables' and masks' names."""
    parts = _parts(src)
    if not parts or lie_apart(src, [path for files in parts.values() for path in files], _PICTURE):
        return ""
    return f"IDRiD {', '.join(f'{_LETTERS[part].upper()} {part}' for part in parts)}"


def _parts(src: Path) -> dict[str, list[Path]]:
    """{part: its tables or masks} of the parts that are there."""
    files = find_files(src, ".*idrid.*")
    found = {part: [path for path in files if re.fullmatch(pattern, path.name, re.IGNORECASE)]
             for part, pattern in _EVIDENCE.items()}  # fmt: skip
    return {part: files for part, files in found.items() if files}


def read(src: Path, options: ReaderOptions) -> Collection:
    """One row for each picture of each part; `source` is idrid-a, idrid-b or idrid-c. IDRiD names no patients.

    Columns, by part. A: masks and `absent_lesions` ("|"-separated). B: `grade` (ICDR), `label`, `macular_edema_risk`
    (0..2). C: `disc_x`, `disc_y`, `fovea_x`, `fovea_y`. IDRiD's training and testing sets are `split` when one part is
    read, else only `idrid_split`. Dropped, with the reason: pictures without annotation, rows without a picture.

    Args:
        options: `part` is the part to read; default all that are there.

    Raises:
        UserError: an unknown part, one that is not there, missing columns, a value out of range, or two parts in one
            folder.
    """
    parts = _chosen(_parts(src), options.part, src)
    _check_apart(parts, src)
    rows, ignored = [], []
    for part, files in parts.items():
        found, left_out = _READ[part](files, src)
        rows += [{"source": f"idrid-{_LETTERS[part]}", **row} for row in found]
        ignored += left_out
    if len(parts) == 1:
        for row in rows:
            row["split"] = row["idrid_split"]
    notes = [_SEVERAL] * (len(parts) > 1) + [_ABSENT] * ("segmentation" in parts)
    info = {"source": "IDRiD (Porwal et al. 2018)", "licence": "CC BY 4.0", "notes": notes}
    return Collection("idrid", src, rows, ignored, info)


def _chosen(parts: dict[str, list[Path]], wanted: str | None, src: Path) -> dict[str, list[Path]]:
    if wanted is not None:
        wanted = wanted.lower().replace("localization", "localisation")
        if wanted not in _EVIDENCE:
            raise UserError(f"IDRiD has no part {wanted!r}; expected {', '.join(_EVIDENCE)}")
        parts = {part: files for part, files in parts.items() if part == wanted}
    if not parts:
        raise UserError(f"no {wanted or 'part'} of IDRiD; expected its masks or tables of labels", path=src)
    return parts


def _check_apart(parts: dict[str, list[Path]], src: Path) -> None:
    """Two parts over the same pictures cannot be told apart by their numbers."""
    homes: dict[Path, str] = {}
    for part, files in parts.items():
        home = folder_with_pictures(files[0].parent, src, _PICTURE)
        if home is None:
            continue
        if home in homes:
            raise UserError(
                f"{homes[home]} and {part} of IDRiD share these pictures, and their numbers mean different eyes",
                path=home,
                hint="Keep the parts in the folders they came in, or name one with --part.",
            )
        homes[home] = part


def _pictures(evidence: Path, src: Path) -> list[Path]:
    home = folder_with_pictures(evidence.parent, src, _PICTURE)
    return [p for p in list_images(home) if re.fullmatch(_PICTURE, p.stem, re.IGNORECASE)] if home else []


def _place(picture: Path, src: Path) -> dict:
    return {"path": picture, "camera_file": picture.relative_to(src).as_posix()}


def _read_segmentation(files: list[Path], src: Path) -> Found:
    masks: dict[str, dict[str, Path]] = {}
    annotated: dict[str, set[str]] = {}
    for path in files:
        stem, code = re.fullmatch(_MASK, path.stem, re.IGNORECASE).groups()
        kind = MASK_KINDS[code.upper()]
        masks.setdefault(stem.casefold(), {})[kind] = path
        annotated.setdefault(split_of(path, src), set()).add(kind)
    rows, ignored = [], []
    for picture in _pictures(files[0], src):
        split = split_of(picture, src)
        # A lesion is absent only where masks of its kind were downloaded at all.
        kinds = annotated.get(split, set())
        found = masks.pop(picture.stem.casefold(), {})
        if not kinds:
            ignored.append((picture.relative_to(src).as_posix(), "its set has no masks"))
            continue
        absent = "|".join(kind for kind in MASK_KINDS.values() if kind in kinds - set(found) - {"optic_disc"})
        rows.append({**_place(picture, src), "idrid_split": split, "masks": found, "absent_lesions": absent})
    return rows, ignored + [(stem, "masks without a picture") for stem in sorted(masks)]


def _read_grading(files: list[Path], src: Path) -> Found:
    matched, ignored = join_by_split(_by_split(files, _grades), _pictures(files[0], src), src)
    return [{**_place(p, src), "idrid_split": split, **columns} for split, p, columns in matched], ignored


def _read_localisation(files: list[Path], src: Path) -> Found:
    matched, ignored = join_by_split(_by_split(files, _centres), _pictures(files[0], src), src)
    return [{**_place(p, src), "idrid_split": split, **_fractions(p, found)} for split, p, found in matched], ignored


_READ = {"segmentation": _read_segmentation, "grading": _read_grading, "localisation": _read_localisation}


def _by_split(files: list[Path], parse: Callable[[Path], dict[str, dict]]) -> dict[str, dict[str, dict]]:
    """{split: {stem key: values}}; several tables of one set add to each other."""
    known: dict[str, dict[str, dict]] = {}
    for path in files:
        of_set = known.setdefault("train" if "train" in path.name.lower() else "test", {})
        for key, values in parse(path).items():
            of_set.setdefault(key, {}).update(values)
    return known


def _named_rows(path: Path, **patterns: str) -> Iterator[tuple[int, str, dict[str, str]]]:
    """(row number, stem key, {name: cell}) of the rows that name a picture: about 100 at the end are blank."""
    table = read_sheet(path, skip_blank_lines=False).fillna("")
    image = needed_column(table, "image", "Image name", path)
    columns = {name: needed_column(table, pattern, name, path) for name, pattern in patterns.items()}
    seen = set()
    for number, cells in enumerate(table.to_dict("records"), start=2):
        key = stem_key(cells[image])
        if key in seen:
            raise UserError(f"{cells[image]} is there twice; expected one row an image", path=path, row=number)
        if key:
            seen.add(key)
            yield number, key, {name: cells[column] for name, column in columns.items()}


def _grades(path: Path) -> dict[str, dict]:
    found = {}
    for number, key, cells in _named_rows(path, grade="retinopathy", risk="o?edema"):
        grade = whole_number(cells["grade"], "Retinopathy grade", 0, 4, path, number)
        risk = whole_number(cells["risk"], "Risk of macular edema", 0, 2, path, number)
        found[key] = {
            "grade": "" if grade is None else grade,
            "label": retinopathy_label(grade, risk),
            "macular_edema_risk": "" if risk is None else risk,
        }
    return found


def _centres(path: Path) -> dict[str, dict]:
    """{stem key: {"disc" or "fovea": (x, y, where it was read)}}, pixels of the picture."""
    landmark = "fovea" if "fovea" in path.name.lower() else "disc"
    rows = _named_rows(path, x=r"^x\b", y=r"^y\b")
    return {key: {landmark: (cells["x"], cells["y"], path, number)} for number, key, cells in rows}


def _fractions(picture: Path, centres: dict) -> dict[str, float]:
    """disc_x.. and fovea_x.. as fractions of the picture's width (y too); only the file's header is read."""
    try:
        with Image.open(picture) as opened:
            width, height = opened.size
    except OSError:
        return {}  # the file itself is rejected, with its reason, when it is standardised
    row = {}
    for landmark, (x, y, path, number) in centres.items():
        for axis, text, side in (("x", x, width), ("y", y, height)):
            if text.strip():
                row[f"{landmark}_{axis}"] = _pixel(text, side, f"{landmark} {axis}", path, number) / width
    return row


def _pixel(text: str, side: int, name: str, path: Path, number: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= side:
        raise UserError(f"{name} is {text!r}; expected pixels from 0 to {side}", path=path, row=number)
    return value


READER = Reader("idrid", detect, read)
