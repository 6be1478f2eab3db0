"""Generator files: weights as safetensors and, beside them, generator.json: what they are and whom they have seen.

Nothing is ever unpickled, so files from others can be opened safely.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import get_origin, get_type_hints

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from ..runtime.errors import UserError
from ..runtime.files import read_json, sha256_bytes, write_bytes, write_json
from .networks import build_generator

WEIGHTS = "generator.safetensors"
DESCRIPTION = "generator.json"
_FORMAT = "fundus-synth generator 1"
_RETRAIN = "Expected a run of `fundus-synth train`."


@dataclass(frozen=True)
class GeneratorInfo:
    """generator.json: what a generator is and what it was trained on.

    Attributes:
        label: the class it makes.
        architecture: arguments of `networks.build_generator`: model, size (pixels), latent (length), width.
        dataset: name, licence and fingerprint of the dataset it was trained on.
        images, patients: how many it was trained on.
        trained_on_patients: `patient_hash` of each patient (of "image <SHA-256>" for images without one), sorted; the
            patients of a generator it started from included.
        trained_on_images: SHA-256 of each image file, sorted; likewise.
        steps: optimisation steps.
        seed: seed of the training.
        recipe: the options of the training.
        toolkit: name and version of what wrote it.
        quality: of these weights against real eyes of patients held back: feature space, how many eyes, scores; {} when
            it was not measured.
        weights_sha256: SHA-256 of the weights file; filled in when saved.
    """

    label: str
    architecture: dict
    dataset: dict
    images: int
    patients: int
    trained_on_patients: list[str]
    trained_on_images: list[str]
    steps: int
    seed: int
    recipe: dict
    toolkit: str
    quality: dict = field(default_factory=dict)
    weights_sha256: str = ""

    @property
    def name(self) -> str:
        """A short name that differs for different weights, e.g. "dcgan-64-anemic-0123456789ab"."""
        model, size = self.architecture["model"], self.architecture["size"]
        return f"{model}-{size}-{slug(self.label)}-{self.weights_sha256[:12]}"


def slug(label: str) -> str:
    """A class name as part of a file name: anything but letters, digits, "_" and "-" becomes "-"."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", label)


_KINDS = {name: get_origin(kind) or kind for name, kind in get_type_hints(GeneratorInfo).items()}


def save_generator(folder: Path | str, generator: nn.Module, info: GeneratorInfo) -> None:
    """Write generator.safetensors and generator.json into `folder`, each atomically.

    A kill between the two leaves a pair that `load_generator` refuses; the run's `--resume` writes it again.
    """
    folder = Path(folder)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in generator.state_dict().items()}
    content = safetensors.torch.save(tensors, metadata={"format": _FORMAT})
    write_bytes(folder / WEIGHTS, content)
    write_json(folder / DESCRIPTION, {"format": _FORMAT, **asdict(info), "weights_sha256": sha256_bytes(content)})


def load_generator(path: Path | str) -> tuple[nn.Module, GeneratorInfo]:
    """Open the generator in `path`, a run folder or a folder with the two files.

    Returns:
        the generator in evaluation mode on the CPU, and its description.

    Raises:
        UserError: no generator there, or its files are not ours, damaged, or not of one another.
    """
    folder = generator_folder(path)
    info = read_info(folder / DESCRIPTION)
    weights = folder / WEIGHTS
    content = _read(weights)
    if sha256_bytes(content) != info.weights_sha256:
        raise UserError(
            f"does not belong to the {DESCRIPTION} beside it",
            path=weights,
            hint="If its training was interrupted, continue it with --resume; else copy both again.",
        )
    try:
        tensors = safetensors.torch.load(content)
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise UserError(f"is not a safetensors file ({error})", path=weights, hint=_RETRAIN) from error
    return _generator_with(tensors, info, weights), info


def generator_folder(path: Path | str) -> Path:
    """Where the two files are: `path`/checkpoints of a run folder, or `path` itself.

    Raises:
        UserError: neither holds a generator.json.
    """
    path = Path(path)
    for folder in (path / "checkpoints", path):
        if (folder / DESCRIPTION).is_file():
            return folder
    what = "holds no generator" if path.is_dir() else "no such folder; expected a run folder"
    raise UserError(f"{what} ({DESCRIPTION} is missing)", path=path, hint=_RETRAIN)


def read_info(path: Path) -> GeneratorInfo:
    """Read a generator.json.

    Raises:
        UserError: it is not one.
    """
    content = {"quality": {}, **read_json(path)}
    if content.pop("format", None) != _FORMAT:
        raise UserError(f"is not a generator's description (format is not {_FORMAT!r})", path=path, hint=_RETRAIN)
    for name, kind in _KINDS.items():
        if not isinstance(content.get(name), kind):
            raise UserError(f"{name} is {content.get(name)!r}; expected {kind.__name__}", path=path, hint=_RETRAIN)
    return GeneratorInfo(**{name: content[name] for name in _KINDS})


def _generator_with(tensors: dict[str, Tensor], info: GeneratorInfo, path: Path) -> nn.Module:
    try:
        # Built without memory first: sizes in a foreign file must not be able to exhaust it.
        with torch.device("meta"):
            generator = build_generator(info.architecture)
        generator.load_state_dict(tensors, assign=True)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        # PyTorch lists every tensor that does not fit; the first ones are enough.
        reason = str(error)[:200]
        raise UserError(f"is not the network of {DESCRIPTION} ({reason})", path=path, hint=_RETRAIN) from error
    return generator.eval().requires_grad_(False)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", path=path, hint=_RETRAIN) from error
