import numpy as np
import pytest

from fundus_synth.data.dataset import FundusDataset
from fundus_synth.synth.feature_cache import cached_features
from fundus_synth.synth.features.retina import RetinaSpace
from fundus_synth.synth.judging.anatomy import FIGURES, check_anatomy, has_anatomy, limits_of

NAMES = ("disc_confidence", "disc_contrast", "other_disc", "disc_off_middle", "disc_radius", "fovea_confidence",
         "fovea_off_middle", "disc_fovea_distance", "disc_fovea_angle", "vessel_density", "field_radius",
         "field_roundness")  # fmt: skip
GOOD = {"disc_confidence": 0.9, "disc_contrast": 0.3, "other_disc": 0.0, "disc_off_middle": 0.3, "disc_radius": 0.07,
        "fovea_confidence": 0.9, "fovea_off_middle": 0.05, "disc_fovea_distance": np.log(0.35 / 0.07),
        "disc_fovea_angle": 0.0, "vessel_density": 0.1, "field_radius": 0.5, "field_roundness": 0.99}  # fmt: skip


def rows(*changes: dict) -> np.ndarray:
    return np.array([list({**GOOD, **change}.values()) for change in changes])


def real(count: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Eyes whose vessel density is evenly spread over 0.05 to 0.15, and places and circles a little about GOOD."""
    random = np.random.default_rng(0)
    eyes = [
        {"vessel_density": random.uniform(0.05, 0.15), "field_radius": random.uniform(0.49, 0.51),
         "field_roundness": random.uniform(0.98, 1), "disc_fovea_angle": random.uniform(-0.2, 0.2),
         "disc_fovea_distance": GOOD["disc_fovea_distance"] + random.uniform(-0.1, 0.1)}
        for _ in range(count)
    ]  # fmt: skip
    return rows(*eyes), np.array([f"p{i // 2}" for i in range(count)])


LIMITS = limits_of(NAMES, real()[0])


@pytest.mark.parametrize(
    ("change", "lost"),
    [
        ({}, None),
        ({"disc_confidence": 0.4}, "one_disc"),
        ({"disc_contrast": -0.1}, "one_disc"),
        ({"other_disc": 0.4}, "one_disc"),
        ({"fovea_confidence": 0.3}, "fovea"),
        ({"disc_fovea_distance": np.log(8), "fovea_off_middle": 8 * 0.07 - 0.3}, "fovea"),
        ({"fovea_off_middle": 0.65}, "fovea"),
        ({"disc_fovea_angle": 0.6, "fovea_off_middle": abs(0.3 - 0.35 * np.cos(0.6))}, "fovea"),
        ({"vessel_density": 0.2}, "vessels"),
        ({"vessel_density": 0.01}, "vessels"),
        ({"field_roundness": 0.8}, "field"),
        ({"field_radius": 0.4}, "field"),
    ],
)
def test_each_fault_costs_what_it_is_a_fault_of(change, lost):
    found = has_anatomy(NAMES, rows(change), LIMITS)
    assert {name: bool(has[0]) for name, has in found.items()} == {
        name: name != lost and (name != "all" or lost is None) for name in FIGURES
    }


def test_the_side_does_not_matter_where_the_disc_is_in_the_middle():
    centred = {"disc_off_middle": 0.0, "fovea_off_middle": 0.35}
    assert has_anatomy(NAMES, rows(centred), LIMITS)["fovea"][0]


def test_limits_and_shares_of_real_eyes_are_of_different_patients():
    eyes, patients = real()
    found = check_anatomy(NAMES, eyes, patients, np.concatenate([rows({}), rows({"vessel_density": 0.3})]))
    assert found.real_images == 100 and found.images == 2
    assert found.limits != limits_of(NAMES, eyes)
    assert found.real["all"].value < 1 and found.real["all"].value > 0.75
    assert found.synthetic["vessels"].value == 0.5 and found.synthetic["one_disc"].value == 1
    low, high = found.synthetic["vessels"].low, found.synthetic["vessels"].high
    assert (low, high) == (pytest.approx(0.0945, abs=1e-4), pytest.approx(0.9055, abs=1e-4))  # Wilson, 1 of 2
    assert found.plain_values()["limits"]["density"] == pytest.approx(found.limits.density)


def test_too_few_real_eyes_set_no_limits():
    eyes, patients = real(39)
    assert check_anatomy(NAMES, eyes, patients, eyes) is None
    assert check_anatomy(NAMES, real()[0], np.array(["p"] * 200), eyes) is None


def test_real_eyes_without_landmarks_give_no_fovea_a_place():
    eyes, patients = real()
    eyes[:, NAMES.index("fovea_confidence")] = 0.1
    assert check_anatomy(NAMES, eyes, patients, rows({})).synthetic["fovea"].value == 0


@pytest.mark.slow
def test_real_eyes_have_anatomy_and_turned_ones_have_less(real_data):
    dataset = FundusDataset.open(real_data / "odir").of_class("normal")
    dataset = dataset.subset(np.arange(120))
    space = RetinaSpace()
    images = np.stack([dataset.read(i) for i in range(120)])
    whole, turned = (cached_features(space, part, workers=0) for part in (images, np.rot90(images, axes=(1, 2))))
    found = check_anatomy(space.feature_names, whole, np.array(dataset.patient_keys), turned)
    assert found.real["one_disc"].value > 0.8 and found.real["field"].value > 0.9
    assert found.synthetic["fovea"].value < found.real["fovea"].low
