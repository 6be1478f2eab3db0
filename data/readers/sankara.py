"""`sankara`: photographs named after the patient's haemoglobin, as in a study of anaemia at an eye hospital.

The study calls its files `[Id]_[patient-image-no]_[sex]_[Hb].jpg`, for example `142_00_002_15.2.jpg`: patient 142,
picture 00, sex 002 (001 = male, 002 = female), haemoglobin 15.2 g/dL. It also says that the Id itself contains an
underscore. The default pattern fits both: the last three parts are picture, sex and haemoglobin, and all before them is
the Id, underscores included. Should the Id reach further than this reading, patients are joined, never torn apart.

A table, keyed by image or by patient, adds what the names do not tell (age, blood pressure) or stands in for them.
"""

from __future__ import annotations

import re
from pathlib import Path

from ...runtime.errors import UserError
from ..labels import anemia_label
from ..schema import COLUMNS
from .base import Collection, Reader, ReaderOptions, list_images
from .patient_table import PatientTable, parse_hemoglobin, parse_sex, read_patient_table

DEFAULT_PATTERN = r"(?P<id>.+)_(?P<image>\d+)_(?P<sex>[^_]*)_(?P<hb>[^_]*)"
_GROUPS = {"id", "image", "sex", "hb", "eye", "age"}
# As the study writes them: enough to tell its names from others with three underscores.
_STUDY_NAME = re.compile(r".+_\d+_00[12]_\d{1,2}(\.\d+)?")
_EXTERNAL = {"external", "ext", "anterior", "outer", "slitlamp"}
_EYES = {"l": "left", "left": "left", "os": "left", "r": "right", "right": "right", "od": "right"}
_ENOUGH = 200


def detect(src: Path) -> str:
    """Recognises the study's file names when at least half of the pictures of the retina bear them."""
    names = [p.stem for p in list_images(src) if not _is_external(p, src)][:_ENOUGH]
    fitting = [name for name in names if _STUDY_NAME.fullmatch(name)]
    return f"names such as {fitting[0]}" if fitting and 2 * len(fitting) >= len(names) else ""


def _is_external(path: Path, src: Path) -> bool:
    """Whether a folder's name or a word of the file's name says that the picture shows the eye from outside."""
    return bool(_EXTERNAL & set(re.split(r"[^a-z]+", path.relative_to(src).as_posix().lower())))


def read(src: Path, options: ReaderOptions) -> Collection:
    """One row for each photograph of a retina: `patient_id`, `sex`, `hemoglobin_g_dl`, `label` (anemic or normal).

    Dropped, with the reason: external-eye photographs, pictures that neither their name nor the table describes, rows
    of the table without sex or haemoglobin.

    Args:
        options: `pattern` has the named groups id, sex and hb, and perhaps image, eye and age; it is held against the
            whole name without or with its suffix. `table` adds to it or takes its place, with `image_column` or
            `patient_column` as its key and `columns` chosen from it ("Hb" or "hemoglobin_g_dl=LAB_17"). `anemia` is the
            rule that makes the label.

    Raises:
        UserError: a name that does not fit, sex or haemoglobin that cannot be read, haemoglobin in g/L, a table that
            contradicts a name, or a patient who is male and female.
    """
    pattern = _compiled(options.pattern)
    table = read_patient_table(src, options)
    rows, ignored = [], []
    for path in list_images(src):
        row, reason = _row(path, src, pattern, table, options)
        if reason:
            ignored.append((path.relative_to(src).as_posix(), reason))
        else:
            rows.append(row)
    _check_sexes(rows)
    ignored += table.unused() if table else []
    notes = [f"Anaemia by the rule {options.anemia!r}; its values are in hemoglobin_g_dl, g/dL."]
    return Collection("sankara", src, rows, ignored, {"source": "photographs named by haemoglobin", "notes": notes})


def _compiled(pattern: str | None) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern or DEFAULT_PATTERN)
    except re.error as error:
        raise UserError(f"--pattern is not a regular expression ({error})") from error
    groups = set(compiled.groupindex)
    if "id" not in groups or not groups <= _GROUPS:
        raise UserError(f"--pattern has the named groups {', '.join(compiled.groupindex) or '(none)'}; expected id, and "
                        "of image, sex, hb, eye, age those that names tell",
                        hint=f"The default is {DEFAULT_PATTERN}")  # fmt: skip
    return compiled


