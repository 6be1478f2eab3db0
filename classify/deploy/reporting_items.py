"""What reporting guidelines ask of a prediction model, and where a card answers.

TRIPOD+AI: Collins et al., BMJ 385 (2024), e078378, 27 items. CLAIM: Mongan, Moy and Kahn, Radiology: Artificial Intelligence
2(2) (2020), e200029, 42 items, whose numbers are used; its update (Tejani et al., ibid. 6(4), 2024, e240300) numbers some of
them otherwise. Items are in this module's own words. Each names the fact of a card that answers it; where the run holds no such
fact, the card says "not reported": most of what a guideline asks of a study only its authors know.
"""

from __future__ import annotations

from dataclasses import dataclass

TRIPOD, CLAIM = "TRIPOD+AI", "CLAIM"


@dataclass(frozen=True)
class Item:
    """One item of a guideline: its number, what it asks for, and the name of the fact that answers it ("" when no run can)."""

    guideline: str
    number: str
    asks: str
    fact: str = ""


def _items(guideline: str, rows: tuple[tuple[str, ...], ...]) -> tuple[Item, ...]:
    return tuple(Item(guideline, *row) for row in rows)


ITEMS: tuple[Item, ...] = _items(TRIPOD, (
    ("1", "a title that says: a prediction model, of what, for whom", "title"),
    ("2", "an abstract", "summary"),
    ("3a", "the medical context and why a model is wanted"),
    ("3b", "for whom and for which decision it is meant", "intended use"),
    ("3c", "inequalities in health that bear on it"),
    ("4", "whether models are developed, evaluated, or both", "aim"),
    ("5a", "where training and test data come from", "source"),
    ("5b", "when the data were collected", "dates"),
    ("6a", "setting: care, country, number of centres", "setting"),
    ("6b", "who was eligible", "eligibility"),
    ("6c", "treatments received"),
    ("7", "how data were prepared and checked", "preparation"),
    ("8a", "what is predicted, how and when it was determined", "outcome"),
    ("8b", "who judged it, with what training", "annotators"),
    ("8c", "whether the judges were blinded"),
    ("9a", "which inputs are used", "input"),
    ("9b", "how they were measured", "camera"),
    ("9c", "who judged inputs that need judgement"),
    ("10", "how the sample size was arrived at"),
    ("11", "how missing data were handled", "missing data"),
    ("12a", "how data were divided", "division"),
    ("12b", "how inputs were treated before the model", "preparation"),
    ("12c", "type of model, how it was built, how settings were chosen", "training"),
    ("12d", "how differences between centres were handled"),
    ("12e", "which measures of performance", "measures"),
    ("12f", "whether the model was adjusted after its evaluation", "updating"),
    ("12g", "how predictions are computed at use", "prediction"),
    ("13", "how imbalance of classes was handled", "imbalance"),
    ("14", "what was done for fairness", "fairness"),
    ("15", "what the model gives, and its thresholds", "output"),
    ("16", "how training and test data differ", "training against test"),
    ("17", "ethics approval and consent"),
    ("18a", "funding"),
    ("18b", "conflicts of interest"),
    ("18c", "where the protocol is"),
    ("18d", "registration"),
    ("18e", "whether the data can be had", "licence"),
    ("18f", "whether the code can be had", "code"),
    ("19", "how patients and the public took part"),
    ("20a", "flow of participants, numbers with and without the outcome", "patients"),
    ("20b", "who the participants are", "demographics"),
    ("20c", "how the test participants compare with the training participants", "training against test"),
    ("21", "numbers of participants and outcomes in each analysis", "patients"),
    ("22", "the whole model, so that others can use it", "model file"),
    ("23a", "performance with intervals, also of subgroups", "performance"),
    ("23b", "differences between centres or clusters", "cameras"),
    ("24", "results of updating", "updating"),
    ("25", "interpretation, also with regard to fairness"),
    ("26", "limitations", "limits"),
    ("27a", "what to do when an input is bad or missing", "bad input"),
    ("27b", "how much skill users need", "users"),
    ("27c", "what is to be studied next"),
)) + _items(CLAIM, (
    ("1", "a title that names the methods", "title"),
    ("2", "a structured summary", "summary"),
    ("3", "background and clinical role"),
    ("4", "objectives and hypotheses", "aim"),
    ("5", "prospective or retrospective"),
    ("6", "goal of the study", "aim"),
    ("7", "sources of the data", "source"),
    ("8", "who and what was included", "eligibility"),
    ("9", "steps before the model", "preparation"),
    ("10", "how subsets of the data were chosen", "eligibility"),
    ("11", "definitions of the data elements", "outcome"),
    ("12", "how the data were de-identified"),
    ("13", "how missing data were handled", "missing data"),
    ("14", "the reference standard", "outcome"),
    ("15", "why this reference standard"),
    ("16", "who annotated, and how they were qualified", "annotators"),
    ("17", "tools of annotation"),
    ("18", "how far annotators agree"),
    ("19", "how the sample size was arrived at"),
    ("20", "how data were assigned to partitions", "division"),
    ("21", "on which level partitions are disjoint", "division"),
    ("22", "the model in detail", "model"),
    ("23", "software", "software"),
    ("24", "how weights were initialised", "started from"),
    ("25", "how it was trained", "training"),
    ("26", "how the final model was chosen", "choice"),
    ("27", "ensembles", "ensemble"),
    ("28", "measures of performance", "measures"),
    ("29", "measures of uncertainty", "uncertainty"),
    ("30", "robustness", "robustness"),
    ("31", "explanations and how they were tested", "explanations"),
    ("32", "tests on external data", "external"),
    ("33", "flow of participants", "patients"),
    ("34", "demographics of each partition", "demographics"),
    ("35", "performance on all partitions", "performance"),
    ("36", "accuracy with its precision", "performance"),
    ("37", "analysis of what was told wrongly", "failures"),
    ("38", "limitations", "limits"),
    ("39", "what it means for practice", "intended use"),
    ("40", "registration"),
    ("41", "where the protocol is"),
    ("42", "funding"),
))  # fmt: skip
