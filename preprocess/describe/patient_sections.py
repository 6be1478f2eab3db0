"""The sections about patients: age and sex, haemoglobin, blood pressure."""

from __future__ import annotations

import numpy as np

from ...runtime.errors import counts
from ...runtime.report import Report
from . import charts
from .collect import Description
from .tables import add_cross_table, count_values, counted_unit


def people(report: Report, d: Description) -> None:
    """Age by sex, age and sex of each class."""
    sexes, ages = d.people("sex"), d.people("age_years")
    if sexes.empty and ages.empty:
        return
    counted = counted_unit(d)
    report.section("Age and sex")
    if len(sexes):
        report.text(f"{counted.capitalize()} by sex: {counts(count_values(sexes['value']))}.")
    if len(ages):
        v = ages["value"]
        report.figure(charts.histogram_by_sex(ages, "age, years", counted),
                      f"Median {v.median():.0f} years, quartiles {v.quantile(0.25):.0f} and {v.quantile(0.75):.0f}, "
                      f"from {v.min():g} to {v.max():g}.")  # fmt: skip
        report.figure(charts.boxes(d.dataset.column("age_years"), d.classes.of_image, d.classes.groups, "age, years"),
                      "Images of each class by age: quartiles, whiskers from the 5th to the 95th percentile.")  # fmt: skip
    if len(sexes):
        add_cross_table(report, d.dataset.column("sex").replace("", "not stated"), d, "sex")


def hemoglobin(report: Report, d: Description) -> None:
    """Haemoglobin by sex with the cut-off, and over age."""
    people = d.people("hemoglobin_g_dl")
    if people.empty:
        return
    report.section("Haemoglobin")
    if people["sex"].isin(("female", "male")).any():
        report.figure(charts.hemoglobin_by_sex(people, counted_unit(d)),
                      "Dashed: the WHO's cut-off of 2024 for adults who are not pregnant; coloured: below it.")  # fmt: skip
    else:
        report.figure(charts.histogram_by_sex(people, "haemoglobin, g/dL", counted_unit(d)),
                      "The sex is not known, and the cut-off depends on it.")  # fmt: skip
    hemoglobin, age = d.dataset.column("hemoglobin_g_dl"), d.dataset.column("age_years")
    if age.notna().any():
        sex = d.dataset.column("sex").replace("", "not stated")
        names = [name for name in charts.SEX_COLORS if (sex == name).any()]
        both = age.notna() & hemoglobin.notna()
        varied = min(age[both].nunique(), hemoglobin[both].nunique()) > 1
        rho = age[both].corr(hemoglobin[both], method="spearman") if varied else np.nan
        report.figure(charts.scatter(age, hemoglobin, sex, names, "age, years", "haemoglobin, g/dL"),
                      f"Spearman's correlation {rho:.2f}." if rho == rho else "")  # fmt: skip


def pressure(report: Report, d: Description) -> None:
    """Diastolic over systolic blood pressure, coloured by class."""
    systolic, diastolic = d.dataset.column("systolic_mmhg"), d.dataset.column("diastolic_mmhg")
    if (systolic.notna() & diastolic.notna()).any():
        report.section("Blood pressure")
        report.figure(charts.scatter(systolic, diastolic, d.classes.of_image, d.classes.groups[:8], "systolic, mmHg",
                                     "diastolic, mmHg"))  # fmt: skip
