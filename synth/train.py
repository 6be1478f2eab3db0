"""Train a generator for one class.

fundus-synth train --data DATASET --class hypertension --out RUN
fundus-synth train --data DATASET --class hypertension --out RUN --steps 12000 --resume
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..data.cache import image_cache
from ..data.dataset import FundusDataset
from ..runtime.devices import choose_device, choose_precision, multiplies_bf16
from ..runtime.errors import UserError
from ..runtime.files import write_json
from ..runtime.loggers import TENSORBOARD, make_logger
from ..runtime.processes import is_first, told_by_first
from ..runtime.progress import Progress
from ..runtime.runs import RunFolder, default_run_path, latest_run_path
from ..runtime.training import run_steps
from ..version import __version__
from .checkpoint import DESCRIPTION, GeneratorInfo, read_info, slug
from .cycle_training import BACK
from .feature_spaces import feature_space
from .generator_training import GeneratorTraining
from .held_back import ALL_CLASSES, SHARE_HELD_BACK, Photographs, divide, unseen
from .models import SIZES, Model, Wanted, model_named, plain_values
from .quality import Measure
from .recording import QUALITY, Recorder
from .training_report import write_training_report
from .training_state import BEST, read_training, restore_networks, start_from_run

FINISHED = "finished.json"
SHARED = "shared"
PICTURES_SHOWN = 36
# Each costs some 20 ms.
EYES_FOR_THE_SCALE = 400
_ENDLESS = 10**9
_SHARE_OF_SHARED_START = 0.75


@dataclass(frozen=True)
class Options:
    """How to train.

    Attributes:
        model: a key of `models.MODELS`.
        size: pixels, a power of two from 16 up.
        steps: optimisation steps in all; the model's own by default.
        minutes: stop after this long, instead of after steps.
        batch_size: real images of one step; the model's own by default.
        augment: a policy as in `choose_policy`; "none" for a DCGAN is the study's: wide, slower, nothing added.
        shared_start: learn all classes first, then the one: "auto" (where the model does and the dataset has several
            classes), "none", or the run folder of an earlier shared start or of another class.
        from_class: the class whose eyes a CycleGAN translates into the class.
        hold_back: share of the patients held back to measure quality where there is no val split; 0 for none.
        features: space in which quality is measured, see `feature_spaces.feature_space`.
        feature_weights: file of its weights, where it needs one.
        projection: the frozen network that the judge of a light generator looks through, see `projection.projection`.
        projection_weights: file of its weights, where it needs one.
        seed, device, precision: as everywhere.
        save_every: steps between states and sample sheets.
        measure_every: steps between measurements of quality.
        devices, nodes: processes a node, and nodes, that train together; each takes its share of the batch.
    """

    model: str = "dcgan"
    size: int = 64
    steps: int | None = None
    minutes: float | None = None
    batch_size: int | None = None
    augment: str = "auto"
    shared_start: str = "auto"
    from_class: str = "normal"
    hold_back: float = SHARE_HELD_BACK
    features: str = "retina"
    feature_weights: str | None = None
    projection: str = "auto"
    projection_weights: str | None = None
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    save_every: int = 250
    measure_every: int = 500
    devices: int = 1
    nodes: int = 1


def train(
    dataset: FundusDataset, label: str, *, out: Path | str | None = None, resume: bool = False, quiet: bool = False,
    **options: object,
) -> RunFolder:  # fmt: skip
    """Train a generator on the images of one class (of the train split, where the dataset has one).

    On a CPU with the same number of threads a resumed run ends with the same bytes as an unbroken one.

    Args:
        label: the class, or `ALL_CLASSES`; its images need not have patients, but then leaks can only be found by image.
        out: the run folder; runs/train-<time>-<label> by default, the newest such when resuming.
        resume: continue what is in the run folder.
        options: fields of `Options`.

    Returns:
        the run: checkpoints/generator.safetensors and .json, samples/step_*.png and training.gif, metrics.csv, quality.csv
        and a TensorBoard log in tensorboard/; a shared start is a run of its own in shared/.

    Raises:
        UserError: no such class or fewer than 8 images of it, bad options, or a run that these options do not continue.
        JobError: a loss became infinite or not a number, and going back did not help.
    """
    wanted = Options(**{**options, "shared_start": str(options.get("shared_start", Options.shared_start))})
    check_options(wanted)
    model = model_named(wanted.model)
    photographs = divide(dataset, label, wanted.hold_back)
    shares = shares_start(wanted, model, dataset, label)
    ancestor = None if shares or wanted.shared_start in ("auto", "none") else Path(wanted.shared_start)
    training, infos = build(model, wanted, dataset, photographs, label)
    if ancestor is not None:
        infos = with_ancestor(infos, start_from_run(training, ancestor, label))
    if training.batch_size % (wanted.devices * wanted.nodes):
        raise UserError(f"{wanted.devices * wanted.nodes} processes cannot share a batch of {training.batch_size} equally",
                        hint="Choose another --batch-size.")  # fmt: skip
    if wanted.devices * wanted.nodes > 1 and out is None:
        raise UserError("several processes have to agree on the run folder", hint="Name it with --out.")
    path = (latest_run_path if resume else default_run_path)("train", slug(label)) if out is None else Path(out)
    config = {
        "data": str(dataset.path.resolve()), "fingerprint": photographs.training.fingerprint, "label": label,
        **plain_values(wanted), "recipe": infos["generator"].recipe,
    }  # fmt: skip
    run = RunFolder.open_or_create(path, config, resume) if is_first() else RunFolder(Path(path))
    if shares:
        shared = train_shared(dataset, run, wanted, model, resume, quiet)
        infos = with_ancestor(infos, start_from_run(training, shared, label))
        if wanted.minutes is not None:
            wanted = replace(wanted, minutes=wanted.minutes * (1 - _SHARE_OF_SHARED_START))
    photographs = unseen(photographs, infos["generator"].trained_on_patients)
    steps = model.shared_steps if label == ALL_CLASSES else model.steps if shares or ancestor else model.steps_alone
    fit(run, training, infos, photographs, dataset, wanted, steps, resume, quiet, label)
    return run


def train_shared(
    dataset: FundusDataset, run: RunFolder, wanted: Options, model: Model, resume: bool, quiet: bool
) -> Path:
    """The run folder of the shared start within `run`, trained or continued until it is finished."""
    path = run.path / SHARED
    if not (path / FINISHED).exists():
        options = for_shared_start(wanted, model, _SHARE_OF_SHARED_START)
        train(dataset, ALL_CLASSES, out=path, resume=resume and path.exists(), quiet=quiet, **vars(options))
    return path


def for_shared_start(wanted: Options, model: Model, share: float) -> Options:
    """Options of the shared start: this share of the minutes, and as many steps as it takes for so many of a class."""
    steps = wanted.steps and max(1, round(wanted.steps * model.shared_steps / model.steps))
    return replace(wanted, minutes=wanted.minutes and wanted.minutes * share, steps=steps, shared_start="none")


def fit(
    run: RunFolder, training: GeneratorTraining, infos: dict[str, GeneratorInfo], photographs: Photographs,
    dataset: FundusDataset, wanted: Options, model_steps: int, resume: bool, quiet: bool, label: str,
) -> None:  # fmt: skip
    """Train from the run's newest state to the end, and mark the run as finished."""
    device, precision = where_and_how(wanted)
    state = read_training(run.path) if resume else None
    if state is not None:
        restore_networks(training, state)
    first = training.steps_done
    if is_first():
        for table in ("metrics.csv", QUALITY):
            run.truncate_metrics(first, table)
    steps = wanted.steps or (model_steps if wanted.minutes is None else _ENDLESS)
    measure = measure_on(photographs, dataset, wanted, quiet) if len(photographs.held_back) else None
    seen, total = first * training.batch_size, steps * training.batch_size
    with Progress(total, f"training {label}", quiet=quiet or not is_first(), start=seen) as progress:
        for note in photographs.notes:
            progress.note(note)
        logger = make_logger(TENSORBOARD, run.path, first)
        recorder = Recorder(
            run, infos, state, progress, wanted.save_every, wanted.minutes, measure, wanted.measure_every
        )
        if not recorder.gave_up:
            run_steps(training, range(first, steps), recorder, device, precision, logger, wanted.devices, wanted.nodes)
    if is_first():
        steps_done = training.steps_done
        report(run, training)
        write_json(run.path / FINISHED, {"steps": steps_done, "gave_up": recorder.gave_up})
    # The others wait until the files are there: a shared start is read by all of them.
    told_by_first(None)


