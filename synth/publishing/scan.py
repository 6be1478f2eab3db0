"""The last look before publishing: nothing in the folder names a training image or a patient."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from pathlib import Path

from ...data.dataset import FundusDataset
from ...data.schema import patient_hash
from ...runtime.errors import UserError

_DIGESTS = re.compile(rb"(?<![0-9a-fA-F])[0-9a-fA-F]{64}(?![0-9a-fA-F])")
_WORDS = re.compile(rb"[\w.-]{2,80}")
_TEXTS = (".md", ".txt", ".csv", ".json", ".html")


def refuse_traces(folder: Path, dataset: FundusDataset, audit: dict) -> None:
    """Look at every byte of `folder` for checksums of training images and patients, and at every word for patient ids.

    Known are the checksums in dataset.json of `dataset` and in `audit`, and the ids by their hashes and in the table.

    Args:
        dataset: the images that are published, as they were before.

    Raises:
        UserError: something was found, or a file of `dataset` is a training image; the message names the file.
    """
    patients = _listed(dataset.info.get("trained_on_patients"))
    images = _listed(dataset.info.get("trained_on_images"))
    nearest = {str(said.get("nearest", "")) for said in audit["images"].values()} - {""}
    for name, digest in zip(dataset.table["file_name"], dataset.image_digests, strict=True):
        if digest in images | nearest:
            raise UserError("is a training image, byte for byte; the audit did not find it", path=dataset.path / name)
    secret = patients | images | nearest
    ids = set(dataset.patients)
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        for digest in _found(path, _DIGESTS):
            if digest.lower() in secret:
                raise _leak("the checksum of a training image or patient", path, folder)
        for word in _words(path) if path.suffix in _TEXTS else ():
            if word in ids or patient_hash(word) in patients:
                raise _leak(f"the patient id {word}", path, folder)


def _words(path: Path) -> set[str]:
    """What may be an id: words, and the parts of file names such as p12_left.png."""
    whole = {word.strip("._-") for word in _found(path, _WORDS)}
    parts = {part for word in whole for part in re.split("[._]", word)}
    return {word for word in whole | parts if _may_be_an_id(word)}


def _may_be_an_id(word: str) -> bool:
    """Letters and digits: a figure such as 12 may be an id by chance in some collection, and stands everywhere."""
    return any(c.isdigit() for c in word) and any(c.isalpha() for c in word)


def _found(path: Path, pattern: re.Pattern[bytes]) -> Iterator[str]:
    if not path.stat().st_size:
        return
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        yield from sorted({match.decode("ascii", "replace") for match in pattern.findall(content)})


def _listed(value: object) -> set[str]:
    return {str(item) for item in value} if isinstance(value, list) else set()


def _leak(what: str, path: Path, folder: Path) -> UserError:
    return UserError(f"{what} would be in {path.relative_to(folder)}; nothing was published", path=folder.parent,
                     hint="A name in the set's description or commands tells of it.")  # fmt: skip
