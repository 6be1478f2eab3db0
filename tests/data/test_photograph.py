"""Reading at the smallest sufficient scale, colour profiles and DICOM."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from fundus_synth.data.image_file import decode_image, decode_photograph, encode_image, is_image_name, read_photograph
from fundus_synth.runtime.errors import UserError


def _smooth(width: int, height: int) -> np.ndarray:
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return np.dstack([x, y, 255 - x]).astype(np.uint8)


@settings(max_examples=30, deadline=None)
@given(st.integers(40, 300), st.integers(40, 300), st.integers(5, 200))
def test_a_jpeg_is_shrunk_as_far_as_it_may_be(width, height, at_least):
    photograph = decode_photograph(encode_image(_smooth(width, height), ".jpg"), "a.jpg", at_least)
    by = photograph.shrinking
    assert (photograph.width, photograph.height) == (width, height)
    assert photograph.pixels.shape == (-(-height // by), -(-width // by), 3)
    assert by == max(s for s in (1, 2, 4, 8) if s == 1 or min(width, height) // s >= at_least)


@pytest.mark.parametrize("by", [2, 4, 8])
def test_shrunk_pixels_are_means_of_blocks(by):
    content = encode_image(_smooth(320, 240), ".jpg")
    whole, small = decode_image(content, "a"), decode_photograph(content, "a", 240 // by)
    assert small.shrinking == by
    blocks = whole.reshape(240 // by, by, 320 // by, by, 3).mean((1, 3))
    assert np.abs(small.pixels - blocks).mean() < 1


@pytest.mark.parametrize(("width", "shrinking"), [(320, 4), (323, 1)])
def test_a_turned_jpeg_is_shrunk_only_when_positions_stay_exact(width, shrinking):
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    Image.fromarray(_smooth(width, 240)).save(stream, "JPEG", exif=exif, quality=95)
    photograph = decode_photograph(stream.getvalue(), "a", 60)
    assert (photograph.width, photograph.height, photograph.shrinking) == (240, width, shrinking)
    assert photograph.pixels.shape == (width // shrinking, 240 // shrinking, 3)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP", "PPM", "GIF", "WEBP"])
def test_other_formats_come_whole(format):
    stream = io.BytesIO()
    Image.fromarray(_smooth(64, 48)).save(stream, format, **({"lossless": True} if format == "WEBP" else {}))
    photograph = decode_photograph(stream.getvalue(), "a", 8)
    assert photograph.shrinking == 1 and (photograph.width, photograph.height) == (64, 48)
    # A GIF has 256 colours.
    assert np.abs(photograph.pixels.astype(int) - _smooth(64, 48)).mean() < (12 if format == "GIF" else 0.01)


def _red_and_blue_exchanged() -> bytes:
    """An sRGB profile whose red and blue primaries have changed places, under another name."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    table = profile[128:].replace(b"rXYZ", b"????", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"????", b"bXYZ", 1)
    return profile[:128] + table.replace("sRGB".encode("utf-16-be"), "test".encode("utf-16-be"))


def _red_png(profile: bytes | None, mode: str = "RGB") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (220, 30, 30)).convert(mode).save(stream, "PNG", icc_profile=profile)
    return stream.getvalue()


def test_a_colour_profile_is_applied():
    photograph = decode_photograph(_red_png(_red_and_blue_exchanged()), "a")
    assert photograph.note == ""
    assert np.abs(photograph.pixels.astype(int) - (30, 30, 220)).max() <= 3


def test_srgb_changes_nothing():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert (decode_image(_red_png(profile), "a") == (220, 30, 30)).all()


@pytest.mark.parametrize(
    ("profile", "mode", "note"),
    [(b"not a profile", "RGB", "damaged"), (_red_and_blue_exchanged()[:400], "RGB", "damaged"),
     (_red_and_blue_exchanged(), "L", "another kind")],
)  # fmt: skip
def test_a_profile_that_cannot_be_used_is_noted(profile, mode, note):
    photograph = decode_photograph(_red_png(profile, mode), "a")
    assert note in photograph.note
    assert np.array_equal(photograph.pixels, decode_image(_red_png(None, mode), "a"))


