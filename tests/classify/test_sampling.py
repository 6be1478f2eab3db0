from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fundus_synth.classify.sampling import DrawSequence
from fundus_synth.runtime.errors import UserError


@settings(max_examples=40, deadline=None)
@given(counts=st.lists(st.integers(1, 30), min_size=2, max_size=5), size=st.integers(1, 17), steps=st.integers(1, 12))
def test_balanced_draws_classes_equally(counts, size, steps):
    labels = np.repeat(np.arange(len(counts)), counts)
    draws = DrawSequence(labels, "balanced", seed=0)
    drawn = np.concatenate([draws.batch(step, size) for step in range(steps)])
    per_class = np.bincount(labels[drawn], minlength=len(counts))
    assert per_class.max() - per_class.min() <= 1
    times = np.bincount(drawn, minlength=len(labels))
    for k in range(len(counts)):
        assert np.ptp(times[labels == k]) <= 1  # every image of a class as often as the others


def test_natural_goes_through_every_image_once_an_epoch():
    draws = DrawSequence(np.array([0] * 9 + [1]), "natural", seed=1)
    epochs = [np.concatenate([draws.batch(step, 5) for step in (2 * e, 2 * e + 1)]) for e in range(3)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert not np.array_equal(epochs[0], epochs[1])


def test_groups_share_a_class_equally():
    labels = np.array([0] * 50 + [1] * 10 + [1] * 90)
    groups = np.array([0] * 60 + [1] * 90)  # ten real and ninety synthetic images of class 1
    draws = DrawSequence(labels, "balanced", seed=0, groups=groups)
    drawn = np.concatenate([draws.batch(step, 32) for step in range(20)])
    in_class = drawn[labels[drawn] == 1]
    assert (groups[in_class] == 0).mean() == pytest.approx(0.5, abs=0.01)


def test_a_step_can_be_asked_again_and_depends_on_the_seed():
    labels = np.arange(40) % 3
    one, other = DrawSequence(labels, "balanced", 5), DrawSequence(labels, "balanced", 5)
    [one.batch(step, 8) for step in range(30)]
    np.testing.assert_array_equal(one.batch(7, 8), other.batch(7, 8))
    assert not np.array_equal(other.batch(7, 8), DrawSequence(labels, "balanced", 6).batch(7, 8))


def test_refuses_unknown_words_and_nothing_to_draw_from():
    with pytest.raises(UserError, match="balanced or natural"):
        DrawSequence(np.zeros(3), "stratified", 0)
    with pytest.raises(UserError, match="no training images"):
        DrawSequence(np.zeros(0), "balanced", 0)
