"""What a published set says of its quality and of privacy: the figures of `evaluate` and `audit`, nothing of real photographs.

The pages that those commands write may show photographs of patients and name training images; they are not passed on. Here
the figures alone become JSON and a page without pictures.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import pandas as pd

from ...data.dataset import FundusDataset
from ...data.image_file import SUFFIXES
from ...runtime.errors import UserError
from ...runtime.files import read_json
from ...runtime.report import Report

AUDIT, EVALUATION = "audit.json", "evaluation.json"
FORMAT = "fundus-synth published set 1"
AUDIT_FORMAT, EVALUATION_FORMAT = "fundus-synth audit 1", "fundus-synth evaluation 1"
PASSED = "pass"
DIGEST = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_CONTAINERS = (dict, list)


def read_audit(dataset: FundusDataset) -> dict:
    """audit.json of a synthetic dataset.

    Raises:
        UserError: there is none, it is of other images, it was not passed, or it leaves images out.
    """
    path = dataset.path / AUDIT
    hint = f"Run: fundus-synth audit {dataset.path} --against TRAIN."
    if not path.is_file():
        raise UserError(f"there is no {AUDIT}; without an audit nothing is published", path=dataset.path, hint=hint)
    audit = _read(path, AUDIT_FORMAT, dataset, hint)
    if audit.get("verdict") != PASSED:
        raise UserError(f"the audit was not passed ({audit.get('reason') or 'no verdict'})", path=path,
                        hint="Make other images, or train the generator for less long, and audit again.")  # fmt: skip
    images = audit.get("images")
    known = images if isinstance(images, dict) else {}
    for name in dataset.table["file_name"]:
        if not isinstance(known.get(name), dict) or not isinstance(known[name].get("copy"), bool):
            raise UserError(f"does not say whether {name} is a copy", path=path, hint=hint)
    return {"reason": "", "command": [], **audit}


def read_evaluation(dataset: FundusDataset) -> dict | None:
    """evaluation.json of a synthetic dataset; None when there is none.

    Raises:
        UserError: it is of other images.
    """
    path = dataset.path / EVALUATION
    if not path.is_file():
        return None
    hint = f"Run: fundus-synth evaluate {dataset.path} --against REAL."
    return {"command": [], "against": {}, **_read(path, EVALUATION_FORMAT, dataset, hint)}


def _read(path: Path, format: str, dataset: FundusDataset, hint: str) -> dict:
    content = read_json(path)
    if content.get("format") != format:
        raise UserError(f"format is {content.get('format')!r}; expected {format!r}", path=path, hint=hint)
    if content.get("fingerprint") != dataset.fingerprint:
        raise UserError(
            "is of other images: the dataset was changed since (the fingerprints differ)", path=path, hint=hint
        )
    return content


def public_audit(audit: dict, published_names: Mapping[str, str]) -> dict:
    """What of audit.json is passed on.

    Args:
        audit: as from `read_audit`.
        published_names: {file name when audited: file name in the published set} of the images that are in it.
    """
    distances = {new: {"copy": False, "distance": _number(audit["images"][old].get("distance"))}
                 for old, new in published_names.items()}  # fmt: skip
    rest = {name: value for name, value in audit.items() if name not in ("images", "command")}
    return {**public(rest), "command": command_line(audit["command"]), "images": distances}


def public_evaluation(evaluation: dict) -> dict:
    """What of evaluation.json is passed on."""
    rest = {name: value for name, value in evaluation.items() if name not in ("images", "command")}
    return {**public(rest), "command": command_line(evaluation["command"])}


def public(value: object, name: str = "") -> object:
    """A JSON value without what could name a training image: checksums (but fingerprints of whole datasets) and file names.

    Numbers that are none become null, which JSON knows.
    """
    if isinstance(value, dict):
        kept = {key: public(item, key) for key, item in value.items() if not _names_an_image(str(key), "")}
        return {
            key: item for key, item in kept.items() if item is not None or value[key] is None or _is_nan(value[key])
        }
    if isinstance(value, list):
        return [public(item, name) for item in value if not _names_an_image(item, name)]
    if _names_an_image(value, name) or _is_nan(value):
        return None
    return value


def _names_an_image(value: object, name: str) -> bool:
    if not isinstance(value, str):
        return False
    is_digest = bool(DIGEST.search(value.lower())) and name != "fingerprint"
    return is_digest or PurePosixPath(value.strip()).suffix.lower() in SUFFIXES


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and not _is_nan(value) else None


def command_line(command: object) -> str:
    """A command as it would be typed; the home folder, which names a person, as ~."""
    words = [str(word) for word in command] if isinstance(command, list) else []
    home = str(Path.home())
    line = shlex.join(words)
    return line.replace(home, "~") if len(home) > 1 else line


def privacy_page(audit: dict) -> Report:
    """The page of the published audit, without pictures."""
    lead = (
        f"Verdict: {audit['verdict']}. {audit['reason'].rstrip('. ')}. What was found to be a copy is not in this set."
    )
    return _page("Privacy of a synthetic set", lead, audit)


def quality_page(evaluation: dict) -> Report:
    """The page of the published evaluation, without pictures."""
    real = evaluation["against"]
    used = evaluation.get("figures", {}).get("real_images", real.get("images", "?"))
    lead = f"Measured against {used} images of {real.get('name', 'a set without a name')}."
    about = "floor: what two halves of the real eyes reach against one another. ratio: the value over its floor."
    return _page("Quality of a synthetic set", lead, evaluation, about)


def _page(title: str, lead: str, content: dict, about: str = "") -> Report:
    report = Report(title, " ".join(lead.split()))
    real = _scalars(content.get("against", {}))
    report.section("What was compared").facts({"synthetic set": content["fingerprint"], **real})
    report.command(content["command"] or "the command is not recorded")
    _add_figures(report, "", content.get("figures", {}), about)
    notes = content.get("notes")
    if isinstance(notes, list) and notes:
        report.section("Notes").points(list(map(str, notes)))
    return report


def _add_figures(report: Report, title: str, figures: object, about: str = "") -> None:
    """Sections of a nested JSON value: a table where all entries are alike, facts for what stands alone."""
    figures = figures if isinstance(figures, dict) else {"": figures}
    alone = _scalars(figures)
    nested = {name: value for name, value in figures.items() if value and name not in alone}
    rows = _rows(nested)
    if alone or rows:
        report.section(title.capitalize() or "Figures")
    if about:
        report.text(about)
    if alone:
        report.facts({_words(name): value for name, value in alone.items()})
    if rows:
        report.table(pd.DataFrame(rows).fillna(""))
        return
    for name, value in nested.items():
        _add_figures(report, f"{title}, {_words(name)}".removeprefix(", "), value)


def _rows(nested: dict) -> list[dict]:
    """One row an entry when all entries are flat objects, also within a single object or list; else none."""
    if len(nested) == 1:
        (only,) = nested.values()
        if isinstance(only, list):
            return [_flat(item) for item in only] if all(map(_is_flat, only)) else []
        nested = only if all(isinstance(item, dict) for item in only.values()) else nested
    if all(map(_is_flat, nested.values())):
        return [{"": _words(name), **_flat(value)} for name, value in nested.items() if value]
    return []


def _is_flat(value: object) -> bool:
    return isinstance(value, dict) and len(_scalars(value)) == len(value)


def _flat(value: dict) -> dict:
    return {_words(name): item for name, item in _scalars(value).items()}


def _scalars(value: dict) -> dict:
    """What of an object is a figure or a word; an estimate with its interval or a short list is written as one word."""
    said = {}
    for name, item in value.items():
        if isinstance(item, dict) and item.keys() == {"value", "low", "high"}:
            said[name] = f"{_short(item['value'])} ({_short(item['low'])} to {_short(item['high'])})"
        elif isinstance(item, list) and not any(isinstance(part, _CONTAINERS) for part in item) and len(item) <= 8:
            said[name] = ", ".join(map(_short, item))
        elif not isinstance(item, _CONTAINERS):
            said[name] = _short(item)
    return said


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "-" if value is None else str(value)


def _words(name: str) -> str:
    return str(name).replace("_", " ")
