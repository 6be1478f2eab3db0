"""The randomisation check (Adebayo et al. 2018, NeurIPS): a map that says something about a classifier must change when the
classifier forgets what it learned.

The layers are randomised one after the other from the last one down, and stay so ("cascading"). A method whose maps hardly
change draws what is in the photograph, whatever the network knows. Two things keep the check from passing for nothing:

- A layer's weights are shuffled, not drawn anew, so that they keep their distribution, and batch normalisation measures its
  means and variances anew on the photographs. A randomised network whose outputs are all alike would have empty maps, which
  resemble nothing.
- Randomly weighted convolutions still answer to edges and spots, and maps of unlike networks on one photograph resemble one
  another for that alone. What maps of two *photographs* have in common (the field, the middle) is measured beside it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import rankdata
from skimage.metrics import structural_similarity
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..images import to_batch

_STAGES = 5
_WINDOW = 7

Attribute = Callable[[nn.Module], np.ndarray]
"""A classifier -> its maps of the same images, float (n, s, s)."""


@dataclass(frozen=True)
class Cascade:
    """How alike maps are to those of the trained network, the layers randomised from the last one down.

    Attributes:
        stages: names of the lowest layer that each stage randomised; the last stage has randomised all.
        rank_correlation: Spearman's, of absolute values inside the field, float64 (stages, n); nan where either map is
            constant: an empty map says nothing of what a network that forgot would show.
        structural_similarity: of Wang et al. 2004, of absolute values divided by their maximum, mean inside the field, float64
            (stages, n).
        other_image: Spearman's between the trained network's maps of two images, float64 (n,).
        last: maps of the network that is random throughout, float (n, s, s).
    """

    stages: tuple[str, ...]
    rank_correlation: np.ndarray
    structural_similarity: np.ndarray
    other_image: np.ndarray
    last: np.ndarray


def cascade(
    attribute: Attribute, networks: list[tuple[str, nn.Module]], trained: np.ndarray, fields: np.ndarray,
    advance: Callable[[], None] = lambda: None,
) -> Cascade:  # fmt: skip
    """Maps of the trained network against those of each of the randomised ones.

    Args:
        attribute: the method.
        networks: of `randomized`.
        trained: maps of the trained network, float (n, s, s).
        fields: bool (n, s, s).
        advance: called after every network.
    """
    ranks, structures, last = [], [], trained
    for _, network in networks:
        last = attribute(network)
        ranks.append([rank_correlation(*one) for one in zip(trained, last, fields, strict=True)])
        structures.append([structure(*one) for one in zip(trained, last, fields, strict=True)])
        advance()
    others = [rank_correlation(*one) for one in zip(trained, np.roll(trained, 1, axis=0), fields, strict=True)]
    stages = tuple(name for name, _ in networks)
    return Cascade(stages, np.array(ranks), np.array(structures), np.array(others), last)


def randomized(
    model: nn.Module, images: np.ndarray, device: torch.device | str = "cpu", seed: int = 0
) -> list[tuple[str, nn.Module]]:
    """Copies of the network, each with more of its layers randomised, from the last one down: the head alone, then in equal
    parts all others. [(name of the lowest randomised layer, network in evaluation mode)]; the model stays as it is.

    Args:
        model: on `device`.
        images: uint8 (m, s, s, 3), on which batch normalisation measures its statistics.
    """
    batch = to_batch(images, device)
    names = layer_names(model, batch[:1])[::-1]
    parts = [
        names[:1],
        *(part.tolist() for part in np.array_split(np.array(names[1:], dtype=object), _STAGES) if len(part)),
    ]
    generator = torch.Generator().manual_seed(seed)
    network, done, made = copy.deepcopy(model).eval(), [], []
    for part in parts:
        for name in part:
            shuffle_weights(network.get_submodule(name), generator)
        done += part
        _measure_statistics([network.get_submodule(name) for name in done], network, batch)
        made.append((part[-1], copy.deepcopy(network)))
    return made


def layer_names(model: nn.Module, batch: torch.Tensor) -> list[str]:
    """Modules with weights of their own, in the order in which an image reaches them; those that are never called come first.

    Args:
        batch: float (1, 3, s, s).
    """
    names = [name for name, module in model.named_modules() if any(True for _ in module.parameters(recurse=False))]
    reached: list[str] = []

    def watch(name: str):
        return model.get_submodule(name).register_forward_pre_hook(lambda *_: reached.append(name))

    handles = [watch(name) for name in names]
    try:
        with torch.inference_mode():
            model.eval()(batch)
    finally:
        for handle in handles:
            handle.remove()
    called = list(dict.fromkeys(reached))
    return [name for name in names if name not in called] + called


def shuffle_weights(module: nn.Module, generator: torch.Generator) -> None:
    """Shuffle the values within each of the module's own parameters, in place."""
    with torch.no_grad():
        for parameter in module.parameters(recurse=False):
            values = parameter.detach().cpu().flatten()
            shuffled = values[torch.randperm(len(values), generator=generator)]
            parameter.copy_(shuffled.view(parameter.shape))


def _measure_statistics(modules: list[nn.Module], network: nn.Module, batch: torch.Tensor) -> None:
    norms = [module for module in modules if isinstance(module, _BatchNorm) and module.track_running_stats]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches, of which there is one
        norm.train()
    with torch.inference_mode():
        network(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def rank_correlation(one: np.ndarray, other: np.ndarray, field: np.ndarray) -> float:
    """Spearman's rank correlation of the absolute values inside the field; nan when either is constant."""
    a, b = (rankdata(np.abs(map_[field])) for map_ in (one, other))
    constant = a.min() == a.max() or b.min() == b.max()
    return float("nan") if constant else float(np.corrcoef(a, b)[0, 1])


def structure(one: np.ndarray, other: np.ndarray, field: np.ndarray) -> float:
    """Structural similarity of the absolute values, each divided by its maximum in the field, mean over the field."""
    a, b = (_to_one(np.where(field, np.abs(map_), 0)) for map_ in (one, other))
    _, similarity = structural_similarity(a, b, win_size=_WINDOW, data_range=1.0, full=True)
    return float(similarity[field].mean())


def _to_one(magnitude: np.ndarray) -> np.ndarray:
    magnitude = magnitude.astype(np.float64)
    return magnitude / magnitude.max() if magnitude.max() > 0 else magnitude
