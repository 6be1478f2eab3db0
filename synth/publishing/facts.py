"""The facts of a published set that its card does not count itself: how it was made, by what, from which data."""

from __future__ import annotations

from pathlib import Path

from ...data.dataset import FundusDataset
from ...runtime.errors import UserError
from ...runtime.files import read_json
from ...runtime.runs import environment
from ...version import __version__
from ..checkpoint import DESCRIPTION, generator_folder, read_info
from .dataset_card import Facts
from .reports import FORMAT, command_line

_FROM_SOURCE = ("source", "classes", "image_size", "made_by", "parent", "generator", "rejection")


def dataset_info(facts: Facts, dataset: FundusDataset, generator: Path | str | None) -> dict:
    """dataset.json of the published set."""
    terms = facts.terms
    training = {} if generator is None else {"training": _training(generator)}
    return {
        "format": FORMAT,
        "name": facts.name,
        "licence": terms.licence.name,
        "licence_of_training_data": terms.inherited or "not recorded",
        "licence_stated_by_publisher": terms.stated,
        "description": facts.description,
        "synthetic": True,
        "images": facts.images,
        "copies_dropped": facts.dropped,
        "audited_fingerprint": dataset.fingerprint,
        "publisher": facts.publisher,
        "url": facts.url,
        "date": facts.date,
        "toolkit": f"fundus-synth {__version__}",
        "generators": list(facts.generators),
        **training,
        "commands": [{"step": what, "command": line} for what, line in facts.commands],
        "shards": list(facts.shards),
        **{name: dataset.info[name] for name in _FROM_SOURCE if name in dataset.info},
    }


def _training(generator: Path | str) -> dict:
    """How the generator was trained, without whom on."""
    info = read_info(generator_folder(generator) / DESCRIPTION)
    return {"generator": info.name, "class": info.label, "architecture": info.architecture, "images": info.images,
            "patients": info.patients, "steps": info.steps, "seed": info.seed, "recipe": info.recipe,
            "toolkit": info.toolkit, "quality": info.quality}  # fmt: skip


def trained_on(dataset: FundusDataset) -> dict:
    """What is recorded of the training data: name, licence, fingerprint; {} when nothing is."""
    parent = dataset.info.get("parent")
    return parent if isinstance(parent, dict) else {}


def commands_of(
    dataset: FundusDataset, generator: Path | str | None, audit: dict, evaluation: dict | None
) -> tuple[tuple[str, str], ...]:
    """(step, command line) of what was done, in its order, as far as it is recorded.

    Raises:
        UserError: `generator` did not make any of the images.
    """
    steps = [("generate", _generate_command(dataset.info.get("made_by")))]
    if generator is not None:
        steps.insert(0, ("train", _training_command(generator, dataset)))
    if evaluation is not None:
        steps.append(("evaluate", command_line(evaluation["command"])))
    steps += [("audit", command_line(audit["command"])), ("publish", command_line(environment()["command"]))]
    return tuple((what, line or "not recorded") for what, line in steps)


def _training_command(generator: Path | str, dataset: FundusDataset) -> str:
    folder = generator_folder(generator)
    name = read_info(folder / DESCRIPTION).name
    if name not in set(dataset.column("generator")):
        raise UserError(f"is {name}, which made none of these images", path=generator,
                        hint="Name the run that fundus-synth generate was given.")  # fmt: skip
    record = Path(generator) / "environment.json"
    return command_line(read_json(record).get("command")) if record.is_file() else ""


def _generate_command(made_by: object) -> str:
    """As `generate` records it; where the images were written and its default options are not recorded."""
    said = made_by if isinstance(made_by, dict) else {}
    if said.get("command") != "fundus-synth generate":
        return ""
    options = [f"--{name} {said[name]}" for name in ("count", "seed", "truncation") if name in said]
    keep = [] if said.get("rejection") else ["--keep-all"]
    return " ".join(["fundus-synth generate RUN --out SYNTHETIC", *options, *keep])
