"""Generator and discriminator architectures."""

from __future__ import annotations

from torch import nn

from . import cyclegan, dcgan, light

GENERATORS = {"dcgan": dcgan.Generator, "light": light.Generator, "cyclegan": cyclegan.Generator}


def build_generator(architecture: dict) -> nn.Module:
    """The generator that `architecture` describes.

    Args:
        architecture: `{"model": a key of GENERATORS, **keyword arguments of its generator}`.

    Raises:
        KeyError, TypeError, ValueError: no such model, or arguments that it does not take.
    """
    arguments = dict(architecture)
    return GENERATORS[arguments.pop("model")](**arguments)
