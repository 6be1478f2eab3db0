import pickle

import numpy as np
import pytest

from fundus_synth.classify.class_score import ClassScore
from fundus_synth.data.dataset import FundusDataset
from fundus_synth.runtime.errors import UserError


def test_the_class_it_was_trained_on_scores_higher_and_the_two_add_up(toy_run, toy_path):
    dataset = FundusDataset.open(toy_path)
    images = np.stack([dataset.read(i) for i in range(len(dataset))])
    anemic, normal = (
        pickle.loads(pickle.dumps(ClassScore(str(toy_run), label)))(images) for label in ("anemic", "normal")
    )
    assert np.allclose(anemic + normal, 1, atol=1e-5)
    truth = (dataset.column("label") == "anemic").to_numpy()
    assert anemic[truth].mean() > anemic[~truth].mean() + 0.2


def test_an_unknown_class_is_named(toy_run):
    with pytest.raises(UserError, match="does not know amd; its classes are"):
        ClassScore(str(toy_run), "amd")(np.zeros((1, 64, 64, 3), np.uint8))
