"""`fundus-classify predict MODEL.onnx FILES...` without Typer, which takes longer to load than a photograph takes to answer.

Only the plain form is taken; whatever else stands on the command line is for the command in `deploy`, which does the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

_FLAGS = ("--quiet", "--json")
_PATHS = ("--out", "--overlays")


@dataclass
class PlainRequest:
    """What a plain command line asks for."""

    paths: list[Path] = field(default_factory=list)
    flags: set[str] = field(default_factory=set)
    options: dict[str, Path] = field(default_factory=dict)


def plain_request(arguments: Sequence[str]) -> PlainRequest | None:
    """The request of `predict MODEL.onnx FILES... [--out CSV] [--overlays FOLDER] [--json] [--quiet]`; None for anything else.

    Args:
        arguments: of fundus-classify, without its name.
    """
    if arguments[:1] != ["predict"]:
        return None
    request, rest = PlainRequest(), iter(arguments[1:])
    for word in rest:
        if word in _FLAGS:
            request.flags.add(word)
        elif word in _PATHS:
            value = next(rest, "-")
            if value.startswith("-"):
                return None
            request.options[word] = Path(value)
        elif word.startswith("-"):
            return None
        else:
            request.paths.append(Path(word))
    model_first = len(request.paths) > 1 and request.paths[0].suffix.lower() == ".onnx"
    return request if model_first else None


def answer(request: PlainRequest) -> None:
    """Do what is asked and print it."""
    predict_with_file(
        request.paths[0], request.paths[1:], out=request.options.get("--out"), overlays=request.options.get("--overlays"),
        quiet="--quiet" in request.flags, as_json="--json" in request.flags,
    )  # fmt: skip


def predict_with_file(
    model: Path, files: Sequence[Path], *, out: Path | None, overlays: Path | None, quiet: bool, as_json: bool
) -> None:  # fmt: skip
    """Print what a model file says of camera files, for both ways to ask."""
    from ..classify.deploy.predict import predict_files, table_csv, table_lines
    from ..runtime.files import refuse_folder, write_text
    from .show import HEMOGLOBIN_NOTE, show

    if out is not None:
        refuse_folder(out)
    rows = predict_files(model, files, overlays=overlays, quiet=quiet)
    if out is not None:
        write_text(out, table_csv(rows))
    notes = [HEMOGLOBIN_NOTE] if "hemoglobin_g_dl" in rows[0] else []
    show(as_json, rows, *table_lines(rows), *notes)
