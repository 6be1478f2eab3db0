"""`rfmid`: RFMiD, 3200 pictures with 45 conditions each, in a training, an evaluation and a test set.

Pachade et al. 2021, "Retinal Fundus Multi-Disease Image Dataset (RFMiD): A Dataset for Multi-Disease Detection
Research", Data 6(2):14. RFMiD 2.0 has other codes and is not read.
"""

from __future__ import annotations

import re
from pathlib import Path

from ...runtime.errors import UserError
from ..schema import ODIR_CODES, ODIR_LABELS
from ..sheets import read_sheet
from .base import Collection, Reader, ReaderOptions, list_images
from .cells import whole_number
from .tree import find_files, first_lines, join_by_split, lie_apart, stem_key

_TABLES = r".*rfmid_(training|validation|testing)_labels?\.csv"
_SPLITS = {"training": "train", "validation": "val", "testing": "test"}

CODES = {
    "DR": "diabetic retinopathy",
    "ARMD": "age-related macular degeneration",
    "MH": "media haze",  # the macular hole is MHL
    "DN": "drusen",
    "MYA": "myopia",
    "BRVO": "branch retinal vein occlusion",
    "TSLN": "tessellation",
    "ERM": "epiretinal membrane",
    "LS": "laser scars",
    "MS": "macular scar",
    "CSR": "central serous retinopathy",
    "ODC": "optic disc cupping",
    "CRVO": "central retinal vein occlusion",
    "TV": "tortuous vessels",
    "AH": "asteroid hyalosis",
    "ODP": "optic disc pallor",
    "ODE": "optic disc edema",
    "ST": "optociliary shunt",
    "AION": "anterior ischemic optic neuropathy",
    "PT": "parafoveal telangiectasia",
    "RT": "retinal traction",
    "RS": "retinitis",
    "CRS": "chorioretinitis",
    "EDN": "exudation",
    "RPEC": "retinal pigment epithelium changes",
    "MHL": "macular hole",
    "RP": "retinitis pigmentosa",
    "CWS": "cotton-wool spots",
    "CB": "coloboma",
    "ODPM": "optic disc pit maculopathy",
    "PRH": "preretinal hemorrhage",
    "MNF": "myelinated nerve fibers",
    "HR": "hemorrhagic retinopathy",
    "CRAO": "central retinal artery occlusion",
    "TD": "tilted disc",
    "CME": "cystoid macular edema",
    "PTCR": "post-traumatic choroidal rupture",
    "CF": "choroidal folds",
    "VH": "vitreous hemorrhage",
    "MCA": "macroaneurysm",
    "VS": "vasculitis",
    "BRAO": "branch retinal artery occlusion",
    "PLQ": "plaque",
    "HPED": "hemorrhagic pigment epithelial detachment",
    "CL": "collateral",
}
"""The 45 conditions by their code, in the table's order."""

TO_ODIR = {"DR": "D", "ARMD": "A", "MYA": "M"}
"""The codes that mean what an ODIR code means. The others are not O: disc cupping may be glaucoma, media haze cataract."""

_MULTI_LABEL = (
    "N, D, A and M follow from RFMiD's codes (Disease_Risk 0, DR, ARMD, MYA). RFMiD has no code for glaucoma, cataract "
    "or hypertension, so G, C, H and O are empty unless the eye is normal. MH is media haze, the macular hole is MHL."
)


def detect(src: Path) -> str:
    """Recognises RFMiD's tables of labels by name and header."""
    tables = [path for path in find_files(src, _TABLES) if "Disease_Risk" in first_lines(path, 1)[0]]
    return "" if not tables or lie_apart(src, tables) else ", ".join(path.name for path in tables)


def read(src: Path, options: ReaderOptions) -> Collection:
    """One row for each picture with its row in the table of its own set; the numbers begin again in each set.

    Columns: `split`, `label` (the only condition's name, "normal" without any, "" with several), N, D, A, M (and G, C,
    H, O of normal eyes) and the codes as `rfmid_DR`.. RFMiD names no patients. Dropped, with the reason:
    pictures without a row, rows without a picture.

    Args:
        options: `table` is the one table to read, for pictures in one set.

    Raises:
        UserError: no table, missing columns, a code that is not 0 or 1, a Disease_Risk that its codes contradict, a
            number that is there twice, or two tables of one set that differ.
    """
    tables = [options.table] if options.table else find_files(src, _TABLES)
    if not tables:
        raise UserError("no RFMiD table; expected RFMiD_Training_Labels.csv and the like", path=src)
    known: dict[str, dict[str, dict]] = {}
    for table in tables:
        labels = _labels(table)
        if known.setdefault(_split_of_table(table), labels) != labels:
            raise UserError("says something else than another table of the same set; expected one", path=table)
    matched, ignored = join_by_split(known, list_images(src), src)
    rows = [{"path": path, "camera_file": path.relative_to(src).as_posix(), "split": split, **columns}
            for split, path, columns in matched]  # fmt: skip
    return Collection("rfmid", src, rows, ignored, dict(_INFO))


_INFO = {"source": "RFMiD (Pachade et al. 2021)", "licence": "CC BY 4.0", "notes": [_MULTI_LABEL]}


def _split_of_table(path: Path) -> str:
    match = re.fullmatch(_TABLES, path.name, re.IGNORECASE)
    return _SPLITS[match[1].lower()] if match else ""


def _labels(path: Path) -> dict[str, dict]:
    """{ID: columns} of one table."""
    table = read_sheet(path)
    missing = [name for name in ("ID", "Disease_Risk", *CODES) if name not in table.columns]
    if missing:
        raise UserError(f"is not RFMiD's table: no column {', '.join(missing)}", path=path)
    found: dict[str, dict] = {}
    for number, cells in enumerate(table.to_dict("records"), start=2):
        name = cells["ID"].strip()
        row = _row(cells, path, number)
        if found.setdefault(stem_key(name), row) is not row:
            raise UserError(f"ID {name} is there twice; expected one row an image", path=path, row=number)
    return found


def _row(cells: dict, path: Path, number: int) -> dict:
    values = {code: whole_number(cells[code], code, 0, 1, path, number) for code in ("Disease_Risk", *CODES)}
    risk = values.pop("Disease_Risk")
    present = [code for code, value in values.items() if value]
    if risk is None or (risk == 0 and present):
        raise UserError(
            f"Disease_Risk is {cells['Disease_Risk']!r} with the codes {', '.join(present) or 'none'}; expected 1 with "
            "any code and 0 or 1 without", path=path, row=number,
        )  # fmt: skip
    return {
        "label": _label(risk, present),
        **_odir_columns(risk, present),
        "source": "rfmid",
        **{f"rfmid_{code}": "" if value is None else value for code, value in values.items()},
    }


def _label(risk: int, present: list[str]) -> str:
    if risk == 0:
        return ODIR_LABELS["N"]
    if len(present) != 1:
        return ""
    code = present[0]
    return ODIR_LABELS[TO_ODIR[code]] if code in TO_ODIR else CODES[code]


def _odir_columns(risk: int, present: list[str]) -> dict[str, int]:
    """N..O of a normal eye, of any other N and those that `TO_ODIR` tells."""
    if risk == 0:
        return {code: int(code == "N") for code in ODIR_CODES}
    return {"N": 0, **{odir: int(code in present) for code, odir in TO_ODIR.items()}}


READER = Reader("rfmid", detect, read)
