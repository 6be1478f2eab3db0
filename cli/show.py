"""How a result is printed."""

from __future__ import annotations

import json as json_module
import os
import sys

HEMOGLOBIN_NOTE = (
    "haemoglobin in g/dL. Whether that is anaemia depends on sex, age and pregnancy: for the WHO, below 13 in men, below 12 in "
    "women who are not pregnant."
)


def show(as_json: bool, value: object, *lines: str) -> None:
    """The result on standard output: as JSON, or as lines for people."""
    if as_json:
        from ..runtime.files import without_nan

        _say(json_module.dumps(without_nan(value), ensure_ascii=False, default=str))
    else:
        _say("\n".join(lines))


def _say(text: str) -> None:
    """Print; if nobody reads it any more (`| head`) end without a word, as other commands do."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # What is left in the buffer is written once more when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
