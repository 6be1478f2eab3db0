"""Translation: the eyes of one class as they would look in another, each a picture of a given eye (CycleGAN).

A translation shows its parent's vessels and disc, so it belongs to the parent's patient: it keeps the patient's id, and its
dataset names the parents' patients among those that its generator has seen. A classifier that holds such a patient out
refuses it, as it refuses images of a generator that was trained on the patient.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..data.cache import image_cache
from ..data.dataset import FundusDataset
from ..data.dataset_writer import DatasetWriter
from ..runtime.devices import choose_device
from ..runtime.errors import UserError
from ..runtime.progress import Progress
from ..version import __version__
from .checkpoint import DESCRIPTION, GeneratorInfo, load_generator, slug
from .generator_training import seed_of
from .sampling import NETWORK_BATCH, one_thread, to_pixels

PARENT = "parent_file_name"
OF_A_PATIENT = "Synthetic fundus image made from a photograph: the anatomy is that of the patient in the photograph"
TRANSLATING = "cyclegan"
# What is as true of the translation as of its parent. Labels, findings and measurements of disease are not.
_KEPT = (
    "patient_id", "eye", "age_years", "sex", "camera", "camera_file", "camera_width", "camera_height",
    "fov_x", "fov_y", "fov_r", "fov_confidence", "disc_x", "disc_y", "disc_r", "fovea_x", "fovea_y",
    "disc_confidence", "fovea_confidence", "centred", "orientation", "orientation_confidence",
)  # fmt: skip


def translate(
    run: Path | str, source: FundusDataset, out: Path | str, count: int | None = None, *, split: str = "train",
    seed: int = 0, batch_size: int = NETWORK_BATCH, device: str = "cpu", quiet: bool = False,
) -> FundusDataset:  # fmt: skip
    """Translate eyes of `source` with the generator in `run` and write them as the dataset folder `out`.

    A translation depends on its parent alone: not on `count`, `seed`, `batch_size` or the other eyes.

    Args:
        run: a run folder of a CycleGAN, or a folder with generator.safetensors and generator.json; the run's
            checkpoints/back translates the other way.
        source: standardised eyes; those of the class that the generator translates from are its parents.
        count: how many parents; all when None.
        split: of a source with a split, which part the parents are from.
        seed: chooses the parents when `count` is below their number; a larger count keeps those of a smaller one.
        batch_size: eyes translated before they are written; rounded up to a multiple of 16.
        device: where to compute; other devices round differently, so pixels may differ by one from the CPU's.

    Returns:
        the new dataset: synthetic, label the generator's class; patient, eye, landmarks and camera of each parent, whose
        file is in the column parent_file_name. Its dataset.json names the patients (hashed) of the training and of the
        parents.

    Raises:
        UserError: no generator in `run` that translates, no such eyes in `source`, fewer than `count`, or `out` exists.
    """
    generator, info = load_generator(run)
    parents = choose_parents(source, source_label(info, run), split, count, seed)
    generator.to(choose_device(device))
    pixels = image_cache(parents, info.architecture["size"])
    step = -(-batch_size // NETWORK_BATCH) * NETWORK_BATCH
    writer = DatasetWriter(out, dataset_info(info, parents, seed))
    with writer, Progress(len(parents), f"translating to {info.label}", quiet=quiet) as progress:
        for first in range(0, len(parents), step):
            made = translate_images(generator, pixels[first : first + step])
            for index, image in enumerate(made, start=first):
                row, text = describe_image(info, parents, index)
                writer.add(row, image, png_text=text)
            progress.advance(len(made))
    return FundusDataset.open(out)


def translate_images(generator: nn.Module, images: np.ndarray) -> np.ndarray:
    """Each eye translated by itself: uint8 (n, size, size, 3) RGB -> the same shape, on the generator's device.

    Convolutions of another batch size or number of threads may sum in another order, so both are always the same.
    """
    missing = -len(images) % NETWORK_BATCH
    padded = np.concatenate([images, np.zeros((missing, *images.shape[1:]), np.uint8)])
    device = next(generator.parameters()).device
    eyes = torch.from_numpy(padded).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
    with one_thread(), torch.inference_mode():
        made = [to_pixels(generator(part)) for part in eyes.split(NETWORK_BATCH)]
    return np.concatenate(made)[: len(images)]


def source_label(info: GeneratorInfo, run: Path | str) -> str:
    """The class whose eyes a generator translates.

    Raises:
        UserError: it makes images from nothing, or does not say of what.
    """
    label = info.recipe.get("source_label")
    if info.architecture["model"] != TRANSLATING or not isinstance(label, str):
        raise UserError(
            f"{DESCRIPTION} is that of a generator which does not translate eyes ({info.architecture['model']})",
            path=run,
            hint="Train one with --model cyclegan, or generate without --from.",
        )
    return label


def choose_parents(source: FundusDataset, label: str, split: str, count: int | None, seed: int) -> FundusDataset:
    """`count` eyes of class `label`, of the split `split` where `source` has one, in the table's order.

    Raises:
        UserError: there are none, or fewer than `count`.
    """
    chosen = source.of_class(label)
    has_split = bool((source.column("split") != "").any())
    chosen = chosen.split(split) if has_split else chosen
    where = f"in the {split} split" if has_split else "in all"
    if not 1 <= (1 if count is None else count) <= len(chosen):
        wanted = "there is none to translate" if count is None else f"each is translated once, and --count is {count}"
        raise UserError(f"has {len(chosen)} {label} eyes {where}; {wanted}", path=source.path)
    # By a number of the eye's own, so that the choice does not depend on the order of the rows or on other eyes.
    lots = [seed_of(seed, digest) for digest in chosen.image_digests]
    return chosen.subset(np.sort(np.argsort(lots, kind="stable")[:count]))


def describe_image(info: GeneratorInfo, parents: FundusDataset, index: int) -> tuple[dict, dict[str, str]]:
    """The metadata.csv row and the PNG text chunks of the translation of parent `index`."""
    parent = parents.table.iloc[index]
    row = {
        "file_name": f"images/{slug(info.label)}_{index:06d}.png",
        "label": info.label,
        **{name: parent[name] for name in _KEPT if name in parent},
        "source": f"synthetic:{info.dataset.get('name', 'unknown')}",
        "synthetic": "true",
        "generator": info.name,
        PARENT: parent["file_name"],
    }
    text = {
        "Software": f"fundus-synth {__version__}",
        "Description": OF_A_PATIENT,
        "fundus-synth:generator": info.name,
        "fundus-synth:class": info.label,
        "fundus-synth:parent": parents.image_digests[index],
    }
    return row, text


def dataset_info(info: GeneratorInfo, parents: FundusDataset, seed: int) -> dict:
    """dataset.json of translated eyes; the parents count as seen by the generator, and whoever they were made from."""
    # Parents may be generated themselves: what their generator has seen is in them too.
    before = {name: said for name, said in parents.info.items() if isinstance(said, list)}
    patients = {*info.trained_on_patients, *parents.patient_hashes, *before.get("trained_on_patients", ())}
    images = {*info.trained_on_images, *parents.image_digests, *before.get("trained_on_images", ())}
    licences = {str(said or "unknown") for said in (info.dataset.get("licence"), parents.info.get("licence"))}
    return {
        "name": f"{info.name} from {parents.name}",
        "licence": " and ".join(sorted(licences)),
        "source": f"synthetic:{info.dataset.get('name', 'unknown')}",
        "description": OF_A_PATIENT,
        "classes": [info.label],
        "image_size": info.architecture["size"],
        "synthetic": True,
        "made_by": {
            "command": "fundus-synth generate --from", "count": len(parents), "seed": seed, "toolkit": __version__,
        },
        "parent": info.dataset,
        "translated_from": {"name": parents.name, "fingerprint": parents.fingerprint},
        "generator": {"name": info.name, "weights_sha256": info.weights_sha256, "steps": info.steps},
        "trained_on_patients": sorted(patients),
        "trained_on_images": sorted(images),
    }  # fmt: skip
