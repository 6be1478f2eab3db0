from __future__ import annotations

import numpy as np
import pytest

from fundus_synth.data.phantom.anatomy import Eye, fellow_eye, sample_eye


def _eyes(count: int, side: str) -> list[Eye]:
    rng = np.random.default_rng(4)
    return [sample_eye(rng, side=side) for _ in range(count)]


@pytest.mark.parametrize(("side", "nasal"), [("right", 1), ("left", -1)])
def test_disc_lies_on_the_nasal_side(side, nasal):
    assert all(nasal * (eye.disc_x - eye.fovea_x) > 0.2 for eye in _eyes(50, side))


def test_proportions_follow_the_textbook():
    eyes = _eyes(200, "right")
    in_disc_diameters = [np.hypot(*(e.disc - e.fovea)) / (2 * e.disc_radius) for e in eyes]
    assert np.mean(in_disc_diameters) == pytest.approx(2.5, abs=0.05)
    assert 1 / 8.3 < np.mean([2 * e.disc_radius for e in eyes]) < 1 / 7
    assert np.mean([e.fovea_y > e.disc_y for e in eyes]) > 0.95
    assert all(np.hypot(*e.disc) < 0.5 and np.hypot(*e.fovea) < 0.5 for e in eyes)


def test_blood_pressure_narrows_the_arteries():
    def mean_ratio(pressure: float) -> float:
        rng = np.random.default_rng(1)
        eyes = [sample_eye(rng, systolic_mmhg=pressure) for _ in range(100)]
        return float(np.mean([e.artery_width / e.vein_width for e in eyes]))

    assert mean_ratio(180) < mean_ratio(120) - 0.05


def test_fellow_eye_is_mirrored_and_alike_but_not_the_same():
    rng = np.random.default_rng(2)
    pairs = [(eye, fellow_eye(eye, rng)) for eye in (sample_eye(rng) for _ in range(60))]
    for eye, other in pairs:
        assert {eye.side, other.side} == {"left", "right"}
        assert np.sign(eye.disc_x - eye.fovea_x) == -np.sign(other.disc_x - other.fovea_x)
        assert other.hemoglobin == eye.hemoglobin and other.pigmentation == eye.pigmentation
        assert other.seed != eye.seed
    for trait in ("disc_radius", "cup_ratio", "tortuosity", "artery_width"):
        one, two = np.array([[getattr(e, trait), getattr(o, trait)] for e, o in pairs]).T
        assert 0.7 < np.corrcoef(one, two)[0, 1] < 0.9999


def test_streams_of_one_eye_are_independent_and_repeatable():
    eye = Eye(side="left", seed=3)
    assert eye.generator(1).random() == eye.generator(1).random()
    assert eye.generator(1).random() != eye.generator(2).random()
