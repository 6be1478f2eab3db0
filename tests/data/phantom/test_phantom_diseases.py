from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fundus_synth.data.phantom.anatomy import Eye, fellow_eye, sample_eye
from fundus_synth.data.phantom.camera import Camera
from fundus_synth.data.phantom.crossings import find_crossings, nicked
from fundus_synth.data.phantom.diseases import DISEASES, FINDINGS, afflicted
from fundus_synth.data.phantom.lesion_kinds import LESION_KINDS
from fundus_synth.data.phantom.lesions import sample_lesions
from fundus_synth.data.phantom.papilla import disc_margin
from fundus_synth.data.phantom.render import Phantom, render
from fundus_synth.data.phantom.vessels import grow_vessels

# Mean colours of a 4 x 4 grid over one diabetic eye, as this version and the one before the other diseases draw it.
BEFORE = [
    [49, 39, 30], [146, 110, 85], [147, 113, 87], [50, 40, 31], [152, 118, 89], [175, 130, 97], [178, 135, 103],
    [171, 144, 114], [151, 115, 89], [174, 133, 100], [191, 141, 106], [176, 149, 118], [49, 38, 29], [147, 114, 88],
    [148, 117, 90], [51, 40, 31],
]  # fmt: skip
QUIET = replace(Camera.standardized(), noise=0.0)


def _healthy(seed: int, **given) -> Eye:
    return sample_eye(np.random.default_rng(seed), **given)


def _ill(disease: str, seed: int, severity: float, variant: float = 0.5, **given) -> Eye:
    return afflicted(_healthy(seed, **given), disease, severity, variant)


def _seen(eye: Eye, size: int = 256) -> Phantom:
    return render(eye, QUIET, size)


def _height(mask: np.ndarray) -> int:
    rows = np.flatnonzero(mask.any(axis=1))
    return int(rows[-1] - rows[0] + 1)


def test_an_eye_without_these_diseases_looks_as_it_did_before_them():
    phantom = _seen(_healthy(3, grade=3, hemoglobin=10.0), 128)
    small = cv2.resize(phantom.image, (4, 4), interpolation=cv2.INTER_AREA).reshape(-1, 3).astype(int)
    assert np.abs(small - np.array(BEFORE)).max() <= 2
    assert not any(phantom.masks[kind].any() for kind in LESION_KINDS[5:])


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(list(DISEASES)), st.integers(0, 10_000), st.floats(0, 1), st.floats(0, 1, exclude_max=True))
def test_findings_lie_in_the_field_and_repeat(disease, seed, severity, variant):
    eye = _ill(disease, seed, severity, variant)
    assert eye == _ill(disease, seed, severity, variant)
    assert set(eye.findings) <= set(FINDINGS)
    one, two = sample_lesions(eye), sample_lesions(eye)
    for kind in LESION_KINDS:
        shapes, again = getattr(one, kind), getattr(two, kind)
        assert all(np.array_equal(a, b) for a, b in zip(shapes, again, strict=True))
        assert all(np.isfinite(shape).all() and shape.shape[1] == 2 for shape in shapes)
        if kind not in ("peripapillary_atrophy", "nerve_fibre_defects", "atrophy"):  # the field may cut these
            assert all(np.hypot(*shape.T).max() < 0.5 for shape in shapes)


@pytest.mark.parametrize("disease", list(DISEASES))
def test_masks_stay_in_the_field_and_repeat(disease):
    eye = _ill(disease, 5, 0.9, 0.3)
    one, two = _seen(eye, 128), _seen(eye, 128)
    assert np.array_equal(one.image, two.image)
    assert not np.array_equal(one.image, _seen(_healthy(5), 128).image)
    for kind, mask in one.masks.items():
        assert np.array_equal(mask, two.masks[kind]) and not mask[one.masks["fov"] == 0].any()
    deep = ("drusen", "atrophy", "peripapillary_atrophy", "pigment_clumps", "nerve_fibre_defects")
    assert not any((one.masks[kind] & one.masks["optic_disc"]).any() for kind in deep)