def _row(
    path: Path, src: Path, pattern: re.Pattern[str], table: PatientTable | None, options: ReaderOptions
) -> tuple[dict, str]:
    """(row, why it is left out)."""
    if _is_external(path, src):
        return {}, "external-eye photograph"
    # Where there is a table, names need not tell anything, and three underscores alone are no sign that they do.
    told = {} if table and not options.pattern and not _STUDY_NAME.fullmatch(path.stem) else _told(path, pattern)
    described = table.find(path, told.get("id", "")) if table else None
    if not told and described is None:
        return {}, f"no row in {table.path.name}"
    row = _joined(told, described or {}, path)
    missing = [column for column in ("sex", "hemoglobin_g_dl") if not row.get(column)]
    if missing:
        return {}, f"no {' and no '.join(missing)} known"
    patient = row.pop("id", "")
    row["label"] = _label(row, options.anemia, path)
    here = {"path": path, "camera_file": path.relative_to(src).as_posix(), "source": "sankara"}
    return here | ({"patient_id": f"sankara-{patient}"} if patient else {}) | row, ""


def _told(path: Path, pattern: re.Pattern[str]) -> dict:
    """What the name says."""
    match = pattern.fullmatch(path.stem) or pattern.fullmatch(path.name)
    if match is None:
        raise UserError("the name does not fit the pattern; expected <id>_<image>_<sex>_<Hb>, as 142_00_002_15.2",
                        path=path, hint="Say with --pattern how files are named, or give a table.")  # fmt: skip
    parts = {name: text for name, text in match.groupdict().items() if text is not None}
    told: dict = {"id": parts["id"]}
    if "sex" in parts:
        told["sex"] = parse_sex(parts["sex"] or "(nothing)", path)
    if "hb" in parts:
        told["hemoglobin_g_dl"] = parse_hemoglobin(parts["hb"], path)
    if "age" in parts:
        told["age_years"] = _age(parts["age"], path)
    if "eye" in parts:
        told["eye"] = _EYES.get(parts["eye"].lower())
        if told["eye"] is None:
            raise UserError(f"eye is {parts['eye']!r}; expected left, right, l, r, os or od", path=path)
    return told


def _joined(told: dict, described: dict, path: Path) -> dict:
    """Name and table together; a value in both must be the same."""
    described = {column: value for column, value in described.items() if value != ""}
    for column in ("sex", "hemoglobin_g_dl"):
        if column in told and column in described and told[column] != described[column]:
            raise UserError(f"{column} is {told[column]} in the name and {described[column]} in the table", path=path,
                            hint="Mend the one that is wrong, or say with --pattern how files are named.")  # fmt: skip
    # A table that names its patients knows them better than a cut of the name.
    return {**told, **described}


def _age(text: str, path: Path) -> float:
    if not re.fullmatch(r"\d{1,3}(\.\d+)?", text) or float(text) > COLUMNS["age_years"].high:
        raise UserError(f"age is {text!r}; expected years", path=path)
    return float(text)


def _label(row: dict, rule: str, path: Path) -> str:
    """The class; a cut-off may follow the rule, as in "approximate=12"."""
    name, _, cutoff = rule.partition("=")
    age = float(row["age_years"]) if row.get("age_years") else None
    try:
        approximate = parse_hemoglobin(cutoff, path) if cutoff else None
        return anemia_label(name, row["sex"], row["hemoglobin_g_dl"], age, approximate_g_dl=approximate)
    except UserError as error:
        raise UserError(error.message, path=path, hint=error.hint) from error


def _check_sexes(rows: list[dict]) -> None:
    """One person has one sex; two are a sign that ids were cut at the wrong place."""
    first: dict[str, dict] = {}
    for row in rows:
        known = first.setdefault(row.get("patient_id") or row["camera_file"], row)
        if known["sex"] != row["sex"]:
            raise UserError(f"patient {row['patient_id']} is {row['sex']} here and {known['sex']} in "
                            f"{known['camera_file']}", path=row["path"],
                            hint="Say with --pattern where the id ends.")  # fmt: skip


READER = Reader("sankara", detect, read)
