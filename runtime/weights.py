"""Local weight files: safetensors, or a PyTorch state dict that is read without unpickling code."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from .errors import UserError
from .files import sha256_file


@dataclass(frozen=True)
class WeightFile:
    """Tensors of a file and what the file says about them.

    Attributes:
        tensors: {parameter name: tensor}, in the file's precision.
        facts: the safetensors metadata; `timm` (model name), `mean`, `std` (one number each, for RGB in 0..1) and
            `pad_type` are used when present.
        sha256: of the file.
    """

    path: Path
    tensors: dict[str, torch.Tensor]
    facts: dict[str, str] = field(default_factory=dict)
    sha256: str = ""

    def number(self, name: str) -> float | None:
        """The fact `name` as a number, None when the file does not say.

        Raises:
            UserError: it is there and no number.
        """
        text = self.facts.get(name)
        try:
            return None if text is None else float(text)
        except ValueError as error:
            raise UserError(f"says {name}={text!r} in its metadata, a number was expected", path=self.path) from error


def read_weights(path: Path | str) -> WeightFile:
    """Read a `.safetensors` file, or a `.pt`, `.pth` or `.bin` state dict (loaded with weights_only=True).

    Raises:
        UserError: no such file, not weights, or a pickle that holds more than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError("no such weights file", path=path)
    if path.suffix == ".safetensors":
        tensors, facts = _read_safetensors(path)
    else:
        tensors, facts = _read_state_dict(path), {}
    return WeightFile(path, tensors, facts, sha256_file(path))


def load_into(network: nn.Module, weights: WeightFile, head: tuple[str, ...]) -> bool:
    """Copy `weights` into `network`; the head keeps its fresh values when the file's has another shape or is missing.

    Args:
        network: the model to fill; its precision is kept.
        weights: the file's content.
        head: names of the head's modules, e.g. ("classifier",).

    Returns:
        Whether the head was loaded too.

    Raises:
        UserError: anything but the head is missing, unknown or of another shape.
    """
    own = network.state_dict()
    in_head = {name for name in own.keys() | weights.tensors.keys() if name.startswith(tuple(f"{h}." for h in head))}
    head_fits = all(_same_shape(own, weights.tensors, name) for name in in_head)
    given = {name: tensor for name, tensor in weights.tensors.items() if head_fits or name not in in_head}
    # Counters of seen batches do not change what a network computes, and many files leave them out.
    expected = {n for n in own if (head_fits or n not in in_head) and not n.endswith("num_batches_tracked")}
    _refuse_mismatch(own, given, expected, weights.path)
    network.load_state_dict(given, strict=False)
    return head_fits


def _refuse_mismatch(own: dict, given: dict, expected: set[str], path: Path) -> None:
    problems = {
        "missing": sorted(expected - given.keys()),
        "unknown": sorted(given.keys() - own.keys()),
        "of another shape": sorted(n for n in given.keys() & own.keys() if given[n].shape != own[n].shape),
    }
    told = [f"{len(names)} tensors {what} (first: {names[0]})" for what, names in problems.items() if names]
    if told:
        raise UserError(
            f"does not fit this backbone: {'; '.join(told)}",
            path=path,
            hint="Name the backbone that the file was made for.",
        )


def _same_shape(one: dict, other: dict, name: str) -> bool:
    return name in one and name in other and one[name].shape == other[name].shape


def _read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise UserError(f"is not a readable safetensors file ({error})", path=path) from error


def _read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise UserError(
            "is not a state dict of tensors only", path=path, hint="Convert it to safetensors where you trust it."
        ) from error
    content = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise UserError("holds something other than named tensors", path=path)
    return content
