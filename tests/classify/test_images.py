from __future__ import annotations

import numpy as np
import pytest
import torch

from fundus_synth.classify.images import ImageSource, as_source, to_batch


def _array(n: int, first: int) -> np.ndarray:
    return (first + np.arange(n, dtype=np.uint8))[:, None, None, None] * np.ones((1, 4, 4, 3), dtype=np.uint8)


def test_rows_of_several_arrays_behind_one_index():
    one, two = ImageSource(_array(10, 0), rows=[7, 3]), ImageSource(_array(5, 100))
    source = ImageSource.join([one, two, one])
    assert len(source) == 9 and source.size == 4
    assert source.take([8, 2, 0, 4])[:, 0, 0, 0].tolist() == [3, 100, 7, 102]
    assert ImageSource.join([source, source]).take([9, 11])[:, 0, 0, 0].tolist() == [7, 100]


def test_a_list_of_arrays_is_a_source():
    assert as_source([_array(2, 0), _array(2, 50)]).take([3, 0])[:, 0, 0, 0].tolist() == [51, 0]


def test_shapes_that_cannot_be_images():
    with pytest.raises(ValueError, match="expected uint8"):
        ImageSource(np.zeros((2, 4, 4, 3)))
    with pytest.raises(ValueError, match="expected uint8"):
        ImageSource(np.zeros((2, 4, 5, 3), np.uint8))
    with pytest.raises(ValueError, match="several sizes"):
        as_source([_array(1, 0), np.zeros((1, 8, 8, 3), np.uint8)])


def test_batches_are_0_to_1_channels_first_in_meaning_and_last_in_memory():
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 5, 3)).astype(np.uint8)
    batch = to_batch(images)
    assert batch.shape == (2, 3, 5, 5) and batch.dtype == torch.float32
    assert batch.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(batch.permute(0, 2, 3, 1).numpy(), images / 255, atol=1e-7)


def test_discs_go_with_the_rows_and_are_unknown_by_default():
    discs = np.array([[0.7, 0.5, 0.06], [0.2, 0.4, 0.07]])
    source = ImageSource.join([ImageSource(_array(1, 0)), ImageSource(_array(10, 0), rows=[7, 3], discs=discs)])
    assert np.isnan(source.discs[0]).all()
    np.testing.assert_array_equal(source.discs[1:], discs)
    with pytest.raises(ValueError, match="discs"):
        ImageSource(_array(3, 0), discs=discs)
