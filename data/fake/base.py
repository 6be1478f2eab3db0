"""What every fake collection is made of, and the writing of one."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np

from ...runtime.errors import UserError
from ...runtime.files import make_folder, refuse_existing
from ...runtime.progress import Progress
from ..image_file import write_image
from ..phantom.cohort import render_cohort

LAYOUTS = tuple(
    "folder csv imagefolder odir aptos eyepacs messidor messidor2 idrid rfmid sankara".split()
)  # fmt: skip


@dataclass(frozen=True)
class FakeEyes:
    """Simulated camera frames for a fake collection.

    Attributes:
        count: how many eyes; a multiple of two, both eyes of a patient one after the other.
        size: height of the camera frames, pixels.
        seed: another seed gives other eyes.
        quiet: no progress.
    """

    count: int = 24
    size: int = 256
    seed: int = 0
    quiet: bool = True

    def photographs(
        self, classes: tuple[str, ...] = ("normal", "diabetes"), label: str = "simulating eyes"
    ) -> Iterator[tuple[dict, np.ndarray, dict[str, np.ndarray]]]:
        """Eye by eye (row, image, masks) as in `phantom.cohort.render_cohort`, classes one after another.

        The eyes are shared out evenly over `classes`; a class gets an even number of them, at least two.
        """
        each = max(2, 2 * (self.count // (2 * len(classes))))
        with Progress(each * len(classes), label, quiet=self.quiet) as progress:
            for photograph in render_cohort(each, self.size, self.seed, False, classes):
                yield photograph
                progress.advance()


def write_fake_collection(layout: str, out: Path | str, eyes: FakeEyes | None = None) -> Path:
    """Write a fake collection in the layout of a real one; it appears whole or not at all.

    Args:
        layout: one of `LAYOUTS`.
        out: folder to make.

    Raises:
        UserError: an unknown layout, or `out` exists and is not empty.
    """
    if layout not in LAYOUTS:
        raise UserError(f"no fake collection in the layout {layout!r}; expected {', '.join(LAYOUTS)}")
    out = Path(out)
    refuse_existing(out)
    write: Callable[[Path, FakeEyes], None] = import_module(f".{layout}", __package__).write
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    make_folder(partial)
    write(partial, eyes or FakeEyes())
    if out.is_dir():
        out.rmdir()
    partial.rename(out)
    return out


def save_photograph(path: Path, image: np.ndarray) -> None:
    """Write one picture of a fake collection by its suffix, making the folders above it."""
    make_folder(path.parent)
    write_image(path, image)
