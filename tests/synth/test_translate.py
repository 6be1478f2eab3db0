import numpy as np
import pytest
import torch
from PIL import Image

from fundus_synth.classify.held_out import refuse_leaks
from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.dataset_writer import DatasetWriter
from fundus_synth.data.schema import patient_hash
from fundus_synth.runtime.errors import UserError
from fundus_synth.runtime.files import sha256_file
from fundus_synth.synth.checkpoint import GeneratorInfo, load_generator, save_generator
from fundus_synth.synth.networks.cyclegan import Generator
from fundus_synth.synth.networks.dcgan import Generator as Dcgan
from fundus_synth.synth.translate import translate, translate_images


def info_of(generator, **changes):
    known = {
        "label": "diabetes", "architecture": generator.architecture, "dataset": {"name": "clinic", "licence": "CC0-1.0"},
        "images": 2, "patients": 2, "trained_on_patients": [patient_hash("trained-1")], "trained_on_images": ["ab" * 32],
        "steps": 3, "seed": 0, "recipe": {"source_label": "normal"}, "toolkit": "fundus-synth", "quality": {},
    }  # fmt: skip
    return GeneratorInfo(**{**known, **changes})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A generator from normal to diabetes that does something, untrained."""
    torch.manual_seed(0)
    generator = Generator(16, width=4, blocks=1)
    torch.nn.init.normal_(generator.layers[-1].weight, 0.0, 0.2)
    folder = tmp_path_factory.mktemp("translator")
    save_generator(folder, generator, info_of(generator))
    return folder


def write_eyes(path, splits=False, patient="p", info=None):
    """21 normal eyes of 11 patients, patient 10 in the test split, and 2 with glaucoma; 24 px, a lit square on black."""
    random = np.random.default_rng(1)
    with DatasetWriter(path, info or {"name": "source", "licence": "CC-BY-4.0"}) as writer:
        for index in range(23):
            image = np.zeros((24, 24, 3), np.uint8)
            image[3:21, 3:21] = random.integers(60, 200, (18, 18, 3))
            row = {
                "file_name": f"images/eye{index}.png", "patient_id": f"{patient}-{index // 2}", "eye": ("left", "right")[index % 2],
                "label": "normal" if index < 21 else "glaucoma", "N": 1, "D": 0, "grade": 0, "hemoglobin_g_dl": 13.5,
                "age_years": 40 + index, "disc_x": 0.3, "fovea_y": 0.5, "camera": "phone", "quality": 0.9, "artefacts": "dust",
            }  # fmt: skip
            if splits:
                row["split"] = "test" if index >= 20 else "train"
            writer.add(row, image)
    return FundusDataset.open(path)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_eyes(tmp_path_factory.mktemp("data") / "source")


def by_parent(dataset):
    names = dataset.table["parent_file_name"]
    return {name: sha256_file(dataset.image_path(index)) for index, name in enumerate(names)}


def test_a_translation_depends_on_its_parent_alone(run, source, tmp_path):
    whole = translate(run, source, tmp_path / "whole", quiet=True)
    assert len(whole) == len(set(by_parent(whole).values())) == 21
    reordered = source.subset(np.arange(len(source))[::-1])
    few = translate(run, reordered, tmp_path / "few", 7, batch_size=1, seed=5, quiet=True)
    assert len(few) == 7
    assert by_parent(few).items() <= by_parent(whole).items()


def test_a_larger_count_keeps_the_parents_of_a_smaller_one(run, source, tmp_path):
    chosen = {}
    for count, seed in ((5, 0), (9, 0), (9, 1)):
        made = translate(run, source, tmp_path / f"{count}-{seed}", count, seed=seed, quiet=True)
        chosen[count, seed] = set(made.table["parent_file_name"])
    assert chosen[5, 0] < chosen[9, 0] != chosen[9, 1]


def test_a_translation_keeps_its_parent_s_person_and_anatomy_but_not_the_findings(run, source, tmp_path):
    made = translate(run, source, tmp_path / "out", quiet=True)
    _, info = load_generator(run)
    parents = source.table.set_index("file_name")
    for _, row in made.table.iterrows():
        parent = parents.loc[row["parent_file_name"]]
        for name in ("patient_id", "eye", "age_years", "disc_x", "fovea_y", "camera"):
            assert row[name] == parent[name], name
        assert row["label"] == "diabetes" and row["synthetic"] == "true" and row["generator"] == info.name
    assert not set(made.table) & {"N", "D", "grade", "hemoglobin_g_dl", "quality", "artefacts", "split", "seed"}
    assert [len(digest) for digest in made.table["sha256"]] == [64] * 21
    assert made.info["licence"] == "CC-BY-4.0 and CC0-1.0" and made.info["classes"] == ["diabetes"]
    assert made.info["translated_from"] == {
        "name": "source", "fingerprint": source.subset(source.column("label") == "normal").fingerprint
    }  # fmt: skip
    with Image.open(made.image_path(0)) as image:
        assert image.size == (16, 16)
        assert "made from a photograph" in image.text["Description"] and image.text["fundus-synth:class"] == "diabetes"
        assert image.text["fundus-synth:parent"] == parents.loc[made.table["parent_file_name"][0], "sha256"]


def test_the_field_of_view_of_the_parent_is_kept(run, source, tmp_path):
    made = translate(run, source, tmp_path / "out", 3, quiet=True)
    for index in range(3):
        picture = made.read(index)
        assert not picture[:2].any() and not picture[:, 14:].any()
        assert picture[2:14, 2:14].any(2).all()


def test_a_translated_eye_of_a_held_out_patient_is_refused(run, tmp_path):
    """The way a classifier takes: real eyes with a split, and translations of all of them."""
    real = write_eyes(tmp_path / "split", splits=True)
    held_out = real.split("test")
    kept_apart = translate(run, real, tmp_path / "train-only", quiet=True)
    assert not set(kept_apart.patients) & set(held_out.patients)
    refuse_leaks(kept_apart, held_out)
    leaking = translate(run, real, tmp_path / "test-too", split="test", quiet=True)
    with pytest.raises(UserError, match="p-10"):
        refuse_leaks(leaking, held_out)
    assert patient_hash("p-10") in leaking.info["trained_on_patients"], (
        "another picture of the patient must be refused too"
    )
    with pytest.raises(UserError, match="trained-1"):
        refuse_leaks(kept_apart, write_eyes(tmp_path / "seen", patient="trained").subset([2]))


def test_whom_the_parents_generator_saw_is_not_forgotten(run, tmp_path):
    generated = write_eyes(
        tmp_path / "generated", info={"trained_on_patients": ["first"], "trained_on_images": "damaged"}
    )
    made = translate(run, generated, tmp_path / "out", 1, quiet=True)
    assert {"first", patient_hash("trained-1")} < set(made.info["trained_on_patients"])
    assert set(made.info["trained_on_images"]) == {"ab" * 32, generated_digest(generated, made)}


def generated_digest(generated, made):
    return generated.table.set_index("file_name").loc[made.table["parent_file_name"][0], "sha256"]


def test_what_cannot_be_translated_is_refused_with_nothing_left_behind(run, source, tmp_path):
    out = tmp_path / "out"
    for count in (0, 22):
        with pytest.raises(UserError, match=f"has 21 normal eyes in all; .*--count is {count}"):
            translate(run, source, out, count, quiet=True)
    with pytest.raises(UserError, match="has no class 'normal'; its classes are glaucoma"):
        translate(run, source.of_class("glaucoma"), out, quiet=True)
    with pytest.raises(UserError, match="0 normal eyes in the val split; there is none"):
        translate(run, write_eyes(tmp_path / "split", splits=True), out, split="val", quiet=True)
    drawing = Dcgan(16, 4, 2)
    save_generator(tmp_path / "dcgan", drawing, info_of(drawing, recipe={}))
    with pytest.raises(UserError, match="does not translate eyes .dcgan."):
        translate(tmp_path / "dcgan", source, out, quiet=True)
    assert not list(tmp_path.glob("out*"))
    translate(run, source, out, 1, quiet=True)
    with pytest.raises(UserError, match="already exists"):
        translate(run, source, out, 1, quiet=True)


def test_the_untrained_generator_gives_the_eyes_back():
    images = np.random.default_rng(0).integers(40, 256, (17, 16, 16, 3), dtype=np.uint8)
    assert np.array_equal(translate_images(Generator(16, width=4, blocks=1), images), images)
