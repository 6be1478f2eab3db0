"""DICOM ophthalmic photographs: their pixels, and what their tags say of patient and eye. Needs the extra `dicom`.

A patient's name, birth date and PatientID never leave the file. PatientID becomes a pseudonym: the same patient has the
same one in every file, but whoever has a list of a hospital's ids can find out whose it is.
"""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np

from ..runtime.errors import UserError
from ..runtime.files import sha256_bytes

_MAGIC, _MAGIC_AT = b"DICM", 128
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_HEADER = 4096
_ID_LENGTH = 16
_AGE_UNITS = {"Y": 1.0, "M": 12.0, "W": 52.18, "D": 365.25}
_PHOTOMETRIC = ("MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")


def is_dicom(content: bytes) -> bool:
    """Whether a file's bytes begin as DICOM part 10 says: 128 bytes of anything, then DICM."""
    return content[_MAGIC_AT : _MAGIC_AT + len(_MAGIC)] == _MAGIC


def has_dicom_magic(path: Path) -> bool:
    """The same of a file on disk; False when it cannot be read."""
    try:
        with open(path, "rb") as stream:
            return is_dicom(stream.read(_MAGIC_AT + len(_MAGIC)))
    except OSError:
        return False


def decode_dicom(content: bytes, path: Path | str, max_pixels: int) -> tuple[np.ndarray, dict[str, object]]:
    """The first frame, and columns of metadata.csv.

    Args:
        content: the file's bytes. path: for the error message. max_pixels: a larger frame is refused undecoded.

    Returns:
        uint8 (height, width, 3) RGB, and those of patient_id, eye, sex, age_years, camera that the tags give.

    Raises:
        UserError: pydicom is not installed, the file is damaged, too large, or of a kind that is not read.
    """
    try:
        import pydicom
    except ImportError as error:
        raise UserError("is DICOM", path=path, hint="Reading it needs: pip install 'fundus-synth[dicom]'") from error
    if _DEFLATED in content[:_HEADER]:
        # The whole file would be inflated before its size can be looked at.
        raise UserError("is deflated DICOM, which is not read", path=path, hint="Export it uncompressed or as JPEG.")
    try:
        dataset = pydicom.dcmread(io.BytesIO(content))
        return _first_frame(dataset, path, max_pixels), _columns(dataset)
    except UserError:
        raise
    except Exception as error:
        # pydicom and its decoders raise whatever the damage leads them to, from struct.error to RecursionError.
        message = " ".join(str(error).split())[:120]
        raise UserError(f"is damaged or unusual DICOM ({message})", path=path) from error


def _first_frame(dataset, path: Path | str, max_pixels: int) -> np.ndarray:
    from pydicom.pixels import pixel_array

    if "PixelData" not in dataset:
        raise UserError("is DICOM without a picture", path=path)
    if int(dataset.Rows) * int(dataset.Columns) > max_pixels:
        raise UserError(f"has more than {max_pixels // 10**6} megapixels; not a photograph", path=path)
    kind = str(dataset.PhotometricInterpretation)
    if kind not in _PHOTOMETRIC:
        raise UserError(f"is DICOM of kind {kind}; expected monochrome, RGB or YBR", path=path)
    # YBR becomes RGB in pydicom.
    values = pixel_array(dataset, index=0).astype(np.float32)
    bits = int(dataset.BitsStored)
    low = -float(1 << (bits - 1)) if int(dataset.get("PixelRepresentation", 0)) else 0.0
    grey_levels = np.rint((values - low) * (255 / ((1 << bits) - 1))).clip(0, 255).astype(np.uint8)
    if kind == "MONOCHROME1":
        grey_levels = 255 - grey_levels
    return grey_levels if grey_levels.ndim == 3 else cv2.merge([grey_levels] * 3)


def _columns(dataset) -> dict[str, object]:
    patient, side, sex, camera = (
        str(dataset.get(name, "") or "").strip() for name in ("PatientID", "ImageLaterality", "PatientSex",
                                                              "ManufacturerModelName")
    )  # fmt: skip
    side = side or str(dataset.get("Laterality", "") or "").strip()
    found = {
        "patient_id": f"dicom-{sha256_bytes(patient.encode())[:_ID_LENGTH]}" if patient else "",
        "eye": {"L": "left", "R": "right"}.get(side, ""),
        "sex": {"F": "female", "M": "male"}.get(sex, ""),
        "age_years": _years(str(dataset.get("PatientAge", "") or "")),
        "camera": camera,
    }
    return {name: value for name, value in found.items() if value not in ("", None)}


def _years(age: str) -> float | None:
    """DICOM's age string, "045Y" or "018M", in years; None when it is not one."""
    age = age.strip()
    if len(age) != 4 or not age[:3].isdigit() or age[3] not in _AGE_UNITS:
        return None
    return round(int(age[:3]) / _AGE_UNITS[age[3]], 2)
