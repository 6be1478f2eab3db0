"""Simulated patients, two eyes each, and the dataset folder of their photographs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...runtime.errors import UserError
from ...runtime.progress import Progress
from ...runtime.workers import map_in_order
from ...version import __version__
from ..cache import cache_folder
from ..dataset import FundusDataset
from ..dataset_writer import DatasetWriter
from ..labels import who_anemia
from .anatomy import Eye, fellow_eye, sample_eye
from .camera import Camera
from .camera_models import MIXED, check_cameras, next_exposure, sample_camera
from .course import DEFAULT_CLASSES, PHANTOM_CLASSES, Course, check_classes, mask_kinds
from .render import render

HEMOGLOBIN_RANGE_G_DL = (5.0, 18.0)
_HEMOGLOBIN = {"male": (14.9, 0.9), "female": (13.5, 0.85), "anemic": (9.8, 1.7)}
# Mean and spread in years; from glaucoma on as in ODIR-5K. Shares of women, and mmHg above the others, where they differ.
_AGE = {
    "normal": (52, 13), "anemic": (50, 15), "diabetes": (60, 10), "glaucoma": (63, 10), "cataract": (68, 11),
    "amd": (69, 9), "hypertension": (56, 8), "myopia": (58, 11), "other": (60, 11),
}  # fmt: skip
_WOMEN = {"cataract": 0.59, "myopia": 0.67}
_PRESSURE = {"diabetes": 6, "hypertension": 40}
_DEFAULT_IMAGES_PER_CLASS = 120


@dataclass(frozen=True)
class Patient:
    """One simulated person and the photographs taken of the two eyes (one when the class's count is odd).

    `label` is the class; the eyes' own label is empty when the `course` of the patient knows a second disease.
    """

    patient_id: str
    label: str
    course: Course
    sex: str
    age_years: int
    systolic_mmhg: int
    diastolic_mmhg: int
    hemoglobin_g_dl: float
    eyes: tuple[Eye, ...]
    cameras: tuple[Camera, ...]


def sample_patients(
    images_per_class: int,
    seed: int,
    classes: str | Sequence[str] = DEFAULT_CLASSES,
    cameras: str | Sequence[str] = MIXED,
    comorbidity: float = 0.0,
) -> list[Patient]:
    """Draw enough patients for `images_per_class` eyes of every class.

    Haemoglobin obeys the WHO's cut-offs: a patient is anaemic if and only if the label is `anemic`. Grades 1..4 of
    diabetic retinopathy are spread evenly over the eyes of the class `diabetes`, severities of the other diseases over
    their patients. `classes` are names of PHANTOM_CLASSES, also with commas between them, or "odir" or "all";
    `comorbidity` is the share of the patients with a disease who have a second one of ODIR's. Each patient is photographed with one
    of `cameras`, "mixed" or names of `CAMERA_MODELS`; the eyes do not depend on them, so the same seed with another
    camera is the same people in another clinic.

    Raises:
        UserError: an unknown class or camera, no class, fewer than one image a class, or a share that is none.
    """
    if not 0 <= comorbidity <= 1:
        raise UserError(f"comorbidity is {comorbidity:g}; expected a share from 0 to 1")
    if images_per_class < 1:
        raise UserError(f"{images_per_class} images a class were asked for; expected at least 1")
    names = check_cameras(cameras)
    patients: list[Patient] = []
    for label in check_classes(classes):
        rng = np.random.default_rng([seed, PHANTOM_CLASSES.index(label)])
        for first in range(0, images_per_class, 2):
            name = f"phantom-{seed}-{len(patients):04d}"
            course = Course.sample(label, seed, first // 2, comorbidity)
            patients.append(_sample_patient(rng, name, course, first, min(2, images_per_class - first), names))
    return patients


def _sample_patient(
    rng: np.random.Generator, name: str, course: Course, first: int, eyes: int, cameras: Sequence[str]
) -> Patient:
    label = course.conditions[0]
    women = _WOMEN.get(label)
    sex = str(rng.choice(["female", "male"], p=women and [women, 1 - women]))
    age = int(np.clip(rng.normal(*_AGE[label]), 18, 88))
    raised = max(_PRESSURE.get(condition, 0) for condition in course.conditions)
    systolic = int(np.clip(108 + 0.4 * (age - 30) + raised + rng.normal(0, 12), 88, 200))
    diastolic = int(np.clip(22 + 0.45 * systolic + rng.normal(0, 6), 48, systolic - 20))
    hemoglobin = _sample_hemoglobin(rng, sex, label == "anemic")
    grades = [1 + (first + i) % 4 if "diabetes" in course.conditions else 0 for i in range(2)]
    eye = sample_eye(
        rng, label=course.eye_label, grade=grades[0], hemoglobin=hemoglobin, age_years=age, systolic_mmhg=systolic
    )  # fmt: skip
    device = sample_camera(rng)
    both = (eye, fellow_eye(eye, rng, grades[1]))
    exposures = (device, next_exposure(device, rng))
    # The mixed camera is drawn in any case, and the others from a generator of their own: the eyes stay the same.
    own = np.random.default_rng([eye.seed, 2])
    camera = str(own.choice(cameras))
    if camera != MIXED:
        device = sample_camera(own, camera)
        exposures = (device, next_exposure(device, own))
    both = course.run(both)
    return Patient(name, label, course, sex, age, systolic, diastolic, hemoglobin, both[:eyes], exposures[:eyes])


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
    classes: str | Sequence[str] = DEFAULT_CLASSES,
    workers: int | None = 1,
    cameras: str | Sequence[str] = MIXED,
    comorbidity: float = 0.0,
) -> Iterator[tuple[dict[str, object], np.ndarray, dict[str, np.ndarray]]]:
    """Photograph a cohort: (row of metadata.csv, image uint8 (H, W, 3) RGB, masks {kind: uint8 (H, W)}) eye by eye.

    Order and bytes do not depend on `workers`. With `standardized` the field is the circle inscribed in a square,
    otherwise images are camera frames `size` pixels high. Kinds of masks are those
    of the classes present. Errors as in `sample_patients`.
    """
    patients = sample_patients(images_per_class, seed, classes, cameras, comorbidity)
    kinds = mask_kinds(condition for p in patients for condition in p.course.conditions)
    work = [(p, i, size, standardized, kinds) for p in patients for i in range(len(p.eyes))]
    yield from map_in_order(_photograph, work, workers)


def _photograph(
    work: tuple[Patient, int, int, bool, tuple[str, ...]],
) -> tuple[dict[str, object], np.ndarray, dict[str, np.ndarray]]:
    patient, index, size, standardized, kinds = work
    eye, camera = patient.eyes[index], patient.cameras[index]
    camera = camera.in_standard_frame() if standardized else camera
    phantom = render(eye, camera, size)
    row = {
        "file_name": f"images/{patient.patient_id}_{eye.side}.png",
        "patient_id": patient.patient_id,
        **phantom.labels,
        **patient.course.odir,
        "age_years": patient.age_years,
        "sex": patient.sex,
        "systolic_mmhg": patient.systolic_mmhg,
        "diastolic_mmhg": patient.diastolic_mmhg,
        "camera": camera.name,
        "artefacts": str(camera.artefacts),
        "source": "phantom",
        "synthetic": "true",
        "generator": "phantom",
        "seed": str(eye.seed),
    }
    return row, phantom.image, {kind: phantom.masks[kind] for kind in kinds}


def write_phantom_dataset(
    path: Path | str,
    images_per_class: int = 40,
    size: int = 512,
    seed: int = 0,
    standardized: bool = True,
    classes: str | Sequence[str] = DEFAULT_CLASSES,
    workers: int | None = None,
    quiet: bool = False,
    cameras: str | Sequence[str] = MIXED,
    comorbidity: float = 0.0,
) -> FundusDataset:
    """Render a cohort into a new dataset folder, with every mask; one process a core unless `workers` says otherwise.

    `classes`, `cameras` and `comorbidity` as in `sample_patients`; cameras also as names with commas between them.

    Raises:
        UserError: as in `sample_patients`, or `path` exists and is not empty.
    """
    classes = check_classes(classes)
    info = {
        "name": "phantom", "version": 1, "licence": "Apache-2.0", "source": "simulated eyes, fundus-synth",
        "classes": list(classes), "label_kind": "multi" if comorbidity else "single", "image_size": size,
        "standardized": standardized,
        "images_per_class": images_per_class, "seed": seed, "cameras": list(check_cameras(cameras)),
    }  # fmt: skip
    total = images_per_class * len(classes)
    cohort = render_cohort(images_per_class, size, seed, standardized, classes, workers, cameras,
                           comorbidity)  # fmt: skip
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
