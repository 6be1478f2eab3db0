"""Splits that leak, on purpose: the one place where a patient may stand on both sides, so that what this does can be measured.

The pictures are those of a *pool*: every photograph once as it is and several times rotated (study B). The pool names the
true patients and has no split; a leaky split exists only as a file of the experiment and in the memory of its trainings, where
`FundusDataset.with_split` is stepped around. A dataset that is not such a pool is refused.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from ...data.cache import fit_square
from ...data.dataset import FundusDataset
from ...data.dataset_writer import DatasetWriter
from ...data.targets import Target
from ...runtime.progress import Progress

PATIENTS, IMAGES, COPIES = "patients", "images", "copies"
UNITS = (PATIENTS, IMAGES, COPIES)
_PURPOSE = "leakage experiment: rotated copies of photographs, to be split in ways that leak"


def write_pool(
    dataset: FundusDataset, target: Target, path: Path, *, size: int, copies: int, seed: int, quiet: bool = False
) -> FundusDataset:  # fmt: skip
    """Write every image of `dataset` and `copies` of it, rotated by a random angle each, as a dataset folder.

    Study B: "augmentation by random rotation". Copies are turned at the size of the file, bilinear, black outside, and then
    shrunk. Columns: patient_id, label (the class of `target`), photograph (file_name of the image in `dataset`).

    Args:
        dataset: images of `target` only.
        path: an interrupted pool is continued there.
        size: of the pictures, pixels.

    Returns:
        The pool: images x (1 + copies) pictures, those of an image one after the other, the unturned one first.
    """
    info = {
        "name": f"{dataset.name} with rotated copies",
        "purpose": _PURPOSE,
        "parent_fingerprint": dataset.fingerprint,
    }
    labels, patients = target.names(dataset), dataset.patient_keys
    with DatasetWriter(path, info, resume=True) as writer, Progress(len(dataset), "rotating", quiet=quiet) as progress:
        for index, name in enumerate(dataset.column("file_name")):
            row = {"patient_id": patients[index], "label": labels[index], "photograph": name}
            files = [f"images/{index:06}-{copy}.png" for copy in range(1 + copies)]
            if not all(file in writer.done for file in files):
                image = dataset.read(index)
                angles = [0.0, *np.random.default_rng((seed, index)).uniform(-180, 180, copies)]
                for file, angle in zip(files, angles, strict=True):
                    writer.add({"file_name": file, **row}, fit_square(_rotated(image, angle), size))
            progress.advance()
    return FundusDataset.open(path)


def draw_sides(divided: FundusDataset, target: Target, pool: FundusDataset, seed: int) -> dict[str, np.ndarray]:
    """The split of each picture of the pool, by each unit of UNITS: {unit: object (n,)}.

    PATIENTS: as `divided`. IMAGES: its images are dealt anew within each class, so that a patient's photographs may part.
    COPIES: so are the pictures of the pool. Every part thus has the same number of pictures of each class by all three.

    Args:
        divided: the dataset of the pool, split by patient.
    """
    random = np.random.default_rng(seed)
    photograph = pd.Index(divided.column("file_name")).get_indexer(pool.column("photograph"))
    by_patient = divided.column("split").to_numpy(dtype=object)
    by_image = _dealt_anew(by_patient, target.labels(divided), random)
    sides = {PATIENTS: by_patient[photograph], IMAGES: by_image[photograph]}
    return sides | {COPIES: _dealt_anew(sides[PATIENTS], target.labels(divided)[photograph], random)}


def with_leaky_split(pool: FundusDataset, sides: np.ndarray) -> FundusDataset:
    """The pool with a split that a patient may be on both sides of.

    Its name says LEAKY, and so does that of every classifier trained on it; the patients stay the true ones, so that such a
    classifier still says whom it has seen.

    Raises:
        ValueError: not a pool of `write_pool`.
    """
    if pool.info.get("purpose") != _PURPOSE:
        raise ValueError(f"{pool.path} is not a pool of the leakage experiment")
    info = {**pool.info, "name": f"LEAKY split of {pool.name}"}
    # Not with_split, which rightly refuses this.
    return FundusDataset(pool.path, info, pool.table.assign(split=np.asarray(sides, dtype=object)))


def overlap(pool: FundusDataset, sides: np.ndarray) -> dict[str, float]:
    """What test and training pictures have in common.

    Returns:
        training pictures, test pictures, test patients; and shares of the test pictures, 0..1: known patient (has pictures
        in training), known photograph (another copy of it is in training).
    """
    train, test = sides == "train", sides == "test"
    patients, photographs = (pool.column(name).to_numpy() for name in ("patient_id", "photograph"))
    return {
        "training pictures": int(train.sum()),
        "test pictures": int(test.sum()),
        "test patients": len(set(patients[test])),
        "known patient": float(np.isin(patients[test], patients[train]).mean()),
        "known photograph": float(np.isin(photographs[test], photographs[train]).mean()),
    }


def _dealt_anew(sides: np.ndarray, labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    dealt = sides.copy()
    for number in np.unique(labels):
        members = np.flatnonzero(labels == number)
        dealt[members] = random.permutation(sides[members])
    return dealt


def _rotated(image: np.ndarray, degrees: float) -> np.ndarray:
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1)
    return image if degrees == 0 else cv2.warpAffine(image, turn, (width, height), flags=cv2.INTER_LINEAR)
