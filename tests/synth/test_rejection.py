"""What is thrown away, on simulated eyes with planted faults: a "generator" that deals pictures whose faults are known."""

from __future__ import annotations

import json
import pickle
from collections import Counter

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from fundus_synth.data.cache import image_cache
from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.dataset_writer import DatasetWriter
from fundus_synth.data.phantom.cohort import render_cohort
from fundus_synth.runtime.errors import JobError, UserError
from fundus_synth.runtime.files import sha256_file
from fundus_synth.synth import generate as generate_module
from fundus_synth.synth.checkpoint import GeneratorInfo, load_generator
from fundus_synth.synth.copies import CopySearch
from fundus_synth.synth.generate import Drawing, generate, rejection_line
from fundus_synth.synth.rejection import DISC_EVIDENCE, Judge, Rejection, disc_limit, field_fault

SIZE = 64


@pytest.fixture(scope="module")
def eyes() -> np.ndarray:
    """12 simulated eyes of 12 patients, uint8 (12, 64, 64, 3)."""
    rendered = render_cohort(12, 256, seed=3, standardized=True, classes="normal")
    both = render_cohort(12, 256, seed=4, standardized=True, classes="normal")
    images = [image for _, image, _ in list(rendered)[::2] + list(both)[::2]]
    return np.stack([cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_AREA) for image in images])


def without_disc(eye: np.ndarray) -> np.ndarray:
    """An evenly coloured field of view with nothing in it."""
    lit = (eye.max(2) > 12)[..., None]
    return np.where(lit, np.median(eye[lit[..., 0]], axis=0), eye).astype(np.uint8)


def ragged(eye: np.ndarray) -> np.ndarray:
    """A bite out of the field of view."""
    eye = eye.copy()
    eye[:24, 24:40] = 0
    return eye


class Dealer(torch.nn.Module):
    """In place of a generator: deals its pictures, chosen by the first number of the latent vector."""

    latent = 4

    def __init__(self, pictures: np.ndarray):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.pictures = torch.from_numpy(pictures)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        share = torch.special.ndtr(latents[:, 0].double())
        chosen = (share * len(self.pictures)).long().clamp(max=len(self.pictures) - 1)
        return self.pictures[chosen].permute(0, 3, 1, 2).float() / 127.5 - 1


@pytest.fixture
def deal(monkeypatch):
    """Let `generate` deal these pictures instead of opening a run."""

    def use(pictures: np.ndarray) -> None:
        info = GeneratorInfo(
            label="normal", architecture={"model": "dealer", "size": SIZE}, dataset={"name": "dealt"}, images=0, patients=0,
            trained_on_patients=[], trained_on_images=[], steps=0, seed=0, recipe={}, toolkit="", weights_sha256="0" * 64,
            **({"quality": {}} if "quality" in GeneratorInfo.__annotations__ else {}),
        )  # fmt: skip
        monkeypatch.setattr(generate_module, "load_generator", lambda run: (Dealer(pictures), info))

    return use


@pytest.fixture(scope="module")
def real(eyes, tmp_path_factory) -> FundusDataset:
    """The first three eyes, as a dataset."""
    path = tmp_path_factory.mktemp("real") / "set"
    with DatasetWriter(path, {"name": "real"}) as writer:
        for i, eye in enumerate(eyes[:3]):
            writer.add({"file_name": f"images/{i}.png", "label": "normal", "patient_id": f"p{i}"}, eye)
    return FundusDataset.open(path)


def reasons(dataset: FundusDataset) -> dict[int, str]:
    table = pd.read_csv(dataset.path / "rejected.csv")
    return dict(zip(table["draw"], table["reason"], strict=True))


