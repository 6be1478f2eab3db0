"""`imagefolder`: a folder as Hugging Face's `datasets` loads it, a table of metadata in the folder of each split.

Quirks: two tables are CSV and one is JSON lines; file names are relative to their table; a column names each picture's mask,
which is no picture of its own; the same file names occur in every split; a field holds a list, another is null.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from .base import FakeEyes, save_photograph

_SPLITS = ("train", "test", "validation")


def write(folder: Path, eyes: FakeEyes) -> None:
    """Write `<split>/metadata.csv` (`test/metadata.jsonl`), `<split>/<number>.png` and `<split>/masks/`."""
    rows: dict[str, list[dict]] = {split: [] for split in _SPLITS}
    for index, (row, image, masks) in enumerate(eyes.photographs(("normal", "diabetes"))):
        split = _SPLITS[index // 2 % len(_SPLITS)]
        name = f"{len(rows[split]):04d}.png"
        save_photograph(folder / split / name, image)
        mask = masks.get("vessels", np.zeros(image.shape[:2], np.uint8))
        save_photograph(folder / split / "masks" / name, mask)
        rows[split].append({
            "file_name": name, "mask_file_name": f"masks/{name}", "label": row["label"], "grade": row["grade"],
            "patient_id": f"clinic-{index // 2}", "eye": row["eye"], "note": None, "tags": ["phantom", split],
        })  # fmt: skip
    for split in filter(rows.get, ("train", "validation")):
        pd.DataFrame(rows[split]).to_csv(folder / split / "metadata.csv", index=False)
    if rows["test"]:
        lines = "".join(json.dumps(row) + "\n" for row in rows["test"])
        (folder / "test" / "metadata.jsonl").write_text(lines, "utf-8")
