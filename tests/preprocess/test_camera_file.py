"""One camera file through the whole recipe: decoded small where that is enough, positions in pixels of the file."""

from __future__ import annotations

import numpy as np
import pytest

from fundus_synth.data.image_file import encode_image, read_image, write_image
from fundus_synth.preprocess.camera_file import Recipe, Task, check_output_format, process
from fundus_synth.preprocess.presets import PRESETS, recipe_for
from fundus_synth.preprocess.standardize import standardize
from fundus_synth.runtime.errors import UserError


def _run(path, folder, size, suffix="png", masks=None, row=None):
    outcome = process(
        Task(path, f"images/eye.{suffix}", masks or {}, row or {}), Recipe(folder, size, "none", all_kinds=True)
    )
    assert outcome.row is not None, outcome.reason
    return outcome.row, read_image(folder / f"images/eye.{suffix}")


@pytest.mark.parametrize("radius", [560, 180])
def test_a_jpeg_decoded_small_gives_what_a_whole_one_gives(frame, tmp_path, radius):
    camera = frame(1203, 1601, 800, 610, radius)
    (tmp_path / "a.jpg").write_bytes(encode_image(camera, ".jpg"))
    row, small = _run(tmp_path / "a.jpg", tmp_path, 256)
    whole = standardize(read_image(tmp_path / "a.jpg"), 256)
    assert (row["camera_width"], row["camera_height"]) == (1601, 1203)
    for found, expected in ((row["fov_x"], 800), (row["fov_y"], 610), (row["fov_r"], radius)):
        assert found == pytest.approx(expected, abs=4)
        assert found == round(2 * found) / 2
    inner = np.hypot(*(np.mgrid[:256, :256] + 0.5 - 128)) < 120
    error = small[inner].astype(float) - whole.image[inner]
    assert 10 * np.log10(255**2 / max(np.square(error).mean(), 1e-9)) > 30
    assert np.abs(error.mean(axis=0)).max() < 0.6


def test_masks_and_landmarks_use_pixels_of_the_whole_file(frame, tmp_path):
    camera = frame(1200, 1600, 800, 600, 560)
    mask = np.zeros(camera.shape[:2], np.uint8)
    mask[560:640, 1040:1120] = 255
    (tmp_path / "a.jpg").write_bytes(encode_image(camera, ".jpg"))
    write_image(tmp_path / "optic_disc.png", mask)
    row, _ = _run(tmp_path / "a.jpg", tmp_path, 256, masks={"optic_disc": tmp_path / "optic_disc.png"},
                  row={"disc_x": 1080 / 1600, "disc_y": 600 / 1600})  # fmt: skip
    y, x = np.nonzero(read_image(tmp_path / "masks/optic_disc/eye.png")[..., 0])
    assert ((x.mean() + 0.5) / 256, (y.mean() + 0.5) / 256) == pytest.approx((row["disc_x"], row["disc_y"]), abs=0.004)


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_lossy_formats_stay_near_the_png(frame, tmp_path, suffix):
    (tmp_path / "a.png").write_bytes(encode_image(frame(400, 500, 250, 200, 170), ".png"))
    _, exact = _run(tmp_path / "a.png", tmp_path, 128)
    _, lossy = _run(tmp_path / "a.png", tmp_path, 128, suffix)
    assert np.abs(lossy.astype(int) - exact).mean() < 3 and not np.array_equal(lossy, exact)


def test_an_unusable_colour_profile_is_noted_in_the_row(frame, tmp_path):
    from PIL import Image

    Image.fromarray(frame(200, 260, 130, 100, 85)).save(tmp_path / "a.png", icc_profile=b"broken")
    row, _ = _run(tmp_path / "a.png", tmp_path, 64)
    assert "profile" in row["camera_file_note"]


def test_output_format_and_preset_are_checked():
    check_output_format("webp")
    with pytest.raises(UserError, match="png, jpg, webp"):
        check_output_format("gif")
    with pytest.raises(UserError, match="anemia, dr, odir"):
        recipe_for("diabetes")


def test_what_is_given_wins_over_the_preset():
    assert recipe_for("dr") == PRESETS["dr"] and PRESETS["anemia"].illumination == "none"
    chosen = recipe_for("dr", size=64, illumination="none")
    assert (chosen.size, chosen.illumination) == (64, "none")
    assert (recipe_for(None).size, recipe_for(None).illumination) == (512, "none")
