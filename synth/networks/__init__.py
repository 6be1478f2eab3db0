"""Generator and discriminator architectures."""

from __future__ import annotations

from torch import nn

from . import dcgan

NETWORKS = {"dcgan": (dcgan.Generator, dcgan.Discriminator)}


def build_generator(architecture: dict) -> nn.Module:
    """The generator that `architecture` describes.

    Args:
        architecture: `{"model": a key of NETWORKS, **keyword arguments of its generator}`.

    Raises:
        KeyError, TypeError, ValueError: no such model, or arguments that it does not take.
    """
    arguments = dict(architecture)
    return NETWORKS[arguments.pop("model")][0](**arguments)
