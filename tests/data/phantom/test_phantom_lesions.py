from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fundus_synth.data.phantom.anatomy import Eye, sample_eye
from fundus_synth.data.phantom.lesion_kinds import LESION_KINDS, Lesions
from fundus_synth.data.phantom.lesions import sample_lesions


def _lesions(grade: int, count: int = 10) -> list[tuple[Eye, Lesions]]:
    rng = np.random.default_rng(8)
    eyes = [sample_eye(rng, label="diabetes", grade=grade) for _ in range(count)]
    return [(eye, sample_lesions(eye)) for eye in eyes]


def _present(lesions: Lesions) -> set[str]:
    return {kind for kind in LESION_KINDS if getattr(lesions, kind)}


def test_grade_0_has_none():
    assert all(_present(found) == set() for _, found in _lesions(0))


def test_grade_1_has_microaneurysms_only():
    assert all(_present(found) == {"microaneurysms"} for _, found in _lesions(1))


@pytest.mark.parametrize("grade", [2, 3])
def test_grades_2_and_3_have_no_new_vessels(grade):
    must = {"microaneurysms", "haemorrhages", "hard_exudates"}
    for _, found in _lesions(grade):
        assert must <= _present(found) <= must | {"cotton_wool_spots"}


def test_grade_3_bleeds_in_all_four_quadrants():
    for eye, found in _lesions(3):
        middle = 0.5 * (eye.disc + eye.fovea)
        signs = np.array([np.sign(shape.mean(axis=0) - middle) for shape in found.haemorrhages])
        counts = [int((signs == quadrant).all(axis=1).sum()) for quadrant in ((1, 1), (1, -1), (-1, 1), (-1, -1))]
        assert min(counts) >= 5 and sum(counts) > 20


def test_grade_4_has_new_vessels():
    assert all("neovascularisation" in _present(found) for _, found in _lesions(4))


def test_lesions_lie_in_the_field_and_leave_fovea_centre_and_disc_free():
    for grade in (1, 2, 3, 4):
        for eye, found in _lesions(grade, 6):
            for kind in LESION_KINDS:
                for shape in getattr(found, kind):
                    assert np.hypot(*shape.T).max() < 0.5
            for spot in found.microaneurysms:
                centre = spot.mean(axis=0)
                assert np.hypot(*(centre - eye.fovea)) > 0.9 * eye.fovea_radius
                assert np.hypot(*(centre - eye.disc)) > eye.disc_radius


def test_microaneurysms_are_smaller_than_an_eighth_of_the_disc():
    for eye, found in _lesions(1):
        for spot in found.microaneurysms:
            assert np.ptp(spot, axis=0).max() < 2 * eye.disc_radius / 8


def test_same_eye_same_lesions():
    eye = replace(_lesions(4, 1)[0][0], hemoglobin=9.0)
    one, two = sample_lesions(eye), sample_lesions(eye)
    assert all(np.array_equal(a, b) for a, b in zip(one.haemorrhages, two.haemorrhages, strict=True))
