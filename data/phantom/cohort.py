"""Simulated patients, two eyes each, and the dataset folder of their photographs."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from ...runtime.errors import UserError
from ...runtime.progress import Progress
from ...version import __version__
from ..cache import cache_folder
from ..dataset import FundusDataset
from ..dataset_writer import DatasetWriter
from ..labels import who_anemia
from .anatomy import Eye, fellow_eye, sample_eye
from .camera import Camera, sample_camera
from .render import render

PHANTOM_CLASSES = ("normal", "anemic", "diabetes")
HEMOGLOBIN_RANGE_G_DL = (5.0, 18.0)
_HEMOGLOBIN = {"male": (14.9, 0.9), "female": (13.5, 0.85), "anemic": (9.8, 1.7)}
_AGE = {"normal": (52, 13), "anemic": (50, 15), "diabetes": (60, 10)}
_WAITING_PER_WORKER = 4
_DEFAULT_IMAGES_PER_CLASS = 120


@dataclass(frozen=True)
class Patient:
    """One simulated person and the photographs taken of the two eyes (one when the class's count is odd)."""

    patient_id: str
    label: str
    sex: str
    age_years: int
    systolic_mmhg: int
    diastolic_mmhg: int
    hemoglobin_g_dl: float
    eyes: tuple[Eye, ...]
    cameras: tuple[Camera, ...]


def sample_patients(images_per_class: int, seed: int, classes: Sequence[str] = PHANTOM_CLASSES) -> list[Patient]:
    """Draw enough patients for `images_per_class` eyes of every class.

    Haemoglobin obeys the WHO's cut-offs: a patient is anaemic if and only if the label is `anemic`. Grades 1..4 of
    diabetic retinopathy are spread evenly over the eyes of the class `diabetes`.

    Raises:
        UserError: an unknown class, no class, or fewer than one image a class.
    """
    unknown = sorted(set(classes) - set(PHANTOM_CLASSES))
    if unknown or not classes:
        named = ", ".join(unknown) or "(none given)"
        raise UserError(f"phantoms have no class {named}; expected some of {', '.join(PHANTOM_CLASSES)}")
    if images_per_class < 1:
        raise UserError(f"{images_per_class} images a class were asked for; expected at least 1")
    patients: list[Patient] = []
    for label in classes:
        rng = np.random.default_rng([seed, PHANTOM_CLASSES.index(label)])
        for first in range(0, images_per_class, 2):
            name = f"phantom-{seed}-{len(patients):04d}"
            patients.append(_sample_patient(rng, name, label, first, min(2, images_per_class - first)))
    return patients


def _sample_patient(rng: np.random.Generator, name: str, label: str, first: int, eyes: int) -> Patient:
    sex = str(rng.choice(["female", "male"]))
    age = int(np.clip(rng.normal(*_AGE[label]), 18, 88))
    systolic = int(np.clip(108 + 0.4 * (age - 30) + 6 * (label == "diabetes") + rng.normal(0, 12), 88, 200))
    diastolic = int(np.clip(22 + 0.45 * systolic + rng.normal(0, 6), 48, systolic - 20))
    hemoglobin = _sample_hemoglobin(rng, sex, label == "anemic")
    grades = [1 + (first + i) % 4 if label == "diabetes" else 0 for i in range(2)]
    eye = sample_eye(
        rng, label=label, grade=grades[0], hemoglobin=hemoglobin, age_years=age, systolic_mmhg=systolic
    )  # fmt: skip
    device = sample_camera(rng)
    both = (eye, fellow_eye(eye, rng, grades[1]))
    return Patient(
        name, label, sex, age, systolic, diastolic, hemoglobin,
        both[:eyes], (device, device.next_exposure(rng))[:eyes],
    )  # fmt: skip


def _sample_hemoglobin(rng: np.random.Generator, sex: str, anemic: bool) -> float:
    """Haemoglobin in g/dL to one decimal, on the right side of the cut-off after rounding."""
    low, high = HEMOGLOBIN_RANGE_G_DL
    while True:
        value = round(float(rng.normal(*_HEMOGLOBIN["anemic" if anemic else sex])), 1)
        if low <= value <= high and who_anemia(sex, value) == anemic:
            return value


def render_cohort(
    images_per_class: int,
    size: int,
    seed: int,
    standardized: bool,
    classes: Sequence[str] = PHANTOM_CLASSES,
    workers: int = 1,
) -> Iterator[tuple[dict[str, object], np.ndarray, dict[str, np.ndarray]]]:
    """Photograph a cohort: (row of metadata.csv, image uint8 (H, W, 3) RGB, masks {kind: uint8 (H, W)}) eye by eye.

    Order and bytes do not depend on `workers`. With `standardized` the field is the circle inscribed in a square,
    otherwise images are camera frames `size` pixels high. Errors as in `sample_patients`.
    """
    patients = sample_patients(images_per_class, seed, classes)
    work = [(p, i, size, standardized) for p in patients for i in range(len(p.eyes))]
    if workers <= 1:
        yield from map(_photograph, work)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        waiting = deque(pool.submit(_photograph, item) for item in work[: workers * _WAITING_PER_WORKER])
        for item in work[len(waiting) :] + [None] * len(waiting):
            done = waiting.popleft().result()
            if item is not None:
                waiting.append(pool.submit(_photograph, item))
            yield done


def _photograph(work: tuple[Patient, int, int, bool]) -> tuple[dict[str, object], np.ndarray, dict[str, np.ndarray]]:
    patient, index, size, standardized = work
    eye, camera = patient.eyes[index], patient.cameras[index]
    phantom = render(eye, camera.in_standard_frame() if standardized else camera, size)
    row = {
        "file_name": f"images/{patient.patient_id}_{eye.side}.png",
        "patient_id": patient.patient_id,
        **phantom.labels,
        "age_years": patient.age_years,
        "sex": patient.sex,
        "systolic_mmhg": patient.systolic_mmhg,
        "diastolic_mmhg": patient.diastolic_mmhg,
        "camera": camera.name,
        "source": "phantom",
        "synthetic": "true",
        "generator": "phantom",
        "seed": str(eye.seed),
    }
    return row, phantom.image, phantom.masks


def write_phantom_dataset(
    path: Path | str,
    images_per_class: int = 40,
    size: int = 512,
    seed: int = 0,
    standardized: bool = True,
    classes: Sequence[str] = PHANTOM_CLASSES,
    workers: int | None = None,
    quiet: bool = False,
) -> FundusDataset:
    """Render a cohort into a new dataset folder, with every mask; one process a core unless `workers` says otherwise.

    Raises:
        UserError: as in `sample_patients`, or `path` exists and is not empty.
    """
    info = {
        "name": "phantom", "version": 1, "licence": "Apache-2.0", "source": "simulated eyes, fundus-synth",
        "classes": list(classes), "label_kind": "single", "image_size": size, "standardized": standardized,
        "images_per_class": images_per_class, "seed": seed,
    }  # fmt: skip
    total = images_per_class * len(classes)
    cohort = render_cohort(images_per_class, size, seed, standardized, classes, workers or os.cpu_count() or 1)
    with DatasetWriter(path, info) as writer, Progress(total, "simulating eyes", quiet=quiet) as progress:
        for row, image, masks in cohort:
            writer.add(row, image, masks)
            progress.advance()
    return FundusDataset.open(path)


def default_phantom_dataset(quiet: bool = False) -> FundusDataset:
    """The simulated eyes that commands use when no data are given: standardised, 256 px, made once and kept in the cache."""
    path = cache_folder() / f"phantom-{__version__}"
    if not path.exists():
        write_phantom_dataset(path, _DEFAULT_IMAGES_PER_CLASS, size=256, seed=0, standardized=True, quiet=quiet)
    return FundusDataset.open(path)
