"""What a classifier says about images: probabilities, predictions.csv, and `fundus-classify predict`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ..data.cache import fit_square
from ..data.dataset import FundusDataset
from ..data.image_file import image_files, read_image
from ..data.targets import HEMOGLOBIN, MULTILABEL
from ..preprocess.field_of_view import HOPELESS, find_field_of_view
from ..preprocess.standardize import STANDARD_SIZE, standardize
from ..runtime.devices import choose_device
from ..runtime.errors import UserError
from ..runtime.files import write_text
from ..runtime.progress import Progress
from .backbones import Classifier
from .checkpoint import About, load_classifier
from .decision import Decision, grade_values, load_decision
from .deploy.predict import PREFIX
from .evidence import SeedPredictions
from .images import ImageSource, as_source, to_batch
from .tasks import ONE_CLASS, Task, task_of

# Grades and names of patients may look like numbers.
_WORDS = ("file_name", "patient_id", "split", "true", "predicted", "action", "said", "set")


def predict_images(
    model: Classifier,
    images: np.ndarray | ImageSource,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    tta: bool = False,
    task: Task = ONE_CLASS,
) -> np.ndarray:
    """Class probabilities, or what else the task tells.

    Args:
        model: on `device`; it is put into evaluation mode and left in it.
        images: uint8 (n, size, size, 3) RGB.
        tta: test-time augmentation: the mean of what it says about each image and about its mirror image, left for right.

    Returns:
        float64 (n, classes); of one class an image, each row sums to 1.
    """
    source = as_source(images)
    model.eval()
    parts = [np.zeros((0, model.classes))]
    with torch.inference_mode():
        for start in range(0, len(source), batch_size):
            batch = to_batch(source.take(np.arange(start, min(start + batch_size, len(source)))), device)
            seen = [batch, batch.flip(3)] if tta else [batch]
            views = [task.told(model(view)) for view in seen]
            parts.append(torch.stack(views).mean(dim=0).cpu().numpy())
    return np.concatenate(parts)


def prediction_table(
    dataset: FundusDataset, labels: np.ndarray, probabilities: np.ndarray, classes: tuple[str, ...],
    decision: Decision | None = None,
) -> pd.DataFrame:  # fmt: skip
    """One row an image: file_name, patient_id, split, true, predicted, and p_<class> for each class.

    patient_id is where the image groups in the bootstrap; images without a patient carry "image <digest>".

    Args:
        probabilities: of `predict_images`.
        decision: what makes of them those in the table, and `predicted`; by default they stay, and the largest decides. With
            cuts between grades, a column `value` tells what is cut.
    """
    decision, names = decision or Decision(classes), np.asarray(classes, dtype=object)
    table = image_columns(dataset)
    table["true"], table["predicted"] = names[labels], names[decision.decide(probabilities)]
    if decision.cuts is not None:
        table["value"] = grade_values(probabilities)
    return table.assign(**_named(decision.calibrated(probabilities), classes))


def image_columns(dataset: FundusDataset) -> pd.DataFrame:
    """The columns that every predictions.csv begins with: file_name, patient_id, split."""
    columns = {"file_name": dataset.column("file_name").to_numpy(), "patient_id": dataset.patient_keys}
    return pd.DataFrame({**columns, "split": dataset.column("split").to_numpy()})


def _named(probabilities: np.ndarray, classes: tuple[str, ...]) -> dict[str, np.ndarray]:
    return {PREFIX + name: probabilities[:, k] for k, name in enumerate(classes)}


def write_predictions(path: Path | str, table: pd.DataFrame) -> None:
    """Write predictions.csv atomically; probabilities with 9 significant digits."""
    write_text(path, table.to_csv(index=False, float_format="%.9g", lineterminator="\n"))


def read_predictions(path: Path | str) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """A predictions.csv and its classes, in the order of the columns.

    Raises:
        UserError: missing, not a predictions.csv, or a class in `true` that has no column.
    """
    try:
        table = pd.read_csv(path, keep_default_na=False, dtype=dict.fromkeys(_WORDS, str))
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
    true = _numbers(table["true"], classes)
    probabilities = table[[PREFIX + name for name in classes]].to_numpy(dtype=np.float64)
    return SeedPredictions(true, probabilities, table["patient_id"].to_numpy(dtype=str))


def decided_predictions(table: pd.DataFrame, classes: tuple[str, ...]) -> SeedPredictions:
    """The same with a probability of 1 for the class in `predicted`: for metrics of decisions, not of probabilities."""
    certain = np.eye(len(classes))[_numbers(table["predicted"], classes)]
    return SeedPredictions(_numbers(table["true"], classes), certain, table["patient_id"].to_numpy(dtype=str))


def _numbers(names: pd.Series, classes: tuple[str, ...]) -> np.ndarray:
    return names.map({name: k for k, name in enumerate(classes)}).to_numpy(dtype=int)


def predict(
    run: Path | str, files: Sequence[Path | str], *, device: str = "auto", quiet: bool = False, tta: bool = False
) -> pd.DataFrame:
    """Classify camera files.

    Args:
        run: a run folder of `train`.
        files: image files, or folders, of which every image file is taken.
        tta: see `predict_images`.

    Returns:
        One row a file: file, predicted, p_<class>..., problem; of several labels an image, `predicted` names those present
        with semicolons between; of haemoglobin hemoglobin_g_dl instead of both. The run's decision is applied. A file that
        cannot be read or shows no retina has an empty prediction, nan for numbers and the reason as its problem.

    Raises:
        UserError: no classifier, a folder without image files, or every file had a problem (the first is told).
    """
    where = choose_device(device)
    model, about = load_classifier(run, where)
    task, decision = task_of(about.target), load_decision(run, about)
    paths = [path for file in files for path in image_files(Path(file))]
    rows, problems = [], []
    with Progress(len(paths), "predicting", quiet=quiet) as progress:
        for path in paths:
            try:
                image = _standardized(path, model.size, about.illumination)
            except UserError as error:
                problems.append(error)
                told, problem = _nothing_told(about), error.message
            else:
                values = predict_images(model, image[None], device=where, tta=tta, task=task)
                told, problem = _told(about, decision, values), ""
            rows.append({"file": str(path), **told, "problem": problem})
            progress.advance()
    if problems and len(problems) == len(paths):
        raise problems[0]
    return pd.DataFrame(rows)


def _told(about: About, decision: Decision, values: np.ndarray) -> dict[str, object]:
    """What `predict_images` says of one image, values (1, k), by column."""
    if about.target == HEMOGLOBIN:
        return {about.classes[0]: values[0, 0]}
    decided = decision.decide(values)[0]
    predicted = present(decided, about.classes) if about.target == MULTILABEL else about.classes[decided]
    return {
        "predicted": predicted,
        **{name: p[0] for name, p in _named(decision.calibrated(values), about.classes).items()},
    }


def _nothing_told(about: About) -> dict[str, object]:
    nothing = np.full((1, len(about.classes)), np.nan)
    if about.target == HEMOGLOBIN:
        return {about.classes[0]: np.nan}
    return {"predicted": "", **{name: p[0] for name, p in _named(nothing, about.classes).items()}}


def present(decided: np.ndarray, classes: tuple[str, ...]) -> str:
    """The names of the labels that are present, decided bool (k,), with semicolons between."""
    return "; ".join(name for name, there in zip(classes, decided, strict=True) if there)


def _standardized(path: Path, size: int, illumination: str) -> np.ndarray:
    image = read_image(path)
    fov = find_field_of_view(image)
    if fov.confidence < HOPELESS:
        raise UserError(f"no usable field of view (confidence {fov.confidence:.2f}): {fov.reason}", path=path)
    return fit_square(standardize(image, STANDARD_SIZE, illumination, fov).image, size)
