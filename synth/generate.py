"""Sampling: a trained generator makes a dataset folder, every image reproducible from its own seed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count as count_from
from pathlib import Path

import numpy as np
import pandas as pd
from torch import nn

from ..data.dataset import FundusDataset
from ..data.dataset_writer import DatasetWriter
from ..data.image_file import read_image
from ..runtime.devices import choose_device
from ..runtime.errors import JobError, UserError, counts
from ..runtime.files import write_json, write_text
from ..runtime.progress import Progress
from ..runtime.workers import available_cores, map_in_order
from ..version import __version__
from .checkpoint import GeneratorInfo, load_generator, slug
from .generator_training import seed_of
from .marks import NOT_A_PATIENT
from .rejection import REASONS, Judge, Rejection, Sieve
from .sampling import NETWORK_BATCH, one_thread, sample

MOST_DRAWS = 20
"""For each image wanted, so many are drawn at most."""
REJECTED = "rejected.csv"
_HOPELESS = 320  # so many draws without one that is good, and there will not be enough
_WORTH_A_WORKER = 128  # images


def generate(
    run: Path | str, count: int, out: Path | str, seed: int = 0, *, truncation: float = 1.0,
    rejection: Rejection | None = None, workers: int | None = 1, batch_size: int = NETWORK_BATCH, device: str = "cpu",
    quiet: bool = False,
) -> FundusDataset:  # fmt: skip
    """Make `count` images with the generator in `run` and write them as the dataset folder `out`.

    Draw i depends on `seed`, `truncation` and i alone: it is the same image for any `count`, `batch_size` and number of
    workers. Its own seed, from which `sample` makes it again, is in metadata.csv and in the file. With `rejection`, draws
    0, 1, 2, ... are looked at until `count` are kept; those keep the number and seed of their draw.

    When it is interrupted, the same call continues.

    Args:
        run: a run folder of `train`, or a folder with generator.safetensors and generator.json.
        truncation: latent vectors are scaled by it, above 0 to 2; see `sample`.
        rejection: what to throw away; None keeps everything.
        workers: processes, on a CPU; None = one a core.
        batch_size: images that a process makes at a time; rounded up to a multiple of 16.
        device: where to compute; other devices round differently, so pixels may differ by one from the CPU's.

    Returns:
        the new dataset: synthetic, without patients, its dataset.json naming the patients (hashed) of the training; what
        was thrown away is in its `rejection` and in rejected.csv.

    Raises:
        UserError: no usable generator in `run`, `out` exists, or an option is out of range.
        JobError: `MOST_DRAWS` times `count` draws, or none of the first 320, were not enough.
    """
    if count < 1:
        raise UserError(f"--count is {count}; expected at least 1")
    if not 0 < truncation <= 2:
        raise UserError(f"--truncation is {truncation:g}; expected above 0, to 2")
    _, info = load_generator(run)
    where = choose_device(device)
    about = dataset_info(info, count, seed)
    about["made_by"] |= {"truncation": truncation, "rejection": rejection and rejection.plain_values()}
    sieve = rejection and Sieve(rejection, info.label, info.architecture["size"])
    drawing = Drawing(str(run), seed, truncation, str(where), sieve and sieve.judge)
    if where.type == "cpu":
        workers = min(workers or available_cores(), math.ceil(count / _WORTH_A_WORKER))
    else:
        workers = 1
    writer = DatasetWriter(out, about, resume=True)
    with writer, Progress(count, f"generating {info.label}", quiet=quiet) as progress:
        album = _Album(writer, info, seed, truncation, sieve, progress)
        limit = count if sieve is None else MOST_DRAWS * count
        step = math.ceil(batch_size / NETWORK_BATCH) * NETWORK_BATCH
        album.fill(count, _draws(drawing, range(album.drawn, limit), step, workers))
        if rejection is not None:
            album.write_rejected()
    return FundusDataset.open(out)


def rejection_line(dataset: FundusDataset) -> str:
    """How many of a generated dataset's images were drawn and kept and why not, in one line; "" when all were kept."""
    said = dataset.info.get("rejection")
    if not said:
        return ""
    return f"{said['drawn']} drawn, {said['kept']} kept; thrown away: {counts(said['reasons'])}"


@dataclass(frozen=True)
class Drawing:
    """What makes draws and looks at each by itself, in this process or another.

    Attributes:
        run: the folder of the generator.
        seed: of all draws.
        truncation, device: as in `generate`, the device resolved.
        judge: what to look for; None for nothing.
    """

    run: str
    seed: int
    truncation: float
    device: str
    judge: Judge | None

    @cached_property
    def _generator(self) -> nn.Module:
        return load_generator(self.run)[0].to(self.device)

    def __call__(self, numbers: Sequence[int]) -> tuple[np.ndarray, list[str]]:
        """Draws `numbers`: uint8 (n, size, size, 3), and what is wrong with each as in `Judge.faults`."""
        with one_thread():
            images = sample(self._generator, [seed_of(self.seed, number) for number in numbers], self.truncation)
            return images, [""] * len(images) if self.judge is None else self.judge.faults(images)


