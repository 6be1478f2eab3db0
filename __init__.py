"""fundus-synth: standardise retinal fundus photographs, synthesise rare classes, and measure whether that helps.

Nothing heavy is imported here. The rooms are `data`, `preprocess`, `synth` and `classify`; see README.
"""

from .version import __version__

__all__ = ["__version__"]
