import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fundus_synth.runtime.errors import UserError
from fundus_synth.synth.differentiable_augmentation import (
    POLICY_PARTS,
    augment,
    choose_policy,
    cutout,
    mild_color,
    shift,
    translate,
)  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(st.integers(-7, 7), st.integers(-7, 7))
def test_shift_moves_exactly_and_fills_with_black(down, right):
    image = torch.rand(1, 3, 8, 8)
    moved = shift(image, torch.tensor([down]), torch.tensor([right]))
    expected = torch.full_like(image, -1.0)
    for row in range(8):
        for column in range(8):
            if 0 <= row - down < 8 and 0 <= column - right < 8:
                expected[..., row, column] = image[..., row - down, column - right]
    assert torch.equal(moved, expected)


def test_translate_shifts_each_image_by_at_most_a_sixteenth():
    torch.manual_seed(0)
    images = torch.zeros(500, 1, 64, 64)
    images[..., 32, 32] = 1
    places = translate(images)[:, 0].flatten(1).argmax(1)
    offsets = torch.stack([places // 64 - 32, places % 64 - 32])
    assert set(offsets.flatten().tolist()) == set(range(-4, 5))
    assert (offsets[0] != offsets[1]).any()


def test_cutout_zeroes_one_square_of_half_the_size():
    torch.manual_seed(0)
    holes = cutout(torch.ones(500, 3, 16, 16)) == 0
    assert torch.equal(holes[:, 0], holes[:, 2])
    rows, columns = holes[:, 0].any(2).sum(1), holes[:, 0].any(1).sum(1)
    assert torch.equal(rows * columns, holes[:, 0].sum((1, 2)))
    # Whole squares of 8 x 8, or cut by the border to no less than half of that.
    assert rows.max() == 8 and columns.max() == 8
    assert rows.min() == 4 and columns.min() == 4


def test_mild_color_keeps_differences_of_grey_and_stays_mild():
    torch.manual_seed(0)
    grey = torch.rand(200, 1, 4, 4).expand(-1, 3, -1, -1) - 0.5
    change = mild_color(grey) - grey
    assert (change - change[:, :1, :1, :1]).abs().max() < 1e-6
    assert 0.15 < change.abs().max() <= 0.2 + 1e-6


@pytest.mark.parametrize("part", POLICY_PARTS)
def test_gradients_flow(part):
    torch.manual_seed(1)
    images = torch.rand(8, 3, 16, 16, requires_grad=True)
    POLICY_PARTS[part](images).sum().backward()
    share = (images.grad != 0).float().mean()
    assert share > 0.5


def test_without_color_no_new_value_appears():
    policy = choose_policy("auto", ["anemic", "normal"])
    assert policy == ("translation", "cutout")
    images = torch.rand(20, 3, 16, 16)
    for before, after in zip(images, augment(images, policy), strict=True):
        pixels = {tuple(p) for p in before.flatten(1).T.tolist()} | {(0.0,) * 3, (-1.0,) * 3}
        assert {tuple(p) for p in after.flatten(1).T.tolist()} <= pixels


def test_policies_by_name():
    assert choose_policy("auto", ["hypertension", "normal"]) == ("color", "translation")
    assert choose_policy("none", ["anemic"]) == ()
    assert choose_policy("cutout, color", ["normal"]) == ("cutout", "color")
    with pytest.raises(UserError, match="'rotation'.*translation"):
        choose_policy("rotation", ["normal"])
    images = torch.rand(2, 3, 4, 4)
    assert augment(images, ()) is images