@pytest.mark.parametrize("disease", list(DISEASES))
def test_both_eyes_are_alike(disease):
    rng = np.random.default_rng(6)
    eye = sample_eye(rng)
    one, other = (afflicted(e, disease, 0.8, 0.2) for e in (eye, fellow_eye(eye, rng)))
    assert one.side != other.side and one.seed != other.seed
    assert {name: getattr(one, name) for name in ("glaucoma", "cataract", "amd", "hypertension", "myopia")} == {
        name: getattr(other, name) for name in ("glaucoma", "cataract", "amd", "hypertension", "myopia")
    }
    essential = set(one.findings) - {"disc haemorrhage", "peripapillary atrophy"}
    assert essential == set(other.findings) - {"disc haemorrhage", "peripapillary atrophy"}


@pytest.mark.parametrize("seed", range(3))
def test_cup_to_disc_is_that_of_the_masks(seed):
    severity = (seed + 0.5) / 3
    phantom = _seen(_ill("glaucoma", seed, severity), 512)
    measured = _height(phantom.masks["optic_cup"]) / _height(phantom.masks["optic_disc"])
    assert measured == pytest.approx(phantom.labels["cup_to_disc"], abs=0.03)
    assert 0.62 <= phantom.labels["cup_to_disc"] <= 0.97
    healthy = _seen(_healthy(seed), 512)
    assert _height(healthy.masks["optic_cup"]) / _height(healthy.masks["optic_disc"]) == pytest.approx(
        healthy.labels["cup_to_disc"], abs=0.03
    )


def test_cup_grows_with_the_severity_of_glaucoma_and_the_rim_thins_at_the_notch():
    ratios = [_seen(_ill("glaucoma", 2, s), 128).labels["cup_to_disc"] for s in (0.05, 0.5, 0.95)]
    assert (np.diff(ratios) > 0.03).all()
    eye = next(e for e in (_ill("glaucoma", s, 0.5) for s in range(50)) if e.cup_notch > 0.15)
    notched, even = (_seen(e, 512).masks["optic_cup"] > 0 for e in (eye, replace(eye, cup_notch=0.0)))
    rows, columns = np.nonzero(notched & ~even)
    angle = np.arctan2(rows.mean() / 512 - 0.5 - eye.disc_y, columns.mean() / 512 - 0.5 - eye.disc_x)
    assert np.cos(angle - eye.cup_notch_angle) > 0.9 and not (even & ~notched).any()


def test_nerve_fibre_defects_fan_out_of_the_disc_on_the_temporal_side_and_are_darker():
    for seed in range(2):
        eye = _ill("glaucoma", seed, 0.9)
        marked, bare = _seen(eye), _seen(replace(eye, findings=()))
        mask, away = marked.masks["nerve_fibre_defects"] > 0, (marked.masks["optic_disc"] == 0).astype(np.uint8)
        columns = np.nonzero(mask)[1].mean() / 256 - 0.5
        assert (columns - eye.disc_x) * eye.temporal > 0
        near = mask & (cv2.distanceTransform(away, cv2.DIST_L2, 3) < 40)
        assert (marked.image.astype(int) - bare.image)[..., 1][near].mean() < -3


def test_cataract_lowers_the_contrast_steadily():
    for seed in range(2):
        healthy = _healthy(seed, age_years=40)
        contrast = []
        for severity in (0.0, 0.15, 0.35, 0.55, 0.75, 1.0):
            eye = afflicted(healthy, "cataract", severity, 0.4) if severity else healthy
            phantom = _seen(eye, 160)
            inner = cv2.erode(phantom.masks["fov"], np.ones((25, 25), np.uint8)) > 0
            green = phantom.image[..., 1].astype(float)
            fine = green - cv2.GaussianBlur(green, (0, 0), 4)
            contrast.append(fine[inner].std() / green[inner].mean())
        assert (np.diff(contrast) < 0).all()
        assert contrast[-1] < 0.25 * contrast[0]


