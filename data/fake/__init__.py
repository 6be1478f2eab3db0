"""Fake collections: small trees of simulated eyes in the layout of each public collection, with its quirks.

They let readers be tested, and commands be tried, before the real thing is there. One file a layout, each with a
`write(folder, eyes)`; a new layout is a file and a line here.
"""

from .base import FakeEyes, write_fake_collection

__all__ = ["FakeEyes", "write_fake_collection"]
