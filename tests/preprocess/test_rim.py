from __future__ import annotations

import numpy as np
import pytest

from fundus_synth.preprocess.circle_fit import Circle
from fundus_synth.preprocess.rim import fit_rim, measure_levels, rim_profiles, rim_width, whole_frame

SHAPE, CIRCLE = (240, 320), Circle(150.0, 118.0, 90.0)


def _disc(rise: float, inside: float = 120.0, surround: float = 10.0) -> np.ndarray:
    """A disc whose brightness rises from the surround to `inside` over `rise` pixels, centred on its rim."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] + 0.5
    share = np.clip(0.5 + (CIRCLE.radius - np.hypot(x - CIRCLE.x, y - CIRCLE.y)) / rise, 0, 1)
    return (surround + (inside - surround) * share).astype(np.float32)


@pytest.mark.parametrize("rise", [2.0, 4.0, 8.0])
def test_width_of_a_rim_is_half_of_a_linear_rise(rise):
    signal = _disc(rise)
    assert rim_width(signal, CIRCLE, measure_levels(signal), whole_frame(signal)) == pytest.approx(rise / 2, abs=0.6)


def test_a_picture_without_an_edge_has_no_rim_width():
    signal = np.full(SHAPE, 50, np.float32)
    assert np.isnan(rim_width(signal, CIRCLE, measure_levels(signal), whole_frame(signal)))


def test_the_more_gradual_the_rim_the_lower_the_confidence():
    fits = [fit_rim(signal, CIRCLE, measure_levels(signal)) for signal in (_disc(2), _disc(10), _disc(24))]
    assert fits[0].confidence > 0.95 and fits[0].confidence >= fits[1].confidence > fits[2].confidence
    assert fits[2].confidence < 0.7 and fits[2].reason
    assert np.allclose(fits[0].circle, CIRCLE, atol=0.1)


def test_what_is_darker_than_the_surround_is_no_outside():
    signal = _disc(2)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] + 0.5
    beyond = np.hypot(x - CIRCLE.x, y - CIRCLE.y) - CIRCLE.radius
    ring = np.where((beyond > 0) & (beyond < 15), 0, np.where(beyond >= 15, 40, signal)).astype(np.float32)
    plain, ringed = (
        rim_profiles(picture, CIRCLE, measure_levels(picture), 0.08, whole_frame(picture)) for picture in (signal, ring)
    )
    assert plain.edge.mean() > 0.9 and not ringed.edge.any()


def test_a_circle_that_runs_away_is_given_up():
    fit = fit_rim(_disc(2), Circle(150, 118, 20), measure_levels(_disc(2)))
    assert fit.confidence < 0.25 and 0 < fit.circle.radius < max(SHAPE)
