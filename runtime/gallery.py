"""Galleries of a report: pictures in several views that lie over each other, to be toggled and enlarged.

The page needs no network: the script is part of it, and the page's security policy names its hash, so that no other runs.
Without scripts the first view but the plain one is shown.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SCRIPT = (Path(__file__).parent / "templates" / "gallery.js").read_text("utf-8").strip()
SCRIPT_HASH = "sha256-" + base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()


@dataclass(frozen=True)
class View:
    """One way to look at every picture of a gallery.

    Attributes:
        name: e.g. "photograph" or "grad-cam".
        key: uint8 (h, w, 3), the colours from `low` to `high`; None where there is nothing to explain.
        low, high: what its ends stand for.
    """

    name: str
    key: np.ndarray | None = None
    low: str = ""
    high: str = ""


@dataclass(frozen=True)
class Picture:
    """One cell of a gallery.

    Attributes:
        images: uint8 (h, w, 3), one for each view.
        caption: below it.
        link: a file relative to the page, and what the link to it says; () for none.
    """

    images: Sequence[np.ndarray]
    caption: str = ""
    link: tuple[str, str] | tuple[()] = ()
