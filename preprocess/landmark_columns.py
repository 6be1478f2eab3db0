"""Landmarks for a whole dataset folder: columns for its table, and the images to keep for what they show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from ..data.dataset import FundusDataset
from ..data.schema import is_missing
from ..runtime.errors import UserError
from ..runtime.files import refuse_existing
from ..runtime.progress import Progress
from .landmarks import VISIBLE, Landmarks, find_landmarks_batch
from .orientation import find_orientation

CENTRED = ("macula", "disc", "neither")
_BATCH = 16
_NEAREST = 0.05  # of the width; nearer landmarks would blow up whatever error they have
_DISC, _FOVEA = ("disc_x", "disc_y", "disc_r"), ("fovea_x", "fovea_y")


def with_landmarks(dataset: FundusDataset, quiet: bool = False) -> FundusDataset:
    """The same images with the columns of `Landmarks.columns`, `orientation` and `orientation_confidence`.

    What the data say already of disc, fovea and eye is never overwritten, and is certain (confidence 1). The rest is found in
    the images, which must be standardised. `save_table` or `write` keeps the result.

    Raises:
        UserError: an image cannot be read or is not square.
    """
    rows = []
    with Progress(len(dataset), "finding landmarks", quiet=quiet) as progress:
        for start in range(0, len(dataset), _BATCH):
            indices = range(start, min(start + _BATCH, len(dataset)))
            found = find_landmarks_batch([_square(dataset, index) for index in indices])
            rows += [_row(dataset, index, one) for index, one in zip(indices, found, strict=True)]
            progress.advance(len(found))
    table = dataset.table.assign(**pd.DataFrame(rows).to_dict("list"))
    return FundusDataset(dataset.path, dataset.info, table)


def unusable(row: dict) -> str:
    """Why the landmarks of a row of a dataset `with_landmarks` do not place its image in the retina; "" when they do."""
    for name, landmark in (("disc", "the optic disc"), ("fovea", "the fovea")):
        place = row[f"{name}_x"], row[f"{name}_y"]
        if row[f"{name}_confidence"] < VISIBLE or any(is_missing(value) for value in place):
            return f"{landmark} was not found"
        if not all(0 <= value <= 1 for value in place):
            return f"{landmark} lies outside the picture"
    if _apart(row) < _NEAREST:
        return f"optic disc and fovea are less than {_NEAREST} of the width apart"
    return ""


def landmarks_of(row: dict) -> Landmarks:
    """The landmarks of such a row.

    An unknown radius is taken to be a fifth of the way between disc and fovea (see `landmarks`).
    """
    radius = _apart(row) / 5 if is_missing(row["disc_r"]) else row["disc_r"]
    return Landmarks(row["disc_x"], row["disc_y"], radius, row["fovea_x"], row["fovea_y"], row["disc_confidence"],
                     row["fovea_confidence"], row["eye"], 1.0, row["centred"])  # fmt: skip


def _apart(row: dict) -> float:
    return float(np.hypot(row["disc_x"] - row["fovea_x"], row["disc_y"] - row["fovea_y"]))


def landmark_counts(dataset: FundusDataset) -> dict[str, int]:
    """How many images show a disc and a fovea, and how many are turned or mirrored, of a dataset `with_landmarks`."""
    table = dataset.table
    turned = ~table["orientation"].isin(("ok", "unknown", ""))
    return {
        "disc visible": int((table["disc_confidence"] >= VISIBLE).sum()),
        "fovea visible": int((table["fovea_confidence"] >= VISIBLE).sum()),
        "centred on the macula": int((table["centred"] == "macula").sum()),
        "turned or mirrored": int(turned.sum()),
        "orientation unknown": int((table["orientation"] == "unknown").sum()),
    }


def keep(
    dataset: FundusDataset, out: Path | str, *, disc: str = "visible", centred: str | None = None, quiet: bool = False
) -> FundusDataset:
    """Write the images that show what is wanted into a new dataset folder: study A's filter of photographs.

    Args:
        disc: "visible", or "any" to look at `centred` only.
        centred: "macula", "disc" or "neither"; None takes all.

    Raises:
        UserError: an unknown word, `out` exists, or no image is left.
    """
    refuse_existing(Path(out))
    if disc not in ("visible", "any"):
        raise UserError(f"--disc {disc} is not known; expected visible or any")
    if centred not in (None, *CENTRED):
        raise UserError(f"--centred {centred} is not known; expected {', '.join(CENTRED)}")
    found = with_landmarks(dataset, quiet)
    chosen = found.table["disc_confidence"] >= (VISIBLE if disc == "visible" else 0)
    if centred:
        chosen &= found.table["centred"] == centred
    if not chosen.any():
        raise UserError(
            f"none of {len(found)} images shows what is asked for; there is nothing to keep", path=found.path
        )
    return found.subset(chosen).write(out)


def _square(dataset: FundusDataset, index: int) -> np.ndarray:
    image = dataset.read(index)
    height, width = image.shape[:2]
    if height != width:
        raise UserError(f"is {width} x {height} pixels; expected a standardised, square image",
                        path=dataset.image_path(index), hint="Make one with: fundus-preprocess run SRC OUT.")  # fmt: skip
    return image


def _row(dataset: FundusDataset, index: int, found: Landmarks) -> dict[str, object]:
    """The new columns of one image, with what the data knew before in place of what was found."""
    row = found.columns()
    eye = dataset.column("eye")[index]
    if not is_missing(eye):
        row["eye"] = eye
    for columns, confidence in ((_DISC, "disc_confidence"), (_FOVEA, "fovea_confidence")):
        known = {name: dataset.column(name)[index] for name in columns}
        # A confidence below 1 says that an earlier search found them: they are found again.
        earlier = dataset.column(confidence)[index]
        if any(is_missing(known[name]) for name in columns[:2]) or (not is_missing(earlier) and earlier < 1):
            continue
        row.update({name: value for name, value in known.items() if not is_missing(value)}, **{confidence: 1.0})
    merged = {name: row[name] for name in (*_DISC, *_FOVEA, "disc_confidence", "fovea_confidence")}
    certain = replace(found, **{name: value for name, value in merged.items() if not is_missing(value)})
    turned = find_orientation(certain, str(eye or ""))
    for name in (*_DISC, *_FOVEA):
        row[name] = float("nan") if is_missing(row[name]) else row[name]
    return {**row, "orientation": turned.state, "orientation_confidence": round(turned.confidence, 4)}