def _draws(drawing: Drawing, numbers: range, step: int, workers: int) -> Iterator[tuple[int, np.ndarray, str]]:
    """Number, image and fault of each draw, in order."""
    tasks = [numbers[start : start + step] for start in range(0, len(numbers), step)]
    for task, (images, faults) in zip(tasks, map_in_order(drawing, tasks, 0 if workers == 1 else workers), strict=True):
        yield from zip(task, images, faults, strict=True)


class _Album:
    """The dataset under way: draws in their order, kept or thrown away; it knows what an interrupted run has done."""

    def __init__(
        self, writer: DatasetWriter, info: GeneratorInfo, seed: int, truncation: float, sieve: Sieve | None,
        progress: Progress,
    ):  # fmt: skip
        self.writer, self.info, self.seed, self.truncation = writer, info, seed, truncation
        self.sieve, self.progress = sieve, progress
        known = writer.done.keys() | writer.rejected.keys()
        self.drawn = next(i for i in count_from() if file_name(info, i) not in known)
        names = [file_name(info, i) for i in range(self.drawn)]
        kept = [name for name in names if name in writer.done]
        for name in kept if sieve else ():
            sieve.keep(read_image(writer.folder / name), name)
        self.kept = len(kept)
        progress.advance(self.kept)

    def fill(self, count: int, draws: Iterator[tuple[int, np.ndarray, str]]) -> None:
        """Look at one draw after the other until `count` are kept.

        Raises:
            JobError: there are not enough.
        """
        while self.kept < count:
            number, image, fault = next(draws, (None, None, ""))
            if number is None or (self.kept == 0 and self.drawn >= _HOPELESS):
                raise JobError(
                    f"kept {self.kept} of {self.drawn} draws, {count} are wanted (thrown away: {counts(self._reasons())}). "
                    "Train longer, or take what comes with --keep-all"
                )
            self._look(number, image, fault)

    def write_rejected(self) -> None:
        """rejected.csv, and the sums in dataset.json."""
        rows = [
            (number, seed_of(self.seed, number), *fault.split(": ", 1))
            for number in range(self.drawn)
            if (fault := self.writer.rejected.get(file_name(self.info, number)))
        ]
        table = pd.DataFrame(rows, columns=["draw", "seed", "reason", "detail"])
        write_text(self.writer.folder / REJECTED, table.to_csv(index=False, lineterminator="\n"))
        said = {"drawn": self.drawn, "kept": self.kept, "reasons": self._reasons()}
        write_json(self.writer.folder / "dataset.json", {**self.writer.info, "rejection": said})

    def _look(self, number: int, image: np.ndarray, fault: str) -> None:
        row, text = describe_image(self.info, number, seed_of(self.seed, number), self.truncation)
        if self.sieve is not None and not fault:
            fault = self.sieve.fault(image, row["file_name"])
        self.drawn = number + 1
        if fault:
            self.writer.reject(row["file_name"], fault)
            self.progress.advance(0, drawn=self.drawn)
        else:
            self.writer.add(row, image, png_text=text)
            self.kept += 1
            self.progress.advance(1)

    def _reasons(self) -> dict[str, int]:
        found = Counter(fault.partition(":")[0] for fault in self.writer.rejected.values())
        return {reason: found[reason] for reason in REASONS if found[reason]}


def file_name(info: GeneratorInfo, number: int) -> str:
    """The file of draw `number` of a generator."""
    return f"images/{slug(info.label)}_{number:06d}.png"


def describe_image(info: GeneratorInfo, index: int, seed: int, truncation: float = 1.0) -> tuple[dict, dict[str, str]]:
    """The metadata.csv row and the PNG text chunks of draw `index`, made from `seed`."""
    row = {
        "file_name": file_name(info, index),
        "label": info.label,
        "source": f"synthetic:{info.dataset.get('name', 'unknown')}",
        "synthetic": "true",
        "generator": info.name,
        "seed": str(seed),
    }
    text = {
        "Software": f"fundus-synth {__version__}",
        "Description": NOT_A_PATIENT,
        "fundus-synth:generator": info.name,
        "fundus-synth:seed": str(seed),
        "fundus-synth:class": info.label,
    }
    if truncation != 1:
        text["fundus-synth:truncation"] = str(truncation)
    return row, text


def dataset_info(info: GeneratorInfo, count: int, seed: int) -> dict:
    """dataset.json of a generated dataset."""
    return {
        "name": f"{info.name} seed {seed}",
        "licence": info.dataset.get("licence") or "unknown",
        "source": f"synthetic:{info.dataset.get('name', 'unknown')}",
        "description": NOT_A_PATIENT,
        "classes": [info.label],
        "image_size": info.architecture["size"],
        "synthetic": True,
        "made_by": {"command": "fundus-synth generate", "count": count, "seed": seed, "toolkit": __version__},
        "parent": info.dataset,
        "generator": {"name": info.name, "weights_sha256": info.weights_sha256, "steps": info.steps},
        "trained_on_patients": info.trained_on_patients,
        "trained_on_images": info.trained_on_images,
    }
