import pytest

from fundus_synth.data.schema import patient_hash
from fundus_synth.runtime.errors import UserError
from fundus_synth.synth.checkpoint import load_generator
from fundus_synth.synth.models import MODELS, model_named
from fundus_synth.synth.train import train
from fundus_synth.synth.translate import translate

OPTIONS = {"model": "cyclegan", "size": 16, "batch_size": 2, "device": "cpu", "quiet": True, "hold_back": 0}


@pytest.fixture(scope="module")
def two_classes(tiny_dataset):
    """The tiny set with six of its anemic images called normal."""
    labels = ["normal" if i < 6 else "anemic" for i in range(len(tiny_dataset))]
    table = tiny_dataset.table.assign(label=labels, split="")
    return type(tiny_dataset)(tiny_dataset.path, tiny_dataset.info, table[:16])


def test_every_model_is_named_in_the_error():
    with pytest.raises(UserError, match="dcgan.*light.*cyclegan"):
        model_named("vae")
    assert all(model.steps > 0 for model in MODELS.values())


def test_a_cyclegan_keeps_both_directions_and_everybody_it_saw(two_classes, tmp_path):
    halves = two_classes.with_split(["train"] * 16)
    halves = type(halves)(halves.path, halves.info, halves.table.assign(label=["normal"] * 8 + ["anemic"] * 8))
    run = train(halves, "anemic", steps=2, out=tmp_path / "run", **OPTIONS)
    there, back = (load_generator(run.path / "checkpoints" / part)[1] for part in ("", "back"))
    assert (there.label, there.recipe["source_label"]) == ("anemic", "normal")
    assert (back.label, back.recipe["source_label"]) == ("normal", "anemic")
    everybody = {patient_hash(f"tiny-{number}") for number in range(8)}
    assert set(there.trained_on_patients) == set(back.trained_on_patients) == everybody and there.images == 16
    made = translate(run.path, halves, tmp_path / "made", 3, quiet=True)
    assert set(made.table["label"]) == {"anemic"} and set(made.table["patient_id"]) <= set(
        halves.table["patient_id"][:8]
    )
    healed = translate(run.path / "checkpoints" / "back", halves, tmp_path / "healed", 2, quiet=True)
    assert set(healed.table["label"]) == {"normal"}


def test_a_class_is_not_translated_into_itself_or_from_nothing(two_classes, tmp_path):
    with pytest.raises(UserError, match="--class is anemic"):
        train(two_classes, "anemic", steps=1, out=tmp_path / "run", **{**OPTIONS, "from_class": "anemic"})
    with pytest.raises(UserError, match="6 normal images"):
        train(two_classes, "anemic", steps=1, out=tmp_path / "run", **OPTIONS)
    assert not (tmp_path / "run").exists()