def measure_on(photographs: Photographs, dataset: FundusDataset, wanted: Options, quiet: bool) -> Measure:
    """What scores generated pictures against the eyes held back; the scale is set by eyes of every class."""
    seen = dataset.split("train") if (dataset.column("split") != "").any() else dataset
    some = seen.subset(range(0, len(seen), -(-len(seen) // EYES_FOR_THE_SCALE)))
    scale, held_back = (image_cache(part, wanted.size) for part in (some, photographs.held_back))
    space = feature_space(wanted.features, wanted.feature_weights)
    return Measure(space, held_back, photographs.held_back.patient_keys, scale, quiet)


def report(run: RunFolder, training: GeneratorTraining) -> None:
    """Write the run's page from the generator that was kept, which need not be the last."""
    best = read_training(run.path, BEST)
    if best is not None:
        restore_networks(training, best)
    write_training_report(run, read_info(run.checkpoints / DESCRIPTION), training.pictures(PICTURES_SHOWN))


def build(
    model: Model, wanted: Options, dataset: FundusDataset, photographs: Photographs, label: str
) -> tuple[GeneratorTraining, dict[str, GeneratorInfo]]:
    """The training with its first weights, and what will be said of each network that it keeps.

    Raises:
        UserError: a model that translates was asked to translate a class into itself, or has too few eyes to translate.
    """
    classes, seen, source = tuple(dataset.class_counts()), photographs.training, None
    if model.translates:
        if label in (ALL_CLASSES, wanted.from_class):
            raise UserError(f"--model {wanted.model} translates {wanted.from_class} eyes into those of another class; "
                            f"--class is {label}", hint="Name another --class or --from-class.")  # fmt: skip
        source = divide(dataset, wanted.from_class, wanted.hold_back).training
    training = model.make(
        Wanted(
            seen, label, classes, wanted.size, wanted.batch_size, wanted.augment, wanted.seed, source, wanted.from_class,
            wanted.projection, wanted.projection_weights,
        )
    )  # fmt: skip
    known = {"licence": dataset.info.get("licence", ""), "fingerprint": dataset.fingerprint}
    parts = [seen] if source is None else [seen, source]
    info = GeneratorInfo(
        label=label,
        architecture={},
        dataset={"name": dataset.name, **known},
        images=sum(map(len, parts)),
        patients=len({patient for part in parts for patient in part.patients}),
        trained_on_patients=sorted({known for part in parts for known in part.patient_hashes}),
        trained_on_images=sorted({digest for part in parts for digest in part.image_digests}),
        steps=training.steps_done,
        seed=wanted.seed,
        recipe=plain_values(training.recipe),
        toolkit=f"fundus-synth {__version__}",
        quality={},
    )
    infos = {name: replace(info, architecture=network.architecture) for name, network in training.kept.items()}
    if BACK in infos:
        infos[BACK] = replace(infos[BACK], label=wanted.from_class, recipe={**info.recipe, "source_label": label})
    return training, infos


def with_ancestor(infos: dict[str, GeneratorInfo], ancestor: GeneratorInfo) -> dict[str, GeneratorInfo]:
    """`infos` with the patients and images added that the generator it starts from has seen."""

    def joined(info: GeneratorInfo) -> GeneratorInfo:
        patients = {*info.trained_on_patients, *ancestor.trained_on_patients}
        images = {*info.trained_on_images, *ancestor.trained_on_images}
        return replace(info, trained_on_patients=sorted(patients), trained_on_images=sorted(images))

    return {name: joined(info) for name, info in infos.items()}


def shares_start(wanted: Options, model: Model, dataset: FundusDataset, label: str) -> bool:
    """Whether this training begins with a shared start of its own."""
    several = len(dataset.class_counts()) > 1 and label != ALL_CLASSES
    # The study's DCGAN starts from nothing.
    as_published = wanted.model == "dcgan" and wanted.augment == "none"
    return wanted.shared_start == "auto" and model.shares_start and several and not as_published


def data_of(run: Path | str) -> Path | None:
    """The dataset folder that a run was trained on, where it is still there."""
    config = Path(run) / "config.yaml"
    data = RunFolder(Path(run)).config.get("data") if config.is_file() else None
    return Path(data) if data and Path(data).is_dir() else None


def where_and_how(wanted: Options) -> tuple[torch.device, torch.dtype]:
    """The device, and the dtype of autocast.

    Most networks here gain a half from bfloat16 where a processor has it, so "auto" takes it there, unlike elsewhere.
    """
    device = choose_device(wanted.device)
    gains = model_named(wanted.model).gains_by_bf16
    fast = wanted.precision == "auto" and gains and multiplies_bf16(device)
    return device, choose_precision("bf16" if fast else wanted.precision, device)


def check_options(wanted: Options) -> None:
    """Raise UserError unless these options make sense."""
    where_and_how(wanted)
    feature_space(wanted.features, wanted.feature_weights)
    if wanted.size not in SIZES:
        raise UserError(f"--size is {wanted.size}; expected one of {', '.join(map(str, SIZES))}")
    if wanted.steps is not None and wanted.steps < 1:
        raise UserError(f"--steps is {wanted.steps}; expected at least 1")
    if wanted.batch_size is not None and wanted.batch_size < 2:
        raise UserError(f"--batch-size is {wanted.batch_size}; expected at least 2, for batch norm")
    if wanted.devices < 1 or wanted.nodes < 1:
        raise UserError(f"--devices is {wanted.devices} and --nodes {wanted.nodes}; expected at least 1 of each")
    if not 0 <= wanted.hold_back < 0.5:
        raise UserError(f"--hold-back is {wanted.hold_back}; expected a share of the patients from 0 to below 0.5")
    if wanted.measure_every % wanted.save_every:
        raise UserError(f"--measure-every is {wanted.measure_every}; expected a multiple of {wanted.save_every}")