def test_drusen_lie_in_the_macula_and_are_yellow():
    for seed in range(2):
        eye = _ill("amd", seed, 0.5)
        distance = [np.hypot(*(d.mean(axis=0) - eye.fovea)) for d in sample_lesions(eye).drusen]
        assert len(distance) > 20 and np.median(distance) < 0.09  # a disc and a half from the fovea
        marked, bare = _seen(eye), _seen(replace(eye, findings=()))
        change = marked.image.astype(int) - bare.image
        spots = (marked.masks["drusen"] > 0) & (marked.masks["pigment_clumps"] == 0)
        assert change[spots][:, 1].mean() > 4 and change[spots][:, 1].mean() > change[spots][:, 2].mean()


@pytest.mark.parametrize(
    ("severity", "variant", "expected", "absent"),
    [
        (0.2, 0.1, {"drusen"}, {"atrophy", "subretinal_fluid", "pigment_clumps"}),
        (0.5, 0.1, {"drusen", "pigment_clumps"}, {"atrophy", "subretinal_fluid"}),
        (0.9, 0.1, {"drusen", "atrophy"}, {"subretinal_fluid", "haemorrhages"}),
        (0.9, 0.9, {"drusen", "subretinal_fluid", "haemorrhages"}, {"atrophy"}),
    ],
)
def test_stages_of_macular_degeneration(severity, variant, expected, absent):
    for seed in range(5):
        found = sample_lesions(_ill("amd", seed, severity, variant))
        present = {kind for kind in LESION_KINDS if getattr(found, kind)}
        assert expected <= present and not absent & present


def _measured_ratio(eye: Eye, size: int = 512) -> float:
    """Width of the arterial trunks over that of the venous ones just outside the disc, from the masks."""
    masks = _seen(eye, size).masks
    widths = {}
    for kind, artery in (("arteries", True), ("veins", False)):
        inside = cv2.dilate(cv2.distanceTransform(masks[kind], cv2.DIST_L2, 5), np.ones((3, 3)))
        trunks = [v.points for v in grow_vessels(eye) if v.artery == artery and v.order == 0]
        near = [p[(d > 1.2) & (d < 2.0)] for p in trunks for d in [np.hypot(*(p - eye.disc).T) / eye.disc_radius]]
        rows, columns = ((np.concatenate(near)[:, ::-1] + 0.5) * size).astype(int).clip(0, size - 1).T
        widths[artery] = np.mean(inside[rows, columns]) * 2 - 1
    return float(widths[True] / widths[False])


def test_av_ratio_is_that_of_the_masks_and_low_in_hypertension():
    error, ill, well = [], [], []
    for seed in range(4):
        eye, healthy = _ill("hypertension", seed, 0.5), _healthy(seed)
        ill.append(_measured_ratio(eye))
        well.append(_measured_ratio(healthy))
        assert eye.artery_width / eye.vein_width <= 0.60
        error += [ill[-1] - eye.artery_width / eye.vein_width, well[-1] - healthy.artery_width / healthy.vein_width]
    assert abs(np.mean(error)) < 0.08 and np.mean(ill) < np.mean(well) - 0.1


def test_labels_carry_the_parameters():
    eye = _ill("hypertension", 1, 0.9)
    labels = _seen(eye, 64).labels
    assert labels["av_ratio"] == pytest.approx(eye.artery_width / eye.vein_width, abs=0.001)
    assert labels["findings"] == "flame haemorrhages" and labels["cataract"] == 0
    assert _seen(_ill("cataract", 1, 0.7), 64).labels["cataract"] == 0.7
    assert _seen(_ill("myopia", 1, 0.7), 64).labels["tessellation"] > 0.6
    assert _seen(_healthy(1), 64).labels["findings"] == ""


