from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from fundus_synth.data.image_file import decode_image, encode_image, read_image
from fundus_synth.runtime.errors import UserError

GRADIENT = np.dstack([np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1))] * 3)


def test_png_round_trip(tmp_path):
    (tmp_path / "ein Auge ünd 眼.png").write_bytes(encode_image(GRADIENT, ".png"))
    np.testing.assert_array_equal(read_image(tmp_path / "ein Auge ünd 眼.png"), GRADIENT)


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "P", "1", "LA"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    suffix = {"CMYK": "jpg"}.get(mode, "png")
    Image.fromarray(GRADIENT).convert(mode).save(tmp_path / f"a.{suffix}")
    image = read_image(tmp_path / f"a.{suffix}")
    assert image.shape == (48, 64, 3) and image.dtype == np.uint8
    assert image[:, -4:].mean() > image[:, :4].mean() + 150


@pytest.mark.parametrize(("top", "scale"), [(255, 1.0), (4095, 4095 / 255), (65535, 257.0)])
def test_sixteen_bits_are_scaled_by_what_the_file_holds(tmp_path, top, scale):
    values = np.round(GRADIENT[..., 0] * scale).astype(np.uint16)
    values[0, 0] = top
    Image.fromarray(values).save(tmp_path / "a.png")
    assert np.abs(read_image(tmp_path / "a.png")[1:, :, 0].astype(int) - GRADIENT[1:, :, 0]).max() <= 1


def test_transparent_is_black(tmp_path):
    rgba = np.dstack([GRADIENT, np.zeros(GRADIENT.shape[:2], np.uint8)])
    Image.fromarray(rgba).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").max() == 0


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    Image.fromarray(GRADIENT).save(tmp_path / "a.jpg", exif=exif, quality=95)
    image = read_image(tmp_path / "a.jpg")
    assert image.shape == (64, 48, 3)
    assert np.abs(image.astype(int) - np.rot90(GRADIENT, -1)).max() < 12


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.jpg", b"", "is empty"),
        ("text.jpg", b"this is not a picture", "holds text"),
        ("noise.png", bytes(range(256)) * 4, "is not an image"),
        ("short.jpg", encode_image(GRADIENT, ".jpg")[:-200], "damaged or truncated"),
        ("short.png", encode_image(GRADIENT, ".png")[:60], "damaged or truncated"),
    ],
)
def test_broken_files_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_image(tmp_path / name)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read_image(tmp_path / "none.png")


def test_decompression_bomb_is_refused():
    import struct
    import zlib

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    with pytest.raises(UserError, match="megapixels"):
        decode_image(b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT", "bomb.png")


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_bytes_are_read_or_refused(data):
    content = bytearray(encode_image(GRADIENT, data.draw(st.sampled_from([".png", ".jpg", ".webp"]))))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        image = decode_image(bytes(content[: data.draw(st.integers(0, len(content)))]), "damaged")
    except UserError:
        return
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3


@settings(max_examples=30, deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(1, 70), st.integers(1, 70)), elements=st.sampled_from([0, 255])))
def test_masks_are_small_grey_png_that_anyone_reads_alike(mask):
    content = encode_image(mask, ".png")
    with Image.open(io.BytesIO(content)) as image:
        assert (image.mode, image.format) == ("L", "PNG")
        assert np.array_equal(np.asarray(image), mask)
    assert np.array_equal(decode_image(content, "mask.png"), np.dstack([mask] * 3))


def test_soft_masks_are_kept_and_a_circle_takes_little():
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(decode_image(encode_image(values, ".png"), "mask.png")[..., 0], values)
    x = np.arange(512) - 255.5
    circle = ((x**2 + x[:, None] ** 2 < 256**2) * 255).astype(np.uint8)
    assert len(encode_image(circle, ".png")) < 4000
