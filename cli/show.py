"""How a result is printed."""

from __future__ import annotations

import json as json_module

HEMOGLOBIN_NOTE = (
    "haemoglobin in g/dL. Whether that is anaemia depends on sex, age and pregnancy: for the WHO, below 13 in men, below 12 in "
    "women who are not pregnant."
)


def show(as_json: bool, value: object, *lines: str) -> None:
    """The result on standard output: as JSON, or as lines for people."""
    if as_json:
        from ..runtime.files import without_nan

        print(json_module.dumps(without_nan(value), ensure_ascii=False, default=str))
    else:
        print("\n".join(lines))
