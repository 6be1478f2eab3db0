"""Damaged image files are read or refused with one line; the long run is benchmarks/fuzz_images.py, whose damage this uses."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from fundus_synth.data import image_file
from fundus_synth.data.image_file import decode_photograph
from fundus_synth.preprocess.camera_file import Recipe, Task, process
from fundus_synth.runtime.errors import UserError

_SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "fuzz_images.py"
# Bombs that must fall at their header: hardly anything may be decoded.
_AT_ONCE = (
    "PNG of 3600 megapixels", "PNG with a profile of 300 MB", "PNG with a text of 300 MB", "TIFF of 4 billion x 4 billion",
    "TIFF with a strip of 4 GB", "TIFF with a tile of 4 TB", "TIFF with a million bits", "JPEG of 65 000 x 65 000",
    "WebP of 16 383 x 16 383", "GIF of 65 000 x 65 000", "PPM of 10^4000 x 1",
    "DICOM of 65 535 x 65 535",
)  # fmt: skip


@pytest.fixture(scope="module")
def fuzz():
    spec = importlib.util.spec_from_file_location("fuzz_images", _SCRIPT)
    module = sys.modules["fuzz_images"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["fuzz_images"]


@pytest.fixture(scope="module")
def files(fuzz):
    return fuzz.whole_files()


@pytest.fixture(scope="module")
def bombs(fuzz, files):
    return fuzz.bombs(files)


def _check_refusal(error: UserError) -> None:
    assert error.message and "\n" not in str(error) and len(error.message) < 300


def test_the_undamaged_files_are_read(files):
    for name, content in files.items():
        pixels = decode_photograph(content, name).pixels
        assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.mean() > 20, name


def test_damaged_files_are_read_or_refused(fuzz, files):
    verdicts = {"read": 0, "refused": 0}
    for number in range(1, 300):
        kind, damage, content = fuzz.damaged(files, number, seed=1)
        for at_least in (None, 24):
            try:
                pixels = decode_photograph(content, kind, at_least).pixels
            except UserError as error:
                _check_refusal(error)
                verdicts["refused"] += 1
                continue
            assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3, (number, kind, damage)
            verdicts["read"] += 1
    # Damage that always or never matters would test nothing.
    assert min(verdicts.values()) > 100


def test_the_same_number_is_the_same_file(fuzz, files):
    assert fuzz.damaged(files, 7, seed=0) == fuzz.damaged(files, 7, seed=0) != fuzz.damaged(files, 7, seed=1)


@pytest.mark.parametrize("name", _AT_ONCE)
def test_bombs_are_refused_by_their_header(bombs, name):
    if name not in bombs:
        pytest.skip("needs pydicom")
    with pytest.raises(UserError) as caught:
        decode_photograph(bombs[name](), "bomb")
    _check_refusal(caught.value)


@pytest.mark.parametrize(("name", "message"), [("JPEG of 20 000 scans", "scans"), ("PostScript", "is not an image")])
def test_what_pillow_would_open_and_we_do_not(bombs, name, message):
    with pytest.raises(UserError, match=message):
        decode_photograph(bombs[name](), "a.jpg")


def test_what_no_decoder_was_expected_to_raise_is_a_refusal(files, monkeypatch):
    import struct

    def broken(*_):
        raise struct.error("unpack requires\na buffer of 4 bytes")

    monkeypatch.setattr(image_file, "_decoded", broken)
    with pytest.raises(UserError, match="unpack requires a buffer") as caught:
        decode_photograph(files["PNG"], "a.png")
    _check_refusal(caught.value)


def test_a_file_that_needs_too_much_memory_is_refused(files, monkeypatch):
    def greedy(*_):
        raise MemoryError

    monkeypatch.setattr(image_file, "_decoded", greedy)
    with pytest.raises(UserError, match="more memory"):
        decode_photograph(files["PNG"], "a.png")


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (2, 2), (3, 700)])
def test_the_recipe_refuses_pictures_of_absurd_shape(fuzz, tmp_path, size):
    path = tmp_path / "a.png"
    path.write_bytes(fuzz.png_bomb(*size, 8, 2))
    outcome = process(Task(path, "a-done.png", {}, {}), Recipe(tmp_path, 64, "none", all_kinds=True))
    assert outcome.row is None and "field of view" in outcome.reason
