"""What a card can say of each fact that reporting guidelines ask for, see `reporting_items`."""

from __future__ import annotations

from ...data.targets import HEMOGLOBIN, MULTILABEL
from ...version import __version__
from ..tasks import task_of
from .card_facts import NOT_REPORTED, CardFacts

INTENDED_USE = (
    "Research on the classification of colour fundus photographs. It is not a medical device, has not been assessed as one, "
    "and must not decide about patients."
)
_ELSE = {
    MULTILABEL: "It knows only its findings. A disease that is not among them is not told, or is told as one of them.",
    HEMOGLOBIN: "It tells one number and no disease. A disease that shows in the photograph may move the number.",
}
_ELSE_OF_CLASSES = "It knows only its classes. A disease that is not among them is told as one of them."

WHERE = {
    "title": "its title", "summary": "below its title", "intended use": "section Intended use",
    **dict.fromkeys(("source", "outcome", "eligibility", "missing data", "division"), "section Data"),
    **dict.fromkeys(("preparation", "training", "choice", "imbalance", "software", "model", "started from"), "section Model"),
    "measures": "section Performance",
}  # fmt: skip
"""Where a card tells at length what an item asks for."""


def answers(facts: CardFacts) -> dict[str, str]:
    """{fact: what this run says of it}; a fact that is not known is missing."""
    found = _purpose(facts) | _data(facts) | _model(facts) | _training(facts) | _figures(facts) | _tests(facts)
    return {name: text for name, text in found.items() if text and text != NOT_REPORTED}


def limits(facts: CardFacts) -> list[str]:
    """What nobody should expect of it, whole sentences."""
    return [
        f"It was tested on held-out {facts.people} of the data that it was trained on; with other cameras, clinics and populations "
        "it may be worse, and how much is not known until it is tested there.",
        _ELSE.get(facts.about.target, _ELSE_OF_CLASSES),
        "Its reference labels are those of the dataset, with whatever mistakes these have.",
        f"Intervals cover the chance of which {facts.people} were tested, not the chance of another training run.",
        "No evidence of a difference between subgroups is not evidence that there is none: small groups show only large ones.",
    ]


def summary(facts: CardFacts) -> str:
    """The card in two sentences."""
    patients = {split: len(hashes) for split, hashes in facts.about.patients.items()}
    trained = f"Trained on {patients.get('train', 0)} and tested on {patients.get('test', 0)} other {facts.people}"
    names = ("mae",) if facts.about.target == HEMOGLOBIN else ("macro_auroc", "decided_accuracy", "accuracy")
    shown = [name for name in names if name in facts.metrics.get("test", {})][:2]
    told = "; ".join(f"{spelled(name)} {interval_text(facts.metrics['test'][name])}" for name in shown)
    return f"{trained} of {facts.about.dataset or 'a dataset without a name'}. On the test {facts.people}: {told or NOT_REPORTED}."


def interval_text(metric: dict) -> str:
    """ "0.844 (0.820 to 0.866)"; a number that is not defined is a hyphen."""
    value, low, high = (metric.get(name) for name in ("estimate", "low", "high"))
    if value is None:
        return "-"
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f} ({low:.3f} to {high:.3f})"


def spelled(metric: str) -> str:
    """A metric's name for people: "decided_macro_f1" -> "macro F1, as decided"; "auroc:glaucoma" -> "AUC of glaucoma"."""
    name, _, label = metric.removeprefix("decided_").partition(":")
    words = {"auroc": "AUC", "f1": "F1", "odir": "ODIR", "ece": "expected calibration error", "brier": "Brier score",
             "mae": "mean absolute error, g/dL"}  # fmt: skip
    text = " ".join(words.get(word, word) for word in name.split("_")) + (f" of {label}" if label else "")
    return f"{text}, as decided" if metric.startswith("decided_") else text


def _purpose(facts: CardFacts) -> dict[str, str]:
    about = facts.about
    return {
        "title": f"{facts.model.name} for {about.target}: {', '.join(about.classes)}, from colour fundus photographs",
        "summary": summary(facts),
        "intended use": INTENDED_USE,
        "aim": f"developed, and evaluated on held-out {facts.people}",
        "limits": "section Limits",
    }


