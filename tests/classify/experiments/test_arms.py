from __future__ import annotations

import pytest

from fundus_synth.classify.experiments.arms import Arm, parse_arms
from fundus_synth.runtime.errors import UserError


def test_names_become_augmentation_and_ratio():
    assert parse_arms(["default", "classical:anemia", "gan", "gan:0.25", "classical+gan:2", "gan:filtered",
                       "gan:0.5:filtered"]) == [
        Arm("default"),
        Arm("classical:anemia", "classical:anemia"),
        Arm("gan", "default", 1.0),
        Arm("gan:0.25", "default", 0.25),
        Arm("classical+gan:2", "classical", 2.0),
        Arm("gan:filtered", "default", 1.0, filtered=True),
        Arm("gan:0.5:filtered", "default", 0.5, filtered=True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["gan", "gan"],
        ["magic"],
        ["gan:0"],
        ["gan:-1"],
        ["gan:x"],
        ["gan:filtered:1"],
        ["gan:1:sieved"],
        ["classical:cats"],
    ],
)
def test_bad_arms(names):
    with pytest.raises(UserError):
        parse_arms(names)
