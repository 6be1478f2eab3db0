"""Readers: one file a collection, each turning a folder as downloaded into rows of the metadata schema.

A new reader is a file with a `READER` and a line here. The order is the order of recognition: the most particular first.
"""

from . import aptos, eyepacs, folder, idrid, messidor, messidor2, odir, rfmid, sankara, table
from .base import Collection, Reader, ReaderOptions, read_collection

READERS: dict[str, Reader] = {
    module.READER.name: module.READER
    for module in (odir, aptos, eyepacs, messidor2, messidor, idrid, rfmid, sankara, table, folder)
}

__all__ = ["READERS", "Collection", "Reader", "ReaderOptions", "read_collection"]
