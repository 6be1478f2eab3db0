"""`fundus-classify predict MODEL.onnx`: camera files -> what to do with each, without torch.

Needs onnxruntime, numpy, OpenCV and Pillow; pandas, rich and the rest are not imported, for a single photograph is answered in the
time that they take to load.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ...data.image_file import image_files, write_image
from ...runtime.errors import UserError
from ...runtime.files import make_folder, refuse_existing
from ...runtime.progress import Progress
from .answer import RETAKE, Answer, give_answer
from .model_file import ModelFile, Seen, open_model
from .overlay import class_map, overlay
from .photograph import Prepared, Recipe, prepare

Row = dict[str, object]
PREFIX = "p_"
"""Of the columns of probabilities."""
_WORTH_WORKERS = 16  # files; starting processes takes as long as a few photographs
_SECONDS, _MEMORY = 120.0, 4 << 30  # that one file may cost a worker


def predict_files(
    model: Path | str, files: Sequence[Path | str], *, overlays: Path | str | None = None, workers: int | None = None,
    quiet: bool = False,
) -> list[Row]:  # fmt: skip
    """Say what to do with camera files.

    Args:
        model: a file of `export`.
        files: image files, or folders, of which every image file is taken.
        overlays: write a picture of each file here, with what speaks for the predicted class in colours (see `overlay`).
        workers: processes that read files; None = one a core for 16 files and more, 0 = this process.

    Returns:
        One row a file: file, action, predicted, set, p_<class>... (haemoglobin: hemoglobin_g_dl), quality, unfamiliarity, reason,
        problem; see `answer.Answer`. A file that cannot be read has no action and the reason as its problem; where there is
        nothing to tell, texts are empty and numbers nan.

    Raises:
        UserError: a model file that is not used (see `open_model`), a folder without image files, an overlay folder with
            something in it, or every file had a problem (the first is told).
    """
    opened = open_model(model)
    paths = [path for file in files for path in image_files(Path(file))]
    if overlays is not None:
        refuse_existing(overlays)
        make_folder(Path(overlays))
    recipe = Recipe(opened.standard_size, opened.illumination, overlays is not None)
    rows: list[Row] = []
    with Progress(len(paths), "predicting", quiet=quiet) as progress:
        for path, prepared in zip(paths, _prepared(paths, recipe, workers), strict=True):
            rows.append({"file": str(path), **_row(opened, prepared, _picture(overlays, path, len(rows)))})
            progress.advance()
    if rows and all(row["problem"] for row in rows):
        raise UserError(str(rows[0]["problem"]), path=rows[0]["file"])
    return rows


def table_csv(rows: Sequence[Row]) -> str:
    """The rows as CSV; numbers with 9 significant digits, nan as nothing."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value, "%.9g") for name, value in row.items()} for row in rows)
    return stream.getvalue()


def table_lines(rows: Sequence[Row]) -> list[str]:
    """The rows as a table for people; columns in which nothing stands are left out."""
    names = [name for name in rows[0] if any(_cell(row[name], "%.3f") for row in rows)]
    cells = [names, *([_cell(row[name], "%.3f") for name in names] for row in rows)]
    widths = [max(len(line[k]) for line in cells) for k in range(len(names))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]


def _prepared(paths: Sequence[Path], recipe: Recipe, workers: int | None) -> Iterator[Prepared]:
    if workers == 0 or (workers is None and len(paths) < _WORTH_WORKERS):
        return (prepare(path, recipe) for path in paths)
    from ...runtime.workers import Limits, map_in_order

    limits = Limits(_SECONDS, _MEMORY)
    return map_in_order(partial(prepare, recipe=recipe), paths, workers, lost=_lost, limits=limits)


def _lost(path: Path, reason: str) -> Prepared:
    return Prepared(problem=f"cannot be processed: the decoder {reason}")


def _picture(overlays: Path | str | None, path: Path, number: int) -> Path | None:
    # Files of several folders can share a name.
    return None if overlays is None else Path(overlays) / f"{number:05d}-{path.stem}.jpg"


def _row(model: ModelFile, prepared: Prepared, picture: Path | None) -> Row:
    if prepared.image is None:
        action = "" if prepared.problem else RETAKE
        return _columns(model, action=action, reason=prepared.reason, problem=prepared.problem)
    seen = model.look(prepared.image[None])
    answer = give_answer(
        model.rules, seen.told[0], seen.features[0], prepared.quality, prepared.quality_reason, prepared.retina
    )
    if picture is not None:
        found = class_map(model, prepared.image, seen, _chosen(model, seen, answer))
        write_image(picture, overlay(prepared.frame, prepared.fov, found))
    return _columns(
        model, seen.told[0], action=answer.action, predicted=answer.label, set="; ".join(answer.set), quality=prepared.quality,
        unfamiliarity=answer.unfamiliarity, reason=answer.reason,
    )  # fmt: skip


def _chosen(model: ModelFile, seen: Seen, answer: Answer) -> int:
    """The class that is mapped: the predicted one; of several labels, or none, the likeliest."""
    if answer.label in model.classes:
        return model.classes.index(answer.label)
    return int(seen.told[0].argmax())


def _columns(
    model: ModelFile, told: np.ndarray | None = None, *, action: str, predicted: str = "", set: str = "",
    quality: float = math.nan, unfamiliarity: float = math.nan, reason: str = "", problem: str = "",
) -> Row:  # fmt: skip
    numbers = [math.nan] * len(model.classes) if told is None else [float(value) for value in told]
    prefix = PREFIX if model.gives_probabilities else ""
    return {
        "action": action,
        "predicted": predicted,
        "set": set,
        **{prefix + name: number for name, number in zip(model.classes, numbers, strict=True)},
        "quality": quality,
        "unfamiliarity": unfamiliarity,
        "reason": reason,
        "problem": problem,
    }


def _cell(value: object, pattern: str) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else pattern % value
    return str(value)
