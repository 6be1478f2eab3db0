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
    turn,
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
    with pytest.raises(UserError, match="'perspective'.*translation"):
        choose_policy("perspective", ["normal"])
    images = torch.rand(2, 3, 4, 4)
    assert augment(images, ()) is images


@settings(max_examples=10, deadline=None)
@given(st.integers(-3, 3))
def test_turn_by_right_angles_is_exact(quarters):
    images = 2 * torch.rand(2, 3, 8, 8) - 1
    turned = turn(images, torch.full((2,), 90.0 * quarters))
    assert torch.allclose(turned, images.rot90(quarters, (2, 3)), atol=1e-5)


def test_turn_keeps_the_centre_and_fills_the_corners_with_black():
    turned = turn(torch.ones(1, 1, 9, 9), torch.tensor([45.0]))[0, 0]
    assert turned[4, 4].item() == pytest.approx(1, abs=1e-5)
    assert turned[0, 0].item() == pytest.approx(-1, abs=1e-5)


def test_rotation_is_at_most_fifteen_degrees_either_way():
    torch.manual_seed(0)
    ramp = torch.linspace(-0.5, 0.5, 33).expand(500, 1, 33, 33)
    middle = POLICY_PARTS["rotation"](ramp)[:, 0, 12:21, 12:21]
    down, right = middle.diff(dim=1).mean((1, 2)), middle.diff(dim=2).mean((1, 2))
    degrees = torch.rad2deg(torch.atan2(down, right))
    assert 14 < degrees.max() < 15.01 and -15.01 < degrees.min() < -14


@pytest.mark.parametrize("disguise", [0.3, 1.0])
def test_disguise_leaves_enough_images_as_they_are(disguise):
    torch.manual_seed(0)
    images = 0.9 * torch.rand(4000, 3, 16, 16)
    same = (augment(images, (), torch.tensor(disguise)) == images).flatten(1).all(1).float().mean().item()
    # Each of three changes comes with the same probability, and one shift in nine at this size is by nothing.
    share = min(disguise, 0.8)
    assert same == pytest.approx((1 - share) ** 2 * (1 - share + share / 9), abs=0.025 if share < 0.5 else 0.006)


def test_without_disguise_nothing_changes():
    images = torch.rand(2, 3, 4, 4)
    assert augment(images, (), torch.tensor(0.0)) is images


def test_disguise_keeps_colors():
    torch.manual_seed(0)
    red = torch.tensor([0.9, -0.2, -0.6])[:, None, None].expand(64, 3, 16, 16)
    disguised = augment(red, (), 1.0).permute(0, 2, 3, 1).reshape(-1, 3) + 1
    lit = disguised[(disguised != 1).all(1) & (disguised.amax(1) > 1e-3)]
    assert torch.allclose(lit / lit[:, :1], ((red[0, :, 0, 0] + 1) / 1.9).expand_as(lit), atol=1e-3)