def test_jpeg_keeps_full_colour_resolution():
    assert Image.open(io.BytesIO(encode_image(_smooth(64, 64), ".jpg"))).layer[0][1:3] == (1, 1)


def _dicom(pixels: np.ndarray, kind: str, **tags) -> bytes:
    pydicom = pytest.importorskip("pydicom")
    from pydicom.uid import ExplicitVRLittleEndian, OphthalmicPhotography8BitImageStorage, generate_uid

    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = OphthalmicPhotography8BitImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    dataset.PhotometricInterpretation = kind
    dataset.BitsAllocated = 8 * pixels.itemsize
    dataset.BitsStored = tags.pop("BitsStored", 8 * pixels.itemsize)
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, 0
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OB" if pixels.itemsize == 1 else "OW"
    for name, value in tags.items():
        setattr(dataset, name, value)
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def test_dicom_rgb_is_read_exactly_and_tags_become_columns():
    content = _dicom(_smooth(32, 24), "RGB", PatientID="4711", PatientName="Doe^Jane", ImageLaterality="R", PatientSex="F",
                     PatientAge="018M", ManufacturerModelName="Camera 1", PatientBirthDate="19700101")  # fmt: skip
    photograph = decode_photograph(content, "a.dcm", 8)
    assert np.array_equal(photograph.pixels, _smooth(32, 24))
    pseudonym = "dicom-" + hashlib.sha256(b"4711").hexdigest()[:16]
    assert photograph.columns == {"patient_id": pseudonym, "eye": "right", "sex": "female", "age_years": 1.5,
                                  "camera": "Camera 1"}  # fmt: skip


def test_dicom_monochrome():
    grey = _smooth(32, 24)[..., 0]
    assert np.array_equal(decode_image(_dicom(grey, "MONOCHROME2"), "a")[..., 1], grey)
    assert np.array_equal(decode_image(_dicom(grey, "MONOCHROME1"), "a")[..., 2], 255 - grey)
    twelve = np.round(grey * (4095 / 255)).astype(np.uint16)
    assert np.abs(decode_image(_dicom(twelve, "MONOCHROME2", BitsStored=12), "a")[..., 0].astype(int) - grey).max() <= 1


def test_dicom_jpeg_baseline():
    pydicom = pytest.importorskip("pydicom")
    stream = io.BytesIO()
    Image.fromarray(_smooth(32, 24)).save(stream, "JPEG", quality=95, subsampling=0)
    dataset = pydicom.dcmread(io.BytesIO(_dicom(_smooth(32, 24), "YBR_FULL")))
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.JPEGBaseline8Bit
    dataset.PixelData = pydicom.encaps.encapsulate([stream.getvalue()])
    dataset["PixelData"].is_undefined_length = True
    compressed = io.BytesIO()
    dataset.save_as(compressed, enforce_file_format=True)
    assert np.abs(decode_image(compressed.getvalue(), "a").astype(int) - _smooth(32, 24)).mean() < 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: _dicom(_smooth(32, 24), "RGB")[:-500], "damaged or unusual DICOM"),
        (lambda: _dicom(_smooth(32, 24), "RGB")[:180], "DICOM"),
        (lambda: _dicom(_smooth(32, 24), "RGB", Rows=60_000, Columns=60_000), "megapixels"),
        (lambda: _dicom(_smooth(32, 24)[..., 0], "PALETTE COLOR"), "PALETTE COLOR"),
        (lambda: b"\0" * 128 + b"DICM" + b"1.2.840.10008.1.2.1.99", "deflated"),
    ],
)
def test_dicom_that_is_not_read_says_why(content, message):
    with pytest.raises(UserError, match=message) as caught:
        decode_image(content(), "eye.dcm")
    assert "eye.dcm" in str(caught.value)


def test_dicom_is_recognised_without_a_suffix(tmp_path):
    for name, content in (("IM000001", _dicom(_smooth(8, 8), "RGB")), ("README", b"text")):
        (tmp_path / name).write_bytes(content)
    assert is_image_name(tmp_path / "IM000001") and not is_image_name(tmp_path / "README")
    assert not is_image_name(tmp_path / "missing") and is_image_name(tmp_path / "a.DCM")
    assert read_photograph(tmp_path / "IM000001").width == 8
