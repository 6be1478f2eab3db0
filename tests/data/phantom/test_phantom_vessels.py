from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fundus_synth.data.phantom.anatomy import Eye, sample_eye
from fundus_synth.data.phantom.branching import THINNEST, Vessel, thinned
from fundus_synth.data.phantom.vessels import grow_vessels


@pytest.fixture(scope="module")
def eyes() -> list[Eye]:
    rng = np.random.default_rng(0)
    return [sample_eye(rng) for _ in range(8)]


@pytest.fixture(scope="module")
def grown(eyes) -> list[list[Vessel]]:
    return [grow_vessels(eye) for eye in eyes]


def test_both_trees_leave_the_disc_upwards_and_downwards(eyes, grown):
    for eye, vessels in zip(eyes, grown, strict=True):
        for artery in (True, False):
            trunks = [v for v in vessels if v.artery == artery and v.order == 0]
            assert len(trunks) == 4
            assert all(np.hypot(*(t.points[0] - eye.disc)) < eye.disc_radius for t in trunks)
            ends = [t.points[len(t.points) // 3, 1] - eye.disc_y for t in trunks]
            assert min(ends) < -0.05 and max(ends) > 0.05


def test_vessels_keep_clear_of_the_fovea(eyes, grown):
    for eye, vessels in zip(eyes, grown, strict=True):
        assert min(np.hypot(*(v.points - eye.fovea).T).min() for v in vessels) > eye.fovea_radius


def test_arcades_pass_above_and_below_the_macula(eyes, grown):
    for eye, vessels in zip(eyes, grown, strict=True):
        trunks = np.concatenate([v.points for v in vessels if v.order == 0])
        over = trunks[np.abs(trunks[:, 0] - eye.fovea_x) < 0.03, 1] - eye.fovea_y
        assert over.min() < -0.12 and over.max() > 0.12 and np.abs(over).min() > 0.12


def test_calibre_never_grows_along_a_vessel_and_falls_with_the_order(grown):
    for vessels in grown:
        assert all((np.diff(v.radius) <= 1e-12).all() and v.radius.min() >= THINNEST - 1e-12 for v in vessels)
        means = [np.mean([v.radius[0] for v in vessels if v.order == order]) for order in range(4)]
        assert means[0] > means[1] > means[2] > means[3]


def test_murrays_law_at_a_fork():
    line = np.stack([np.linspace(0, 0.3, 60), np.zeros(60)], axis=1)
    parent = Vessel(line, np.full(60, 0.005), True, 0)
    after = thinned(parent, np.array([0.003]), line[30:31])
    assert after.radius[0] == 0.005
    assert after.radius[-1] ** 3 + 0.003**3 == pytest.approx(0.005**3)


def test_veins_are_wider_than_arteries(eyes, grown):
    for vessels in grown:
        trunks = [v for v in vessels if v.order == 0]
        width = {kind: np.mean([v.radius[0] for v in trunks if v.artery == kind]) for kind in (True, False)}
        assert width[False] > width[True]


def test_growth_depends_on_the_seed_alone(eyes):
    again = grow_vessels(eyes[0])
    paler = grow_vessels(replace(eyes[0], hemoglobin=7.0))
    other = grow_vessels(replace(eyes[0], seed=eyes[0].seed + 1))
    first = np.concatenate([v.points for v in grow_vessels(eyes[0])])
    assert np.array_equal(first, np.concatenate([v.points for v in again]))
    assert np.array_equal(first, np.concatenate([v.points for v in paler]))
    assert not np.array_equal(first[:40], np.concatenate([v.points for v in other])[:40])


def test_severe_retinopathy_beads_the_veins_only(eyes):
    beaded = grow_vessels(replace(eyes[0], grade=3))
    swelling = {v.artery: False for v in beaded}
    for v in beaded:
        swelling[v.artery] |= bool((np.diff(v.radius) > 1e-6).any())
    assert swelling == {False: True, True: False}
