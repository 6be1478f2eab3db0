"""What bringing every class to so many images would take on this machine, and for which classes it is not advisable."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch

from ..data.cache import image_cache
from ..data.dataset import FundusDataset
from ..data.image_file import encode_image
from ..runtime.devices import choose_device
from ..runtime.errors import UserError
from ..runtime.progress import duration
from ..runtime.workers import available_cores
from .held_back import FEWEST_IMAGES, divide
from .models import MODELS, Model, default_model, model_named
from .step_cost import StepCost, time_steps

FEW_PATIENTS = 40
_BUSY = 1.2
TRAIN, DO_NOT, NOT_NEEDED = "train", "do not", "not needed"
_FEW = (
    "with {patients} patients expect their eyes again, slightly changed; augment them classically, or translate other eyes "
    "(cyclegan), and measure whether it helps"
)
_TOO_FEW = "{images} images are too few to train on; {fewest} is the least"


@dataclass(frozen=True)
class ClassPlan:
    """One class.

    Attributes:
        label: its name.
        patients, images: to train on.
        held_out: images of other patients: of the val and test split, or held back to measure quality.
        missing: images to generate.
        advice: "train", "do not" or "not needed".
        model: what to train; "" for nothing.
        why: in a sentence.
        minutes: of its own training, without the shared start.
        disk: bytes of the run and of the generated images.
    """

    label: str
    patients: int
    images: int
    held_out: int
    missing: int
    advice: str
    model: str
    why: str
    minutes: float
    disk: int

    @property
    def per_real(self) -> float:
        """Images to generate for each real one."""
        return self.missing / self.images if self.images else math.nan


@dataclass(frozen=True)
class Plan:
    """What there is to do.

    Attributes:
        size: pixels. fill_to: images that every class shall have. device: where was timed.
        load: processes that wanted a core for each core while timing began (the system's load average); about 0 on a quiet
            machine, NaN where the system does not say.
        classes: the largest first.
        costs: what was timed, one a model.
        shared_minutes: of the one shared start; 0 when no advised model has one.
        shared_disk: bytes of its run.
    """

    size: int
    fill_to: int
    device: str
    load: float
    classes: tuple[ClassPlan, ...]
    costs: tuple[StepCost, ...]
    shared_minutes: float
    shared_disk: int

    @property
    def minutes(self) -> float:
        """Of everything, one after the other."""
        return self.shared_minutes + sum(one.minutes for one in self.classes)

    @property
    def disk(self) -> int:
        """Bytes of everything."""
        return self.shared_disk + sum(one.disk for one in self.classes)

    @property
    def memory(self) -> int:
        """Bytes that the advised models need at most."""
        models = {one.model for one in self.classes}
        return max((cost.memory for cost in self.costs if cost.model in models), default=0)

    def summary(self) -> dict:
        """Plain values, for --json."""
        sums = {"minutes": self.minutes, "memory_bytes": self.memory, "disk_bytes": self.disk}
        return {**asdict(self), **{name: round(value, 3) for name, value in sums.items()}}

    def lines(self) -> list[str]:
        """What the tables do not say."""
        wanted = [one.label for one in self.classes if one.advice == TRAIN]
        if not wanted:
            return [f"nothing to train for {self.fill_to} images a class at {self.size} px", *self._reasons()]
        shared = (
            f", of it {duration(60 * self.shared_minutes)} for the shared start, once" if self.shared_minutes else ""
        )
        return [
            f"{len(wanted)} classes to bring to {self.fill_to} images at {self.size} px: "
            f"{duration(60 * self.minutes)} on this machine ({self.device}), one after the other{shared}",
            f"memory {gigabytes(self.memory)}, disk {gigabytes(self.disk)}; measuring quality and saving come on top",
            *(
                [f"{self.load:.1f} processes wanted each core: on a quiet machine it is faster"]
                if self.load > _BUSY
                else []
            ),
            "generated for each real one: "
            + ", ".join(f"{one.label} {one.per_real:.1f}" for one in self.classes if one.model),
            *self._reasons(),
        ]

    def _reasons(self) -> list[str]:
        """Why the advice is as it is, one line for all classes with the same reason."""
        reasons: dict[tuple[str, str], list[str]] = {}
        for one in self.classes:
            reasons.setdefault((one.advice, one.why), []).append(one.label)
        return [f"{', '.join(labels)}: {advice}; {why}" for (advice, why), labels in reasons.items()]

    def tables(self) -> list[object]:
        """Tables of rich: the classes, and what was timed."""
        from rich.table import Table
        from rich.text import Text

        # Without the reasons, which are in `lines`, it fits into 80 columns.
        classes = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
        for name in ("class", "patients", "images", "held out", "to make", "advice", "time", "disk"):
            classes.add_column(name, no_wrap=True)
        for one in self.classes:
            time = duration(60 * one.minutes) if one.model else "-"
            advice = f"{one.advice} {one.model}".strip()
            figures = map(str, (one.patients, one.images, one.held_out, one.missing))
            classes.add_row(Text(one.label), *figures, advice, time, gigabytes(one.disk) if one.model else "-")
        models = Table(
            "model", "ms a step", "images a step", "images/s", "memory", "disk of a run",
            box=None, pad_edge=False, padding=(0, 1, 0, 0),
        )  # fmt: skip
        for cost in self.costs:
            figures = f"{1000 * cost.seconds:.0f}", str(cost.batch_size), f"{cost.images_per_second:.1f}"
            models.add_row(cost.model, *figures, gigabytes(cost.memory), gigabytes(cost.disk))
        return [classes, models]


def plan(
    dataset: FundusDataset, *, size: int = 64, fill_to: int | None = None, models: Sequence[str] | None = None,
    projection: str = "auto", projection_weights: str | None = None, device: str = "auto", precision: str = "auto",
    time_model: Callable[..., StepCost] = time_steps,
) -> Plan:  # fmt: skip
    """Time a few real steps of each model on this machine and say what bringing every class to `fill_to` would take.

    Args:
        size: pixels.
        fill_to: images that every class shall have; by default as many as the largest class.
        models: those to time, the first is the one advised; by default all, first what `train` takes with these weights.
        projection, projection_weights, device, precision: as in `train`.
        time_model: as `time_steps`.

    Raises:
        UserError: no class, no such model, or options that are out of range.
    """
    found = dataset.class_counts()
    if not found:
        raise UserError("has no labels, so no classes", path=dataset.path)
    if fill_to is not None and fill_to < 1:
        raise UserError(f"--fill-to is {fill_to}; expected at least 1")
    advised = default_model(projection_weights)
    names = list(models or sorted(MODELS, key=lambda name: name != advised))
    how = {"projection": projection, "projection_weights": projection_weights, "device": device, "precision": precision}
    counted = {label: _counted(dataset, label) for label in found}
    fill_to = fill_to or max(images for _, images, _ in counted.values())
    trainable = [label for label, (_, images, _) in counted.items() if images >= FEWEST_IMAGES]
    load, costs = _load(), []
    for name in names if trainable else []:
        costs.append(time_model(dataset, trainable[-1], name, size, **how))
    advised, model = names[0], model_named(names[0])
    picture = _picture_bytes(dataset, size)
    classes = [_class_plan(label, *counted[label], fill_to, advised, model, costs, picture) for label in found]
    shares = model.shares_start and len(found) > 1 and any(one.advice == TRAIN for one in classes)
    shared = costs[0].seconds * model.shared_steps / 60 if shares else 0.0
    where = _device_name(device)
    return Plan(size, fill_to, where, load, tuple(classes), tuple(costs), shared, costs[0].disk if shares else 0)


def _counted(dataset: FundusDataset, label: str) -> tuple[int, int, int]:
    """Patients and images to train on, and images of other patients."""
    of_class = dataset.of_class(label)
    split = of_class.column("split")
    try:
        photographs = divide(dataset, label)
    except UserError:  # fewer than 8 images
        training = of_class.split("train") if (split != "").any() else of_class
        return len(training.patients), len(training), int(split.isin(("val", "test")).sum())
    held_out = max(int(split.isin(("val", "test")).sum()), len(photographs.held_back))
    return len(photographs.training.patients), len(photographs.training), held_out


def _class_plan(
    label: str, patients: int, images: int, held_out: int, fill_to: int, name: str, model: Model,
    costs: Sequence[StepCost], picture: float,
) -> ClassPlan:  # fmt: skip
    missing = max(0, fill_to - images)

    def planned(advice: str, why: str, minutes: float = 0.0, disk: int = 0) -> ClassPlan:
        chosen = name if advice == TRAIN else ""
        return ClassPlan(label, patients, images, held_out, missing, advice, chosen, why, minutes, disk)

    if not missing:
        return planned(NOT_NEEDED, f"it has {fill_to} images or more")
    if images < FEWEST_IMAGES:
        return planned(DO_NOT, _TOO_FEW.format(images=images, fewest=FEWEST_IMAGES))
    if 0 < patients <= FEW_PATIENTS:
        return planned(DO_NOT, _FEW.format(patients=patients))
    cost = costs[0]
    why = "begins with what all classes taught" if model.shares_start else "learns from this class alone"
    steps = model.steps if model.shares_start else model.steps_alone
    return planned(TRAIN, why, cost.seconds * steps / 60, cost.disk + round(missing * picture))


def _picture_bytes(dataset: FundusDataset, size: int) -> float:
    """Mean size of a PNG of this dataset at `size` pixels, of a few of its images."""
    few = dataset.subset(np.linspace(0, len(dataset) - 1, min(8, len(dataset))).astype(int))
    return float(np.mean([len(encode_image(np.array(image), ".png")) for image in image_cache(few, size)]))


def _load() -> float:
    return os.getloadavg()[0] / available_cores() if hasattr(os, "getloadavg") else math.nan


def _device_name(device: str) -> str:
    where = choose_device(device)
    if where.type == "cuda":
        return torch.cuda.get_device_name(where)
    cores = available_cores()
    return f"{cores} core{'s' * (cores != 1)}" if where.type == "cpu" else where.type


def gigabytes(size: float) -> str:
    """Bytes as "12 MB" or "1.4 GB" (powers of ten)."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
