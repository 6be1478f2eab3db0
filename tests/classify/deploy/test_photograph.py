from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from fundus_synth.classify.deploy import photograph
from fundus_synth.classify.deploy.photograph import Recipe, prepare, read_camera_file
from fundus_synth.data.image_file import read_image
from fundus_synth.preprocess.field_of_view import find_field_of_view
from fundus_synth.preprocess.quality import measure_quality
from fundus_synth.preprocess.standardize import standardize
from fundus_synth.runtime.errors import UserError


def _picture(width: int = 203, height: int = 151) -> Image.Image:
    coarse = np.random.default_rng(0).integers(0, 256, (12, 16, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def _jpeg(picture: Image.Image | None = None, **options) -> bytes:
    stream = io.BytesIO()
    (picture or _picture()).save(stream, "JPEG", **options)
    return stream.getvalue()


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("quality", [30, 95])
def test_a_plain_jpeg_has_the_pixels_that_the_reader_gives(tmp_path, monkeypatch, subsampling, quality):
    path = tmp_path / "a.jpg"
    path.write_bytes(_jpeg(quality=quality, subsampling=subsampling))
    expected = read_image(path)
    monkeypatch.setattr(photograph, "decode_image", None)
    assert np.array_equal(read_camera_file(path), expected)


@pytest.mark.parametrize(
    "content",
    [_jpeg(exif=_turned()), _jpeg(progressive=True),
     _jpeg(icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()),
     _jpeg(picture=_picture().convert("L")), _jpeg(picture=_picture().convert("CMYK")), _jpeg() + b"more"],
    ids=["turned", "progressive", "profile", "grey", "cmyk", "tail"],
)  # fmt: skip
def test_all_else_is_read_as_ever(tmp_path, monkeypatch, content):
    path, asked = tmp_path / "a.jpg", []
    path.write_bytes(content)
    decode = photograph.decode_image
    monkeypatch.setattr(photograph, "decode_image", lambda *given: asked.append(given) or decode(*given))
    assert np.array_equal(read_camera_file(path), read_image(path))
    assert len(asked) == 1


@pytest.mark.parametrize(
    "content", [b"", b"text", _jpeg()[:-400], b"\xff\xd8\xff\xd9", b"\xff\xd8\xff" + bytes(50) + b"\xff\xd9"]
)
def test_what_cannot_be_read_is_told_as_ever(tmp_path, content):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    told = []
    for reader in (read_camera_file, read_image):
        with pytest.raises(UserError) as error:
            reader(path)
        told.append(str(error.value))
    assert told[0] == told[1]
    with pytest.raises(UserError, match="cannot be read"):
        read_camera_file(tmp_path / "none.jpg")


def test_it_is_made_ready_as_a_dataset_is(tmp_path, camera_file):
    camera_file(tmp_path / "a.png", 150)
    pixels = read_image(tmp_path / "a.png")
    for illumination in ("none", "clahe"):
        ready = prepare(tmp_path / "a.png", Recipe(256, illumination, keep_frame=True))
        found = standardize(pixels, 256, illumination)
        assert np.array_equal(ready.image, found.image)
        plain = standardize(pixels, 256)  # quality is that of the camera's picture
        assert ready.quality == pytest.approx(measure_quality(plain.image, plain.mask).score, abs=0.02)
        assert np.array_equal(ready.frame, pixels) and ready.fov.radius == found.fov.radius


def test_a_large_frame_is_handed_on_smaller_with_its_circle(tmp_path, camera_file):
    camera_file(tmp_path / "a.png", 150, size=1900)
    ready = prepare(tmp_path / "a.png", Recipe(64, "none", keep_frame=True))
    found = find_field_of_view(ready.frame)
    assert ready.frame.shape == (1520, 1600, 3)
    assert (ready.fov.x, ready.fov.y, ready.fov.radius) == pytest.approx((found.x, found.y, found.radius), abs=1.5)
    assert prepare(tmp_path / "a.png", Recipe(64, "none")).frame is None


def test_real_camera_files_have_the_same_pixels(real_data):
    for path in sorted((real_data / "camera_frames").glob("*.jp*g"))[::3]:
        assert np.array_equal(read_camera_file(path), read_image(path))