def _data(facts: CardFacts) -> dict[str, str]:
    dataset, about = facts.dataset, facts.about
    model = facts.model
    prepared = (
        "field of view as the inscribed circle of a square, black outside; illumination correction: "
        f"{about.illumination}; shrunk to {model.size} pixels by averaging over areas; mean {_numbers(model.normalization[0])} "
        f"and standard deviation {_numbers(model.normalization[1])} of R, G, B"
    )
    found = {
        "source": about.dataset and f"{about.dataset}; {facts.said('source')}",
        "licence": facts.said("licence"),
        "preparation": prepared,
        "input": "one colour fundus photograph of one eye, nothing else",
        "outcome": f"{about.target} of the dataset: {', '.join(about.classes)}; who determined it, and how: not reported",
        "division": _division(facts),
        "patients": "section Data",
    }
    if dataset is None:
        return found
    used, people = sum(map(len, facts.rows_of.values())), facts.people_table()
    cameras = set(dataset.column("camera")) - {""}
    left = len(dataset) - used
    return found | {
        "eligibility": f"{used} of the {len(dataset)} images of the dataset, which have one of the classes",
        "missing data": f"{left} images without a usable target were left out" if left else "no image was left out",
        "camera": ", ".join(sorted(cameras)),
        "demographics": "section Data" if (people.drop(columns="split") != NOT_REPORTED).any(axis=None) else "",
        "training against test": f"same dataset, other {facts.people}: section Data shows both",
    }


def _division(facts: CardFacts) -> str:
    if facts.people == "photographs":
        return (
            "by photograph: the dataset names no patients, so that photographs of one person may be in two of training, validation "
            "and test; recorded as hashes of the photographs"
        )
    told = "by patient: no patient is in two of training, validation and test; recorded as hashes of patient ids"
    share = facts.nameless
    return f"{told}; {100 * share:.1f} % of the images name no patient, and count as one each" if share else told


def _model(facts: CardFacts) -> dict[str, str]:
    model, weights = facts.model, sum(parameter.numel() for parameter in facts.model.parameters())
    packages = facts.environment.get("packages", {})
    versions = ", ".join(f"{name} {version}" for name, version in packages.items())
    return {
        "model": f"{model.name}, head {model.head}, {weights / 1e6:.2f} million weights, input {model.size} x {model.size} x 3",
        "software": f"Python {facts.environment.get('python', '?')}, {versions}" if packages else "",
        "started from": model.loaded,
        "ensemble": "none: one network",
        "code": f"fundus-synth {__version__}",
        "model file": facts.file and f"section Model file: {facts.file.get('precision', NOT_REPORTED)}",
        "output": f"{_output(facts)}; section Decision",
        "prediction": f"{_output(facts)}, at temperature {facts.decision.temperature:.3f}",
        "bad input": _rules(facts),
    }


def _output(facts: CardFacts) -> str:
    return "haemoglobin in g/dL" if facts.about.target == HEMOGLOBIN else "a probability of each class"


def _rules(facts: CardFacts) -> str:
    rules = facts.file.get("rules") or {}
    if not rules:
        return ""
    return f"photograph again below gradability {rules.get('quality')}; unfamiliar ones are referred"


def _training(facts: CardFacts) -> dict[str, str]:
    config = facts.config
    names = ("steps", "batch_size", "optimizer", "learning_rate", "weight_decay", "schedule", "augment", "mixup",
             "label_smoothing", "freeze_steps", "backbone_rate", "average_steps", "seed")  # fmt: skip
    told = ", ".join(f"{name.replace('_', ' ')} {config[name]}" for name in names if config.get(name) is not None)
    synthetic = config.get("synthetic") or []
    return {
        "training": told + (f"; {len(synthetic)} sets of synthetic images were added" if synthetic else ""),
        "choice": f"of the evaluations during training the {'last' if config.get('keep') == 'last' else 'best'} by "
                  f"{spelled(task_of(facts.about.target).quality.removeprefix('val_'))} on the validation {facts.people}",
        "imbalance": f"sampling {config.get('sampling', NOT_REPORTED)}; class weights in the loss: "
                     f"{'yes' if config.get('class_weights') else 'no'}",
    }  # fmt: skip


def _figures(facts: CardFacts) -> dict[str, str]:
    groups = facts.subgroups
    cameras = [group for group in groups if group.column == "camera"]
    columns = ", ".join(dict.fromkeys(group.column for group in groups))
    return {
        "measures": ", ".join(spelled(name) for name in facts.metrics.get("test", {}) if ":" not in name),
        "uncertainty": f"95 % intervals by resampling {facts.people}; Holm for subgroups",
        "performance": "section Performance" + (", section Subgroups" if groups else ""),
        "fairness": f"figures compared between groups by {columns}: section Subgroups" if groups else "",
        "cameras": "section Subgroups" if cameras else "",
        "failures": "each class: report.html of the run" if facts.one_class else "",
    }


def _tests(facts: CardFacts) -> dict[str, str]:
    evaluations = facts.evaluations()
    return {
        "robustness": "section Robustness" if facts.stress() else "",
        "explanations": "section Explanations" if facts.explanations() else "",
        "external": f"section Performance: {', '.join(evaluations)}" if evaluations else "",
    }


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)
