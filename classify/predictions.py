"""What a classifier says about images: probabilities, predictions.csv, and `fundus-classify predict`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ..data.cache import fit_square
from ..data.dataset import FundusDataset
from ..data.image_file import SUFFIXES, is_image_name, read_image
from ..preprocess.field_of_view import HOPELESS, find_field_of_view
from ..preprocess.standardize import standardize
from ..runtime.devices import choose_device
from ..runtime.errors import UserError
from ..runtime.files import write_text
from ..runtime.progress import Progress
from .backbones import Classifier
from .checkpoint import load_classifier
from .evidence import SeedPredictions
from .images import ImageSource, as_source, to_batch

PREFIX = "p_"

# Camera files are standardised at this size first, as datasets are, and only then shrunk to the model's input.
_STANDARD_SIZE = 512


def predict_images(
    model: Classifier,
    images: np.ndarray | ImageSource,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    tta: bool = False,
) -> np.ndarray:
    """Class probabilities.

    Args:
        model: on `device`; it is put into evaluation mode and left in it.
        images: uint8 (n, size, size, 3) RGB.
        tta: test-time augmentation: the mean of what it says about each image and about its mirror image, left for right.

    Returns:
        float64 (n, classes); each row sums to 1.
    """
    source = as_source(images)
    model.eval()
    parts = [np.zeros((0, model.classes))]
    with torch.inference_mode():
        for start in range(0, len(source), batch_size):
            batch = to_batch(source.take(np.arange(start, min(start + batch_size, len(source)))), device)
            seen = [batch, batch.flip(3)] if tta else [batch]
            views = [torch.softmax(model(view).double(), dim=1) for view in seen]
            parts.append(torch.stack(views).mean(dim=0).cpu().numpy())
    return np.concatenate(parts)


def prediction_table(
    dataset: FundusDataset, labels: np.ndarray, probabilities: np.ndarray, classes: tuple[str, ...]
) -> pd.DataFrame:
    """One row an image: file_name, patient_id, split, true, predicted, and p_<class> for each class.

    patient_id is where the image groups in the bootstrap; images without a patient carry "image <digest>".
    """
    names = np.asarray(classes, dtype=object)
    table = pd.DataFrame(
        {
            "file_name": dataset.column("file_name").to_numpy(),
            "patient_id": dataset.patient_keys,
            "split": dataset.column("split").to_numpy(),
            "true": names[labels],
            "predicted": names[probabilities.argmax(axis=1)],
        }
    )
    for k, name in enumerate(classes):
        table[PREFIX + name] = probabilities[:, k]
    return table


def write_predictions(path: Path | str, table: pd.DataFrame) -> None:
    """Write predictions.csv atomically; probabilities with 9 significant digits."""
    write_text(path, table.to_csv(index=False, float_format="%.9g", lineterminator="\n"))


def read_predictions(path: Path | str) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """A predictions.csv and its classes, in the order of the columns.

    Raises:
        UserError: missing, not a predictions.csv, or a class in `true` that has no column.
    """
    try:
        table = pd.read_csv(path, keep_default_na=False, dtype={"patient_id": str, "true": str, "predicted": str})
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise UserError(f"cannot be read ({error})", path=path) from error
    classes = tuple(name.removeprefix(PREFIX) for name in table.columns if name.startswith(PREFIX))
    if not {"file_name", "patient_id", "true"} <= set(table.columns) or not classes:
        raise UserError("is not a predictions.csv (file_name, patient_id, true, p_<class>...)", path=path)
    unknown = ~table["true"].isin(classes)
    if unknown.any():
        row = int(np.flatnonzero(unknown)[0])
        raise UserError(f"true is {table['true'][row]!r}, expected one of {', '.join(classes)}", path=path, row=row + 2)
    return table, classes


def seed_predictions(table: pd.DataFrame, classes: tuple[str, ...]) -> SeedPredictions:
    """The table of one trained model, for the bootstrap."""
    true = table["true"].map({name: k for k, name in enumerate(classes)}).to_numpy(dtype=int)
    probabilities = table[[PREFIX + name for name in classes]].to_numpy(dtype=np.float64)
    return SeedPredictions(true, probabilities, table["patient_id"].to_numpy(dtype=str))


def predict(
    run: Path | str, files: Sequence[Path | str], *, device: str = "auto", quiet: bool = False, tta: bool = False
) -> pd.DataFrame:
    """Classify camera files.

    Args:
        run: a run folder of `train`.
        files: image files, or folders, of which every image file is taken.
        tta: see `predict_images`.

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
                values = predict_images(model, image[None], device=where, tta=tta)[0]
                predicted, problem = about.classes[values.argmax()], ""
            named = {PREFIX + name: value for name, value in zip(about.classes, values, strict=True)}
            rows.append({"file": str(path), "predicted": predicted, **named, "problem": problem})
            progress.advance()
    if problems and len(problems) == len(paths):
        raise problems[0]
    return pd.DataFrame(rows)


def _standardized(path: Path, size: int, illumination: str) -> np.ndarray:
    image = read_image(path)
    fov = find_field_of_view(image)
    if fov.confidence < HOPELESS:
        raise UserError(f"no usable field of view (confidence {fov.confidence:.2f}): {fov.reason}", path=path)
    return fit_square(standardize(image, _STANDARD_SIZE, illumination, fov).image, size)


def _image_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.rglob("*") if is_image_name(file))
    if not found:
        raise UserError(f"holds no image file ({', '.join(SUFFIXES)})", path=path)
    return found
