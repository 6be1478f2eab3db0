"""The privacy audit on simulated eyes: copies that were planted are found, strangers are not, and it says what it can say."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.dataset_writer import DatasetWriter
from fundus_synth.data.phantom.cohort import render_cohort
from fundus_synth.data.schema import patient_hash
from fundus_synth.runtime.errors import UserError
from fundus_synth.synth.checkpoint import read_info
from fundus_synth.synth.privacy.audit import audit
from fundus_synth.synth.privacy.result import PHOTOGRAPHS, PrivacyAudit
from fundus_synth.synth.privacy.vessel_pattern import pattern_agreement, vessel_patterns
from fundus_synth.synth.train import train

SIZE = 64
TRAINING = HELD_OUT = 20
STRANGERS = 6


@pytest.fixture(scope="module")
def eyes() -> list[tuple[str, np.ndarray]]:
    """Patient and picture of 46 simulated eyes of 23 patients."""
    count = TRAINING + HELD_OUT + STRANGERS
    rendered = render_cohort(count, SIZE, seed=5, standardized=True, classes="normal")
    return [(str(row["patient_id"]), image) for row, image, _ in rendered]


@pytest.fixture(scope="module")
def real(eyes, tmp_path_factory) -> FundusDataset:
    """20 training eyes and 20 of other patients."""
    path = tmp_path_factory.mktemp("real") / "real"
    with DatasetWriter(path, {"name": "simulated"}) as writer:
        for number, (patient, image) in enumerate(eyes[: TRAINING + HELD_OUT]):
            split = "train" if number < TRAINING else "test"
            row = {"file_name": f"images/{number:02d}.png", "patient_id": patient, "label": "normal", "split": split}
            writer.add(row, image)
    return FundusDataset.open(path)


def generated(path, images: list[np.ndarray], real: FundusDataset, **info) -> FundusDataset:
    """A dataset as `generate` leaves it, of a generator that was trained on the train split of `real`."""
    training = real.split("train")
    said = {
        "name": "made",
        "trained_on_images": training.image_digests,
        "trained_on_patients": training.patient_hashes,
    }
    with DatasetWriter(path, {**said, **info}) as writer:
        for number, image in enumerate(images):
            row = {"file_name": f"images/{number:02d}.png", "label": "normal", "synthetic": "true"}
            writer.add(row, image)
    return FundusDataset.open(path)


def recompressed(image: np.ndarray) -> np.ndarray:
    content = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    return np.ascontiguousarray(cv2.imdecode(content, cv2.IMREAD_COLOR)[..., ::-1])


def shifted(image: np.ndarray) -> np.ndarray:
    return cv2.warpAffine(image, np.array([[1, 0, SIZE / 50], [0, 1, 0]]), (SIZE, SIZE))


def turned(image: np.ndarray) -> np.ndarray:
    return cv2.warpAffine(image, cv2.getRotationMatrix2D((31.5, 31.5), 70, 1), (SIZE, SIZE))


@pytest.fixture(scope="module")
def copied(eyes, real, tmp_path_factory) -> PrivacyAudit:
    """Of 14 images 12 are copies: of training eye i in image i, two of each kind."""
    images = [image for _, image in eyes]
    other = images[TRAINING + HELD_OUT]
    changes = [
        lambda image: image,
        recompressed,
        lambda image: cv2.flip(image, 1),
        shifted,
        turned,
        lambda image: cv2.addWeighted(image, 0.8, other, 0.2, 0),
    ]
    made = [change(images[2 * i + j]) for i, change in enumerate(changes) for j in range(2)]
    made += images[-2:]
    return audit(generated(tmp_path_factory.mktemp("made") / "copied", made, real), real, quiet=True, workers=1)


@pytest.fixture(scope="module")
def strange(eyes, real, tmp_path_factory) -> PrivacyAudit:
    """Eyes of patients whom nobody has seen."""
    made = [image for _, image in eyes[-STRANGERS:]]
    return audit(generated(tmp_path_factory.mktemp("made") / "strange", made, real), real, quiet=True, workers=1)


def test_planted_copies_are_found_with_their_original(copied):
    assert [one.copy for one in copied.pictures] == [True] * 12 + [False] * 2
    assert [one.nearest for one in copied.pictures[:12]] == list(range(12))
    assert copied.pictures[0].distance < 0.05
    assert all(one.distance < 1 <= other.distance for one in copied.pictures[:12] for other in copied.pictures[12:])
    # The same pixels, mirrored and turned: `data.duplicates` alone finds these.
    assert [copied.pictures[i].why for i in (0, 1, 4, 5)] == ["an outright copy"] * 4
    assert copied.outright >= 6
    verdict, reason = copied.verdict
    assert verdict == "fail"
    assert reason.startswith("12 of 14 images are copies of training eyes, more than the 14.3 % that chance explains")


def test_vessels_are_an_eyes_own_and_a_picture_without_any_has_no_pattern(eyes):
    images = [image for _, image in eyes[:12:2]]
    blank = np.where(images[0].max(2, keepdims=True) > 12, np.uint8(120), np.uint8(0)).repeat(3, axis=2)
    found = vessel_patterns(np.stack([shifted(images[0]), blank, *images]), workers=0)
    moved, nothing, original, *others = found
    assert not nothing.any()
    assert np.linalg.norm(original) == pytest.approx(1, abs=1e-5)
    common = found[2:].mean(0)
    agreed = pattern_agreement(original, moved, common)
    assert agreed > 0.6
    assert agreed > max(pattern_agreement(other, moved, common) for other in others) + 0.2


def test_strangers_pass(strange):
    assert sum(one.copy for one in strange.pictures) <= 1
    assert strange.outright == 0
    assert strange.verdict[0] == "pass" and strange.passed
    assert strange.limits.bound == pytest.approx(3 / (HELD_OUT + 1))
    assert [distance for _, _, distance in strange.nearest_strangers] == sorted(
        distance for _, _, distance in strange.nearest_strangers
    )


def test_membership_is_told_by_copies_and_not_by_strangers(copied, strange):
    told, untold = copied.memberships["structure"], strange.memberships["structure"]
    assert told.auc.value > 0.7 > untold.auc.value
    assert (told.members, told.held_out, told.patients) == (TRAINING, HELD_OUT, TRAINING // 2)


def test_the_files_say_it_and_leave_the_dataset_as_it_is(copied):
    folder, before = copied.synthetic.path, (copied.synthetic.path / "metadata.csv").read_bytes()
    copied.write()
    found = json.loads((folder / "audit.json").read_text())
    assert found["format"] == "fundus-synth audit 1"
    assert found["fingerprint"] == FundusDataset.open(folder).fingerprint
    assert found["against"] == {
        "name": "simulated",
        "fingerprint": copied.against.fingerprint,
        "images": 40,
        "patients": 20,
    }
    assert found["verdict"] == "fail" and found["reason"] == copied.verdict[1]
    assert found["command"][:4] == ["fundus-synth", "audit", str(folder), "--against"]
    assert set(found["images"]) == set(copied.synthetic.table["file_name"])
    first = found["images"]["images/00.png"]
    assert first["copy"] is True and first["nearest"] == copied.sides.training.image_digests[0]
    assert found["figures"]["copies"] == 12
    assert found["figures"]["share_of_copies"]["low"] > 0.5
    assert (folder / "metadata.csv").read_bytes() == before


def test_the_page_warns_of_its_photographs_and_can_do_without(copied):
    folder = copied.synthetic.path
    copied.write()
    page = (folder / "audit.html").read_text()
    assert PHOTOGRAPHS in page
    assert page.count("data:image/jpeg") == 14 + 6
    copied.write(pictures=False)
    page = (folder / "audit.html").read_text()
    assert "data:image/jpeg" not in page and PHOTOGRAPHS not in page
    assert copied.verdict[1] in page
    assert PHOTOGRAPHS in copied.lines()[-1] and PHOTOGRAPHS not in copied.lines(pictures=False)[-1]


def test_without_held_out_eyes_there_is_no_verdict_but_copies_are_found(eyes, real, tmp_path):
    training = real.split("train").write(tmp_path / "training")
    images = [eyes[3][1], eyes[-1][1]]
    found = audit(generated(tmp_path / "made", images, real), training, quiet=True, workers=1)
    assert found.verdict[0] == "fail"
    assert found.verdict[1].startswith("no verdict: 0 eyes of held-out patients")
    assert [one.copy for one in found.pictures] == [True, False]
    assert found.limits is None and found.memberships == {}
    found.write()
    assert json.loads((tmp_path / "made" / "audit.json").read_text())["figures"]["limits"] is None


def test_training_images_that_are_not_at_hand_fail(eyes, real, tmp_path):
    rows = np.arange(len(real)) >= 2
    part = real.subset(rows).write(tmp_path / "part")
    found = audit(generated(tmp_path / "made", [eyes[-1][1]], real), part, quiet=True, workers=1)
    assert found.verdict == (
        "fail",
        "2 images of the training are not in simulated; 0 of 1 images are copies of the others",
    )


def test_an_eye_of_the_training_under_another_name_is_no_stranger(eyes, real, tmp_path):
    with DatasetWriter(tmp_path / "holdout", {"name": "holdout"}) as writer:
        for number, (patient, image) in enumerate([("twin", eyes[0][1]), *eyes[TRAINING : TRAINING + 20]]):
            writer.add({"file_name": f"images/{number:02d}.png", "patient_id": patient, "label": "normal"}, image)
    made = generated(tmp_path / "made", [eyes[0][1]], real)
    found = audit(made, real, FundusDataset.open(tmp_path / "holdout"), quiet=True, workers=1)
    assert len(found.sides.held_out) == 20
    assert "1 held-out images show eyes of the training under other patient ids" in found.sides.notes[-1]
    assert found.pictures[0].copy


def test_images_below_64_pixels_and_empty_sets_are_refused(real, tmp_path):
    small = generated(tmp_path / "small", [np.zeros((32, 32, 3), np.uint8)], real)
    with pytest.raises(UserError, match="32 pixels wide; expected at least 64"):
        audit(small, real, quiet=True)
    with pytest.raises(UserError, match="no images to audit"):
        audit(small.subset([]), real, quiet=True)


@pytest.fixture(scope="module")
def run(real, tmp_path_factory):
    """Two steps of a generator on the training eyes."""
    return train(real, "normal", out=tmp_path_factory.mktemp("runs") / "run", model="dcgan", size=16, steps=2, batch_size=4,
                 shared_start="none", hold_back=0.0, device="cpu", precision="32", quiet=True)  # fmt: skip


def test_the_discriminator_is_questioned_and_the_rest_is_the_same_twice(copied, real, run, tmp_path):
    info = read_info(run.checkpoints / "generator.json")
    maker = {"generator": {"name": info.name, "weights_sha256": info.weights_sha256}}
    images = [copied.synthetic.read(i) for i in range(len(copied.synthetic))]
    made = generated(tmp_path / "made", images, real, **maker)
    found = audit(made, real, run=run.path, quiet=True, workers=1)
    assert found.pictures == copied.pictures
    asked = found.memberships.pop("discriminator")
    assert (asked.members, asked.held_out) == (TRAINING, HELD_OUT)
    assert found.memberships == copied.memberships
    # Whatever it gives away, the verdict is on what is in the dataset.
    assert found.verdict == copied.verdict


def test_a_run_that_made_other_images_is_refused(copied, real, run):
    with pytest.raises(UserError, match="made was made by another"):
        audit(copied.synthetic, real, run=run.path, quiet=True)


def test_patients_are_named_by_their_hash_only(copied, real):
    copied.write()
    text = (copied.synthetic.path / "audit.json").read_text()
    assert not any(patient in text for patient in real.patients)
    assert patient_hash(real.patients[0]) in json.dumps(copied.synthetic.info)
