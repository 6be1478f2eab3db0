import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fundus_synth.runtime.errors import UserError
from fundus_synth.runtime.files import sha256_file
from fundus_synth.synth.checkpoint import load_generator
from fundus_synth.synth.latent_walk import interpolation_sheet, spherical, walk, walk_frames

VECTORS = st.integers(0, 10**6).map(
    lambda seed: torch.randn(40, generator=torch.Generator().manual_seed(seed)).double()
)


@given(VECTORS, VECTORS, st.floats(0, 1))
def test_the_way_is_an_arc(a, b, share):
    point = spherical(a, b, share)
    assert torch.allclose(spherical(a, b, 0.0), a) and torch.allclose(spherical(a, b, 1.0), b)
    assert torch.isclose(point.norm(), a.norm() + share * (b.norm() - a.norm()))

    def angle(x, y):
        return torch.arccos(torch.clamp(x @ y / (x.norm() * y.norm()), -1, 1))

    assert torch.isclose(angle(a, point), share * angle(a, b), atol=1e-5)


def test_a_walk_is_a_loop_and_small_steps(tiny_run):
    generator, _ = load_generator(tiny_run.path)
    frames = walk_frames(generator, 2, 8, seed=0)
    assert len(frames) == 40 and frames[0].shape == (16, 32, 3)
    steps = [np.abs(a.astype(int) - b).mean() for a, b in zip(frames, [*frames[1:], frames[0]], strict=True)]
    apart = np.abs(frames[0].astype(int) - frames[8]).mean()
    assert 0 < max(steps) < apart, "the last frame leads back to the first, like all others"
    assert not np.array_equal(frames[0][:, :16], frames[0][:, 16:]), "each eye has its own way"


def test_the_sheet_begins_and_ends_where_it_should(tiny_run):
    generator, _ = load_generator(tiny_run.path)
    sheet = interpolation_sheet(generator, 3, seed=1)
    assert sheet.shape == (48, 128, 3)
    whole, less = interpolation_sheet(generator, 3, 1), interpolation_sheet(generator, 3, 1, truncation=0.1)
    assert np.array_equal(sheet, whole)
    spread = [s.reshape(3, 16, 8, 16, 3).transpose(0, 2, 1, 3, 4).reshape(24, -1).std(0).mean() for s in (whole, less)]
    assert spread[1] < spread[0] / 2, "truncation brings all images near the typical one"


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_files_are_deterministic_and_say_what_they_are(tiny_run, tmp_path, suffix):
    one = walk(tiny_run.path, tmp_path / f"one{suffix}", eyes=2, frames=2, seed=5)
    two = walk(tiny_run.path, tmp_path / f"two{suffix}", eyes=2, frames=2, seed=5)
    other = walk(tiny_run.path, tmp_path / f"other{suffix}", eyes=2, frames=2, seed=6)
    assert sha256_file(one) == sha256_file(two) != sha256_file(other)
    with Image.open(one) as image:
        said = str(image.info.get("comment") or image.info.get("Description") or image.getexif()[0x010E])
        assert "not a photograph of a patient" in said
        if suffix != ".png":
            # Both formats join frames that are the same.
            assert 7 <= image.n_frames <= 10 and image.info["loop"] == 0


def test_bad_requests(tiny_run, tmp_path):
    (tmp_path / "there.gif").write_bytes(b"x")
    for name, options, message in (
        ("walk.mp4", {}, r"ends in \.mp4; expected one of \.gif"),
        ("there.gif", {}, "already exists"),
        ("a.gif", {"eyes": 0}, "--eyes is 0"),
        ("a.gif", {"frames": 0}, "--frames is 0"),
        ("a.gif", {"truncation": 0.0}, "--truncation is 0"),
        ("a.gif", {"truncation": 2.5}, "--truncation is 2.5"),
    ):
        with pytest.raises(UserError, match=message):
            walk(tiny_run.path, tmp_path / name, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["there.gif"]
