"""Generator and discriminator architectures."""

from __future__ import annotations

from torch import nn

from . import cyclegan, dcgan, light

NETWORKS = {
    "dcgan": (dcgan.Generator, dcgan.Discriminator),
    "light": (light.Generator, light.Discriminator),
    "cyclegan": (cyclegan.Generator, cyclegan.Discriminator),
}


def build_generator(architecture: dict) -> nn.Module:
    """The generator that `architecture` describes.

    Args:
        architecture: `{"model": a key of NETWORKS, **keyword arguments of its generator}`.

    Raises:
        KeyError, TypeError, ValueError: no such model, or arguments that it does not take.
    """
    arguments = dict(architecture)
    return NETWORKS[arguments.pop("model")][0](**arguments)
