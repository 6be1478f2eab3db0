"""A trained classifier on disk: `classifier.safetensors` beside `classifier.json`. Nothing in it is ever unpickled."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ..runtime.errors import UserError
from ..runtime.files import atomic_path, read_json, sha256_file, write_json
from ..version import __version__
from .backbones import Classifier, create_backbone
from .heads import LINEAR

_KIND = "fundus-synth classifier"


@dataclass(frozen=True)
class About:
    """What a classifier must say of itself.

    Attributes:
        classes: names, in the order of the logits.
        target: what it was trained on: "label", "grade", or an expression (see `data.expressions`).
        dataset: name of the dataset.
        fingerprint: of the dataset.
        illumination: how the dataset's images were corrected, see preprocess.illumination; camera files get the same.
        patients: {"train" | "val" | "test": sorted patient hashes}.
    """

    classes: tuple[str, ...]
    target: str = "label"
    dataset: str = ""
    fingerprint: str = ""
    illumination: str = "none"
    patients: dict[str, list[str]] = field(default_factory=dict)


def save_classifier(folder: Path, model: Classifier, about: About) -> None:
    """Write both files atomically; the JSON last, so that a classifier without it is not complete."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.network.state_dict().items()}
    with atomic_path(folder / "classifier.safetensors") as temporary:
        save_file(tensors, temporary, metadata={"backbone": model.name})
    mean, std = model.normalization
    write_json(
        folder / "classifier.json",
        {
            "kind": _KIND,
            "version": __version__,
            "backbone": model.name,
            "head": model.head,
            "size": model.size,
            "options": model.options,
            "mean": list(mean),
            "std": list(std),
            "started_from": model.loaded,
            **asdict(about),
        },
    )


def load_classifier(run: Path | str, device: torch.device | str = "cpu") -> tuple[Classifier, About]:
    """The classifier of a run folder (or of its checkpoints folder), ready to predict.

    Raises:
        UserError: no classifier there, a file that is not ours, or a damaged one.
    """
    folder = _folder(run)
    path = folder / "classifier.json"
    if not path.is_file():
        raise UserError("holds no classifier", path=run, hint="Name a folder made by fundus-classify train.")
    facts = read_json(path)
    if facts.get("kind") != _KIND:
        raise UserError("is not a classifier made by fundus-synth", path=path)
    try:
        about = About(
            **{name: facts[name] for name in About.__dataclass_fields__} | {"classes": tuple(facts["classes"])}
        )
        normalization = (tuple(facts["mean"]), tuple(facts["std"]))
        model = create_backbone(
            facts["backbone"],
            len(about.classes),
            facts["size"],
            options=facts["options"],
            normalization=normalization,
            head=facts.get("head", LINEAR),  # older files do not say
        )
        model.loaded = facts["started_from"]
    except (KeyError, TypeError) as error:
        raise UserError(f"is incomplete or damaged ({error})", path=path) from error
    _load_tensors(model, folder / "classifier.safetensors")
    return model.to(device, memory_format=torch.channels_last).eval(), about


def weights_hash(run: Path | str) -> str:
    """SHA-256 of a classifier's weights, for what is only true of these; "" without any."""
    path = _folder(run) / "classifier.safetensors"
    return sha256_file(path) if path.is_file() else ""


def _folder(run: Path | str) -> Path:
    folder = Path(run)
    return folder / "checkpoints" if (folder / "checkpoints").is_dir() else folder


def _load_tensors(model: Classifier, path: Path) -> None:
    try:
        model.network.load_state_dict(load_file(path))
    except (SafetensorError, OSError, RuntimeError) as error:
        raise UserError("is missing, damaged, or does not fit its classifier.json", path=path) from error
