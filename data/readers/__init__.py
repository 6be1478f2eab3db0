"""Readers: one file a collection, each turning a folder as downloaded into rows of the metadata schema.

A new reader is a file with a `READER` and a line here. The order is the order of recognition: the most particular first.
"""

from . import folder, odir, table
from .base import Collection, Reader, ReaderOptions, read_collection

READERS: dict[str, Reader] = {reader.name: reader for reader in (odir.READER, table.READER, folder.READER)}

__all__ = ["READERS", "Collection", "Reader", "ReaderOptions", "read_collection"]
