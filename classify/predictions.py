"""Ask a classifier: probabilities for arrays, `fundus-classify predict` for camera files, `evaluate` for dataset
folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ..data.cache import fit_square, image_cache
from ..data.dataset import FundusDataset
from ..data.image_file import read_image
from ..preprocess.field_of_view import HOPELESS, find_field_of_view
from ..preprocess.standardize import standardize
from ..runtime.devices import choose_device
from ..runtime.errors import UserError
from ..runtime.progress import Progress
from .backbones import Classifier
from .checkpoint import load_classifier
from .held_out import unseen
from .images import ImageSource, as_source, to_batch
from .prediction_table import PREFIX, prediction_table, write_predictions
from .results import write_results
from .targets import Target

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
# Camera files are standardised at this size first, as datasets are, and only then shrunk to the model's input.
_STANDARD_SIZE = 512


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found.

    Attributes:
        folder: where predictions.csv, metrics.json and report.html are.
        metrics: {metric: {"estimate", "low", "high"}} with 95 % intervals over patients.
        left_out: images that were not used because the classifier had seen their patient.
    """

    folder: Path
    metrics: dict[str, dict[str, float]]
    left_out: int


def predict_images(
    model: Classifier,
    images: np.ndarray | ImageSource,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """Class probabilities.

    Args:
        model: on `device`; it is put into evaluation mode and left in it.
        images: uint8 (n, size, size, 3) RGB.

    Returns:
        float64 (n, classes); each row sums to 1.
    """
    source = as_source(images)
    model.eval()
    parts = [np.zeros((0, model.classes))]
    with torch.inference_mode():
        for start in range(0, len(source), batch_size):
            batch = source.take(np.arange(start, min(start + batch_size, len(source))))
            logits = model(to_batch(batch, device)).double()
            parts.append(torch.softmax(logits, dim=1).cpu().numpy())
    return np.concatenate(parts)


def predict(run: Path | str, files: Sequence[Path | str], *, device: str = "auto", quiet: bool = False) -> pd.DataFrame:
    """Classify camera files.

    Args:
        run: a run folder of `train`.
        files: image files, or folders, of which every image file is taken.

    Returns:
        One row a file: file, predicted, p_<class>..., problem. A file that cannot be read or shows no retina has an
        empty prediction, nan probabilities and the reason as its problem.

    Raises:
        UserError: no classifier, a folder without image files, or every file had a problem (the first is told).
    """
    where = choose_device(device)
    model, about = load_classifier(run, where)
    paths = [path for file in files for path in _image_files(Path(file))]
    rows, problems = [], []
    with Progress(len(paths), "predicting", quiet=quiet) as progress:
        for path in paths:
            try:
                image = _standardized(path, model.size, about.illumination)
            except UserError as error:
                problems.append(error)
                values, predicted, problem = np.full(model.classes, np.nan), "", error.message
            else:
                values = predict_images(model, image[None], device=where)[0]
                predicted, problem = about.classes[values.argmax()], ""
            named = {PREFIX + name: value for name, value in zip(about.classes, values, strict=True)}
            rows.append({"file": str(path), "predicted": predicted, **named, "problem": problem})
            progress.advance()
    if problems and len(problems) == len(paths):
        raise problems[0]
    return pd.DataFrame(rows)


def evaluate(
    run: Path | str,
    dataset: FundusDataset | Path | str,
    *,
    out: Path | str | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> Evaluation:
    """Test a classifier on the patients of a dataset that it has never seen, and write predictions.csv, metrics.json
    and report.html into `out` (RUN/evaluation-<dataset> by default).

    Images of patients in the classifier's train or val split are left out, so the training dataset itself can be given.

    Raises:
        UserError: no classifier; no image of its classes, or no unseen patient.
    """
    where = choose_device(device)
    model, about = load_classifier(run, where)
    dataset = dataset if isinstance(dataset, FundusDataset) else FundusDataset.open(dataset)
    target = Target(about.target, about.classes)
    labels = target.labels(dataset)
    wanted = labels >= 0
    if not wanted.any():
        raise UserError(f"has no image of {', '.join(target.classes)} in column {target.column}", path=dataset.path)
    rows = np.flatnonzero(wanted & unseen(dataset, about.patients))
    if not len(rows):
        raise UserError("the classifier has seen every patient of it in training", path=dataset.path)
    probabilities = predict_images(
        model, ImageSource(image_cache(dataset, model.size, quiet=quiet), rows), device=where
    )
    table = prediction_table(dataset.subset(rows), labels[rows], probabilities, target.classes)
    folder = Path(out) if out is not None else Path(run) / f"evaluation-{dataset.name}"
    write_predictions(folder / "predictions.csv", table)
    left_out = int(wanted.sum() - len(rows))
    facts = {"dataset": dataset.name, "classifier": model.name, "left out, seen in training": left_out}
    metrics = write_results(folder, {"test": table}, target.classes, facts)
    return Evaluation(folder, metrics["test"], left_out)


def _standardized(path: Path, size: int, illumination: str) -> np.ndarray:
    image = read_image(path)
    fov = find_field_of_view(image)
    if fov.confidence < HOPELESS:
        raise UserError(f"no usable field of view (confidence {fov.confidence:.2f}): {fov.reason}", path=path)
    return fit_square(standardize(image, _STANDARD_SIZE, illumination, fov).image, size)


def _image_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in _SUFFIXES)
    if not found:
        raise UserError(f"holds no image file ({', '.join(_SUFFIXES)})", path=path)
    return found