def test_faults_of_single_images(eyes):
    assert Judge().faults(eyes) == [""] * 12
    broken = np.stack([ragged(eyes[0]), without_disc(eyes[1]), np.zeros_like(eyes[2]), eyes[3] // 16])
    kinds = [fault.partition(":")[0] for fault in Judge().faults(broken)]
    assert kinds == ["field_of_view", "disc", "field_of_view", "field_of_view"]


def test_the_field_of_view_may_be_cut_but_not_small_or_in_pieces(eyes):
    cut = eyes[0].copy()
    cut[:5], cut[-5:] = 0, 0
    assert field_fault(cut) == ""
    small = cv2.copyMakeBorder(cv2.resize(eyes[0], (48, 48)), 8, 8, 8, 8, cv2.BORDER_CONSTANT)
    assert "of the circle" in field_fault(small)
    pieces = eyes[0].copy()
    pieces[:8, :8] = pieces[-8:, -8:] = 200
    assert "in pieces" in field_fault(pieces)


@pytest.mark.parametrize("size", [64, 128])
def test_real_eyes_pass(real_data, size):
    """At most 1 in 20 of the eyes of every class but cataract, and hardly any field of view."""
    dataset = FundusDataset.open(real_data / "odir")
    labels = dataset.column("label").to_numpy()
    chosen = [np.flatnonzero(labels == name)[:25] for name in ("normal", "diabetes", "hypertension", "amd")]
    images = np.array(image_cache(dataset.subset(np.concatenate(chosen)), size))
    lost = Counter(fault.partition(":")[0] for fault in Judge().faults(images))
    assert lost["field_of_view"] <= 3 and lost["field_of_view"] + lost["disc"] <= 5


def test_copies_are_found_plain_mirrored_and_brighter_and_eyes_are_not_copies_of_one_another(eyes):
    from fundus_synth.data.appearance import describe_appearance

    search = CopySearch()
    for i, eye in enumerate(eyes):
        assert search.original(describe_appearance(eye)) is None
        search.add(describe_appearance(eye), str(i))
    brighter = np.clip(eyes * 1.1, 0, 255).astype(np.uint8)
    for changed in (eyes, eyes[:, :, ::-1].copy(), brighter):
        assert [search.original(describe_appearance(eye)) for eye in changed] == [str(i) for i in range(12)]
    for _ in range(60):  # more than fit at first
        search.add(describe_appearance(ragged(eyes[0])), "again")
    assert len(search) == 72 and search.original(describe_appearance(eyes[5])) == "5"


def test_each_kind_is_counted_and_every_eye_is_kept_once(eyes, real, deal, tmp_path):
    """Nine eyes that are not in `real`, three that are, one ragged, one without a disc: nine can be kept at most."""
    deal(np.stack([*eyes, ragged(eyes[0]), without_disc(eyes[1])]))
    made = generate("run", 9, tmp_path / "out", rejection=Rejection(against=real), quiet=True)
    said, table = made.info["rejection"], reasons(made)
    assert len(made) == said["kept"] == 9 and said["drawn"] == 9 + len(table)
    assert set(said["reasons"]) == {"field_of_view", "disc", "training_copy", "copy"}
    assert said["reasons"] == dict(Counter(table.values())) and said["drawn"] > 9
    assert len({sha256_file(made.image_path(i)) for i in range(9)}) == 9
    assert f"{said['drawn']} drawn, 9 kept" in rejection_line(made)
    kept = [int(name[-10:-4]) for name in made.table["file_name"]]
    assert sorted([*kept, *table]) == list(range(said["drawn"])), "each draw is kept or thrown away"
    everything = generate("run", said["drawn"], tmp_path / "all", quiet=True)
    assert rejection_line(everything) == "" and not (everything.path / "rejected.csv").exists()
    for i, number in enumerate(kept):
        assert made.table["seed"][i] == everything.table["seed"][number]
        assert sha256_file(made.image_path(i)) == sha256_file(everything.image_path(number))


def test_the_result_does_not_depend_on_the_batch_and_continues(eyes, real, deal, tmp_path, monkeypatch):
    deal(np.stack([*eyes, ragged(eyes[0])]))
    options = {"rejection": Rejection(against=real), "quiet": True}
    whole = generate("run", 8, tmp_path / "whole", **options)
    large = generate("run", 8, tmp_path / "large", batch_size=64, **options)
    add, calls = DatasetWriter.add, []

    def fails(self, *words, **more):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        add(self, *words, **more)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(DatasetWriter, "add", fails)
        generate("run", 8, tmp_path / "again", **options)
    assert not (tmp_path / "again").exists(), "nothing half-written under its name"
    first = next((tmp_path / "again.partial" / "images").iterdir())
    before = first.stat().st_mtime_ns
    again = generate("run", 8, tmp_path / "again", **options)
    assert (again.path / "images" / first.name).stat().st_mtime_ns == before, "what was made is not made again"
    for other in (large, again):
        for name in ("metadata.csv", "rejected.csv", "dataset.json"):
            assert (other.path / name).read_bytes() == (whole.path / name).read_bytes()


def test_a_generator_that_cannot_is_told_so(eyes, deal, tmp_path):
    deal(np.stack([eyes[0], eyes[1]]))
    with pytest.raises(JobError, match=r"kept 2 of 60 draws, 3 are wanted .*copy \(58\).*--keep-all"):
        generate("run", 3, tmp_path / "two", rejection=Rejection(), quiet=True)
    deal(np.stack([ragged(eyes[0])]))
    with pytest.raises(JobError, match=r"kept 0 of 320 draws, 100 are wanted"):
        generate("run", 100, tmp_path / "none", rejection=Rejection(), quiet=True)
    assert not (tmp_path / "two").exists() and not (tmp_path / "none").exists()


class Red:
    """A classifier of eyes by their mean red."""

    name = "red"

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return images[..., 0].mean((1, 2)) / 255


def test_a_low_class_score(eyes, deal, tmp_path):
    deal(eyes)
    middle = float(np.median(Red()(eyes)))
    made = generate("run", 4, tmp_path / "out", rejection=Rejection(score=Red(), min_score=middle), quiet=True)
    assert all(Red()(np.stack([made.read(i) for i in range(4)])) >= middle)
    assert "class_score" in set(reasons(made).values())
    assert json.loads((made.path / "dataset.json").read_text())["made_by"]["rejection"]["score"] == {
        "name": "red", "min_score": middle,
    }  # fmt: skip
    with pytest.raises(UserError, match="--min-score is 2"):
        Rejection(min_score=2)


def test_the_limit_for_the_disc_follows_the_real_eyes(eyes):
    assert disc_limit(eyes) == DISC_EVIDENCE == disc_limit(eyes[:0])
    none = np.stack([without_disc(eye) for eye in eyes])
    limit = disc_limit(none)
    assert limit < DISC_EVIDENCE and sum(map(bool, Judge(limit).faults(none))) <= 1


class Threads(Judge):
    """Says how many threads PyTorch has while images are drawn."""

    def faults(self, images: np.ndarray) -> list[str]:
        return [f"threads: {torch.get_num_threads()}"] * len(images)


def test_draws_are_made_with_one_thread_and_the_caller_s_threads_come_back(tiny_run):
    torch.set_num_threads(2)
    try:
        _, said = Drawing(str(tiny_run.path), 5, 1.0, "cpu", Threads())(range(2))
        assert said == ["threads: 1"] * 2 and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_drawing_travels_to_other_processes(tiny_run):
    drawing = Drawing(str(tiny_run.path), 5, 0.8, "cpu", Judge())
    images, faults = drawing(range(40))
    others, same = pickle.loads(pickle.dumps(drawing))(range(40))
    assert np.array_equal(images, others) and faults == same and any(faults)
    assert np.array_equal(drawing(range(16, 32))[0], images[16:32])


def test_workers_make_the_same_dataset(tiny_run, tmp_path):
    one = generate(tiny_run.path, 272, tmp_path / "one", quiet=True)
    two = generate(tiny_run.path, 272, tmp_path / "two", workers=2, quiet=True)
    assert (one.path / "metadata.csv").read_bytes() == (two.path / "metadata.csv").read_bytes()


def test_truncation_draws_nearer_to_the_typical_image(tiny_run, tmp_path):
    whole = generate(tiny_run.path, 24, tmp_path / "whole", quiet=True)
    less = generate(tiny_run.path, 24, tmp_path / "less", truncation=0.3, quiet=True)
    spread = [np.stack([d.read(i) for i in range(24)]).std(0).mean() for d in (whole, less)]
    assert spread[1] < 0.7 * spread[0]
    assert list(whole.table["seed"]) == list(less.table["seed"]), "the seeds are those of the draws"
    _, info = load_generator(tiny_run.path)
    assert less.info["made_by"]["truncation"] == 0.3 and info.name == less.table["generator"][0]
    for bad in (0, -1, 2.01):
        with pytest.raises(UserError, match="--truncation"):
            generate(tiny_run.path, 1, tmp_path / "bad", truncation=bad, quiet=True)
