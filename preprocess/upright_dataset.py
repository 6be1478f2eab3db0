"""Pictures that are known to be mirrored, upside down or on their side, put right: image, masks and landmarks together."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from ..data.dataset import FundusDataset
from ..data.dataset_writer import DatasetWriter
from ..data.schema import is_missing
from ..runtime.errors import counts
from ..runtime.files import make_folder, refuse_existing
from ..runtime.progress import Progress
from ..version import __version__
from .dataset_masks import read_masks
from .landmark_columns import with_landmarks
from .orientation import ORIENTATIONS, upright, upright_place

_LEFT_ALONE = ("ok", "unknown")
_PLACES = (("disc_x", "disc_y"), ("fovea_x", "fovea_y"))
_EXPLAINED = (
    "column orientation_undone: how the picture was turned in the parent dataset and was put right here; fov_x, fov_y and "
    "fov_r give the crop of the camera file before that"
)


@dataclass(frozen=True)
class Uprighted:
    """What `upright_dataset` did.

    Attributes:
        dataset: the dataset folder made.
        states: {orientation: images} as they were found: one of `ORIENTATIONS` or "unknown"; only those that occur.
    """

    dataset: FundusDataset
    states: dict[str, int]

    @property
    def corrected(self) -> int:
        """How many images were turned or mirrored."""
        return sum(number for state, number in self.states.items() if state not in _LEFT_ALONE)

    def summary(self) -> dict:
        """Plain numbers, for --json."""
        unknown = self.states.get("unknown", 0)
        return {"dataset": str(self.dataset.path), "images": len(self.dataset), "corrected": self.corrected,
                "unknown": unknown, "found": self.states}  # fmt: skip

    def lines(self) -> list[str]:
        """The same for people."""
        wrong = {state: number for state, number in self.states.items() if state not in _LEFT_ALONE}
        lines = [f"{self.dataset.path}: {len(self.dataset)} images, {self.corrected} put right"
                 + (f": {counts(wrong)}" if wrong else "")]  # fmt: skip
        if unknown := self.states.get("unknown", 0):
            lines.append(f"{unknown} whose orientation cannot be told from the picture, left as they are")
        return lines


def upright_dataset(dataset: FundusDataset, out: Path | str, *, quiet: bool = False) -> Uprighted:
    """Write all images into a new dataset folder, those known to be turned or mirrored put right.

    Their masks (the field of view's too) and the columns of the landmarks are turned with them, `orientation` becomes "ok", and
    `orientation_undone` says how they were turned. The files of the others are copied byte for byte.

    Raises:
        UserError: `out` exists, an image or mask cannot be read, or an image is not square.
    """
    refuse_existing(Path(out))
    found = with_landmarks(dataset, quiet)
    states = found.table["orientation"].tolist()
    info = {**dataset.info, "orientation": _EXPLAINED, "parent_fingerprint": dataset.fingerprint,
            "made_by": f"fundus-synth {__version__} preprocess upright"}  # fmt: skip
    with DatasetWriter(out, info) as writer, Progress(len(found), "putting right", quiet=quiet) as progress:
        for index, state in enumerate(states):
            (_copy if state in _LEFT_ALONE else _turn)(writer, found, index)
            progress.advance()
    names = (*ORIENTATIONS, "unknown")
    return Uprighted(FundusDataset.open(out), {name: states.count(name) for name in names if name in states})


def _copy(writer: DatasetWriter, dataset: FundusDataset, index: int) -> None:
    row = dataset.table.iloc[index].to_dict()
    target = writer.folder / row["file_name"]
    make_folder(target.parent)
    shutil.copyfile(dataset.image_path(index), target)
    writer.add(row, masks=read_masks(dataset, index))


def _turn(writer: DatasetWriter, dataset: FundusDataset, index: int) -> None:
    row, image = dataset.table.iloc[index].to_dict(), dataset.read(index)
    state = row["orientation"]
    masks = {kind: upright(mask, state) for kind, mask in read_masks(dataset, index, len(image)).items()}
    for x, y in _PLACES:
        if not (is_missing(row[x]) or is_missing(row[y])):
            row[x], row[y] = upright_place(row[x], row[y], state)
    writer.add({**row, "orientation": "ok", "orientation_undone": state}, upright(image, state), masks)
