"""Reports: one self-contained HTML page (nothing fetched, no script but that of galleries), readable on a desk and on a phone."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup
from PIL import Image

from ..version import __version__
from .files import write_text
from .gallery import SCRIPT, SCRIPT_HASH, Picture, View

_TEMPLATES = Environment(loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True,
                         trim_blocks=True, lstrip_blocks=True)  # fmt: skip

COLORS = ("#1c2024", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
"""Of lines in a figure, told apart by all (Okabe and Ito 2008); the first is the ink of the page."""

_FITS_A_PHONE = 6.0  # inches: wider ones would be unreadable when shrunk to its screen
_PICTURE = 250  # pixels: a picture of a gallery
_FIGURES = re.compile(r"-|[-+]?[\d.,]+ ?%?( \([\d.,]+\))?")


@dataclass
class _Section:
    title: str
    blocks: list[dict] = field(default_factory=list)


class Report:
    """A page of sections. Every text is escaped: file names and labels are never read as HTML.

    Args:
        title: the heading.
        lead: the answer, in a sentence or two, set large.
    """

    def __init__(self, title: str, lead: str = ""):
        self.title, self.lead = title, lead
        self._sections: list[_Section] = []

    def section(self, title: str) -> Report:
        """Begin a section; the blocks that follow belong to it."""
        self._sections.append(_Section(title))
        return self

    def text(self, text: str) -> Report:
        """A paragraph."""
        return self._add(kind="text", text=text)

    def points(self, texts: Sequence[str]) -> Report:
        """A list of short paragraphs, one below the other."""
        return self._add(kind="points", texts=list(texts))

    def link(self, path: Path, text: str) -> Report:
        """A link to a file, as a path relative to the page."""
        return self._add(kind="link", target=quote(path.as_posix()), text=text)

    def command(self, text: str) -> Report:
        """A command line, set as code."""
        return self._add(kind="command", text=text)

    def facts(self, facts: Mapping[str, object]) -> Report:
        """Pairs of name and value."""
        return self._add(kind="facts", facts={k: _cell(v) for k, v in facts.items()})

    def table(self, table: pd.DataFrame, caption: str = "") -> Report:
        """A table; floats with three decimals. The frame's columns are the header, its index is left out.

        Columns of figures, percentages and figures in brackets too, stand flush right.
        """
        rows = [[_cell(v) for v in row] for row in table.itertuples(index=False)]
        numeric = [bool(rows) and all(_FIGURES.fullmatch(row[i]) for row in rows) for i in range(table.shape[1])]
        return self._add(kind="table", header=list(table.columns), rows=rows, numeric=numeric, caption=caption)

    def figure(self, figure: object, caption: str = "") -> Report:
        """A matplotlib figure, as scalable graphics; it is closed."""
        wide = figure.get_figwidth() > _FITS_A_PHONE
        return self._add(kind="figure", svg=Markup(_svg(figure)), wide=wide, caption=caption)

    def images(self, images: Sequence[np.ndarray], captions: Sequence[str] | None = None, columns: int = 6,
               caption: str = "", width: int = 160, photographs: bool = False) -> Report:  # fmt: skip
        """A grid of uint8 (H, W, 3) images, each shown `width` pixels wide, at most `columns` in a row.

        With `photographs` they are stored as JPEG, a tenth of the size of PNG.
        """
        captions = captions or [""] * len(images)
        uri = jpeg_uri if photographs else png_uri
        cells = [{"uri": uri(i), "text": t} for i, t in zip(images, captions, strict=True)]
        return self._add(kind="images", cells=cells, columns=columns, caption=caption, width=width)

    def gallery(self, views: Sequence[View], pictures: Sequence[Picture], columns: int = 4, caption: str = "",
                width: int = 250) -> Report:  # fmt: skip
        """A grid of pictures, each in several views that can be toggled and enlarged; the second view is shown first.

        Images are stored as JPEG and shown `width` pixels wide, at most `columns` in a row.
        """
        shown = [{"name": view.name, "low": view.low, "high": view.high,
                  "key": png_uri(view.key) if view.key is not None else ""} for view in views]  # fmt: skip
        cells = []
        for picture in pictures:
            if len(picture.images) != len(views):
                raise ValueError(f"{len(views)} views, but a picture of {len(picture.images)} images")
            target, says = picture.link or ("", "")
            uris = [jpeg_uri(image) for image in picture.images]
            cells.append({"uris": uris, "text": picture.caption, "link": quote(target), "says": says})
        # Wide strips take the whole of a phone, pictures half of it.
        least = 100 if width >= 2 * _PICTURE else 47
        return self._add(kind="gallery", views=shown, cells=cells, columns=columns, caption=caption, width=width, least=least,
                         shown=min(1, len(views) - 1))  # fmt: skip

    def write(self, path: Path | str) -> Path:
        """Render and write the page atomically; returns its path."""
        page = _TEMPLATES.get_template("report.html")
        made = f"fundus-synth {__version__}, {datetime.now():%Y-%m-%d %H:%M}"
        scripted = any(block["kind"] == "gallery" for section in self._sections for block in section.blocks)
        script = {"script": Markup(SCRIPT), "script_hash": SCRIPT_HASH} if scripted else {}
        write_text(path, page.render(title=self.title, lead=self.lead, sections=self._sections, made=made, **script))
        return Path(path)

    def _add(self, **block: object) -> Report:
        if not self._sections:
            self.section("")
        self._sections[-1].blocks.append(block)
        return self


def png_uri(image: np.ndarray) -> str:
    """A uint8 image as a data: address."""
    return _uri(image, "png")


def jpeg_uri(image: np.ndarray) -> str:
    """A uint8 image as a data: address, JPEG of quality 85."""
    return _uri(image, "jpeg", quality=85)


def _uri(image: np.ndarray, format: str, **options: object) -> str:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format, **options)
    return f"data:image/{format};base64," + base64.b64encode(stream.getvalue()).decode()


def new_figure(width: float = 7.0, height: float = 3.6, columns: int = 1):
    """A matplotlib (figure, axes) in the reports' style; axes is an array when `columns` > 1. Needs no display."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, columns)
    for axis in np.atleast_1d(axes):
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(color="#dddddd", linewidth=0.6)
        axis.set_axisbelow(True)
    return figure, axes


def _svg(figure: object) -> str:
    import matplotlib

    # A fixed salt and no date: the same figure gives the same bytes. Text stays text, in the page's own font.
    with matplotlib.rc_context({"svg.hashsalt": "fundus-synth", "svg.fonttype": "none", "font.family": "sans-serif"}):
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]


def _cell(value: object) -> str:
    if isinstance(value, float | np.floating):
        return "-" if np.isnan(value) else f"{value:.3f}"
    return "-" if value is None else str(value)
