"""Tables as collections publish them: CSV, Excel's .xlsx (openpyxl) and .xls (xlrd), all read as text."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ..runtime.errors import UserError
from .schema import read_csv

_ENGINES = {".xlsx": "openpyxl", ".xls": "xlrd"}


def read_sheet(path: Path, **options: object) -> pd.DataFrame:
    """Read a CSV file or the first sheet of an Excel workbook as text.

    Args:
        path: ends in .csv, .xlsx or .xls.
        options: passed on to pandas, e.g. `sep=";"` for a CSV or `nrows=1`.

    Returns:
        DataFrame of str with a RangeIndex (row i is line i + 2 of the sheet); missing cells are "", whole numbers have no
        point (an Excel cell 3.0 is "3"), column names are stripped.

    Raises:
        UserError: missing file, not readable as what its name says, or no rows.
    """
    engine = _ENGINES.get(path.suffix.lower())
    if engine is None:
        return read_csv(path, **options)
    try:
        table = pd.read_excel(path, dtype=object, engine=engine, keep_default_na=False, **options)
    except FileNotFoundError as error:
        raise UserError("no such file", path=path) from error
    except ImportError as error:
        raise UserError(f"reading {path.suffix} needs {engine}", path=path,
                        hint="pip install 'fundus-synth[sheets]', or save the sheet as CSV.") from error  # fmt: skip
    except Exception as error:  # each library raises its own kinds on damaged workbooks
        raise UserError(f"cannot be read as an Excel sheet ({error})", path=path) from error
    if table.empty:
        raise UserError("has no rows; expected one row an image", path=path)
    table.columns = [str(name).strip() for name in table.columns]
    return table.map(_text).reset_index(drop=True)


def _text(cell: object) -> str:
    if cell is None or (isinstance(cell, float) and cell != cell):
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip()