def test_veins_are_squeezed_at_crossings_and_nowhere_else():
    seen = 0
    for seed in range(6):
        eye = _ill("hypertension", seed, 0.8)
        vessels = grow_vessels(eye)
        after, circles = nicked(eye, vessels)
        places = np.array([c.mean(axis=0) for c in circles]).reshape(-1, 2)
        for before, now in zip(vessels, after, strict=True):
            thinner = now.radius < 0.9 * before.radius
            assert not (before.artery and thinner.any()) and np.array_equal(before.points, now.points)
            for point in before.points[thinner]:
                assert np.hypot(*(places - point).T).min() < 0.02
            seen += thinner.any()
        for crossing in find_crossings(eye, vessels):
            arteries = np.concatenate([v.points for v in vessels if v.artery])
            assert np.hypot(*(arteries - crossing.point).T).min() < 0.006
    assert seen > 5


def test_the_crescent_of_myopia_touches_the_disc_and_grows_with_severity():
    areas = []
    for severity in (0.1, 0.5, 0.95):
        area = 0
        for seed in range(3):
            eye = _ill("myopia", seed, severity)
            masks = _seen(eye, 128).masks
            ring = cv2.dilate(masks["optic_disc"], np.ones((5, 5), np.uint8)) & ~masks["optic_disc"]
            rows, columns = np.nonzero(masks["peripapillary_atrophy"])
            assert (ring & masks["peripapillary_atrophy"]).any()
            assert (columns.mean() / 128 - 0.5 - eye.disc_x) * eye.temporal > 0
            area += len(rows)
        areas.append(area)
    assert areas[0] < areas[1] < areas[2]


def test_disc_margin_is_that_of_the_mask():
    eye = _ill("myopia", 3, 0.6)
    mask = _seen(eye, 512).masks["optic_disc"]
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    for share, inside in ((0.9, True), (1.12, False)):
        points = eye.disc + share * disc_margin(eye, angle)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        rows, columns = ((points[:, ::-1] + 0.5) * 512).astype(int).T
        assert ((mask[rows, columns] > 0) == inside).all()


def test_myopia_shows_the_choroid():
    def texture(eye: Eye) -> float:
        phantom = _seen(replace(eye, findings=(), vessel_contrast=0.0), 192)
        inner = cv2.erode(phantom.masks["fov"], np.ones((31, 31), np.uint8)) & ~cv2.dilate(
            phantom.masks["optic_disc"], np.ones((25, 25), np.uint8)
        )
        green = phantom.image[..., 1].astype(np.float32)
        return float((green - cv2.GaussianBlur(green, (0, 0), 6))[inner > 0].std())

    for seed in range(2):
        healthy = replace(_healthy(seed), tessellation=0.1)
        assert texture(afflicted(healthy, "myopia", 0.8, 0)) > 1.5 * texture(healthy)


def test_every_kind_of_other_disease_appears_with_its_mask():
    masks = {
        "hard drusen": "drusen", "epiretinal membrane": "epiretinal_membrane", "laser scars": "laser_scars",
        "myelinated nerve fibres": "myelinated_fibres", "asteroid hyalosis": "asteroid_bodies",
        "branch retinal vein occlusion": "haemorrhages",
    }  # fmt: skip
    bare = _seen(_healthy(4), 192)
    found = {_ill("other", 4, 0.5, v).findings[0] for v in np.linspace(0, 0.999, 60)}
    assert found == set(masks)
    for finding, kind in masks.items():
        marked = _seen(replace(_healthy(4), findings=(finding,)), 192)
        where = (marked.masks[kind] > 0) & (cv2.dilate(marked.masks["pigment_clumps"], np.ones((5, 5))) == 0)
        assert where.any() and not bare.masks[kind].any()
        change = np.abs(marked.image.astype(int) - bare.image).sum(axis=-1)
        assert change[where].mean() > 5 * change[cv2.dilate(marked.masks[kind], np.ones((25, 25))) == 0].mean()


def test_vein_occlusion_bleeds_above_or_below_but_not_both():
    for seed in range(6):
        eye = replace(_healthy(seed), findings=("branch retinal vein occlusion",))
        blood = np.array([s.mean(axis=0) for s in sample_lesions(eye).haemorrhages])
        below = (blood[:, 1] > 0.5 * (eye.disc_y + eye.fovea_y)).mean()
        assert below < 0.2 or below > 0.8
