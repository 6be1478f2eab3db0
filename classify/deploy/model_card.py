"""A model card: what a classifier is, whom it was trained and tested on, how good it is, for whom, and what is not known.

The form is that of Mitchell et al. (FAT* 2019): intended use, data, figures by subgroup, limits; then the items of the
guidelines for reporting prediction models, with "not reported" where the run does not know. As Markdown and as a page.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from ...data.dataset import FundusDataset
from ...data.targets import HEMOGLOBIN
from ...runtime.files import write_text
from ...runtime.report import Report
from .card_answers import INTENDED_USE, WHERE, answers, interval_text, limits, spelled, summary
from .card_facts import NOT_REPORTED, CardFacts
from .card_markdown import Markdown
from .reporting_items import CLAIM, ITEMS, TRIPOD
from .subgroups import METRICS

Page = Report | Markdown


def write_model_card(
    run: Path | str, out_base: Path | str, *, model_facts: dict | None = None, dataset: FundusDataset | None = None
) -> tuple[Path, Path]:  # fmt: skip
    """Write `<out_base>.md` and `<out_base>.html`.

    Args:
        run: a run folder of `train`, whose training has ended.
        out_base: path without the suffix.
        model_facts: what an exported model file says of itself (its metadata), for the card of an export.
        dataset: what the run was trained on; by default what its config.yaml names, where that is still there.

    Returns:
        Both paths.

    Raises:
        UserError: no run folder with a classifier, or a damaged file in it.
    """
    facts = CardFacts.gather(run, model_facts, dataset)
    title, lead = f"Model card: {facts.model.name} for {facts.about.target}", f"Not a medical device. {summary(facts)}"
    base = Path(out_base)
    markdown, report = Markdown(title, lead), Report(title, lead)
    for section in _SECTIONS:
        for page in (markdown, report):
            section(page, facts)
    text, html = (base.parent / f"{base.name}{suffix}" for suffix in (".md", ".html"))  # a dot in the name is no suffix
    write_text(text, markdown.text_of_page())
    return text, report.write(html)


def _use(page: Page, facts: CardFacts) -> None:
    page.section("Intended use").text(INTENDED_USE)


def _data(page: Page, facts: CardFacts) -> None:
    known = answers(facts)
    names = ("source", "licence", "outcome", "eligibility", "missing data", "division")
    page.section("Data").facts({name: known.get(name, NOT_REPORTED) for name in names})
    page.facts({"fingerprint": facts.about.fingerprint or NOT_REPORTED})
    if facts.dataset is None:
        page.text("The dataset is no longer where it was: images, classes and people of the splits are not reported.")
    page.table(facts.patients_table(), f"{facts.people.capitalize()} are disjoint between splits.")
    if facts.dataset is not None:
        page.table(facts.people_table(), "People of each split, counted by image.")


def _model(page: Page, facts: CardFacts) -> None:
    known = answers(facts)
    names = ("model", "started from", "preparation", "training", "choice", "imbalance", "software")
    page.section("Model").facts({name: known.get(name, NOT_REPORTED) for name in names})


def _decision(page: Page, facts: CardFacts) -> None:
    if facts.about.target == HEMOGLOBIN:
        return
    decision = facts.decision
    page.section("Decision").text(
        f"Probabilities are calibrated by a temperature of {decision.temperature:.3f}, fitted on the validation {facts.people}."
    )
    chosen = {"factor": decision.multipliers, "threshold": decision.thresholds}
    for name, values in chosen.items():
        if values is not None:
            page.table(
                pd.DataFrame({"class": decision.classes, name: values}), f"Fitted on the validation {facts.people}."
            )
    if decision.cuts is not None:
        between = [f"{low} | {high}" for low, high in zip(decision.classes, decision.classes[1:], strict=False)]
        page.table(pd.DataFrame({"grades": between, "cut": decision.cuts}), f"Fitted on the validation {facts.people}.")
    if decision.plain:
        page.text("The largest probability decides.")


def _performance(page: Page, facts: CardFacts) -> None:
    columns = {**facts.metrics, **facts.evaluations()}
    names = dict.fromkeys(name for metrics in columns.values() for name in metrics)
    rows = [
        {"metric": spelled(name)} | {split: interval_text(found.get(name, {})) for split, found in columns.items()}
        for name in names
    ]
    page.section("Performance").text(
        f"Estimate and 95 % interval over resampled {facts.people}. Test {facts.people} were never looked at in training; on the "
        f"validation {facts.people} the weights and the decision were chosen, so figures there are too good."
    )
    page.table(pd.DataFrame(rows))


def _calibration(page: Page, facts: CardFacts) -> None:
    test = facts.metrics.get("test", {})
    found = {spelled(name): interval_text(test[name]) for name in ("ece", "brier", "log_loss") if name in test}
    if found:
        page.section("Calibration").facts(found)
        page.text(
            f"On the test {facts.people}. The calibration error is the mean distance between confidence and accuracy."
        )


def _subgroups(page: Page, facts: CardFacts) -> None:
    page.section("Subgroups")
    groups = facts.subgroups
    if not groups:
        page.text(
            "Not reported: the dataset is gone, says nothing of sex, age, eye or camera, or the run tells no single class."
        )
        return
    page.text(
        f"Of the test {facts.people}. Difference: the group minus all others whose column is known, with the 95 % interval over "
        f"resampled {facts.people}. A difference is claimed only where its p-value, corrected for all differences of this table by "
        "Holm's method, is below 0.05. Macro AUC: over the classes with at least 10 images on both sides."
    )
    rows = []
    for group in groups:
        row: dict[str, object] = {
            "by": group.column,
            "group": group.name,
            "images": group.images,
            facts.people: group.patients,
        }
        for metric in METRICS:
            row[metric] = group.estimates[metric]
            row[f"{metric}, difference"] = str(group.differences[metric]) if metric in group.differences else "-"
            row["found" if metric == METRICS[0] else "found "] = group.verdict(metric)
        rows.append(row)
    page.table(pd.DataFrame(rows))
    found = [
        (f"{group.column} {group.name}: {metric} is", group.verdict(metric)) for group in groups for metric in METRICS
    ]
    claimed = [f"{what} {verdict}" for what, verdict in found if verdict in ("lower", "higher")]
    page.text(f"{'; '.join(claimed)}." if claimed else "No evidence of a difference in any of them.")


def _robustness(page: Page, facts: CardFacts) -> None:
    page.section("Robustness")
    results = facts.stress()
    if not results:
        page.text("Not reported: fundus-classify stress was not run on these weights.")
    for result in results:
        page.text(
            f"Stress test on {result['images']} images of {result['patients']} unseen {facts.people} of {result['dataset']}:"
        )
        page.points(result["verdicts"])


def _explanations(page: Page, facts: CardFacts) -> None:
    checked = facts.explanations()
    page.section("Explanations")
    if checked:
        page.points(checked)
    else:
        page.text(
            "Not reported: whether explanation maps are faithful was not checked (fundus-classify check-explanations)."
        )


def _file(page: Page, facts: CardFacts) -> None:
    if not facts.file:
        return
    parity, rules = facts.file.get("parity") or {}, facts.file.get("rules") or {}
    page.section("Model file").facts({
        "precision": facts.file.get("precision", NOT_REPORTED),
        "input": f"standardised photograph, {facts.file.get('standard_size', NOT_REPORTED)} pixels",
        "licence": facts.file.get("licence", NOT_REPORTED),
        **{f"against PyTorch: {name.replace('_', ' ')}": _short(value) for name, value in parity.items()},
    })  # fmt: skip
    if rules:
        page.text(_coverage(rules, facts))
        page.points(rules.get("notes") or [f"There were enough validation {facts.people} for that."])


def _coverage(rules: dict, facts: CardFacts) -> str:
    """What the file's rules guarantee, in one sentence."""
    shares = (
        f"at least {100 * rules['attained']:.0f} % of the {facts.people}",
        f"(asked for: {100 * rules['level']:.0f} %)",
    )
    alike = f"as far as new {facts.people} are like the validation {facts.people}."
    if (half := rules.get("half_width")) is not None:
        return f"The right number lies within {half:.2f} g/dL of the one told for {' '.join(shares)}, {alike}"
    return f"Sets of possible answers hold the right one for {shares[0]} of every class {shares[1]}, {alike}"


def _limits(page: Page, facts: CardFacts) -> None:
    page.section("Limits").points(limits(facts))


def _guidelines(page: Page, facts: CardFacts) -> None:
    known = answers(facts)
    for guideline, cited in (
        (TRIPOD, "Collins et al., BMJ 2024"),
        (CLAIM, "Mongan et al., Radiology: AI 2020; updated 2024"),
    ):
        items = [item for item in ITEMS if item.guideline == guideline]
        told = [WHERE.get(item.fact, known[item.fact]) if item.fact in known else NOT_REPORTED for item in items]
        answered = sum(text != NOT_REPORTED for text in told)
        page.section(f"{guideline} items").text(
            f"{answered} of {len(items)} items are answered by the run; the rest only its authors know. {cited}; in other words."
        )
        table = {"item": [item.number for item in items], "asks for": [item.asks for item in items], "here": told}
        page.table(pd.DataFrame(table))


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


_SECTIONS: tuple[Callable[[Page, CardFacts], None], ...] = (
    _use, _data, _model, _decision, _performance, _calibration, _subgroups, _robustness, _explanations, _file, _limits,
    _guidelines,
)  # fmt: skip
