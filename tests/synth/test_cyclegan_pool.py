import torch

from fundus_synth.synth.image_pool import ImagePool


def grey(*levels):
    """One 2 x 2 image a level of 0..255, as floats in -1..1."""
    return (torch.tensor(levels).float() / 127.5 - 1)[:, None, None, None].expand(-1, 3, 2, 2)


def levels(images):
    return ((images + 1) * 127.5).round()[:, 0, 0, 0].int().tolist()


def test_until_it_is_full_it_returns_what_it_is_given():
    pool = ImagePool(5, 2)
    assert levels(pool.exchange(grey(1, 2, 3))) == [1, 2, 3]
    assert levels(pool.exchange(grey(4, 5, 6))) == [4, 5, 6]
    assert pool.images[:, 0, 0, 0].tolist() == [1, 2, 3, 4, 5]


def test_a_full_pool_swaps_half_and_loses_nothing():
    torch.manual_seed(0)
    pool = ImagePool(50, 2)
    pool.exchange(grey(*range(50)))
    swapped = 0
    for first in range(50, 250, 4):
        fresh = list(range(first, first + 4))
        before = pool.images[:, 0, 0, 0].tolist()
        shown = levels(pool.exchange(grey(*fresh)))
        assert sorted(shown + pool.images[:, 0, 0, 0].tolist()) == sorted(before + fresh)
        swapped += sum(level not in fresh for level in shown)
    assert 70 < swapped < 130  # of 200, expected 100


def test_what_it_shows_has_no_gradient():
    pool, fresh = ImagePool(2, 2), grey(1, 2).clone().requires_grad_(True)
    for _ in range(2):
        assert not pool.exchange(fresh).requires_grad


def test_its_content_is_saved_and_restored():
    pool, again = ImagePool(3, 2), ImagePool(3, 2)
    pool.exchange(grey(10, 20, 30))
    again.load_state_dict(pool.state_dict())
    for one in (pool, again):
        torch.manual_seed(1)
        one.shown = levels(one.exchange(grey(7, 8, 9)))
    assert pool.shown == again.shown
    assert torch.equal(pool.images, again.images)
